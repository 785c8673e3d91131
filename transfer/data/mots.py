"""Tracked masks as text, in the format of MOTS20 and KITTI MOTS.

    tracks, ground truth    ``frame track-id class height width run-lengths``
    detections              ``frame x1 y1 x2 y2 score class height width run-lengths``, more cells ignored

Cells stand between spaces, frames of MOTS20 count from 1, class 2 is a pedestrian, class 10 a region that
is not scored. Detections may also be in the format of tracks, in one file or in a folder with one a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer.data.run_lengths import decode_mask, read_runs
from transfer.data.video_faults import Size, VideoFaults, named, read_lines

PEDESTRIAN = 2
IGNORED = 10  # class of regions that are not scored


@dataclass(frozen=True)
class MaskLine:
    """One mask of one frame."""

    frame: int
    track_id: int  # -1 for a detection
    class_id: int
    height: int
    width: int
    rle: str  # compressed run lengths of COCO
    score: float = 1.0


def decode(line: MaskLine) -> NDArray[np.bool_]:
    """The mask, (H, W)."""
    return decode_mask(line.rle, line.height, line.width)


def read_mots(path: Path, num_frames: int | None = None, size: Size | None = None) -> list[MaskLine]:
    """Masks of a sequence, in the order of the file.

    Args:
        path: a file, or a folder with a file a frame, ``000001.txt``, whose name is the frame.
        num_frames: frames are 1 to this; None: not checked.
        size: width and height of the frames; None: not checked.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: all faults together, as :func:`collect_mots` finds them.
    """
    faults = VideoFaults()
    lines = collect_mots(path, path, faults, num_frames, size)
    faults.raise_found(path)
    return lines


def collect_mots(
    path: Path,
    place: object,
    faults: VideoFaults,
    num_frames: int | None = None,
    size: Size | None = None,
    tracks: bool = False,
) -> list[MaskLine]:
    """As :func:`read_mots`; what is found goes to ``faults``, of a sequence called ``place``.

    Faults are lines of another format, masks of frames that do not exist or of another size, damaged run
    lengths; in ``tracks`` also an id twice in a frame, and masks of a frame that share pixels.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such masks; expected lines: frame id class height width rle")
    lines: list[MaskLine] = []
    bad: list[str] = []
    for part in sorted(path.glob("*.txt")) if path.is_dir() else [path]:
        for number, text in enumerate(read_lines(part, place, faults), start=1):
            if not text.strip():
                continue
            try:
                line = _parse(text.split())
                runs = int(read_runs(line.rle).sum())
                if runs != line.height * line.width:
                    raise ValueError(f"{runs} pixels in a mask of {line.width}x{line.height}")
                lines.append(line)
            except (ValueError, OverflowError) as error:  # of int(inf)
                bad.append(f"{part.name}:{number} ({error})")
    faults.add_cases(place, f"lines of {path.name} are no mask of a frame", bad)
    if num_frames is not None:
        frames = [line.frame for line in lines if not 1 <= line.frame <= num_frames]
        if frames:
            faults.add(
                place,
                f"{path.name}: {len(frames)} masks are of frames that do not exist (there are {num_frames}): "
                f"{named(sorted(set(frames)))}",
            )
    if size is not None:
        others = [f"frame {line.frame} ({line.width}x{line.height})" for line in lines if _size(line) != size]
        faults.add_cases(place, f"masks of {path.name} are not of the size {size[0]}x{size[1]}", others)
    if tracks:
        _check_tracks(path, lines, place, faults)
    return lines


def write_mots(path: Path, lines: Sequence[MaskLine]) -> None:
    """Write tracks, in the order of frames."""
    from transfer.writing import write_text

    ordered = sorted(lines, key=lambda line: line.frame)
    write_text(
        path,
        "".join(
            f"{line.frame} {line.track_id} {line.class_id} {line.height} {line.width} {line.rle}\n"
            for line in ordered
        ),
    )


def _parse(cells: list[str]) -> MaskLine:
    if len(cells) == 6:
        frame, track_id, class_id, height, width = (int(cell) for cell in cells[:5])
        line = MaskLine(frame, track_id, class_id, height, width, cells[5])
    elif len(cells) >= 10:
        class_id, height, width = (int(float(cell)) for cell in cells[6:9])
        line = MaskLine(int(float(cells[0])), -1, class_id, height, width, cells[9], float(cells[5]))
    else:
        raise ValueError(f"{len(cells)} cells, expected 6 of a track or 10 of a detection")
    if line.height <= 0 or line.width <= 0 or not np.isfinite(line.score):
        raise ValueError(f"size {line.width}x{line.height}, score {line.score}")
    return line


def _size(line: MaskLine) -> Size:
    return line.width, line.height


def _check_tracks(path: Path, lines: Sequence[MaskLine], place: object, faults: VideoFaults) -> None:
    by_frame: dict[int, list[MaskLine]] = {}
    for line in lines:
        by_frame.setdefault(line.frame, []).append(line)
    twice, shared = [], []
    for frame, masks in sorted(by_frame.items()):
        sizes = set(map(_size, masks))  # one, unless that is a fault of its own
        ids = [line.track_id for line in masks if line.class_id != IGNORED]
        if len(set(ids)) < len(ids):
            twice.append(f"frame {frame} ({named(sorted({i for i in ids if ids.count(i) > 1}))})")
        if any(_share_pixels([line for line in masks if _size(line) == size]) for size in sizes):
            shared.append(f"frame {frame}")
    faults.add_cases(place, f"frames of {path.name} have an id twice", twice)
    faults.add_cases(place, f"frames of {path.name} have masks that share pixels", shared)


def _share_pixels(masks: Sequence[MaskLine]) -> bool:
    """Whether a pixel is in two masks: the runs of 1 of all of them, as intervals in order, touch."""
    starts, ends = [], []
    for line in masks:
        bounds = np.cumsum(read_runs(line.rle))
        starts.append(bounds[:-1:2])
        ends.append(bounds[1::2])
    start, end = np.concatenate(starts), np.concatenate(ends)
    filled = end > start
    start, end = start[filled], end[filled]
    order = np.argsort(start)
    return bool((start[order][1:] < np.maximum.accumulate(end[order])[:-1]).any())
