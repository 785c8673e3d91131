"""Video instance segmentation: MaskTrack R-CNN of mmtrack trained from the backbone, YouTube-VIS's metrics.

Sets are in YouTube-VIS's own layout: a folder with ``JPEGImages`` and a JSON whose annotations have one
mask, box and area (or null) for each frame of their video. The metrics are the benchmark's average
precision over tracks of masks, by mmtrack's copy of its code; the benchmark's own validation part has
no public annotations, so a part of the training videos is tested.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from transfer.backbone.contract import Backbone
from transfer.ranks import choose_device, join
from transfer.report.rows import Measurement
from transfer.track.mm.mot import import_frameworks
from transfer.trust import check_options, check_program
from transfer.writing import write_text

METRICS = {"mask_ap": "mAP", "mask_ap50": "mAP_50", "mask_ap75": "mAP_75"}


@dataclass
class Videos:
    """A part of a YouTube-VIS set."""

    annotations: str = MISSING  # JSON
    images: str = MISSING  # folder that its file names start from


@dataclass
class Config:
    """One protocol of video instance segmentation."""

    dataset: str = MISSING
    protocol: str = MISSING  # the rows' has the variant behind it, see protocols
    seed: int = 0
    split: str = "val"
    train: Videos = field(default_factory=Videos)
    test: Videos = field(default_factory=Videos)
    tracker: str = MISSING  # mmtrack configuration
    variant: str = "mmtrack"  # what learns in the detector: mmtrack (as the recipe has it), unfrozen, syncbn
    image_scale: list[int] = field(default_factory=list)  # width, height; empty: the recipe's
    options: dict[str, Any] = field(default_factory=dict)  # values in place of the file's
    device: str = "auto"
    num_workers: int = 0
    allow: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_program(Path(self.tracker))
        check_options(self.options)

    @property
    def protocols(self) -> tuple[str, ...]:
        """Of the rows: with the variant, where it is not mmtrack's."""
        return (self.protocol if self.variant == "mmtrack" else f"{self.protocol}-{self.variant}",)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """Train the tracker, track, evaluate.

    Yields:
        ``mask_ap`` over IoU .50 to .95, ``mask_ap50``, ``mask_ap75`` in percent; ``n`` is the number of
        test videos. Of several processes (torchrun), which share batches and test videos, the first one
        yields.

    Raises:
        FileNotFoundError: a set or a configuration that is not there.
        ValueError: a set without annotations, a backbone that did not arrive, a training that diverged, or
            a configuration that contradicts the backbone.
    """
    import_frameworks()
    from transfer.backbone.targets import write_mmcv
    from transfer.track.mm import mot_config
    from transfer.track.mm.mot_model import track
    from transfer.track.mm.mot_ranks import wait
    from transfer.track.mm.mot_stages import TRACKER, assemble, train

    world = join(choose_device(config.device))
    cfg = mot_config.read_recipe(config.tracker, config.options)
    weights_path = out / "backbone.pth"
    out.mkdir(parents=True, exist_ok=True)
    parts = {"train": config.train, "test": config.test}
    if world.first:
        write_mmcv(backbone, weights_path)
        for part, videos in parts.items():
            to_frames(Path(videos.annotations), out / "data" / f"{part}.json")
    wait(world)
    mot_config.fill_backbone(cfg, backbone.info, weights_path, config.variant)
    mot_config.fill_pixels(cfg, backbone.info, config.image_scale)
    for part, videos in parts.items():
        json_path = out / "data" / f"{part}.json"
        cfg.data[part].update(
            ann_file=str(json_path.resolve()), img_prefix=str(Path(videos.images).resolve())
        )
    device = choose_device(config.device).type
    mot_config.fill_run(cfg, out / TRACKER, config.seed, device, world.size, config.num_workers)
    mot_config.check({config.tracker: cfg}, backbone.info, weights_path, config.variant, config.allow)
    if world.first:
        write_text(out / f"{TRACKER}.json", mot_config.to_json(cfg))
    state = train(cfg, TRACKER, backbone, out, world)
    dataset, results = track(assemble(cfg, backbone, {TRACKER: state}, config.tracker), cfg, world)
    if not world.first:
        return  # nothing is left to share: whoever writes need not be waited for
    scores = evaluate(dataset, results, out)
    for metric, value in scores.items():
        yield Measurement(
            config.dataset,
            config.split,
            config.protocols[0],
            "mmtrack",
            metric,
            value,
            len(dataset.vid_ids),
            selection="last",
        )


def evaluate(dataset: Any, results: dict[str, list[Any]], out: Path) -> dict[str, float]:
    """Write the benchmark's ``results.json`` and score it; no track at all scores 0.

    Raises:
        ValueError: a score that is not a number, for example of a set without an object.
    """
    from mmtrack.core import eval_vis

    tracks = dataset.format_results(results, resfile_path=str(out), save_as_json=False)
    temporary = out / ".results.json"
    temporary.write_text(json.dumps(tracks), encoding="utf-8")
    temporary.replace(out / "results.json")
    if not tracks:
        return dict.fromkeys(METRICS, 0.0)
    found = eval_vis(tracks, dataset.convert_back_to_vis_format(), "silent")  # what its evaluate calls, too
    scores = {metric: 100.0 * float(found[f"segm_{name}"]) for metric, name in METRICS.items()}
    undefined = [metric for metric, value in scores.items() if not math.isfinite(value) or value < 0]
    if undefined:
        raise ValueError(f"{out}: mmtrack gives no number for {', '.join(undefined)}: {scores}")
    return scores


def to_frames(annotations: Path, out_json: Path) -> None:
    """Rewrite a YouTube-VIS JSON, one entry for each object's video, as CocoVID, one for each frame.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no annotations, or lists that are not as long as their video.
    """
    if not annotations.is_file():
        raise FileNotFoundError(f"{annotations}: no such YouTube-VIS annotations")
    source = json.loads(annotations.read_text(encoding="utf-8"))
    if not source.get("annotations"):
        raise ValueError(
            f"{annotations}: no annotations; the benchmark keeps those of its validation and test parts. "
            "Test on training videos that were left out of the training"
        )
    content: dict[str, list[dict[str, Any]]] = {
        "categories": source["categories"],
        "videos": [],
        "images": [],
        "annotations": [],
    }
    image_ids: dict[tuple[int, int], int] = {}
    lengths: dict[int, int] = {}
    for video in source["videos"]:
        names = video["file_names"]
        lengths[video["id"]] = len(names)
        size = {"width": video["width"], "height": video["height"]}
        content["videos"].append({"id": video["id"], "name": Path(names[0]).parent.as_posix(), **size})
        for frame, name in enumerate(names):
            image_ids[video["id"], frame] = len(content["images"]) + 1
            entry = {"id": len(content["images"]) + 1, "file_name": name, "frame_id": frame}
            content["images"].append({**entry, "video_id": video["id"], **size})
    for instance, track in enumerate(source["annotations"], start=1):
        found = len(track["segmentations"])
        if found != lengths.get(track["video_id"]):
            raise ValueError(
                f"{annotations}: annotation {track['id']} has {found} frames, its video "
                f"{track['video_id']} has {lengths.get(track['video_id'])}"
            )
        for frame, (mask, box, area) in enumerate(
            zip(track["segmentations"], track["bboxes"], track["areas"], strict=True)
        ):
            if mask is None or box is None:
                continue
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_ids[track["video_id"], frame],
                    "video_id": track["video_id"],
                    "instance_id": instance,
                    "category_id": track["category_id"],
                    "bbox": box,
                    "segmentation": mask,
                    "area": area,
                    "iscrowd": track.get("iscrowd", 0),
                }
            )
    out_json.parent.mkdir(parents=True, exist_ok=True)
    temporary = out_json.with_name(f".{out_json.name}")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(out_json)
