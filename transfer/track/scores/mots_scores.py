"""MOTSChallenge scores of tracked masks, by TrackEval, the benchmark's own code.

IDF1 and identity switches at mask IoU 0.5, HOTA as the mean over its thresholds .05 to .95 (Luiten et al.,
IJCV 2021), sMOTA as in Voigtlaender et al., CVPR 2019: pooled over all sequences.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

METRICS = ("smota", "idf1", "hota", "id_switches")
SILENT = (
    "PRINT_RESULTS",
    "PRINT_CONFIG",
    "TIME_PROGRESS",
    "OUTPUT_SUMMARY",
    "OUTPUT_DETAILED",
    "PLOT_CURVES",
)


def require_trackeval() -> Any:
    """The module, with what it imports when it reads masks.

    Raises:
        ImportError: says what to install. Asked before a set is tracked, so that no work is lost.
    """
    try:
        import pycocotools.mask  # noqa: F401  # TrackEval imports these when it reads masks
        import scipy.optimize  # noqa: F401
        import trackeval
    except ImportError as error:
        raise ImportError(
            f"scores of masks need TrackEval and what it imports ({error}): "
            "pip install trackeval pycocotools scipy"
        ) from error
    return trackeval


def score_masks(
    gt_root: Path, tracks_dir: Path, lengths: Mapping[str, int]
) -> tuple[dict[str, float], dict[str, dict[str, float | None]]]:
    """Score MOTS text files (``frame id class height width rle``), pooled and for each sequence.

    Args:
        gt_root: ``NAME/gt/gt.txt`` for each name; class 2 is a pedestrian, class 10 a region to ignore.
        tracks_dir: ``NAME.txt`` with masks of class 2 that do not overlap. An empty file is a tracker that
            found nothing.
        lengths: number of frames of the sequences that count, by name.

    Returns:
        ``smota`` (at most 100, can be negative), ``idf1``, ``hota`` in percent and ``id_switches``; of a
        sequence without a pedestrian None.

    Raises:
        ImportError: no TrackEval.
        ValueError: what TrackEval refuses (a frame that does not exist, masks that overlap), no pedestrian in
            any sequence, or a score that is not a number.
    """
    trackeval = require_trackeval()
    data = trackeval.datasets.MOTSChallenge(
        {
            "GT_FOLDER": str(gt_root),
            "TRACKERS_FOLDER": str(tracks_dir.parent),
            "TRACKERS_TO_EVAL": [tracks_dir.name],
            "TRACKER_SUB_FOLDER": "",
            "CLASSES_TO_EVAL": ["pedestrian"],
            "SPLIT_TO_EVAL": "train",  # no file name depends on it here
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": dict(lengths),
            "PRINT_CONFIG": False,
        }
    )
    metrics = [
        trackeval.metrics.HOTA({"PRINT_CONFIG": False}),
        trackeval.metrics.CLEAR({"THRESHOLD": 0.5, "PRINT_CONFIG": False}),
        trackeval.metrics.Identity({"THRESHOLD": 0.5, "PRINT_CONFIG": False}),
    ]
    settings = {**dict.fromkeys(SILENT, False), "USE_PARALLEL": False, "LOG_ON_ERROR": None}
    evaluator = trackeval.Evaluator(settings)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            output, _ = evaluator.evaluate([data], metrics)
    except trackeval.utils.TrackEvalException as error:
        raise ValueError(f"{tracks_dir}: TrackEval refuses it: {error}") from error
    found = output["MOTSChallenge"][tracks_dir.name]
    if not found["COMBINED_SEQ"]["pedestrian"]["Count"]["GT_Dets"]:
        raise ValueError(f"no pedestrian in the ground truth of {', '.join(lengths)}: no score is defined")
    pooled = _scores(found["COMBINED_SEQ"]["pedestrian"])
    undefined = [metric for metric, value in pooled.items() if not math.isfinite(value)]
    if undefined:
        raise ValueError(f"{tracks_dir}: TrackEval gives no number for {', '.join(undefined)}: {pooled}")
    by_sequence: dict[str, dict[str, float | None]] = {}
    for name in lengths:
        part = found[name]["pedestrian"]
        by_sequence[name] = {**_scores(part)} if part["Count"]["GT_Dets"] else dict.fromkeys(METRICS)
    return pooled, by_sequence


def _scores(part: Mapping[str, Any]) -> dict[str, float]:
    return {
        "smota": 100.0 * float(part["CLEAR"]["sMOTA"]),
        "idf1": 100.0 * float(part["Identity"]["IDF1"]),
        "hota": 100.0 * float(np.mean(part["HOTA"]["HOTA"])),
        "id_switches": float(part["CLEAR"]["IDSW"]),
    }
