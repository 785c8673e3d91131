"""Assignments of detections to tracks with a limit on the cost of a pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


class Assignment(NamedTuple):
    """Matched pairs (row, column), and the rows and columns without a partner, in order."""

    pairs: list[tuple[int, int]]
    rows: list[int]
    columns: list[int]


def assign(costs: Float, limit: float) -> Assignment:
    """The cheapest assignment where a row or column may stay alone, at half of ``limit`` each.

    No pair costs more than ``limit``, since leaving its two alone is cheaper; so it is not the cheapest
    complete assignment with the expensive pairs taken out. Jonker and Volgenant's with a cost limit.

    Args:
        costs: (N, M); infinity forbids a pair.
        limit: at least 0.

    Raises:
        ImportError: no SciPy.
        ValueError: a cost that is not a number.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError(f"assignments of tracks need SciPy ({error}): pip install scipy") from error

    if np.isnan(costs).any():
        row, column = np.argwhere(np.isnan(costs))[0]
        raise ValueError(
            f"cost of track {row} and detection {column} is not a number; are the features finite?"
        )
    num_rows, num_columns = costs.shape
    # Against both alone (the limit), a pair gains cost - limit; one that gains nothing is left out.
    gains = np.minimum(costs - limit, 0.0)
    pairs = [
        (int(row), int(column))
        for row, column in zip(*linear_sum_assignment(gains), strict=True)
        if gains[row, column] < 0.0
    ]
    taken_rows, taken_columns = {row for row, _ in pairs}, {column for _, column in pairs}
    return Assignment(
        pairs,
        [row for row in range(num_rows) if row not in taken_rows],
        [column for column in range(num_columns) if column not in taken_columns],
    )


def iou_costs(first: Float, second: Float) -> Float:
    """1 - intersection over union (N, M) of boxes (N, 4) and (M, 4), in pixels that count from edge to edge.

    One pixel is added to each side, as the code did that published numbers are from: (left, top, right,
    bottom) are there the first and the last pixel of a box.
    """
    first, second = first.reshape(-1, 4), second.reshape(-1, 4)
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum((first[:, :2] + first[:, 2:])[:, None], (second[:, :2] + second[:, 2:])[None])
    overlap = np.clip(end - start + 1.0, 0.0, None).prod(axis=2)
    areas = (first[:, 2:] + 1.0).prod(axis=1)[:, None] + (second[:, 2:] + 1.0).prod(axis=1)[None]
    return np.asarray(1.0 - overlap / (areas - overlap))
