"""Where a target is, and the crops in which it is searched for (UniTrack's, after DCFNet).

A crop shows ``1 + padding`` times the target's width and height, resampled to a square of ``crop_size``
pixels whatever the target's shape; beyond the image's border it is 0, after normalisation. Positions are
pixels counted from 0, boxes in files from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from transfer.track.frozen.appearance import STRIDE

Pair = NDArray[np.float64]  # (2,): x and y, or width and height


@dataclass(frozen=True)
class SearchSettings:
    """The constants of the search; see :class:`transfer.track.frozen.sot_task.Config`."""

    crop_size: int
    padding: float
    num_scales: int
    scale_step: float
    scale_penalty: float
    min_scale: float
    max_scale: float
    min_size: float

    @property
    def num_cells(self) -> int:
        """Features along a side of a crop."""
        return self.crop_size // STRIDE

    @property
    def template_cells(self) -> slice:
        """Which of them, along a side, lie on the target."""
        half = int(self.num_cells // (2 * (self.padding + 1)))
        return slice(self.num_cells // 2 - half, self.num_cells // 2 + half)

    @property
    def scales(self) -> NDArray[np.float64]:
        """Factors of the target's size, the present one in the middle."""
        return np.power(self.scale_step, self._steps)

    @property
    def penalties(self) -> NDArray[np.float64]:
        """Factors of each scale's peak."""
        return np.power(self.scale_penalty, np.abs(self._steps))

    @property
    def _steps(self) -> NDArray[np.float64]:
        return np.arange(self.num_scales, dtype=np.float64) - self.num_scales // 2


@dataclass(frozen=True)
class Target:
    """Centre and size in pixels, and the sizes between which it stays."""

    centre: Pair
    size: Pair
    smallest: Pair
    largest: Pair

    @classmethod
    def from_box(
        cls, box: NDArray[np.float64], image_size: tuple[int, int], settings: SearchSettings
    ) -> Target:
        """The target of a box ``x, y, width, height`` counted from 1.

        The upper limit compares the width with the image's height and the height with its width, as the
        original does; it matters only to targets about as large as the image.
        """
        size = box[2:].astype(np.float64)
        centre = box[:2] - 1.0 + size / 2.0
        smallest = np.maximum(settings.min_scale * size, settings.min_size)
        largest = np.minimum(np.array(image_size[::-1], dtype=np.float64), settings.max_scale * size)
        return cls(centre, size, smallest, largest)

    def window(self, scale: float, padding: float) -> Pair:
        """Width and height in pixels of what a crop shows."""
        return self.size * (scale * (1.0 + padding))

    def moved(self, shift: Pair, scale: float, padding: float) -> Target:
        """Displaced by ``shift``, a fraction of the window at ``scale``, and resized by ``scale``."""
        window = self.window(scale, padding)
        size = np.minimum(np.maximum(window / (1.0 + padding), self.smallest), self.largest)
        return Target(self.centre + shift * window, size, self.smallest, self.largest)

    def box(self) -> NDArray[np.float64]:
        """``x, y, width, height`` counted from 1."""
        return np.concatenate([self.centre - self.size / 2.0 + 1.0, self.size])


def crop(
    image: Tensor,
    places: Sequence[tuple[Pair, Pair]],
    crop_size: int,
    pixels: slice | None = None,
) -> Tensor:
    """Bilinear crops of an image, 0 beyond its border.

    Args:
        image: ``(1, 3, H, W)``, normalised.
        places: centre and window of each crop; the window's edges fall on the first and the last pixel.
        crop_size: pixels along a side.
        pixels: which of those rows and columns to compute; None: all.

    Returns:
        ``(len(places), 3, n, n)``, channels last.
    """
    height, width = image.shape[-2:]
    steps = np.arange(crop_size, dtype=np.float64)[pixels or slice(None)] / (crop_size - 1) - 0.5
    centres = np.stack([centre for centre, _ in places])[:, None]
    windows = np.stack([window for _, window in places])[:, None]
    at = centres + windows * steps[None, :, None]  # (B, n, 2): x of each column, y of each row
    # grid_sample counts from -1 at the outer edge of the first pixel to 1 at that of the last.
    at = (2.0 * at + 1.0) / np.array([width, height]) - 1.0
    at_tensor = torch.from_numpy(at.astype(np.float32)).to(image.device)
    num, side = at_tensor.shape[:2]
    x = at_tensor[:, None, :, 0].expand(num, side, side)
    y = at_tensor[:, :, None, 1].expand(num, side, side)
    grid = torch.stack([x, y], dim=-1)
    crops = F.grid_sample(image.expand(num, -1, -1, -1), grid, "bilinear", "zeros", align_corners=False)
    return crops.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class TemplatePart:
    """The part of a crop that decides the features on the target: those of the whole crop, for less.

    Attributes:
        pixels: rows and columns of the crop to compute.
        cells: of their features, those on the target.
    """

    pixels: slice
    cells: slice

    @classmethod
    def of(cls, settings: SearchSettings, radius: int) -> TemplatePart:
        """Where features see ``radius`` pixels to each side: no padding of the part reaches the target."""
        wanted = settings.template_cells
        margin = -(-radius // STRIDE)
        first = max(0, wanted.start - margin)
        last = min(settings.num_cells, wanted.stop + margin)
        return cls(slice(first * STRIDE, last * STRIDE), slice(wanted.start - first, wanted.stop - first))
