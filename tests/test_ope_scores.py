"""One-pass evaluation: closed forms, a loop over frames, and published results."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from transfer.data.otb import read_otb
from transfer.track.scores.ope_scores import overlaps, score_sequence

REAL = os.environ.get("MEC_TRANSFER_DATA", "")


def boxes(num: int = 8) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.column_stack([rng.uniform(50, 90, (num, 2)), rng.uniform(20, 40, (num, 2))])


def test_a_perfect_track_passes_all_thresholds_but_the_last() -> None:
    scores = score_sequence(boxes(), boxes())
    assert scores["success"] == pytest.approx(100 * 20 / 21)
    assert scores["precision"] == scores["norm_precision"] == 100.0
    np.testing.assert_allclose(overlaps(boxes(), boxes()), 1.0, rtol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.22, 0.5, 0.9, 1.3])
def test_a_shifted_box_has_the_closed_form(share: float) -> None:
    """Shifted by a share s of its width, a box has overlap (1 - s) / (1 + s)."""
    truth = np.tile([100.0, 100.0, 40.0, 20.0], (5, 1))
    shifted = truth + np.array([share * 40.0, 0, 0, 0])
    overlap = max(0.0, (1 - share) / (1 + share))
    expected = sum(overlap > threshold for threshold in np.arange(0, 1.05, 0.05)) / 21
    scores = score_sequence(shifted, truth)
    assert scores["success"] == pytest.approx(100 * expected)
    assert scores["precision"] == (100.0 if share * 40 <= 20 else 0.0)
    assert scores["norm_precision"] == (100.0 if share <= 0.2 else 0.0)


def test_a_loop_over_frames_and_thresholds() -> None:
    truth, rng = boxes(30), np.random.default_rng(1)
    found = truth + rng.normal(0, 8, truth.shape)
    passed = near = near_enough = 0
    for a, b in zip(found, truth, strict=True):
        w = max(0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
        h = max(0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
        overlap = w * h / (a[2] * a[3] + b[2] * b[3] - w * h)
        passed += sum(overlap > number / 20 for number in range(21))
        dx, dy = a[0] + a[2] / 2 - b[0] - b[2] / 2, a[1] + a[3] / 2 - b[1] - b[3] / 2
        near += (dx**2 + dy**2) ** 0.5 <= 20
        near_enough += ((dx / b[2]) ** 2 + (dy / b[3]) ** 2) ** 0.5 <= 0.2
    scores = score_sequence(found, truth)
    assert scores["success"] == pytest.approx(100 * passed / 21 / 30)
    assert scores["precision"] == pytest.approx(100 * near / 30)
    assert scores["norm_precision"] == pytest.approx(100 * near_enough / 30)


def test_frames_without_truth_are_no_success_and_no_distance() -> None:
    truth = boxes(4)
    truth[1] = np.nan
    truth[2, 0] = 0.0  # partly left of the first pixel: counted from 1, the toolkit takes this for none
    scores = score_sequence(np.nan_to_num(truth, nan=5.0), truth)
    assert scores["success"] == pytest.approx(100 * 20 / 21 * 2 / 4)
    assert scores["precision"] == 100.0


def test_what_has_no_score() -> None:
    for found in (boxes(3), boxes(4)[:, :3]):
        with pytest.raises(ValueError, match="as many boxes as truths"):
            score_sequence(found, boxes(4))
    broken = boxes(4)
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        score_sequence(broken, boxes(4))


@pytest.mark.skipif(not REAL, reason="MEC_TRANSFER_DATA is not set")
@pytest.mark.parametrize(("tracker", "published"), [("MEEM", 0.71185), ("MUSTer", 0.79712)])
def test_overlaps_of_published_results(tracker: str, published: float) -> None:
    root = Path(REAL) / "otb"
    if not (root / "results_ope" / tracker).is_dir():
        pytest.skip("the published results are not there")
    truth = read_otb(root, ["Crossing"])[0].boxes
    (path,) = (root / "results_ope" / tracker).glob("*.json")
    found = np.array(json.loads(path.read_text())[0]["res"], dtype=np.float64)
    assert float(overlaps(found, truth).mean()) == pytest.approx(published, abs=5e-6)
