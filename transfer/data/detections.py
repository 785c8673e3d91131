"""Given detections: boxes of each frame from a detector's text files.

    MOTChallenge    det.txt: ``frame, id, left, top, width, height, score, ...``, in pixels, frames from 1;
                    the same without the id, in six cells
    JDE             a folder with a file a frame, ``000001.txt``: ``centre x, centre y, width, height,
                    score``, as parts of the image's width and height

Cells stand between commas or spaces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer.data.video_faults import Size, VideoFaults, named, read_lines

NO_BOXES: NDArray[np.float64] = np.empty((0, 5))


@dataclass(frozen=True)
class Detections:
    """Boxes of a sequence; a frame without any is not in ``frames``."""

    frames: dict[int, NDArray[np.float64]]  # by number, from 1: (K, 5) left, top, width, height, score

    def of(self, frame: int) -> NDArray[np.float64]:
        """Boxes of a frame, (K, 5), in the order of the file; (0, 5) where it has none."""
        return self.frames.get(frame, NO_BOXES)

    def __len__(self) -> int:
        return sum(len(boxes) for boxes in self.frames.values())


def read_detections(path: Path, num_frames: int, size: Size | None = None) -> Detections:
    """Read a MOTChallenge file, or a folder of JDE's files, which needs the frames' size.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: lines of frames that do not exist, with cells that are not finite numbers, with another
            number of cells, or with a width or height that is not above 0; all of them together.
    """
    faults = VideoFaults()
    detections = collect_detections(path, num_frames, path, faults, size)
    faults.raise_found(path)
    return detections


def collect_detections(
    path: Path, num_frames: int, place: object, faults: VideoFaults, size: Size | None = None
) -> Detections:
    """As :func:`read_detections`, but what is found goes to ``faults``, of a sequence called ``place``.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    if path.is_dir():
        if size is None:
            raise ValueError(f"{path}: boxes in parts of the image need its size; give size")
        rows = _jde_rows(path, size, place, faults)
    elif path.is_file():
        rows = _mot_rows(path, place, faults)
    else:
        raise FileNotFoundError(f"{path}: no such detections; expected det.txt or a folder of files a frame")
    frames: dict[int, list[list[float]]] = {}
    unknown: dict[int, int] = {}
    bad_size: list[str] = []
    for where, frame, box in rows:
        if not 1 <= frame <= num_frames:
            unknown[frame] = unknown.get(frame, 0) + 1
        elif box[2] <= 0 or box[3] <= 0:
            bad_size.append(f"{where} ({box[2]:g}x{box[3]:g})")
        else:
            frames.setdefault(frame, []).append(box)
    if unknown:
        faults.add(
            place,
            f"{path.name}: {sum(unknown.values())} detections are of frames that do not exist (there are "
            f"{num_frames}): {named(sorted(unknown))}",
        )
    faults.add_cases(place, f"boxes of {path.name} have no width or height above 0", bad_size)
    return Detections({frame: np.array(boxes, dtype=np.float64) for frame, boxes in sorted(frames.items())})


Row = tuple[str, int, list[float]]  # where it stands, frame, left, top, width, height, score


def _mot_rows(path: Path, place: object, faults: VideoFaults) -> list[Row]:
    rows: list[Row] = []
    bad: list[str] = []
    widths: set[int] = set()
    for number, line in enumerate(read_lines(path, place, faults), start=1):
        if not line.strip():
            continue
        cells = _numbers(line)
        if cells is None or len(cells) < 6 or cells[0] != int(cells[0]):
            bad.append(f"line {number} ({line.strip()[:50]!r})")
            continue
        widths.add(min(len(cells), 7))
        box = cells[1:6] if len(cells) == 6 else cells[2:7]
        rows.append((f"line {number}", int(cells[0]), box))
    if len(widths) > 1:
        faults.add(place, f"{path.name}: expected lines of one kind, found some of 6 cells and some of more")
    faults.add_cases(
        place,
        f"lines of {path.name} are not frame, id, left, top, width, height, score in finite numbers",
        bad,
    )
    return rows


def _jde_rows(folder: Path, size: Size, place: object, faults: VideoFaults) -> list[Row]:
    rows: list[Row] = []
    bad: list[str] = []
    for path in sorted(folder.glob("*.txt")):
        if not path.stem.isdecimal():
            faults.add(place, f"{path}: expected a file named by the number of its frame")
            continue
        for number, line in enumerate(read_lines(path, place, faults), start=1):
            cells = _numbers(line) if line.strip() else []
            if cells is None or len(cells) not in (0, 5):
                bad.append(f"{path.name}:{number} ({line.strip()[:50]!r})")
            elif cells:
                x, y, width, height = (
                    value * scale for value, scale in zip(cells[:4], (*size, *size), strict=True)
                )
                box = [x - width / 2, y - height / 2, width, height, cells[4]]
                rows.append((f"{path.name}:{number}", int(path.stem), box))
    faults.add_cases(
        place,
        f"lines of {folder.name}/ are not centre x, centre y, width, height, score in finite numbers",
        bad,
    )
    return rows


def _numbers(line: str) -> list[float] | None:
    """The cells of a line, or None where one is not a finite number."""
    try:
        cells = [float(cell) for cell in re.split(r"[,\s]+", line.strip(" \t,"))]
    except ValueError:
        return None
    return cells if np.isfinite(cells).all() else None
