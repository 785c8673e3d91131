"""MOTChallenge scores of a tracker's results.

The numbers are TrackEval's (:mod:`transfer.track.scores.mot_scores`), pooled over all sequences. mmtrack's
own evaluation calls the same code for HOTA and motmetrics for the rest, but rounds to three digits
and cannot read a file without a single track; it runs beside, and its numbers are logged.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transfer.track.scores.mot_scores import score_boxes

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
        ValueError: as :func:`~transfer.track.scores.mot_scores.score_boxes`.
    """
    _, _, names, _ = dataset.format_results(results, str(out_dir), ["track"])
    scores, _ = score_boxes(Path(dataset.img_prefix), out_dir / "track", names)
    by_mmtrack = mmtrack_scores(dataset, results, out_dir, names)
    (out_dir / "scores.json").write_text(
        json.dumps({"trackeval": scores, "mmtrack": by_mmtrack}, indent=1) + "\n"
    )
    logger.info(
        "TrackEval: %s; mmtrack's own evaluation: %s", scores, by_mmtrack or "not possible, a file is empty"
    )
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
