"""Multi-object tracking in mmtrack: its parts trained from the backbone, MOTChallenge metrics.

A tracker is built from up to three recipes (``configs/track/mmtrack``): a detector and a
re-identification network, each trained by itself (Tracktor, DeepSORT), and the tracker, which links
boxes through the test sequences and is itself trained where it has no detector's recipe (QDTrack).
Every one of them starts from the backbone. Every box is the detector's own ("private detections"), so
the numbers measure detection and association together and are not comparable with protocols that hand
the tracker its boxes.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from transfer.backbone.contract import Backbone
from transfer.data.motchallenge import cut_sequence, decode_video, read_sequence, to_coco_video
from transfer.ranks import choose_device, join
from transfer.report.rows import Measurement
from transfer.trust import check_options, check_program

logger = logging.getLogger(__name__)
METRICS = ("mota", "idf1", "hota", "id_switches")
HALVES = ("", "first", "second")


@dataclass
class Source:
    """Which frames of which sequences."""

    root: str = MISSING  # folder of MOTChallenge sequences
    sequences: list[str] = field(default_factory=list)  # folder names; empty: every sequence under root
    frames: list[int] = field(default_factory=list)  # [start, stop] as a Python slice; empty: all
    half: str = (
        ""  # first: half of a sequence's frames and one more, as mmtrack's half-train; second: the rest
    )


@dataclass
class Video:
    """A video and its ground truth, decoded once into ``sequence_dir`` when that does not exist."""

    path: str = ""
    ground_truth: str = ""
    sequence_dir: str = ""


@dataclass
class Config:
    """One protocol of multi-object tracking."""

    dataset: str = MISSING
    protocol: str = MISSING  # the rows' has the variant behind it, see protocols
    seed: int = 0
    split: str = "val"  # name of the test part in the row
    train: Source = field(default_factory=Source)
    test: Source = field(default_factory=Source)
    video: Video = field(default_factory=Video)
    detector: str = ""  # mmtrack configuration that trains the detector; empty: the tracker trains as one
    reid: str = ""  # that trains the re-identification network; empty: the backbone as it was pre-trained
    tracker: str = MISSING
    variant: str = "mmtrack"  # what learns in detectors: mmtrack (as the recipe has it), unfrozen or syncbn
    image_scale: list[int] = field(
        default_factory=list
    )  # width, height to fit frames in; empty: the recipe's
    options: dict[str, Any] = field(
        default_factory=dict
    )  # {detector|reid|tracker: values in place of the file's}
    select: str = "last"  # of the epochs: the last; nothing is chosen by the test
    device: str = "auto"
    num_workers: int = 0
    allow: list[str] = field(default_factory=list)  # findings that are meant (docs/config_lint.md)

    def __post_init__(self) -> None:
        for recipe in filter(None, (self.detector, self.reid, self.tracker)):
            check_program(Path(recipe))
        check_options(self.options)

    @property
    def protocols(self) -> tuple[str, ...]:
        """Of the rows: with the variant, where it is not mmtrack's."""
        return (self.protocol if self.variant == "mmtrack" else f"{self.protocol}-{self.variant}",)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """Train the parts, track, evaluate.

    Yields:
        ``mota``, ``idf1``, ``hota`` in percent and ``id_switches``, over all test sequences together;
        ``n`` is the number of test frames. Of several processes (torchrun), which share batches and test
        videos, the first one yields.

    Raises:
        FileNotFoundError: a sequence, frame or configuration that is not there.
        ValueError: a sequence without ground truth, a backbone that did not arrive in the model, a training
            that diverged, or a configuration that contradicts the backbone, as by downloading weights.
    """
    import_frameworks()
    from transfer.track.mm.mot_crops import cut_prepared
    from transfer.track.mm.mot_evaluation import evaluate
    from transfer.track.mm.mot_model import resolve, track
    from transfer.track.mm.mot_ranks import wait
    from transfer.track.mm.mot_stages import TRACKER, assemble, train

    if config.select != "last":
        raise ValueError(f"select: expected last, found {config.select!r}; no epoch is chosen by the test")
    world = join(choose_device(config.device))
    if world.first:
        prepare(config.train, config.video, out / "data" / "train")
        prepare(config.test, config.video, out / "data" / "test")
    wait(world)
    people = cut_prepared(out / "data", world) if config.reid else None
    cfgs = resolve(config, backbone, out, people, world)
    parts = {
        stage: train(cfg, stage, backbone, out, world)
        for stage, cfg in cfgs.items()
        if stage != TRACKER or not config.detector
    }
    dataset, results = track(assemble(cfgs[TRACKER], backbone, parts, config.tracker), cfgs[TRACKER], world)
    if not world.first:
        return  # nothing is left to share: whoever writes need not be waited for
    scores = evaluate(dataset, results, out / "tracks")
    for metric in METRICS:
        yield Measurement(
            config.dataset,
            config.split,
            config.protocols[0],
            "mmtrack",
            metric,
            scores[metric],
            len(dataset),
            selection=config.select,
        )


def import_frameworks() -> None:
    """Import mmcv with its ops, mmdet, mmtrack and TrackEval, or say what is missing.

    Raises:
        ModuleNotFoundError: names the framework and the command that installs it.
    """
    for name in ("mmcv.ops", "mmdet.apis", "mmtrack.apis", "trackeval"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ModuleNotFoundError(
                f"multi-object tracking needs {name}, whose import failed ({error}); run tools/setup.sh"
            ) from error


def prepare(source: Source, video: Video, out_dir: Path) -> Path:
    """Cut the source's frames into ``out_dir`` and list them in ``out_dir.json`` (CocoVID).

    Raises:
        FileNotFoundError: no such folder or sequence.
    """
    if video.path and not Path(video.sequence_dir).is_dir():
        logger.info("decoding %s into %s", video.path, video.sequence_dir)
        Path(video.sequence_dir).parent.mkdir(parents=True, exist_ok=True)
        decode_video(Path(video.path), Path(video.ground_truth), Path(video.sequence_dir))
    root = Path(source.root)
    names = source.sequences or sorted(path.parent.name for path in root.glob("*/seqinfo.ini"))
    if not names:
        raise FileNotFoundError(f"{root}: holds no MOTChallenge sequence (a folder with seqinfo.ini)")
    if source.half not in HALVES or (source.half and source.frames):
        raise ValueError(f"half: expected first or second, and no frames beside it, found {source.half!r}")
    out_dir.mkdir(parents=True, exist_ok=True)
    sequence_dirs = [cut_sequence(root / name, out_dir, _frames(source, root / name)) for name in names]
    json_path = out_dir.with_suffix(".json")
    to_coco_video(sequence_dirs, json_path)
    return json_path


def _frames(source: Source, sequence_dir: Path) -> slice:
    if source.half:
        cut = read_sequence(sequence_dir).num_frames // 2 + 1
        return slice(0, cut) if source.half == "first" else slice(cut, None)
    return slice(*source.frames) if source.frames else slice(None)
