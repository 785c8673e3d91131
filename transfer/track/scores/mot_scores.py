"""MOTChallenge scores of tracked boxes, by TrackEval, the benchmark's own code.

MOTA and identity switches (Bernardin and Stiefelhagen 2008) and IDF1 (Ristani et al. 2016) at IoU 0.5, HOTA
as the mean over its thresholds .05 to .95 (Luiten et al., IJCV 2021): pooled over all sequences.
"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data.motchallenge import Box, read_boxes, read_sequence

METRICS = ("mota", "idf1", "hota", "id_switches")
SILENT = (
    "PRINT_RESULTS",
    "PRINT_CONFIG",
    "TIME_PROGRESS",
    "OUTPUT_SUMMARY",
    "OUTPUT_DETAILED",
    "PLOT_CURVES",
)


def score_boxes(
    gt_root: Path, tracks_dir: Path, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float | None]]]:
    """Score MOTChallenge result files, pooled and for each sequence.

    Args:
        gt_root: ``NAME/gt/gt.txt`` and ``NAME/seqinfo.ini`` for each name; files that are older than the
            nine columns of MOT16 are understood.
        tracks_dir: ``NAME.txt`` with lines ``frame, id, left, top, width, height, score, -1, -1, -1``. An
            empty file is a tracker that found nothing: MOTA, IDF1 and HOTA 0.
        names: the sequences that count.

    Returns:
        ``mota`` (at most 100, can be negative), ``idf1`` and ``hota`` in percent, ``id_switches``; of a
        sequence without a target None.

    Raises:
        FileNotFoundError: a ground truth that is not there.
        ImportError: no TrackEval.
        ValueError: what TrackEval refuses (a frame that does not exist, an id twice in one), no target in the
            ground truth of all sequences, or a score that is not a number.
    """
    trackeval = import_trackeval()
    boxes = {name: read_boxes(gt_root / name / "gt" / "gt.txt") for name in names}
    targets = {name for name in names if any(box.is_target for box in boxes[name])}
    if not targets:
        raise ValueError(f"no target box in the ground truth of {', '.join(names)}: no score is defined")
    lengths = {name: read_sequence(gt_root / name).num_frames for name in names}
    metrics = [
        trackeval.metrics.HOTA({"PRINT_CONFIG": False}),
        trackeval.metrics.CLEAR({"THRESHOLD": 0.5, "PRINT_CONFIG": False}),
        trackeval.metrics.Identity({"THRESHOLD": 0.5, "PRINT_CONFIG": False}),
    ]
    settings = {**dict.fromkeys(SILENT, False), "USE_PARALLEL": False, "LOG_ON_ERROR": None}
    evaluator = trackeval.Evaluator(settings)
    with tempfile.TemporaryDirectory() as truth:
        _write_truth(Path(truth), boxes)
        data = trackeval.datasets.MotChallenge2DBox(
            {
                "GT_FOLDER": truth,
                "TRACKERS_FOLDER": str(tracks_dir.parent),
                "TRACKERS_TO_EVAL": [tracks_dir.name],
                "TRACKER_SUB_FOLDER": "",
                "CLASSES_TO_EVAL": ["pedestrian"],
                "BENCHMARK": "MOT17",
                "SPLIT_TO_EVAL": "train",  # public ground truth; no file name depends on it here
                "SKIP_SPLIT_FOL": True,
                "SEQ_INFO": lengths,
                "PRINT_CONFIG": False,
            }
        )
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                output, _ = evaluator.evaluate([data], metrics)
        except trackeval.utils.TrackEvalException as error:
            raise ValueError(f"{tracks_dir}: TrackEval refuses it: {error}") from error
    found = output["MotChallenge2DBox"][tracks_dir.name]
    pooled = _scores(found["COMBINED_SEQ"]["pedestrian"])
    undefined = [metric for metric, value in pooled.items() if not math.isfinite(value)]
    if undefined:
        raise ValueError(f"{tracks_dir}: TrackEval gives no number for {', '.join(undefined)}: {pooled}")
    by_sequence: dict[str, dict[str, float | None]] = {
        name: {**_scores(found[name]["pedestrian"])} if name in targets else dict.fromkeys(METRICS)
        for name in names
    }
    return pooled, by_sequence


def import_trackeval() -> Any:
    """TrackEval.

    Raises:
        ImportError: says what to install.
    """
    try:
        import scipy
        import trackeval
    except ImportError as error:
        raise ImportError(f"scores of boxes need TrackEval ({error}): pip install trackeval scipy") from error
    del scipy  # TrackEval imports it when it matches, after all of the tracking
    return trackeval


def _scores(part: Mapping[str, Any]) -> dict[str, float]:
    return {
        "mota": 100.0 * float(part["CLEAR"]["MOTA"]),
        "idf1": 100.0 * float(part["Identity"]["IDF1"]),
        "hota": 100.0 * float(np.mean(part["HOTA"]["HOTA"])),
        "id_switches": float(part["CLEAR"]["IDSW"]),
    }


def _write_truth(root: Path, boxes: Mapping[str, Iterable[Box]]) -> None:
    """Ground truth in nine columns, whatever the age of the files: TrackEval knows no other class."""
    for name, found in boxes.items():
        lines = [
            f"{box.frame},{box.identity},{box.left!r},{box.top!r},{box.width!r},{box.height!r},"
            f"{int(box.consider)},{box.class_id},{box.visibility!r}\n"
            for box in found
        ]
        path = root / name / "gt" / "gt.txt"
        path.parent.mkdir(parents=True)
        path.write_text("".join(lines), encoding="utf-8")
