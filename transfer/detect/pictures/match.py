"""Which predictions are right and which true objects are found, in one image.

COCO's rule (pycocotools ``COCOeval.evaluateImg``) at IoU 0.5 of boxes: class by class and from the highest
score down, a prediction takes the free object of its class that it overlaps most. What a prediction takes
depends only on predictions of higher score, so a minimum score hides verdicts and changes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]  # x, y, width, height in image pixels
Verdict = Literal["right", "false", "ignored"]
IOU = 0.5


@dataclass(frozen=True)
class Truth:
    """An annotated object. ``mask`` is COCO's segmentation, polygons or RLE, or None."""

    category: int
    box: Box
    crowd: bool = False  # a region of many (COCO): what lies in it is neither right nor false
    difficult: bool = False  # an object that does not count (VOC)
    mask: Any = None

    @property
    def counts(self) -> bool:
        """Whether it is to be found."""
        return not (self.crowd or self.difficult)


@dataclass(frozen=True)
class Prediction:
    """A predicted object; ``score`` in 0..1, ``mask`` as in :class:`Truth`."""

    category: int
    box: Box
    score: float
    mask: Any = None


@dataclass(frozen=True)
class Matching:
    """``verdicts[i]`` and ``taken[i]`` (an index into the truths) are of prediction i; ``found_at[j]`` is the
    score of the prediction that found truth j, None where none did or where ``counting[j]`` is false."""

    verdicts: tuple[Verdict, ...]
    taken: tuple[int | None, ...]
    found_at: tuple[float | None, ...]
    counting: tuple[bool, ...]


def overlaps(predictions: Sequence[Box], truths: Sequence[Box], crowd: Sequence[bool]) -> NDArray[np.float64]:
    """Intersection over union ``(predictions, truths)`` in 0..1; with a crowd, over the prediction's area."""
    p = np.asarray(predictions, dtype=np.float64).reshape(-1, 1, 4)
    t = np.asarray(truths, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(p[..., :2], t[..., :2])
    high = np.minimum(p[..., :2] + p[..., 2:], t[..., :2] + t[..., 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=-1)
    areas = np.prod(p[..., 2:], axis=-1)
    whole = np.where(np.asarray(crowd, dtype=bool), areas, areas + np.prod(t[..., 2:], axis=-1) - shared)
    ratio: NDArray[np.float64] = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return ratio


def match(truths: Sequence[Truth], predictions: Sequence[Prediction]) -> Matching:
    """Match one image's predictions with its objects; see the module docstring."""
    verdicts: list[Verdict] = ["false"] * len(predictions)
    taken: list[int | None] = [None] * len(predictions)
    found_at: list[float | None] = [None] * len(truths)
    ious = overlaps([p.box for p in predictions], [t.box for t in truths], [t.crowd for t in truths])
    used: set[int] = set()
    for i in sorted(range(len(predictions)), key=lambda i: -predictions[i].score):  # ties keep their order
        j = _take(i, truths, predictions[i].category, ious, used)
        if j is None:
            continue
        taken[i] = j
        if truths[j].counts:
            verdicts[i] = "right"
            found_at[j] = predictions[i].score
            used.add(j)
        else:
            verdicts[i] = "ignored"
    return Matching(tuple(verdicts), tuple(taken), tuple(found_at), tuple(t.counts for t in truths))


def _take(
    i: int, truths: Sequence[Truth], category: int, ious: NDArray[np.float64], used: set[int]
) -> int | None:
    """The object that prediction i takes: one that counts before one that does not."""
    for counts in (True, False):
        free = [
            j for j, t in enumerate(truths) if t.category == category and t.counts is counts and j not in used
        ]
        best = max(free, key=lambda j: (ious[i, j], j), default=None)  # of equal ones the last, as in COCO
        if best is not None and ious[i, best] >= IOU:
            return best
    return None
