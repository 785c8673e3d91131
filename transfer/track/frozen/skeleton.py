"""A pose as a mask: the trunk's polygon and the limbs as thick lines, as UniTrack draws them.

Joints are those of :data:`transfer.data.posetrack.JOINTS`; one that is not there is NaN. The mask is found
only where it is asked for, which is at the centres of the feature grid's cells and not at every pixel.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer.data.posetrack import JOINTS
from transfer.track.frozen.mask_points import grid_coordinates
from transfer.track.polygons import strictly_inside

TRUNK = ("right_hip", "left_hip", "left_shoulder", "head_bottom", "right_shoulder")
LIMBS = (
    *(("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")),
    *(("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist")),
    *(("left_shoulder", "head_bottom"), ("right_shoulder", "head_bottom"), ("head_bottom", "head_top")),
    *(("left_shoulder", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle")),
    *(("right_shoulder", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle")),
)
NARROWEST = 8  # pixels
PER_EXTENT = 20  # the pose's longer side is so many line widths
DEGENERATE = 10.0  # pixels that a side of length zero gets
Float = NDArray[np.float64]


def pose_box(joints: Float) -> Float:
    """Box ``(4,)`` of joints ``(15, 2)`` in pixels: left, top, width, height; NaN without a joint.

    The joints' whole pixels count, as the original cuts them.
    """
    points = np.trunc(joints[np.isfinite(joints).all(axis=1)])
    if not len(points):
        return np.full(4, np.nan)
    first, size = points.min(axis=0), np.ptp(points, axis=0)
    return np.concatenate([first, np.where(size == 0, DEGENERATE, size)])


def line_width(joints: Float) -> int:
    """Width of the limbs in pixels."""
    points = np.trunc(joints[np.isfinite(joints).all(axis=1)])
    return max(int(np.ptp(points, axis=0).max() / PER_EXTENT), NARROWEST) if len(points) else NARROWEST


def draw_pose(joints: Float, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask ``(len(rows), len(columns))`` of joints ``(15, 2)`` (x, y in pixels), at these pixels.

    A trunk of fewer than three joints is not filled; a limb with a joint missing is not drawn.
    """
    mask = np.zeros((len(rows), len(columns)), dtype=bool)
    found = {
        name: np.trunc(joint) for name, joint in zip(JOINTS, joints, strict=True) if np.isfinite(joint).all()
    }
    if not found:
        return mask
    radius = line_width(joints) / 2.0
    reach = np.stack(list(found.values()))
    near_rows = _within(rows, reach[:, 1], radius)
    near_columns = _within(columns, reach[:, 0], radius)
    if not len(rows[near_rows]) or not len(columns[near_columns]):
        return mask
    x, y = np.meshgrid(columns[near_columns].astype(float), rows[near_rows].astype(float))
    drawn = np.zeros(x.shape, dtype=bool)
    trunk = np.array([found[name] for name in TRUNK if name in found])
    if len(trunk) > 2:
        drawn |= strictly_inside(x, y, trunk)
        for start, end in zip(trunk, np.roll(trunk, -1, axis=0), strict=True):
            drawn |= _squared_distance(x, y, start, end) <= 0.25  # the polygon's own pixels
    for first, second in LIMBS:
        if first in found and second in found:
            drawn |= _squared_distance(x, y, found[first], found[second]) <= radius * radius
    mask[near_rows, near_columns] = drawn
    return mask


def draw_poses(poses: Float, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Masks ``(N, h, w)`` bool on the feature grid of poses ``(N, 15, 2)`` in an image of (height, width)."""
    rows, columns = (grid_coordinates(length, cells) for length, cells in zip(size, grid, strict=True))
    masks = np.zeros((len(poses), *grid), dtype=bool)
    for index, joints in enumerate(poses):
        masks[index] = draw_pose(joints, rows, columns)
    return torch.from_numpy(masks)


def _within(places: NDArray[np.int64], reach: Float, margin: float) -> slice:
    """Those of rising places that are at most ``margin`` outside the reach."""
    first, last = reach.min() - margin - 1.0, reach.max() + margin + 1.0
    return slice(int(np.searchsorted(places, first)), int(np.searchsorted(places, last, side="right")))


def _squared_distance(x: Float, y: Float, start: Float, end: Float) -> Float:
    """Squared distance of points to a line segment."""
    along = end - start
    length = float(along @ along)
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length if length else np.zeros_like(x)
    share = np.clip(share, 0.0, 1.0)
    distance: Float = (x - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2
    return distance
