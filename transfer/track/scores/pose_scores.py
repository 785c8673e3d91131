"""PoseTrack's tracking scores, joint by joint, as its evaluation (poseval) counts them.

Each of the fifteen joints is tracked by itself, on motmetrics: a found joint can match an annotated one at
most half a head size (0.6 times the diagonal of the head's box) away. MOTA is the mean over joints of each
joint's MOTA over all sequences; IDF1 is the mean over sequences for each joint, then over joints; identity
switches are the sum (the variant that UniTrack, arXiv 2107.02156, reports). What this evaluation does beside
that is kept, since published numbers contain it:

- frames without an annotated person do not count, nor does the last one that counts of each sequence;
- joints strictly inside a region to ignore are left out, annotated and found ones, and persons left without
  one;
- in a frame without a found person, each joint counts one miss and one false positive, however many persons
  are annotated, and likewise where regions to ignore leave no annotated one;
- a joint that some sequence neither has nor finds has no IDF1, and the mean is over the others.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer.data.posetrack import JOINTS, PersonPose, PoseFrame
from transfer.track.polygons import strictly_inside

METRICS = ("idf1", "id_switches", "mota")
HEAD_SHARE = 0.6  # of the diagonal of a head's box: its size
FARTHEST = 0.5  # head sizes
COUNTS = ("num_misses", "num_switches", "num_false_positives", "num_objects", "idf1")
Float = NDArray[np.float64]


@dataclass(frozen=True)
class JointFrame:
    """One joint in one frame: identities annotated (G,) and found (F,), distances (G, F), NaN: no match."""

    annotated: list[int]
    found: list[int]
    distances: Float


def require_motmetrics() -> Any:
    """The module.

    Raises:
        ImportError: says what to install. Asked before a set is tracked, so that no work is lost.
    """
    try:
        import motmetrics
    except ImportError as error:
        raise ImportError(
            f"scores of poses need motmetrics ({error}): pip install motmetrics scipy pandas"
        ) from error
    return motmetrics


def score_poses(
    truth: Mapping[str, Sequence[PoseFrame]], found: Mapping[str, Sequence[PoseFrame]]
) -> tuple[dict[str, float], dict[str, dict[str, float | None]]]:
    """Scores over all sequences, and of each by itself.

    Args:
        truth: annotated frames by sequence.
        found: as many frames for each of the same sequences, whose persons have track ids.

    Returns:
        ``idf1`` and ``mota`` in percent (MOTA can be negative), ``id_switches``; None where a sequence has no
        such number.

    Raises:
        ImportError: no motmetrics.
        ValueError: other sequences or numbers of frames, an annotated person without a head box, a sequence
            of which fewer than two frames count, or no joint with a number.
    """
    if set(truth) != set(found):
        raise ValueError(f"found poses are of {sorted(found)}, expected those of {sorted(truth)}")
    counted = {name: count_joints(name, truth[name], found[name]) for name in sorted(truth)}
    misses, switches, wrong, objects, idf1 = np.stack(list(counted.values())).transpose(
        1, 0, 2
    )  # (S, 15) each
    with np.errstate(divide="ignore", invalid="ignore"):
        mota = 100.0 * (1.0 - (misses + switches + wrong).sum(0) / objects.sum(0))
        each_mota = 100.0 * (1.0 - (misses + switches + wrong) / objects)
    mota[objects.sum(0) == 0] = np.nan
    each_mota[objects == 0] = np.nan
    pooled = {"idf1": _mean(idf1.mean(axis=0)), "id_switches": float(switches.sum()), "mota": _mean(mota)}
    undefined = [metric for metric, value in pooled.items() if value is None]
    if undefined:
        raise ValueError(f"no joint has a number for {', '.join(undefined)} over {', '.join(sorted(truth))}")
    by_sequence = {
        name: {
            "idf1": _mean(idf1[row]),
            "id_switches": float(switches[row].sum()),
            "mota": _mean(each_mota[row]),
        }
        for row, name in enumerate(counted)
    }
    return {metric: value for metric, value in pooled.items() if value is not None}, by_sequence


def count_joints(name: str, truth: Sequence[PoseFrame], found: Sequence[PoseFrame]) -> Float:
    """Counts ``(5, 15)`` of one sequence: :data:`COUNTS` (IDF1 in percent) for each joint.

    Raises:
        ImportError, ValueError: see :func:`score_poses`.
    """
    if len(truth) != len(found):
        raise ValueError(f"{name}: {len(found)} frames of found poses, expected {len(truth)}")
    frames = [(there, here) for there, here in zip(truth, found, strict=True) if there.people]
    if len(frames) < 2:
        raise ValueError(
            f"{name}: {len(frames)} frames with an annotated person; the evaluation drops the last one and "
            "needs two"
        )
    compared = [compare_frame(name, there, here) for there, here in frames[:-1]]
    motmetrics = require_motmetrics()
    host = motmetrics.metrics.create()
    counts = np.zeros((len(COUNTS), len(JOINTS)))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of pandas and numpy, about motmetrics' own lines
        for joint in range(len(JOINTS)):
            accumulator: Any = motmetrics.MOTAccumulator(auto_id=True)
            for joints in compared:
                part = joints[joint]
                accumulator.update(part.annotated, part.found, part.distances)
            got = host.compute(accumulator, metrics=list(COUNTS), return_dataframe=False, name="joint")
            counts[:, joint] = [float(got[count]) for count in COUNTS]
    counts[COUNTS.index("idf1")] *= 100.0
    return counts


def compare_frame(name: str, truth: PoseFrame, found: PoseFrame) -> list[JointFrame]:
    """The fifteen joints of one frame; distances in head sizes, at most :data:`FARTHEST`."""
    annotated = without_ignored(truth.people, truth.ignored)
    predicted = without_ignored(found.people, truth.ignored)
    if not annotated or not predicted:
        return [JointFrame([0], [0], np.full((1, 1), np.nan)) for _ in range(len(JOINTS))]
    heads = np.array([HEAD_SHARE * np.hypot(*person.head[2:]) for person in annotated])
    if not np.isfinite(heads).all():
        raise ValueError(f"{name}: {truth.path}: an annotated person has no head box (bbox_head)")
    there = np.stack([person.points[:, :2] for person in annotated])  # (G, 15, 2)
    here = np.stack([person.points[:, :2] for person in predicted])  # (F, 15, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.linalg.norm(there[:, None] - here[None], axis=-1) / heads[:, None, None]
        distances[~(distances <= FARTHEST)] = np.nan
    compared = []
    for joint in range(len(JOINTS)):
        rows, columns = (np.isfinite(poses[:, joint]).all(axis=-1).nonzero()[0] for poses in (there, here))
        compared.append(
            JointFrame(
                [annotated[row].track_id for row in rows],
                [predicted[column].track_id for column in columns],
                distances[rows][:, columns, joint],
            )
        )
    return compared


def without_ignored(persons: Sequence[PersonPose], regions: Sequence[Float]) -> list[PersonPose]:
    """Persons without their joints strictly inside a polygon ``(K, 2)``; those left without a joint go."""
    if not regions:
        return list(persons)
    kept = []
    for person in persons:
        points = person.points.copy()
        for region in regions:
            points[strictly_inside(points[:, 0], points[:, 1], region)] = np.nan
        if np.isfinite(points).all(axis=1).any():
            kept.append(replace(person, points=points))
    return kept


def _mean(values: Float) -> float | None:
    """Mean of the numbers among values; None where there is none."""
    numbers = values[np.isfinite(values)]
    return float(numbers.mean()) if len(numbers) else None
