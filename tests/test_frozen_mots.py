"""MOTS on frozen features: from given masks to files and rows."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from track_sets import COLOURS, GREY, HEIGHT, SIDE, WIDTH, write_mots

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo, build_resnet
from transfer.data.mots import decode, read_mots
from transfer.data.run_lengths import encode_mask
from transfer.evaluate import load_config
from transfer.report.protocols import check_task
from transfer.report.rows import Measurement
from transfer.tasks import TASKS
from transfer.track.frozen.association import Observation, Thresholds, Tracker
from transfer.track.frozen.mask_points import mask_boxes
from transfer.track.frozen.mots_task import Config, run

pytest.importorskip("trackeval")
VARIANTS = (
    *("unitrack-layer3", "unitrack-layer4", "unitrack-motion-layer3", "unitrack-motion-layer4"),
    "no-appearance",
)


def make_backbone() -> Backbone:
    torch.manual_seed(0)
    info = BackboneInfo("random", "resnet18", "none", "random", "", "", "", "test")
    return Backbone(info, dict(empty_resnet("resnet18").state_dict()), "0" * 64, Path("none"))


def make_config(root: Path, **settings: Any) -> Config:
    return Config(dataset="tiny", split="train", root=str(root), device="cpu", **settings)


def table(rows: list[Measurement]) -> dict[tuple[str, str], float | None]:
    return {(row.protocol, row.metric): row.value for row in rows}


def write_swap(root: Path, num_frames: int = 8) -> Path:
    """Two squares of different colours that change places halfway."""
    folder = write_mots(root, num_frames=num_frames) / "TINY-05"
    truth = []
    for frame in range(num_frames):
        pixels = np.full((HEIGHT, WIDTH, 3), GREY, dtype=np.uint8)
        for target, colour in enumerate(COLOURS):
            top = 6 if (target == 0) == (frame < num_frames // 2) else 38
            mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
            mask[top : top + SIDE, 40 : 40 + SIDE] = True
            pixels[mask] = colour
            truth.append(f"{frame + 1} {2001 + target} 2 {HEIGHT} {WIDTH} {encode_mask(mask)}\n")
        Image.fromarray(pixels).save(folder / "img1" / f"{frame + 1:06d}.png")
    for kind in ("gt", "det"):
        (folder / kind / f"{kind}.txt").write_text("".join(truth))
    return root


def test_masks_that_are_right_give_tracks_that_are_right(tmp_path: Path) -> None:
    root = write_mots(tmp_path / "set", names=("TINY-05", "TINY-09"))
    rows = list(run(make_backbone(), make_config(root), tmp_path / "out"))
    assert [row.protocol for row in rows[::4]] == list(VARIANTS)
    assert {row.status for row in rows} == {"ok"}
    assert {row.n for row in rows} == {2}
    for (_, metric), value in table(rows).items():
        assert value == pytest.approx(0 if metric == "id_switches" else 100)
    for protocol in VARIANTS:
        lines = read_mots(tmp_path / "out" / "tracks" / protocol / "TINY-09.txt", 4, (WIDTH, HEIGHT))
        assert [line.frame for line in lines] == [1, 1, 2, 2, 3, 3, 4, 4]
        given = read_mots(root / "TINY-09" / "det" / "det.txt")
        assert {(line.frame, line.rle) for line in lines} == {(line.frame, line.rle) for line in given}
    index = json.loads((tmp_path / "out" / "tracks" / "sequences.json").read_text())
    assert index["kind"] == "mots"
    assert [entry["name"] for entry in index["sequences"]] == ["TINY-05", "TINY-09"]
    assert all(Path(frame).is_file() for entry in index["sequences"] for frame in entry["frames"])
    with (tmp_path / "out" / "per_sequence.csv").open() as handle:
        assert len(list(csv.DictReader(handle))) == len(VARIANTS) * 2 * 4


def test_appearance_follows_what_overlap_confuses(tmp_path: Path) -> None:
    root = write_swap(tmp_path / "set")
    found = table(list(run(make_backbone(), make_config(root, motion=[False]), tmp_path / "out")))
    assert found["unitrack-layer3", "id_switches"] == 0
    assert found["unitrack-layer3", "idf1"] == pytest.approx(100)
    assert found["no-appearance", "id_switches"] == 2
    assert found["no-appearance", "idf1"] == pytest.approx(50)


@pytest.mark.parametrize("threshold", [0.7, 0.0])
def test_a_mask_that_is_there_once_is_a_track(threshold: float, tmp_path: Path) -> None:
    """A box would have to be found again first, as closely as ``confirm_iou_thres`` says."""
    root = write_mots(tmp_path / "set")
    path = root / "TINY-05" / "det" / "det.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(line for line in lines if line.split()[:2] not in (["1", "2"], ["2", "2"], ["4", "2"]))
    )
    config = make_config(root, layers=[3], motion=[False], confirm_iou_thres=threshold)
    list(run(make_backbone(), config, tmp_path / "out"))
    for protocol in config.protocols:
        found = read_mots(tmp_path / "out" / "tracks" / protocol / "TINY-05.txt")
        assert [(line.frame, line.track_id) for line in found] == [(1, 1), (2, 1), (3, 1), (3, 2), (4, 1)]


def test_how_many_frames_and_videos_at_once_changes_nothing(tmp_path: Path) -> None:
    root = write_mots(tmp_path / "set", names=("TINY-05", "TINY-09"), num_frames=5)
    texts = []
    for number, settings in enumerate(
        ({"frames_at_once": 1, "videos_at_once": 1}, {"frames_at_once": 3, "videos_at_once": 2})
    ):
        out = tmp_path / f"out{number}"
        rows = list(run(make_backbone(), make_config(root, **settings), out))
        texts.append(
            (
                table(rows),
                {path.relative_to(out): path.read_text() for path in sorted(out.glob("tracks/*/*.txt"))},
            )
        )
    assert texts[0] == texts[1]
    assert len(texts[0][1]) == 2 * len(VARIANTS)


def test_links_are_those_of_a_plain_loop_over_whole_maps(tmp_path: Path) -> None:
    """One image, layer and mask at a time; scaled maps are made whole and then read."""
    root = write_swap(tmp_path / "set", num_frames=4)
    backbone = make_backbone()
    list(run(backbone, make_config(root, max_mask_area=3, frames_at_once=3), tmp_path / "out"))
    resnet = build_resnet(backbone)
    for stage in (resnet.layer3, resnet.layer4):
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (backbone.info.mean(), backbone.info.std()))
    for layer in (3, 4):
        tracker, expected = Tracker(Thresholds(motion=False, confirmed_at_once=True), 30.0), []
        for frame in range(1, 5):
            with Image.open(root / "TINY-05" / "img1" / f"{frame:06d}.png") as image:
                x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
            with torch.no_grad():
                x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(((x - mean) / std)[None]))))
                x = resnet.layer3(resnet.layer2(resnet.layer1(x)))
                features = x if layer == 3 else resnet.layer4(x)
            given = [line for line in read_mots(root / "TINY-05" / "det" / "det.txt") if line.frame == frame]
            observations = []
            for line in given:
                mask = F.interpolate(torch.from_numpy(decode(line))[None, None].float(), features.shape[2:])
                factor = (3 / mask.sum().item()) ** 0.5
                assert factor < 1  # squares cover four cells
                small = F.interpolate(features * mask, scale_factor=factor, mode="bilinear")
                points = small[0][:, F.interpolate(mask, scale_factor=factor)[0, 0] > 0.5].T
                observations.append(Observation(mask_boxes(mask[0] > 0.5)[0], 1.0, points))
            for track in tracker.update(observations):
                expected.append((frame, track.track_id, given[track.index].rle))
        protocol = f"unitrack-layer{layer}@max_mask_area=3"
        found = read_mots(tmp_path / "out" / "tracks" / protocol / "TINY-05.txt")
        assert sorted((line.frame, line.track_id, line.rle) for line in found) == sorted(expected)
        assert len(expected) == 8


def test_features_that_are_not_finite_end_their_own_layer_alone(tmp_path: Path) -> None:
    backbone = make_backbone()
    backbone.state["layer4.0.conv1.weight"] = torch.full_like(
        backbone.state["layer4.0.conv1.weight"], float("nan")
    )
    root = write_mots(tmp_path / "set")
    rows = list(run(backbone, make_config(root), tmp_path / "out"))
    reason = "failed: features of layer4 are not finite in TINY-05, frame 1"
    for row in rows:
        assert row.status == (reason if "layer4" in row.protocol else "ok")
        assert (row.value is None) == ("layer4" in row.protocol)
    assert not (tmp_path / "out" / "tracks" / "unitrack-layer4").exists()


def test_other_classes_are_not_tracked_and_shared_pixels_go_to_one_mask(tmp_path: Path) -> None:
    root = write_mots(tmp_path / "set", num_targets=1)
    given = root / "TINY-05" / "det" / "det.txt"
    lines = []
    for line in read_mots(given):
        wide = decode(line)
        wide |= np.roll(wide, 14, axis=1)  # shares all but two columns with itself and reaches beyond
        car = encode_mask(np.roll(wide, 30, axis=0))
        lines.append(f"{line.frame} 1 2 {HEIGHT} {WIDTH} {line.rle}\n")
        lines.append(f"{line.frame} 2 2 {HEIGHT} {WIDTH} {encode_mask(wide)}\n")
        lines.append(f"{line.frame} 3 1 {HEIGHT} {WIDTH} {car}\n")
    given.write_text("".join(lines))
    list(run(make_backbone(), make_config(root, duplicate_mask_iou=1.0), tmp_path / "out"))
    protocol = "no-appearance@duplicate_mask_iou=1"
    tracked = read_mots(tmp_path / "out" / "tracks" / protocol / "TINY-05.txt")
    assert {line.class_id for line in tracked} == {2}
    for frame in range(1, 5):
        masks = np.stack([decode(line) for line in tracked if line.frame == frame])
        assert masks.sum(axis=0).max() == 1
        assert sorted(masks.sum(axis=(1, 2)).tolist()) == [14 * SIDE, SIDE * SIDE]


def test_a_constant_that_deviates_is_in_the_rows(tmp_path: Path) -> None:
    config = make_config(tmp_path, max_mask_area=100, frames_at_once=7, seed=3, detections="elsewhere")
    assert config.protocols == tuple(f"{name}@max_mask_area=100" for name in VARIANTS)
    assert make_config(tmp_path, layers=[4], motion=[True], floors=False).protocols == (
        "unitrack-motion-layer4",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": []}, "layers: expected 3, 4 or both"),
        ({"layers": [2]}, "layers: expected 3, 4 or both"),
        ({"motion": []}, "motion: expected false, true or both"),
        ({"max_mask_area": 0}, "max_mask_area of layer3: expected at least 1, found 0"),
        ({"frames_at_once": 0}, "frames_at_once: expected at least 1, found 0"),
        ({"iou_thres": 1.5}, "iou_thres: expected a number from 0 to 1"),
        ({"feat_size": [4]}, "feat_size: expected two numbers"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        list(run(make_backbone(), make_config(tmp_path, **settings), tmp_path / "out"))


def test_bad_masks_of_all_sequences_are_named_before_any_work(tmp_path: Path) -> None:
    root = write_mots(tmp_path / "set", names=("TINY-05", "TINY-09"))
    (root / "TINY-05" / "img1" / "000002.png").unlink()
    with (root / "TINY-09" / "det" / "det.txt").open("a") as handle:
        line = read_mots(root / "TINY-09" / "gt" / "gt.txt")[0]
        handle.write(f"9 1 2 {HEIGHT} {WIDTH} {replace(line).rle}\n")
    with pytest.raises(ValueError, match="frames that do not exist") as caught:
        list(run(make_backbone(), make_config(root), tmp_path / "out"))
    assert "TINY-05" in str(caught.value)
    assert "TINY-09" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mots_mots20", "mots_mini"])
def test_configurations_keep_the_published_constants(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "/data")
    folder = Path(__file__).parents[1] / "configs" / "track" / "frozen"
    config = load_config(TASKS["frozen-mots"], folder / f"{name}.yaml")
    assert config.protocols == VARIANTS
    for protocol in config.protocols:
        check_task("mots", protocol)
    deviating = load_config(TASKS["frozen-mots"], folder / f"{name}.yaml", ["iou_thres=0.4"])
    assert deviating.protocols[0] == "unitrack-layer3@iou_thres=0.4"
    check_task("mots", deviating.protocols[0])


@pytest.mark.parametrize(("task", "package"), [("mots", "trackeval"), ("pose", "motmetrics")])
def test_without_what_scores_the_modules_load_and_a_run_says_what_to_install(
    task: str, package: str, tmp_path: Path
) -> None:
    """In a process without the scoring packages, OpenCV and mmtrack; nothing is tracked in vain."""
    code = f"""
import sys
for name in ("trackeval", "motmetrics", "pycocotools", "scipy", "cv2", "mmcv", "mmdet", "mmtrack"):
    sys.modules[name] = None
from pathlib import Path
from transfer.track.frozen.{task}_task import Config, run
try:
    next(run(None, Config(dataset="tiny", root="nowhere"), Path({str(tmp_path)!r})))
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"pip install {package}" in done.stdout
