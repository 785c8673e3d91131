"""Features of a mask: as many points as the mask has cells on the feature grid, few enough to compare.

A mask is brought to the grid of the features by nearest neighbour. Where it covers more cells than
``max_area``, the mask and the features inside it are scaled down until it covers about that many: the mask
by nearest neighbour, the features, zero outside the mask, bilinearly (UniTrack, arXiv 2107.02156; constants
in its published configuration). Only the cells that stay are computed.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

EXTENT = 2.0  # half the box's side, in mean absolute deviations of the mask's cells


@dataclass(frozen=True)
class Positions:
    """Where the features of P points come from: cells ``(P, K)`` of the flattened grid and their weights."""

    cells: Tensor
    weights: Tensor


def grid_coordinates(length: int, cells: int) -> NDArray[np.int64]:
    """The pixels ``(cells,)`` that a nearest-neighbour resize of ``length`` pixels to ``cells`` takes."""
    row = torch.arange(length, dtype=torch.float32)[None, None]
    taken = F.interpolate(row, size=cells, mode="nearest")[0, 0]
    return np.asarray(taken.numpy(), dtype=np.int64)


def mask_boxes(masks: Tensor) -> NDArray[np.float64]:
    """Boxes ``(N, 4)`` of masks ``(N, h, w)``: left, top, width, height in cells; NaN where a mask is empty.

    The centre is the mean of the cells, half the side :data:`EXTENT` times their mean absolute deviation,
    which is at least one cell.
    """
    boxes = np.full((len(masks), 4), np.nan)
    for index, mask in enumerate(masks.cpu().numpy()):
        cells = np.argwhere(mask)[:, ::-1]  # x, y
        if not len(cells):
            continue
        centre = cells.mean(axis=0)
        half = EXTENT * np.maximum(np.abs(cells - centre).mean(axis=0), 1.0)
        boxes[index] = [*(centre - half), *(2.0 * half)]
    return boxes


def without_duplicates(boxes: NDArray[np.float64], iou: float) -> list[int]:
    """Indices of the boxes (left, top, width, height) that stay, in order.

    A box that overlaps an earlier one that stays by more than ``iou`` goes; so does a NaN box, whose mask has
    no cell on the grid and nothing to compare.
    """
    corners = torch.from_numpy(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]))
    overlaps = box_iou(corners, corners)
    kept: list[int] = []
    for index in range(len(boxes)):
        if np.isfinite(boxes[index]).all() and not bool((overlaps[index, kept] > iou).any()):
            kept.append(index)
    return kept


def find_positions(mask: Tensor, max_area: int) -> Positions | None:
    """The points of one mask ``(h, w)`` on the grid, at most about ``max_area``; None where it is empty.

    A thin mask that scaling down would lose altogether keeps all of its cells.
    """
    area = int(mask.sum())
    if area == 0:
        return None
    if area > max_area:
        factor = math.sqrt(max_area / area)
        small = F.interpolate(mask[None, None].float(), scale_factor=factor, mode="nearest")[0, 0] > 0.5
        if bool(small.any()):
            return _bilinear(mask, small.nonzero(), factor)
    cells = mask.flatten().nonzero()
    return Positions(cells, torch.ones(len(cells), 1, device=mask.device))


def _bilinear(mask: Tensor, points: Tensor, factor: float) -> Positions:
    """The four cells around each point ``(P, 2)`` of the scaled grid; one outside the mask weighs nothing."""
    height, width = mask.shape
    lower, upper, share = [], [], []
    for axis, size in enumerate((height, width)):
        place = ((points[:, axis].float() + 0.5) * (1.0 / factor) - 0.5).clamp(min=0.0)
        first = place.floor().long().clamp(max=size - 1)
        lower.append(first)
        upper.append((first + 1).clamp(max=size - 1))
        share.append((place - first).clamp(0.0, 1.0))
    (top, left), (bottom, right), (down, across) = lower, upper, share
    cells = torch.stack(
        [top * width + left, top * width + right, bottom * width + left, bottom * width + right], dim=1
    )
    weights = torch.stack(
        [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], dim=1
    )
    return Positions(cells, weights * mask.flatten()[cells])


def take_points(features: Tensor, positions: Positions) -> Tensor:
    """Point features ``(P, C)`` of a feature map ``(C, h, w)``."""
    flat = features.flatten(1)  # (C, h * w)
    if positions.cells.shape[1] == 1:
        return flat[:, positions.cells[:, 0]].T.contiguous()
    found = flat[:, positions.cells]  # (C, P, 4)
    return torch.einsum("cpk,pk->pc", found, positions.weights.to(found.dtype))


def random_points(
    num_points: int, channels: int, place: tuple[int, str, int, int], device: torch.device
) -> Tensor:
    """Standard normal features ``(num_points, channels)`` of what has no cell on the grid.

    The original draws them unseeded; here the same ``place`` (seed, sequence, frame, index) gives the same
    features, in whatever order sequences are tracked.
    """
    digest = hashlib.sha256(repr(place).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(num_points, channels, generator=generator).to(device)
