"""Frames fitted into a rectangle: made smaller or larger by one ratio, and the rest filled with grey."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FILL = 128  # 127.5 as a pixel


@dataclass(frozen=True)
class Letterbox:
    """How frames of one size go into ``(width, height)``; as JDE and its followers do it."""

    frame: tuple[int, int]  # (width, height) in pixels
    target: tuple[int, int]

    @property
    def ratio(self) -> float:
        """Of lengths in the target to those in the frame."""
        return min(self.target[1] / self.frame[1], self.target[0] / self.frame[0])

    @property
    def inner(self) -> tuple[int, int]:
        """(width, height) of the frame in the target."""
        return round(self.frame[0] * self.ratio), round(self.frame[1] * self.ratio)

    @property
    def margins(self) -> tuple[float, float]:
        """Left and top of the frame in the target; boxes move by these, pixels by whole numbers."""
        return (self.target[0] - self.inner[0]) / 2, (self.target[1] - self.inner[1]) / 2

    def fit_image(self, image: Tensor) -> Tensor:
        """uint8 (3, H, W) of the frame's size -> uint8 (3, target height, target width)."""
        left, top = (round(margin - 0.1) for margin in self.margins)
        width, height = self.inner
        fitted = image.new_full((3, self.target[1], self.target[0]), FILL)
        fitted[:, top : top + height, left : left + width] = resize(image, width, height)
        return fitted

    def fit_boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 4) left, top, width, height in the frame -> left, top, right, bottom in the target."""
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], axis=1)
        return np.asarray(corners * self.ratio + np.array(self.margins * 2))


def resize(image: Tensor, width: int, height: int) -> Tensor:
    """Resize uint8 (C, H, W) as OpenCV's INTER_AREA does, to one level of grey.

    A pixel of a smaller image is the mean of the area that it covers. Where a side grows OpenCV
    interpolates both between the nearest two pixels, sharper than bilinearly, and so is it here.
    """
    old_height, old_width = image.shape[1:]
    if (old_height, old_width) == (height, width):
        return image
    shrinks = width <= old_width and height <= old_height
    resized = image.float()
    for dimension, old, new in ((2, old_width, width), (1, old_height, height)):
        places, weights = _area_taps(old, new) if shrinks else _linear_taps(old, new)
        shape = (-1, 1) if dimension == 1 else (1, -1)
        resized = torch.stack(
            [
                resized.index_select(dimension, place) * weight.view(shape)
                for place, weight in zip(places, weights, strict=True)
            ]
        ).sum(dim=0)
    return resized.round().clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=64)
def _area_taps(old: int, new: int) -> tuple[Tensor, Tensor]:
    """Places (K, new) and weights (K, new) of the pixels that each new one covers."""
    scale = old / new
    starts = np.arange(new) * scale
    places = np.floor(starts).astype(np.int64) + np.arange(int(np.ceil(scale)) + 1)[:, None]
    covered = np.minimum(places + 1, starts + scale) - np.maximum(places, starts)
    weights = np.clip(covered, 0.0, None) * (places < old)
    weights /= weights.sum(axis=0)
    return torch.from_numpy(places.clip(max=old - 1)), torch.from_numpy(weights).float()


@lru_cache(maxsize=64)
def _linear_taps(old: int, new: int) -> tuple[Tensor, Tensor]:
    """The same for an image of which a side grows: two pixels each."""
    growth = new / old
    # Not old / new: 1 / growth can fall just below a whole pixel, and then OpenCV takes the one before.
    first = np.floor(np.arange(new) * (1.0 / growth)).astype(np.int64)
    share = (np.arange(1, new + 1) - (first + 1) * growth).astype(np.float32)
    share = np.where(share <= 0, 0.0, share - np.floor(share))
    places = np.stack([first, first + 1]).clip(max=old - 1)
    return torch.from_numpy(places), torch.from_numpy(np.stack([1 - share, share])).float()
