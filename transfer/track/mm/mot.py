"""Multi-object tracking: a detector fine-tuned from the backbone, mmtrack's DeepSORT, MOTChallenge metrics.

The detector (Faster R-CNN with FPN, mmdet) starts from the backbone and is trained on the training
sequences; DeepSORT (mmtrack) then links its boxes through the test sequences by motion and by the
features of the same backbone as it was pre-trained. Every box is the detector's own ("private
detections"), so the numbers measure detection and association together and are not comparable with
protocols that hand the tracker its boxes.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from transfer.backbone.contract import Backbone
from transfer.data.motchallenge import cut_sequence, decode_video, to_coco_video
from transfer.report.rows import Measurement

logger = logging.getLogger(__name__)


@dataclass
class Source:
    """Which frames of which sequences."""

    root: str = MISSING  # folder of MOTChallenge sequences
    sequences: list[str] = field(default_factory=list)  # folder names; empty: every sequence under root
    frames: list[int] = field(default_factory=list)  # [start, stop] as a Python slice; empty: all


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
    protocol: str = MISSING
    seed: int = 0
    split: str = "val"  # name of the test part in the row
    train: Source = field(default_factory=Source)
    test: Source = field(default_factory=Source)
    video: Video = field(default_factory=Video)
    tracker_config: str = "configs/track/deepsort_faster-rcnn_fpn.py"
    image_scale: list[int] = field(
        default_factory=lambda: [192, 192]
    )  # frames are shrunk to fit, keeping shape
    flip: float = 0.5  # chance of a mirrored training image
    anchor_scale: float = 8.0  # anchor side in strides; 8 with stride 4 is 32 pixels
    iterations: int = 100
    batch_size: int = 4
    learning_rate: float = 3e-4
    warmup_iterations: int = 10
    score_threshold: float = 0.5  # boxes below it are not tracked
    max_boxes: int = 30  # boxes a frame that the detector may return
    allow: list[str] = field(default_factory=list)  # findings that are meant (docs/config_lint.md)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """Train the detector, track, evaluate.

    Yields:
        ``mota``, ``idf1``, ``hota`` in percent and ``id_switches``, over all test sequences together;
        ``n`` is the number of test frames.

    Raises:
        FileNotFoundError: a sequence, frame or configuration that is not there.
        ValueError: a sequence without ground truth, a backbone that did not arrive in the model, or
            a configuration that contradicts the backbone, for example by downloading weights.
    """
    import_frameworks()
    from transfer.track.mm.mot_evaluation import evaluate
    from transfer.track.mm.mot_model import build_tracker, resolve_config, track, train_detector

    data_dir = out / "data"
    train_json = prepare(config.train, config.video, data_dir / "train")
    test_json = prepare(config.test, config.video, data_dir / "test")
    resolved = resolve_config(config, backbone, train_json, test_json, out)
    model = build_tracker(resolved, backbone)
    train_detector(model.detector, resolved)
    dataset, results = track(model, resolved)
    scores = evaluate(dataset, results, out / "tracks")
    for metric in ("mota", "idf1", "hota", "id_switches"):
        yield Measurement(
            config.dataset, config.split, config.protocol, "mmtrack", metric, scores[metric], len(dataset)
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
    frames = slice(*source.frames) if source.frames else slice(None)
    out_dir.mkdir(parents=True, exist_ok=True)
    sequence_dirs = [cut_sequence(root / name, out_dir, frames) for name in names]
    json_path = out_dir.with_suffix(".json")
    to_coco_video(sequence_dirs, json_path)
    return json_path
