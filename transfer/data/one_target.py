"""One-target sequences made of other sets: boxes around DAVIS's masks, people of MOTChallenge one by one.

Where real one-target benchmarks are not at hand, these are real video with real targets; their numbers are
comparable with no published one. Boxes count pixels from 1, as OTB's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer.data.davis import MaskSequence, read_davis, read_mask
from transfer.data.mot_sequences import MotSequence, read_mot_sequences
from transfer.data.motchallenge import Box
from transfer.data.otb import BoxSequence

MIN_FRAMES, MAX_FRAMES = 60, 120  # of a person of MOTChallenge; the first unbroken run counts
ABSENT = np.full(4, np.nan)


def read_davis_boxes(root: Path, names: Sequence[str] = ()) -> list[BoxSequence]:
    """A sequence ``<video>`` for each video of one object, ``<video>-<number>`` for each object of another.

    The box is the mask's extent; it is absent where the object is hidden or no mask is there.

    Raises:
        FileNotFoundError, ValueError: as :func:`transfer.data.davis.read_davis`.
    """
    return [found for video in read_davis(root, names=names) for found in _objects(video)]


def _objects(video: MaskSequence) -> list[BoxSequence]:
    masks = [None if path is None else read_mask(path) for path in video.masks]
    return [
        BoxSequence(
            video.name if len(video.object_ids) == 1 else f"{video.name}-{number}",
            video.frames,
            np.stack([ABSENT if mask is None else box_of(mask == number) for mask in masks]),
            video.size,
            next(path for path in video.masks if path is not None).parent,
        )
        for number in video.object_ids
    ]


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Extent of a mask ``(H, W)`` as x, y, width, height from 1; NaN where it is empty."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return ABSENT
    left, top = columns.min(), rows.min()
    return np.array([left + 1, top + 1, columns.max() - left + 1, rows.max() - top + 1], dtype=np.float64)


def read_mot_targets(root: Path, names: Sequence[str] = ()) -> list[BoxSequence]:
    """A sequence ``<video>-<id>`` for each annotated target: its first unbroken run of frames.

    Runs of fewer than 60 frames are left out, longer ones than 120 are cut.

    Raises:
        FileNotFoundError: as :func:`transfer.data.mot_sequences.read_mot_sequences`.
        ValueError: as there, or no target is seen for long enough.
    """
    found = [target for video in read_mot_sequences(root, names, given=False) for target in _targets(video)]
    if not found:
        raise ValueError(f"{root}: no target is annotated in {MIN_FRAMES} frames on end")
    return found


def _targets(video: MotSequence) -> list[BoxSequence]:
    lines: dict[int, dict[int, Box]] = {}
    for box in video.boxes:
        if box.is_target:
            lines.setdefault(box.identity, {})[box.frame] = box
    sequences = []
    for identity, by_frame in sorted(lines.items()):
        first = min(by_frame)
        run = [by_frame[first]]
        while len(run) < MAX_FRAMES and first + len(run) in by_frame:
            run.append(by_frame[first + len(run)])
        if len(run) < MIN_FRAMES:
            continue
        frames = video.frames[first - 1 : first - 1 + len(run)]
        boxes = np.array([[box.left, box.top, box.width, box.height] for box in run], dtype=np.float64)
        sequences.append(
            BoxSequence(f"{video.name}-{identity:03d}", frames, boxes, _size(video), video.ground_truth)
        )
    return sequences


def _size(video: MotSequence) -> tuple[int, int]:
    return video.info.width, video.info.height
