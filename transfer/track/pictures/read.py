"""Tracks and ground truth of a run of the frozen protocol, frame by frame, whatever their format."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer.data.davis import VOID, read_mask
from transfer.data.motchallenge import read_boxes
from transfer.data.mots import IGNORED, decode, read_mots
from transfer.data.otb import read_box_lines, take_range
from transfer.data.posetrack import collect_poses
from transfer.data.video_faults import VideoFaults
from transfer.track.frozen.results import KINDS

INDEX = "sequences.json"
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """One object in one frame: a box, a mask or joints; pixels from 0."""

    identity: int
    box: Float | None = None  # (4,) left, top, width, height
    mask: NDArray[np.bool_] | None = None  # (H, W)
    joints: Float | None = None  # (15, 2) x, y in the order of transfer.data.posetrack.JOINTS; NaN: not there


Marks = list[tuple[Mark, ...]]  # of every frame, in order


@dataclass(frozen=True)
class Sequence:
    """A sequence of the index."""

    name: str
    frames: tuple[Path, ...]
    ground_truth: Path


@dataclass(frozen=True)
class Index:
    """What ``tracks/sequences.json`` says, and which protocols have tracks beside it."""

    folder: Path
    kind: str
    sequences: tuple[Sequence, ...]
    protocols: tuple[str, ...]


def read_index(run: Path) -> Index:
    """The index of a run folder, or of a folder ``tracks``.

    Raises:
        FileNotFoundError: no such index, or no protocol beside it.
        ValueError: a damaged index.
    """
    folder = next((place for place in (run / "tracks", run) if (place / INDEX).is_file()), None)
    if folder is None:
        raise FileNotFoundError(
            f"{run / 'tracks' / INDEX}: not found; expected a run folder of a frozen-feature task"
        )
    path = folder / INDEX
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        sequences = tuple(
            Sequence(str(entry["name"]), tuple(map(Path, entry["frames"])), Path(entry["ground_truth"]))
            for entry in content["sequences"]
        )
        kind = content["kind"]
        for sequence in sequences:
            if not sequence.frames:
                raise ValueError(f"{sequence.name!r} has no frames")
            if PurePath(sequence.name).name != sequence.name:  # it becomes the name of a picture
                raise ValueError(f"{sequence.name!r} is no name of a file")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); run the task again") from error
    if kind not in KINDS:
        raise ValueError(f"{path}: kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    protocols = tuple(sorted(place.name for place in folder.iterdir() if place.is_dir()))
    if not protocols:
        raise FileNotFoundError(f"{folder}: no protocol has tracks here; did the run fail?")
    return Index(folder, kind, sequences, protocols)


def read_tracks(index: Index, protocol: str, sequence: Sequence) -> Marks:
    """What a protocol found in a sequence.

    Raises:
        FileNotFoundError: it has no tracks of this sequence.
        ValueError: tracks that cannot be read or do not fit the frames; the message gives file and place.
    """
    suffix = {"masks": "", "pose": ".json"}.get(index.kind, ".txt")
    path = index.folder / protocol / f"{sequence.name}{suffix}"
    if not path.exists():
        raise FileNotFoundError(f"{path}: {protocol} left no tracks of {sequence.name}; its row says why")
    return READERS[index.kind](path, sequence)


def read_truth(index: Index, sequence: Sequence) -> Marks:
    """The ground truth of a sequence, without what is not scored.

    Raises:
        OSError, ValueError: as :func:`read_tracks`.
    """
    if not sequence.ground_truth.exists():
        raise FileNotFoundError(f"{sequence.ground_truth}: no such ground truth; --no-truth leaves it out")
    return READERS[index.kind](sequence.ground_truth, sequence)


def _boxes(path: Path, sequence: Sequence) -> Marks:
    faults = VideoFaults()
    boxes = read_box_lines(path, sequence.name, faults)
    faults.raise_found(path)  # a bad line would else look like a frame without the target
    if len(boxes) > len(sequence.frames):  # the truth of Tiger1 begins before the benchmark's frames
        boxes = take_range(sequence.name, boxes)
    if len(boxes) != len(sequence.frames):
        raise ValueError(f"{path}: expected {len(sequence.frames)} boxes, one a frame, found {len(boxes)}")
    # OTB counts pixels from 1; a line without a box is a frame without the target.
    return [(Mark(1, box=box - (1, 1, 0, 0)),) if np.isfinite(box).all() else () for box in boxes]


def _masks(path: Path, sequence: Sequence) -> Marks:
    marks: Marks = []
    for frame in sequence.frames:
        file = path / f"{frame.stem}.png"
        if not file.is_file():  # DAVIS has sets of which the first frame alone is annotated
            marks.append(())
            continue
        ids = read_mask(file)
        marks.append(tuple(Mark(int(k), mask=ids == k) for k in np.unique(ids) if k not in (0, VOID)))
    if not any(marks):
        raise ValueError(
            f"{path}: expected masks named as the frames ({sequence.frames[0].stem}.png), found none"
        )
    return marks


def _mot(path: Path, sequence: Sequence) -> Marks:
    found: list[list[Mark]] = [[] for _ in sequence.frames]
    for line in read_boxes(path):
        if line.is_target:
            box = np.array([line.left, line.top, line.width, line.height])
            _frame(found, line.frame, path).append(Mark(line.identity, box=box))
    return [tuple(marks) for marks in found]


def _mots(path: Path, sequence: Sequence) -> Marks:
    found: list[list[Mark]] = [[] for _ in sequence.frames]
    for line in read_mots(path, len(sequence.frames)):
        if line.class_id != IGNORED:
            _frame(found, line.frame, path).append(Mark(line.track_id, mask=decode(line)))
    return [tuple(marks) for marks in found]


def _pose(path: Path, sequence: Sequence) -> Marks:
    faults = VideoFaults()
    frames = collect_poses(path, Path(), sequence.name, faults, tracks=True)
    faults.raise_found(path)
    # Names are relative to a root that the tracks do not know; their last two parts are the benchmark's.
    people = {frame.path.parts[-2:]: frame.people for frame in frames}
    lost = [file for file in sequence.frames if file.parts[-2:] not in people]
    if len(lost) == len(sequence.frames):
        raise ValueError(f"{path}: names none of the frames ({sequence.frames[0]}, ...)")
    return [
        tuple(
            Mark(person.track_id, joints=person.points[:, :2]) for person in people.get(file.parts[-2:], ())
        )
        for file in sequence.frames
    ]


def _frame(found: list[list[Mark]], frame: int, path: Path) -> list[Mark]:
    if not 1 <= frame <= len(found):
        raise ValueError(f"{path}: frame {frame}: expected 1 to {len(found)}")
    return found[frame - 1]


READERS: dict[str, Callable[[Path, Sequence], Marks]] = {
    "boxes": _boxes,
    "masks": _masks,
    "mot": _mot,
    "mots": _mots,
    "pose": _pose,
}
