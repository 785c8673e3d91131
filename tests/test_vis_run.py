"""MaskTrack R-CNN as a whole, in mmtrack, on two videos of a moving square in YouTube-VIS's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mot_scene import FRAMEWORK_WARNINGS
from PIL import Image
from test_mot_run import make_backbone

from transfer.evaluate import check_protocol, load_config
from transfer.tasks import TASKS
from transfer.track.mm.vis import METRICS, Config, Videos, evaluate, run, to_frames

pytestmark = [
    pytest.mark.mmtrack,
    *FRAMEWORK_WARNINGS,
    pytest.mark.filterwarnings("ignore:setting max_epochs in run:DeprecationWarning"),  # mmtrack does
    pytest.mark.filterwarnings("ignore:`np.* is a deprecated alias:DeprecationWarning"),  # mmtrack's
]
RECIPE = "configs/track/mmtrack/masktrack_rcnn_r50_fpn_12e_youtubevis2019.py"
WIDTH, HEIGHT, NUM_FRAMES = 64, 48, 3


def write_videos(folder: Path, names: list[str]) -> Videos:
    """One square of 20 pixels in every video, hidden in the last frame."""
    from pycocotools import mask as rle

    names40 = [{"id": index + 1, "name": f"c{index}"} for index in range(40)]
    from mmtrack.datasets import YouTubeVISDataset

    for entry, name in zip(names40, YouTubeVISDataset.CLASSES_2019_version, strict=True):
        entry["name"] = name
    videos: list[dict[str, Any]] = []
    tracks: list[dict[str, Any]] = []
    for video, name in enumerate(names, start=1):
        files, masks, boxes, areas = [], [], [], []
        for frame in range(NUM_FRAMES):
            pixels = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
            left, top = 8 + 6 * frame, 12
            mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
            mask[top : top + 20, left : left + 20] = 1
            hidden = frame == NUM_FRAMES - 1
            if not hidden:
                pixels[mask == 1] = 230
            path = folder / "JPEGImages" / name / f"{frame:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            files.append(f"{name}/{frame:05d}.jpg")
            encoded = rle.encode(np.asfortranarray(mask))
            encoded["counts"] = encoded["counts"].decode()
            masks.append(None if hidden else encoded)
            boxes.append(None if hidden else [left, top, 20, 20])
            areas.append(None if hidden else 400)
        videos.append({"id": video, "file_names": files, "width": WIDTH, "height": HEIGHT})
        entry = {"id": video, "video_id": video, "category_id": 1, "iscrowd": 0}
        tracks.append({**entry, "segmentations": masks, "bboxes": boxes, "areas": areas})
    content = {"categories": names40, "videos": videos, "annotations": tracks}
    (folder / "instances.json").write_text(json.dumps(content))
    return Videos(str(folder / "instances.json"), str(folder / "JPEGImages"))


def make_config(folder: Path, **fields: Any) -> Config:
    videos = write_videos(folder / "set", ["a", "b"])
    options = {"total_epochs": 1, "lr_config": {"warmup_iters": 1}, "data": {"samples_per_gpu": 2}}
    defaults = {"train": videos, "test": videos, "tracker": RECIPE, "image_scale": [64, 48]}
    return Config("squares", "test", **{**defaults, "options": options, **fields})


def test_masktrack_rcnn_trains_and_measures(tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path)
    measured = list(run(backbone, make_config(tmp_path, variant="unfrozen"), tmp_path / "out"))
    assert [m.metric for m in measured] == list(METRICS)
    assert all(m.value is not None and 0 <= m.value <= 100 and m.n == 2 for m in measured)
    assert {m.protocol for m in measured} == {"test-unfrozen"}
    assert (tmp_path / "out" / "results.json").is_file()
    state = torch.load(tmp_path / "out" / "tracker.pth", weights_only=True)["state_dict"]
    for key in ("layer1.0.conv1.weight", "layer4.1.bn2.running_mean"):  # every stage and norm learned
        assert not torch.equal(state[f"detector.backbone.{key}"], backbone.state[key])


def test_the_true_tracks_score_100_and_no_track_scores_0(tmp_path: Path) -> None:
    from mmtrack.datasets import YouTubeVISDataset

    videos = write_videos(tmp_path / "set", ["a", "b"])
    to_frames(Path(videos.annotations), tmp_path / "frames.json")
    dataset = YouTubeVISDataset(
        "2019",
        ann_file=str(tmp_path / "frames.json"),
        img_prefix=videos.images,
        ref_img_sampler=None,
        pipeline=[],
        test_mode=True,
    )
    truth = json.loads(Path(videos.annotations).read_text())["annotations"]
    boxes, masks = [], []
    for track in truth:
        for mask, box in zip(track["segmentations"], track["bboxes"], strict=True):
            rows = [[np.zeros((0, 6))] for _ in range(40)]
            kept: list[list[Any]] = [[] for _ in range(40)]
            if mask is not None:
                left, top, width, height = box
                rows[0] = [np.array([[7, left, top, left + width, top + height, 0.9]])]
                kept[0] = [dict(mask)]
            boxes.append([row[0] for row in rows])
            masks.append(kept)
    found = evaluate(dataset, {"track_bboxes": boxes, "track_masks": masks}, tmp_path)
    assert found == pytest.approx(dict.fromkeys(METRICS, 100.0))
    nothing = {
        "track_bboxes": [[np.zeros((0, 6))] * 40] * 6,
        "track_masks": [[[] for _ in range(40)] for _ in range(6)],
    }
    assert evaluate(dataset, nothing, tmp_path) == dict.fromkeys(METRICS, 0.0)


def test_a_set_without_annotations_or_with_a_short_track_is_named(tmp_path: Path) -> None:
    videos = write_videos(tmp_path, ["a"])
    path = Path(videos.annotations)
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentations"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="annotation 1 has 2 frames, its video 1 has 3"):
        to_frames(path, tmp_path / "out.json")
    content["annotations"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no annotations; the benchmark keeps"):
        to_frames(path, tmp_path / "out.json")
    with pytest.raises(FileNotFoundError, match="no such YouTube-VIS annotations"):
        to_frames(tmp_path / "nowhere.json", tmp_path / "out.json")


@pytest.mark.parametrize("variant", ["mmtrack", "unfrozen", "syncbn"])
def test_the_configuration_and_its_variants_are_accepted(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "elsewhere")
    path = Path("configs/track/vis_youtube.yaml")
    config = load_config(TASKS["vis"], path, [f"variant={variant}"])
    check_protocol("vis", config, path)
    ending = "" if variant == "mmtrack" else f"-{variant}"
    assert config.protocols == (f"mmtrack-masktrack-rcnn{ending}",)
    with pytest.raises(ValueError, match="protocol 'mmtrack-masktrack-rcnn-other' is unknown"):
        check_protocol("vis", load_config(TASKS["vis"], path, ["variant=other"]), path)
