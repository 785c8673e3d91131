"""J and F of segmented videos, by TrackEval; which frames and objects count as DAVIS-2017 says.

J is the intersection of two masks over their union; F the harmonic mean of precision and recall of their
boundaries, where a boundary pixel is right within 0.8 % of the image's diagonal (Perazzi et al., CVPR 2016).
An object's score is the mean over its frames without the first, which was given, and the last one; a set's
the mean over its objects (Pont-Tuset et al., arXiv 1704.00675, and the benchmark's own evaluation). Objects
are known by their numbers: nothing is matched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

METRICS = ("j_mean", "f_mean", "j_and_f")
VOID = 255  # of the ground truth: neither right nor wrong
AT_ONCE = 128  # frames; TrackEval holds all that it is given, and counts them in eight bits
Ids = NDArray[np.uint8]


@dataclass(frozen=True)
class ObjectScore:
    """Means over the frames of one object, 0..1."""

    j: float
    f: float


def score_objects(
    truth: Iterable[Ids], found: Iterable[Ids], object_ids: Sequence[int]
) -> dict[int, ObjectScore]:
    """J and F of each object of a video.

    Args:
        truth: masks ``(H, W)`` of numbers of objects, of all frames; 255 is void.
        found: as many masks.
        object_ids: the objects that count, which are those of the first frame.

    Raises:
        ImportError: no TrackEval, or what its F needs.
        ValueError: fewer than three frames, masks of different numbers or sizes, or a number in ``found``
            that is no object's.
    """
    metric, run_lengths = load_scorers()
    sums = np.zeros((len(object_ids), 2))
    num_frames = 0
    frames = _inner(_pairs(truth, found, object_ids))
    while part := list(islice(frames, AT_ONCE)):
        for place, number in enumerate(object_ids):
            encoded = [
                [[run_lengths.encode(np.asfortranarray(mask == number, dtype=np.uint8))] for mask in masks]
                for masks in zip(*part, strict=True)
            ]
            scores = metric.eval_sequence(_as_one_object(*encoded))
            sums[place] += len(part) * np.array([scores["J-Mean"], scores["F-Mean"]])
        num_frames += len(part)
    if not num_frames:
        raise ValueError("expected at least three frames, of which the first and the last do not count")
    return {
        number: ObjectScore(*(sums[place] / num_frames).tolist()) for place, number in enumerate(object_ids)
    }


def load_scorers() -> tuple[Any, Any]:
    """TrackEval's metric and the run lengths that it takes.

    Raises:
        ImportError: no TrackEval, or what its F needs.
    """
    try:
        import cv2  # noqa: F401  # TrackEval imports these only when it comes to F
        import skimage  # noqa: F401
        from pycocotools import mask as run_lengths
        from trackeval.metrics import JAndF
    except ImportError as error:
        raise ImportError(
            f"J and F need TrackEval and what it imports ({error}): pip install trackeval pycocotools "
            "opencv-python-headless scikit-image"
        ) from error
    return JAndF(), run_lengths


def average(scores: Iterable[ObjectScore]) -> dict[str, float]:
    """:data:`METRICS` in percent: means over objects, and the mean of J and F.

    Raises:
        ValueError: no objects, or a score that is not finite.
    """
    held = list(scores)
    if not held:
        raise ValueError("no objects: no score is defined")
    j, f = (100.0 * math.fsum(values) / len(held) for values in zip(*((s.j, s.f) for s in held), strict=True))
    if not math.isfinite(j + f):
        raise ValueError(f"J and F are not finite: {j}, {f}")
    return {"j_mean": j, "f_mean": f, "j_and_f": (j + f) / 2}


def name_objects(scores: Mapping[str, Mapping[int, ObjectScore]]) -> dict[str, ObjectScore]:
    """Scores by ``<sequence>_<number>``, as the benchmark writes them."""
    return {
        f"{sequence}_{number}": score
        for sequence, objects in scores.items()
        for number, score in objects.items()
    }


def _pairs(
    truth: Iterable[Ids], found: Iterable[Ids], object_ids: Sequence[int]
) -> Iterable[tuple[Ids, Ids]]:
    """Masks of the same frame, checked, with what is void in the one left out of the other."""
    for frame, (annotated, predicted) in enumerate(zip(truth, found, strict=True)):
        if annotated.shape != predicted.shape:
            raise ValueError(
                f"frame {frame}: expected a mask of {annotated.shape}, found one of {predicted.shape}"
            )
        unknown = set(np.unique(predicted).tolist()) - {0, *object_ids}
        if unknown:
            raise ValueError(
                f"frame {frame}: expected the objects {', '.join(map(str, object_ids))}, found "
                f"{', '.join(map(str, sorted(unknown)))} in the result"
            )
        yield annotated, np.where(annotated == VOID, np.uint8(0), predicted)


def _inner(pairs: Iterable[tuple[Ids, Ids]]) -> Iterable[tuple[Ids, Ids]]:
    """All but the first and the last."""
    held = None
    for number, pair in enumerate(pairs):
        if number > 1 and held is not None:
            yield held
        held = pair


def _as_one_object(truth: list[Any], found: list[Any]) -> dict[str, Any]:
    """What TrackEval's metrics are given: one object of the ground truth and one track."""
    ids = [np.zeros(1, dtype=np.int64)] * len(truth)
    return {
        "num_timesteps": len(truth),
        "num_gt_ids": 1,
        "num_tracker_ids": 1,
        "gt_ids": ids,
        "tracker_ids": ids,
        "gt_dets": truth,
        "tracker_dets": found,
    }
