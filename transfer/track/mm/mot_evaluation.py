"""MOTChallenge scores of a tracker's results.

The numbers are TrackEval's, the MOTChallenge's own code (Luiten et al., IJCV 2021: HOTA; Bernardin
and Stiefelhagen 2008: MOTA; Ristani et al. 2016: IDF1), pooled over all sequences. mmtrack's
own evaluation calls the same code for HOTA and motmetrics for the rest, but rounds to three digits
and cannot read a file without a single track; it runs beside, and its numbers are logged.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data.motchallenge import read_boxes

logger = logging.getLogger(__name__)


def evaluate(dataset: Any, results: dict[str, list[Any]], out_dir: Path) -> dict[str, float]:
    """Write mmtrack's results as MOTChallenge files and score them.

    Args:
        dataset: mmtrack's MOTChallengeDataset; ``img_prefix`` holds the sequences with their ``gt``.
        results: what mmtrack's test loop returns.
        out_dir: replaced; gets ``track/NAME.txt`` and ``scores.json``.

    Returns:
        ``mota``, ``idf1``, ``hota`` in percent, and ``id_switches``.

    Raises:
        ValueError: as :func:`score_tracks`.
    """
    _, _, names, _ = dataset.format_results(results, str(out_dir), ["track"])
    scores = score_tracks(Path(dataset.img_prefix), out_dir / "track", names)
    by_mmtrack = mmtrack_scores(dataset, results, out_dir, names)
    (out_dir / "scores.json").write_text(
        json.dumps({"trackeval": scores, "mmtrack": by_mmtrack}, indent=1) + "\n"
    )
    logger.info(
        "TrackEval: %s; mmtrack's own evaluation: %s", scores, by_mmtrack or "not possible, a file is empty"
    )
    return scores


def score_tracks(gt_root: Path, tracks_dir: Path, names: Sequence[str]) -> dict[str, float]:
    """Score MOTChallenge result files with TrackEval.

    Args:
        gt_root: ``NAME/gt/gt.txt`` and ``NAME/seqinfo.ini`` for each name.
        tracks_dir: ``NAME.txt`` with lines ``frame, id, left, top, width, height, score, -1, -1, -1``. An
            empty file is a tracker that found nothing: MOTA, IDF1 and HOTA 0.
        names: the sequences that count.

    Returns:
        ``mota`` (at most 100, can be negative), ``idf1``, ``hota`` (mean over thresholds .05 to .95) in
        percent, ``id_switches``.

    Raises:
        ValueError: no target in the ground truth of all sequences, or a score that is not a number.
    """
    import trackeval

    gt_files = [gt_root / name / "gt" / "gt.txt" for name in names]
    if not any(box.is_target for path in gt_files for box in read_boxes(path)):
        raise ValueError(f"no target box in the ground truth of {', '.join(names)}: no score is defined")
    settings = dict.fromkeys(
        (
            "PRINT_RESULTS",
            "PRINT_CONFIG",
            "TIME_PROGRESS",
            "OUTPUT_SUMMARY",
            "OUTPUT_DETAILED",
            "PLOT_CURVES",
        ),
        False,
    )
    lengths: dict[str, None] = dict.fromkeys(names)  # None: seqLength of seqinfo.ini
    data = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(gt_root),
            "TRACKERS_FOLDER": str(tracks_dir.parent),
            "TRACKERS_TO_EVAL": [tracks_dir.name],
            "TRACKER_SUB_FOLDER": "",
            "CLASSES_TO_EVAL": ["pedestrian"],
            "BENCHMARK": "MOT17",
            "SPLIT_TO_EVAL": "train",  # the split with public ground truth; no file name depends on it here
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": lengths,
            "PRINT_CONFIG": False,
        }
    )
    metrics = [
        trackeval.metrics.HOTA({"PRINT_CONFIG": False}),
        trackeval.metrics.CLEAR({"THRESHOLD": 0.5, "PRINT_CONFIG": False}),
        trackeval.metrics.Identity({"THRESHOLD": 0.5, "PRINT_CONFIG": False}),
    ]
    evaluator = trackeval.Evaluator({**settings, "USE_PARALLEL": False, "LOG_ON_ERROR": None})
    with contextlib.redirect_stdout(io.StringIO()):
        output, _ = evaluator.evaluate([data], metrics)
    pooled = output["MotChallenge2DBox"][tracks_dir.name]["COMBINED_SEQ"]["pedestrian"]
    scores = {
        "mota": 100.0 * float(pooled["CLEAR"]["MOTA"]),
        "idf1": 100.0 * float(pooled["Identity"]["IDF1"]),
        "hota": 100.0 * float(np.mean(pooled["HOTA"]["HOTA"])),
        "id_switches": float(pooled["CLEAR"]["IDSW"]),
    }
    undefined = [metric for metric, value in scores.items() if not math.isfinite(value)]
    if undefined:
        raise ValueError(f"{tracks_dir}: TrackEval gives no number for {', '.join(undefined)}: {scores}")
    return scores


def mmtrack_scores(
    dataset: Any, results: dict[str, list[Any]], out_dir: Path, names: Sequence[str]
) -> dict[str, float]:
    """mmtrack's own evaluation, in the same units; empty where it cannot read a sequence without tracks."""
    if any((out_dir / "track" / f"{name}.txt").stat().st_size == 0 for name in names):
        return {}
    with contextlib.redirect_stdout(io.StringIO()):
        found = dataset.evaluate(results, metric="track", logger="silent")
    return {
        "mota": 100.0 * found["MOTA"],
        "idf1": 100.0 * found["IDF1"],
        "hota": 100.0 * found["HOTA"],
        "id_switches": float(found["IDs"]),
    }
