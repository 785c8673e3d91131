"""One-pass evaluation of a single target (Wu et al., TPAMI 2015), by the conventions of pysot's toolkit.

Success is the share of frames whose overlap is above a threshold, averaged over 21 thresholds 0, 0.05, ...,
1; a perfect track has 20/21, for no overlap is above 1. Precision is the share of frames whose centre is at
most 20 pixels off; normalised precision, at most 0.2 off in units of the target's size. A sequence's numbers
are means over its frames, a set's are means over sequences.

Boxes are ``x, y, width, height``; ground truth that is not all positive, counted from 1, is none, as in the
toolkit: its frames count as overlap -1, which is never a success, and as distance -1, which always is one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
# Not linspace: 0.15 and others must be the same floats as the toolkit's.
OVERLAP_THRESHOLDS = np.arange(0, 1.05, 0.05)
PIXELS = 20.0
SHARE = 0.2


def score_sequence(boxes: Boxes, truth: Boxes) -> dict[str, float]:
    """``success``, ``norm_precision`` and ``precision`` in percent.

    Args:
        boxes: ``(N, 4)`` of the track.
        truth: ``(N, 4)`` from 1; rows of NaN where there is no target.

    Raises:
        ValueError: another number of boxes than of truths, none, or a box that is not finite.
    """
    if boxes.shape != truth.shape or boxes.ndim != 2 or boxes.shape[1:] != (4,) or not len(boxes):
        raise ValueError(f"expected as many boxes as truths, (N, 4); found {boxes.shape} and {truth.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError("a box of the track is not finite; a tracker that lost its numbers has no score")
    overlap = np.full(len(truth), -1.0)
    valid = (truth > 0).all(axis=1)
    overlap[valid] = overlaps(boxes[valid], truth[valid])
    success = [(overlap > threshold).mean() for threshold in OVERLAP_THRESHOLDS]
    with np.errstate(invalid="ignore"):  # of NaN where there is no target
        near = distances(boxes, truth, np.ones_like(truth[:, 2:])) <= PIXELS
        near_enough = distances(boxes, truth, truth[:, 2:] + 1e-16) <= SHARE
    return {
        "success": 100.0 * float(np.mean(success)),
        "norm_precision": 100.0 * float(near_enough.mean()),
        "precision": 100.0 * float(near.mean()),
    }


def overlaps(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Intersection over union ``(N,)`` of boxes ``(N, 4)``, pair by pair."""
    lower = np.maximum(a[:, :2], b[:, :2])
    upper = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    intersection = np.maximum(0.0, upper - lower).prod(axis=1)
    union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - intersection
    ratio: NDArray[np.float64] = np.clip(intersection / union, 0.0, 1.0)
    return ratio


def distances(boxes: Boxes, truth: Boxes, unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between centres, ``(N,)``, in units ``(N, 2)``; -1 where the truth's centre is not positive."""
    found = (boxes[:, :2] + boxes[:, 2:] / 2.0) / unit
    expected = (truth[:, :2] + truth[:, 2:] / 2.0) / unit
    valid = (expected > 0).all(axis=1)
    return np.where(valid, np.sqrt(np.square(found - expected).sum(axis=1)), -1.0)
