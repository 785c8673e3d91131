"""Multi-object tracking on frozen features: link given boxes by what a backbone sees inside them.

UniTrack's protocol (arXiv 2107.02156): frames fitted into 1088x608, features at stride 8, those of a box
pooled to 4x10 points, similarity by reconstruction (:mod:`~transfer.track.frozen.similarity`), a Kalman
filter and two associations by overlap behind it (:mod:`~transfer.track.frozen.association`). Nothing is
trained. All rows of a run come from one pass over the frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import MISSING
from torch import Tensor
from torchvision.ops import roi_align

from transfer.backbone.contract import Backbone
from transfer.data.mot_sequences import MotSequence, read_mot_sequences
from transfer.data.motchallenge import decode_video
from transfer.ranks import choose_device
from transfer.report.rows import FAILED, Measurement
from transfer.track.frozen.appearance import STRIDE, AppearanceModel, build_appearance
from transfer.track.frozen.association import Observation, Tracked, Tracker
from transfer.track.frozen.frames import read_ahead
from transfer.track.frozen.letterbox import Letterbox
from transfer.track.frozen.mask_tracking import Variant
from transfer.track.frozen.protocol_ids import row_ids
from transfer.track.frozen.results import (
    IndexEntry,
    SequenceValue,
    tracks_folder,
    write_index,
    write_per_sequence,
)
from transfer.track.frozen.variants import check_links, list_variants, stems
from transfer.track.frozen.videos import map_videos
from transfer.track.frozen.windows import features_in_boxes
from transfer.track.scores.mot_scores import METRICS, import_trackeval, score_boxes
from transfer.writing import write_text

Float = NDArray[np.float64]
DATA_FIELDS = ("detections", "video")  # no constants of the protocol


@dataclass
class Video:
    """A video and its boxes as files, made into ``sequence_dir`` once where that is not there."""

    path: str = ""
    ground_truth: str = ""
    detections: str = ""
    sequence_dir: str = ""


@dataclass
class Config:
    """Where the set lies, how it is run, and the constants of the protocol, each at its published value.

    Given boxes are used as they are: the original's ``nms_thres`` is read by nothing there.
    """

    dataset: str = MISSING  # as in the rows: mot16, pets09-s2l1
    split: str = "train"
    protocol: str = "unitrack"
    seed: int = 0  # of nothing: the protocol draws no number
    root: str = MISSING  # folder of MOTChallenge sequences
    sequences: list[str] = field(default_factory=list)  # none: all
    detections: str = ""  # a detector's folder with NAME.txt or NAME/; none: det/det.txt of each sequence
    video: Video = field(default_factory=Video)
    layers: list[int] = field(default_factory=lambda: [3, 4])
    motion: list[bool] = field(default_factory=lambda: [False, True])
    floors: bool = True
    device: str = "auto"
    frames_at_once: int = 2  # frames in one forward pass
    videos_at_once: int = 0  # sequences side by side; 0: as the machine allows
    img_size: list[int] = field(default_factory=lambda: [1088, 608])  # width, height
    feat_size: list[int] = field(default_factory=lambda: [4, 10])  # rows, columns of points in a box
    conf_thres: float = 0.5  # a given box counts above it
    min_box_area: float = 200.0  # of a written track, in pixels of the frame
    max_aspect: float = 1.6  # width / height of a written track
    first_stage_thres: float = 0.7
    iou_thres: float = 0.5
    confirm_iou_thres: float = 0.7
    dup_iou_thres: float = 0.15
    track_buffer: int = 30
    use_kalman: bool = True
    motion_lambda: float = 0.98  # of the variants with motion cues
    motion_gated: bool = True

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of the rows."""
        return row_ids(self, stems(self), DATA_FIELDS)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """MOTA, IDF1, HOTA and identity switches of each variant; tracks as MOTChallenge text in ``out/tracks``.

    Raises:
        FileNotFoundError, ValueError: a setting that cannot be, or what the readers refuse, of all sequences
            together and before any work.
        ImportError: SciPy or TrackEval is missing, or OpenCV for a video.
    """
    check_links(config, {})
    if len(config.img_size) != 2 or min(config.img_size) < 8 * STRIDE:
        raise ValueError(
            f"img_size: expected a width and a height of at least {8 * STRIDE}, found {config.img_size}"
        )
    import_trackeval()
    prepare_video(config.video)
    detections_dir = Path(config.detections) if config.detections else None
    sequences = read_mot_sequences(Path(config.root), config.sequences, detections_dir)
    model = build_appearance(backbone, config.layers, choose_device(config.device))
    variants = list_variants(config, dict.fromkeys(config.layers, 0))
    follow = partial(track_boxes, model=model, variants=variants, config=config)
    found = map_videos(follow, sequences, config.videos_at_once)
    for sequence, by_protocol in zip(sequences, found, strict=True):
        for protocol, tracks in by_protocol.items():
            if not tracks.failure:
                path = tracks_folder(out, protocol) / f"{sequence.name}.txt"
                write_text(path, to_lines(tracks.frames, config.min_box_area, config.max_aspect))
    write_index(out, "mot", [IndexEntry(video.name, video.frames, video.ground_truth) for video in sequences])
    table: list[SequenceValue] = []
    for variant in variants:
        row = partial(Measurement, config.dataset, config.split, variant.protocol, "torch, TrackEval")
        failures = [part[variant.protocol].failure for part in found if part[variant.protocol].failure]
        try:
            if failures:
                raise ValueError("; ".join(failures))
            names = [sequence.name for sequence in sequences]
            pooled, by_sequence = score_boxes(Path(config.root), tracks_folder(out, variant.protocol), names)
        except ValueError as error:
            for metric in METRICS:
                yield row(metric, None, None, status=f"{FAILED}{error}")
            continue
        for name, scores in by_sequence.items():
            table += [SequenceValue(variant.protocol, name, *score) for score in scores.items()]
        for metric in METRICS:
            yield row(metric, pooled[metric], len(sequences))
    write_per_sequence(out, table)


@dataclass
class Tracks:
    """What one variant found in one sequence: the tracks of each frame, or why it failed."""

    frames: list[list[Tracked]] = field(default_factory=list)
    failure: str = ""


def track_boxes(
    sequence: MotSequence, model: AppearanceModel, variants: Sequence[Variant], config: Config
) -> dict[str, Tracks]:
    """Link the given boxes of one sequence, once for each variant, by protocol.

    Frames without a box that counts are never decoded. Features that are not finite end the variants of
    their layer, and no other.
    """
    given = [sequence.detections.of(frame) for frame in range(1, len(sequence.frames) + 1)]
    given = [boxes[boxes[:, 4] > config.conf_thres] for boxes in given]
    found = {variant.protocol: Tracks() for variant in variants}
    trackers = {
        variant.protocol: Tracker(variant.thresholds, sequence.info.frame_rate) for variant in variants
    }
    for frame, points in enumerate(box_points(sequence, given, model, config), start=1):
        boxes = given[frame - 1]
        for variant in variants:
            tracks = found[variant.protocol]
            if tracks.failure:
                continue
            layer = variant.layer
            parts = points[layer] if layer is not None else torch.zeros(len(boxes), 0, 1)
            if not bool(torch.isfinite(parts).all()):
                tracks.failure = f"features of layer{layer} are not finite in {sequence.name}, frame {frame}"
                continue
            observations = [
                Observation(box[:4], float(box[4]), part) for box, part in zip(boxes, parts, strict=True)
            ]
            tracks.frames.append(trackers[variant.protocol].update(observations))
    return found


def box_points(
    sequence: MotSequence, given: Sequence[Float], model: AppearanceModel, config: Config
) -> Iterator[dict[int, Tensor]]:
    """By layer the features (N, points, C) of the N given boxes of each frame, in order of the frames."""
    width, height = config.img_size
    letterbox = Letterbox((sequence.info.width, sequence.info.height), (width, height))
    seen = [index for index, boxes in enumerate(given) if len(boxes)]
    images = read_ahead([sequence.frames[index] for index in seen], num_threads=2)
    nothing = {
        layer: torch.zeros(0, int(np.prod(config.feat_size)), channels, device=model.device)
        for layer, channels in model.channels.items()
    }
    remaining = iter(seen)
    done = 0
    while batch := list(islice(remaining, config.frames_at_once)):
        pixels = torch.stack([letterbox.fit_image(image) for image in islice(images, len(batch))])
        corners = [
            torch.from_numpy(letterbox.fit_boxes(given[index])).float().to(model.device) for index in batch
        ]
        pooled = {
            layer: pool_boxes(features, corners, config.feat_size)
            for layer, features in features_in_boxes(model, model.prepare(pixels), corners).items()
        }
        for place, index in enumerate(batch):
            yield from (nothing for _ in range(done, index))
            yield {layer: parts[place] for layer, parts in pooled.items()}
            done = index + 1
    yield from (nothing for _ in range(done, len(given)))


def pool_boxes(features: Tensor, corners: Sequence[Tensor], feat_size: Sequence[int]) -> list[Tensor]:
    """(B, C, h, w) and boxes (N_i, 4) in pixels of the image -> (N_i, points, C) each.

    The features of a box are its mean ones in a grid of ``feat_size`` rows and columns.
    """
    rows, columns = feat_size
    pooled = roi_align(features, list(corners), (rows, columns), spatial_scale=1 / STRIDE)
    return list(pooled.flatten(2).transpose(1, 2).split([len(part) for part in corners]))


def to_lines(frames: Sequence[Sequence[Tracked]], min_box_area: float, max_aspect: float) -> str:
    """Tracks as MOTChallenge text, without boxes too small or too wide for a person, as in the original."""
    lines = []
    for frame, tracks in enumerate(frames, start=1):
        for track in sorted(tracks, key=lambda track: track.track_id):
            left, top, width, height = (float(value) for value in track.box)
            if width * height > min_box_area and width <= max_aspect * height:
                lines.append(
                    f"{frame},{track.track_id},{left:.6f},{top:.6f},{width:.6f},{height:.6f},1,-1,-1,-1\n"
                )
    return "".join(lines)


def prepare_video(video: Video) -> None:
    """Decode the video, where one is named and not yet decoded, and lay its boxes beside the frames.

    Raises:
        FileNotFoundError, ValueError: as :func:`~transfer.data.motchallenge.decode_video`.
        ImportError: no OpenCV.
    """
    if not video.path:
        return
    folder = Path(video.sequence_dir)
    if not folder.is_dir():
        try:
            decode_video(Path(video.path), Path(video.ground_truth), folder)
        except ImportError as error:
            raise ImportError(
                f"{video.path}: decoding a video needs OpenCV ({error}): pip install opencv-python-headless"
            ) from error
    target = folder / "det" / "det.txt"
    if not target.is_file():
        target.parent.mkdir(exist_ok=True)
        temporary = target.with_name(".det.txt")
        shutil.copyfile(video.detections, temporary)
        temporary.replace(target)
