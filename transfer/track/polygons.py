"""Points and polygons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def strictly_inside(x: Float, y: Float, corners: Float) -> NDArray[np.bool_]:
    """Whether points lie inside a polygon ``(K, 2)`` by the even-odd rule, its edge excluded.

    Args:
        x, y: coordinates of the points, of one shape, which the result has; NaN lies nowhere.
        corners: in order around the polygon.
    """
    inside = np.zeros(np.shape(x), dtype=bool)
    edge = np.zeros(np.shape(x), dtype=bool)
    with np.errstate(invalid="ignore"):
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            cross = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)  # its sign: which side of the edge
            between = (min(x0, x1) <= x) & (x <= max(x0, x1)) & (min(y0, y1) <= y) & (y <= max(y0, y1))
            edge |= (cross == 0) & between
            inside ^= ((y0 > y) != (y1 > y)) & (cross > 0 if y1 > y0 else cross < 0)
    return inside & ~edge
