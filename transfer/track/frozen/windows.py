"""Features only where boxes are: layer3 and layer4 in windows around them, equal to those of the whole frame.

At stride 8 layer3 and layer4 are most of a network's work, and boxes cover a small part of most frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from transfer.track.frozen.appearance import STRIDE, AppearanceModel

WORTH_IT = 0.8  # of the frame: windows that are more together save nothing


class Window(NamedTuple):
    """Cells of a map: rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends left out."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Number of cells."""
        return (self.right - self.left) * (self.bottom - self.top)

    def around(self, other: Window) -> Window:
        """The smallest window that has both."""
        return Window(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))

    def grown(self, by: int, width: int, height: int) -> Window:
        """So many cells more to each side, within the map."""
        return Window(
            max(0, self.left - by),
            max(0, self.top - by),
            min(width, self.right + by),
            min(height, self.bottom + by),
        )


def features_in_boxes(model: AppearanceModel, pixels: Tensor, corners: Sequence[Tensor]) -> dict[int, Tensor]:
    """By layer ``(B, C, h, w)``: as ``model(pixels)`` at all cells that the boxes touch, zeros elsewhere.

    A window is as large as the convolutions behind it reach, or ends with the frame, where the padding with
    zeros is the frame's own: nothing that a box is made of differs.

    Args:
        model: its reach is the margin around the boxes.
        pixels: prepared, ``(B, 3, H, W)``.
        corners: of each image ``(N_i, 4)`` left, top, right, bottom in pixels.
    """
    shallow = model.shallow(pixels)
    height, width = shallow.shape[2:]
    found = {
        layer: shallow.new_zeros(len(shallow), height, width, channels).permute(0, 3, 1, 2)
        for layer, channels in model.channels.items()
    }
    for index, boxes in enumerate(corners):
        for window in choose_windows(boxes, width, height, model.reach):
            seen = window.grown(model.reach, width, height)
            part = shallow[index : index + 1, :, seen.top : seen.bottom, seen.left : seen.right]
            left, top = window.left - seen.left, window.top - seen.top
            right, bottom = window.right - seen.left, window.bottom - seen.top
            for layer, features in model.deep(part).items():
                inner = features[0, :, top:bottom, left:right]
                found[layer][index, :, window.top : window.bottom, window.left : window.right] = inner
    return found


def choose_windows(boxes: Tensor, width: int, height: int, margin: int) -> list[Window]:
    """Windows that have all cells that a bilinear sample inside a box can need; few, and cheap with margins.

    Two become one while that costs no more than both; the whole map, where windows would save little.
    """
    whole = Window(0, 0, width, height)
    windows: list[Window] = []
    for new in _cells(boxes, width, height):
        window = new
        while True:
            joined = [
                other
                for other in windows
                if window.around(other).grown(margin, width, height).area
                <= window.grown(margin, width, height).area + other.grown(margin, width, height).area
            ]
            if not joined:
                break
            windows.remove(joined[0])
            window = window.around(joined[0])
        windows.append(window)
    cost = sum(window.grown(margin, width, height).area for window in windows)
    return [whole] if cost > WORTH_IT * whole.area else windows


def _cells(boxes: Tensor, width: int, height: int) -> list[Window]:
    """The cells of each box and the neighbours that interpolation reads, at least one and within the map."""
    size = torch.tensor([width, height], device=boxes.device)
    start = (boxes[:, :2] / STRIDE).floor().long() - 1
    end = (boxes[:, 2:] / STRIDE).floor().long() + 3
    start = torch.minimum(start.clamp_min(0), size - 1)
    end = torch.maximum(torch.minimum(end, size), start + 1)
    return [Window(*row) for row in torch.cat([start, end], dim=1).tolist()]
