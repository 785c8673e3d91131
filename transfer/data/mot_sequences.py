"""MOTChallenge sequences ready to be tracked: frames, given detections and ground truth, all checked at once.

    <root>/<Sequence>/seqinfo.ini, img1/000001.jpg, gt/gt.txt, det/det.txt

The same layout holds boxes (MOT15 to MOT20) and masks (MOTS20). Given detections are ``det/det.txt``, or a
file ``<Sequence>.txt`` (or a folder ``<Sequence>`` with a file a frame) of a detector's own folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transfer.data.detections import Detections, collect_detections
from transfer.data.motchallenge import Box, SequenceInfo, read_boxes, read_sequence
from transfer.data.mots import MaskLine, collect_mots
from transfer.data.video_faults import VideoFaults, check_sizes, choose_names

GIVEN = Path("det") / "det.txt"
TRUTH = Path("gt") / "gt.txt"


@dataclass(frozen=True)
class _Sequence:
    name: str
    info: SequenceInfo
    frames: tuple[Path, ...]  # frames[0] is frame 1
    ground_truth: Path


@dataclass(frozen=True)
class MotSequence(_Sequence):
    """A sequence whose objects are boxes."""

    boxes: tuple[Box, ...]
    detections: Detections


@dataclass(frozen=True)
class MotsSequence(_Sequence):
    """A sequence whose objects are masks."""

    masks: tuple[MaskLine, ...]
    detections: tuple[MaskLine, ...]


def read_mot_sequences(
    root: Path,
    names: Sequence[str] = (),
    detections_dir: Path | None = None,
    truth: bool = True,
    given: bool = True,
) -> list[MotSequence]:
    """Sequences of boxes; without names all that are there.

    Args:
        root: holds a folder a sequence, such as ``MOT16/train``.
        names: of its sequences.
        detections_dir: holds a detector's ``<Sequence>.txt`` or ``<Sequence>/``; None: ``det/det.txt``.
        truth: there is a ground truth, which test sets do not have; else no box is given.
        given: there are given detections; else none is given.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a sequence that is not there; or, together for all sequences: a damaged seqinfo.ini,
            missing frames, more of them than it says, frames of another size than it says or that cannot be
            read, and boxes or detections that are not finite, without a size or of frames that do not exist.
    """
    faults = VideoFaults()
    sequences = []
    for opened in _open_all(root, names, faults):
        boxes = _read_truth(opened, faults) if truth else []
        found = Detections({})
        if given and (path := _given(opened, detections_dir, faults)):
            size = opened.info.width, opened.info.height
            found = collect_detections(path, opened.info.num_frames, opened.name, faults, size)
        sequences.append(
            MotSequence(opened.name, opened.info, opened.frames, opened.ground_truth, tuple(boxes), found)
        )
    faults.raise_found(root)
    return sequences


def read_mots_sequences(
    root: Path,
    names: Sequence[str] = (),
    detections_dir: Path | None = None,
    truth: bool = True,
    given: bool = True,
) -> list[MotsSequence]:
    """Sequences of masks; arguments and errors as :func:`read_mot_sequences`, and of ``collect_mots``."""
    faults = VideoFaults()
    sequences = []
    for opened in _open_all(root, names, faults):
        checked = opened.info.num_frames, (opened.info.width, opened.info.height)
        masks: list[MaskLine] = []
        found: list[MaskLine] = []
        if truth and not opened.ground_truth.is_file():
            faults.add(opened.name, f"{opened.ground_truth} is missing")
        elif truth:
            masks = collect_mots(opened.ground_truth, opened.name, faults, *checked, tracks=True)
        if given and (path := _given(opened, detections_dir, faults)):
            found = collect_mots(path, opened.name, faults, *checked)
        sequences.append(
            MotsSequence(
                opened.name, opened.info, opened.frames, opened.ground_truth, tuple(masks), tuple(found)
            )
        )
    faults.raise_found(root)
    return sequences


def _open_all(root: Path, names: Sequence[str], faults: VideoFaults) -> list[_Sequence]:
    there = sorted(path.parent.name for path in root.glob("*/seqinfo.ini")) if root.is_dir() else []
    opened = []
    for name in choose_names(root, there, names):
        try:
            info = read_sequence(root / name)
        except ValueError as error:
            faults.add(name, str(error))
            continue
        frames = tuple(info.path / info.image(frame) for frame in range(1, info.num_frames + 1))
        check_sizes(name, frames, faults, (info.width, info.height))
        present = len(list((info.path / info.image_dir).glob(f"*{info.extension}")))
        if present > len(frames):
            faults.add(
                name, f"seqinfo.ini: expected {len(frames)} frames, found {present} in {info.image_dir}"
            )
        opened.append(_Sequence(name, info, frames, info.path / TRUTH))
    return opened


def _given(sequence: _Sequence, detections_dir: Path | None, faults: VideoFaults) -> Path | None:
    if detections_dir is None:
        choices = [sequence.info.path / GIVEN]
    else:
        choices = [detections_dir / f"{sequence.name}.txt", detections_dir / sequence.name]
        choices += [detections_dir / sequence.name / sequence.info.image_dir]
        choices = [path for path in choices if path.is_file() or any(path.glob("*.txt"))]
    there = [path for path in choices if path.exists()]
    if not there:
        faults.add(sequence.name, f"has no given detections in {detections_dir or sequence.info.path}")
    return there[0] if there else None


def _read_truth(sequence: _Sequence, faults: VideoFaults) -> list[Box]:
    try:
        boxes = read_boxes(sequence.ground_truth)
    except (FileNotFoundError, ValueError) as error:
        faults.add(sequence.name, str(error))
        return []
    bad = [
        f"frame {box.frame} id {box.identity}"
        for box in boxes
        if not np.isfinite((box.left, box.top, box.width, box.height)).all()
        or min(box.width, box.height) <= 0
    ]
    faults.add_cases(sequence.name, "boxes of gt.txt are not finite, or have no size", bad)
    ids = Counter((box.frame, box.identity) for box in boxes)
    twice = [f"frame {frame} id {identity}" for (frame, identity), count in ids.items() if count > 1]
    faults.add_cases(sequence.name, "boxes of gt.txt have the frame and id of another", twice)
    lost = sorted({box.frame for box in boxes if not 1 <= box.frame <= sequence.info.num_frames})
    faults.add_cases(
        sequence.name, f"frames of gt.txt do not exist (there are {sequence.info.num_frames})", lost
    )
    return boxes
