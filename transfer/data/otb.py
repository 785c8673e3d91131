"""Single-object sequences with one box a frame, as OTB and LaSOT lay them out.

    OTB     <root>/<Sequence>/img/0001.jpg, <root>/<Sequence>/groundtruth_rect.txt
            (two targets: groundtruth_rect.1.txt, .2.txt, read as <Sequence>-1, <Sequence>-2)
    LaSOT   <root>/<class>/<class>-1/img/00000001.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt
            (or without the folders of classes)

One line a frame: ``x, y, width, height`` in pixels counted from 1, between commas, tabs or spaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer.data.video_faults import (
    Size,
    VideoFaults,
    check_sizes,
    choose_names,
    list_frames,
    read_lines,
)

BOXES_NAME = "groundtruth_rect.txt"
# Frames of the benchmark where they are not all of a folder (Wu et al., TPAMI 2015): numbers of images,
# first and last. The ground truth counts these frames only; that of Tiger1 also counts the five before.
RANGES = {
    "BlurCar1": (247, 988),
    "BlurCar3": (3, 359),
    "BlurCar4": (18, 397),
    "Board": (1, 698),
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
    "Tiger1": (6, 354),
}
UNUSED = ("Human4-1",)  # of Human4 the benchmark takes the second target alone


@dataclass(frozen=True)
class BoxSequence:
    """One target in one video."""

    name: str
    frames: tuple[Path, ...]
    boxes: NDArray[np.float64]  # (N, 4) x, y, width, height as written; NaN where the target is absent
    size: Size  # width, height, pixels
    ground_truth: Path


def read_otb(root: Path, names: Sequence[str] = ()) -> list[BoxSequence]:
    """Sequences of OTB's layout; without names all that are there, in alphabetical order.

    The names of the benchmark are understood: ``Jogging-1``, ``Skating2-2``, ``Human4-2``, whether the
    folder is ``Jogging`` or a copy of it named ``Jogging-1``. Of the sequences in ``RANGES`` the
    benchmark's frames are taken. A box without width and height is an absent target.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a sequence that is not there; or, together for all sequences: a missing frame, frames
            of different sizes or that cannot be read, a line that is empty or not four finite numbers, a
            negative size, no target in the first frame, or another number of boxes than of frames.
    """
    truths = _otb_truths(root) if root.is_dir() else {}
    faults = VideoFaults()
    sequences = [
        _read_otb_sequence(name, truths[name], faults) for name in choose_names(root, sorted(truths), names)
    ]
    faults.raise_found(root)
    return sequences


def read_lasot(root: Path, names: Sequence[str] = ()) -> list[BoxSequence]:
    """Sequences of LaSOT's layout; the target is absent where it is occluded or out of view.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_otb`, or flags that are not one 0 or 1 a frame.
    """
    faults = VideoFaults()
    truths: dict[str, Path] = {}
    for pattern in ("*/groundtruth.txt", "*/*/groundtruth.txt"):
        for path in sorted(root.glob(pattern)) if root.is_dir() else ():
            if truths.setdefault(path.parent.name, path) != path:
                faults.add(path.parent.name, f"is there twice: {truths[path.parent.name]} and {path}")
    sequences = [
        _read_lasot_sequence(name, truths[name], faults)
        for name in choose_names(root, sorted(truths, key=_by_number), names)
    ]
    faults.raise_found(root)
    return sequences


def read_box_lines(path: Path, place: object, faults: VideoFaults) -> NDArray[np.float64]:
    """Boxes of a file, (N, 4); a line without a usable box is a fault and a row of NaN."""
    if not path.is_file():
        faults.add(place, f"{path} is missing; expected one box a line")
        return np.empty((0, 4))
    boxes: list[list[float]] = []
    empty: list[int] = []
    bad: list[str] = []
    for number, line in enumerate(_read_lines(path, place, faults), start=1):
        box = _numbers(line)
        if not line.strip():
            empty.append(number)
        elif box is None or len(box) != 4 or not np.isfinite(box).all():
            bad.append(f"line {number} ({line.strip()[:40]!r})")
        elif box[2] < 0 or box[3] < 0:
            bad.append(f"line {number} (size {box[2]:g}x{box[3]:g})")
        elif box[2] > 0 and box[3] > 0:
            boxes.append(box)
            continue
        boxes.append([np.nan] * 4)
    faults.add_cases(place, f"lines of {path.name} are empty", empty)
    faults.add_cases(place, f"lines of {path.name} are not four finite numbers x,y,width,height", bad)
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def take_range(name: str, boxes: NDArray[np.float64], start: int = 1) -> NDArray[np.float64]:
    """The boxes of the benchmark's frames; ``start`` is the number of the first image in the folder."""
    if name not in RANGES:
        return boxes
    first, last = RANGES[name]
    before = first - start if len(boxes) > last - first + 1 else 0
    return boxes[before : before + last - first + 1]


def _otb_truths(root: Path) -> dict[str, Path]:
    """Ground truth of each sequence, by the benchmark's name of it."""
    truths: dict[str, Path] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        numbered = {
            match[1]: path
            for path in folder.iterdir()
            if (match := re.fullmatch(r"groundtruth_rect\.(\d+)\.txt", path.name))
        }
        base, _, number = folder.name.rpartition("-")
        if base and number in numbered:
            truths[folder.name] = numbered[number]
            continue
        truths |= {f"{folder.name}-{number}": path for number, path in numbered.items()}
        if (folder / BOXES_NAME).is_file() or ((folder / "img").is_dir() and not numbered):
            truths[folder.name] = folder / BOXES_NAME
    return {name: path for name, path in truths.items() if name not in UNUSED}


def _read_otb_sequence(name: str, truth: Path, faults: VideoFaults) -> BoxSequence:
    frames = list_frames(truth.parent / "img", name, faults)
    boxes = read_box_lines(truth, name, faults)
    if name in RANGES and frames:
        first, last = RANGES[name]
        boxes = take_range(name, boxes, next(iter(frames)))
        faults.add_cases(
            name,
            "frames of the benchmark are missing",
            [number for number in range(first, last + 1) if number not in frames],
        )
        frames = {number: path for number, path in frames.items() if first <= number <= last}
    return _make(name, tuple(frames.values()), boxes, truth, faults)


def _read_lasot_sequence(name: str, truth: Path, faults: VideoFaults) -> BoxSequence:
    frames = list_frames(truth.parent / "img", name, faults)
    boxes = read_box_lines(truth, name, faults)
    for flags_name in ("full_occlusion.txt", "out_of_view.txt"):
        path = truth.parent / flags_name
        if not path.is_file():
            faults.add(name, f"{path} is missing; expected a 0 or 1 for each frame")
            continue
        flags = re.split(r"[,\s]+", "\n".join(read_lines(path, name, faults)).strip(", \n\r\t"))
        if len(flags) != len(boxes) or not set(flags) <= {"0", "1"}:
            faults.add(name, f"{flags_name}: expected {len(boxes)} flags, 0 or 1, found {len(flags)} cells")
            continue
        boxes[np.array(flags) == "1"] = np.nan
    return _make(name, tuple(frames.values()), boxes, truth, faults)


def _make(
    name: str, frames: tuple[Path, ...], boxes: NDArray[np.float64], truth: Path, faults: VideoFaults
) -> BoxSequence:
    size = check_sizes(name, frames, faults)
    if len(boxes) != len(frames):
        faults.add(name, f"{truth.name}: expected a box for each of {len(frames)} frames, found {len(boxes)}")
    if len(boxes) and np.isnan(boxes[0]).any():
        faults.add(name, f"{truth.name}: expected a target in the first frame, found none")
    return BoxSequence(name, frames, boxes, size, truth)


def _read_lines(path: Path, place: object, faults: VideoFaults) -> list[str]:
    lines = read_lines(path, place, faults)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(cell) for cell in re.split(r"[,\s]+", line.strip())]
    except ValueError:
        return None


def _by_number(name: str) -> tuple[str, int]:
    base, _, number = name.rpartition("-")
    return (base, int(number)) if number.isdigit() else (name, 0)
