"""Scores of masks against hand arithmetic, through TrackEval."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from transfer.track.scores.mots_scores import score_masks

pytest.importorskip("trackeval")
mask_api = pytest.importorskip("pycocotools.mask")
HEIGHT, WIDTH = 20, 40


def line(
    frame: int, identity: int, left: int, width: int = 8, top: int = 4, height: int = 10, kind: int = 2
) -> str:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[top : top + height, left : left + width] = 1
    code = mask_api.encode(mask)["counts"].decode("ascii")
    return f"{frame} {identity} {kind} {HEIGHT} {WIDTH} {code}\n"


def score(
    root: Path, truth: dict[str, list[str]], tracks: dict[str, list[str]], frames: int = 4
) -> tuple[dict[str, float], dict[str, dict[str, float | None]]]:
    for name, lines in truth.items():
        (root / "gt" / name / "gt").mkdir(parents=True)
        (root / "gt" / name / "gt" / "gt.txt").write_text("".join(lines))
    (root / "tracks").mkdir()
    for name, lines in tracks.items():
        (root / "tracks" / f"{name}.txt").write_text("".join(lines))
    return score_masks(root / "gt", root / "tracks", dict.fromkeys(truth, frames))


TRUTH = [line(frame, 2001, 2) for frame in range(1, 5)]


def test_perfect_masks_score_100(tmp_path: Path) -> None:
    pooled, by_sequence = score(tmp_path, {"A": TRUTH}, {"A": [line(frame, 7, 2) for frame in range(1, 5)]})
    assert pooled == pytest.approx({"smota": 100, "idf1": 100, "hota": 100, "id_switches": 0})
    assert by_sequence == {"A": pytest.approx(pooled)}


def test_a_shifted_mask_and_a_changed_identity_cost_what_the_definitions_say(tmp_path: Path) -> None:
    # Two columns of eight too far right: IoU 6 / 10; the last frame has another identity.
    tracks = [line(frame, 9 if frame == 4 else 7, 4) for frame in range(1, 5)]
    pooled, _ = score(tmp_path, {"A": TRUTH}, {"A": tracks})
    assert pooled["id_switches"] == 1
    assert pooled["smota"] == pytest.approx(100 * (4 * 0.6 - 0 - 1) / 4)
    assert pooled["idf1"] == pytest.approx(100 * 2 * 3 / (2 * 3 + 1 + 1))
    association = (3 * (3 / 4) + 1 * (1 / 4)) / 4
    # Found at the thresholds .05 to .60, which are 12 of 19 (.60 as a float is not below 6 / 10).
    assert pooled["hota"] == pytest.approx(100 * math.sqrt(association) * 12 / 19)


def test_what_lies_in_an_ignored_region_is_not_wrong(tmp_path: Path) -> None:
    crowd = line(1, 10000, 20, width=15, kind=10)
    more = line(1, 8, 22, width=6)
    tracks = [line(frame, 7, 2) for frame in range(1, 5)]
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    assert score(tmp_path / "with", {"A": [*TRUTH, crowd]}, {"A": [*tracks, more]})[0]["smota"] == 100
    assert score(tmp_path / "without", {"A": TRUTH}, {"A": [*tracks, more]})[0]["smota"] == pytest.approx(75)


def test_an_empty_file_counts_as_misses_and_an_empty_sequence_has_no_score(tmp_path: Path) -> None:
    tracks = [line(frame, 7, 2) for frame in range(1, 5)]
    pooled, by_sequence = score(tmp_path, {"A": TRUTH, "B": TRUTH, "C": []}, {"A": tracks, "B": [], "C": []})
    assert pooled["smota"] == pytest.approx(50)
    assert pooled["idf1"] == pytest.approx(100 * 2 * 4 / (2 * 4 + 4))
    assert by_sequence["B"] == {"smota": 0, "idf1": 0, "hota": 0, "id_switches": 0}
    assert by_sequence["C"] == {"smota": None, "idf1": None, "hota": None, "id_switches": None}


def test_masks_that_overlap_and_frames_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"TrackEval refuses it.*overlapping"):
        score(tmp_path / "a", {"A": TRUTH}, {"A": [line(1, 7, 2), line(1, 8, 5)]})
    with pytest.raises(ValueError, match=r"TrackEval refuses it.*invalid timesteps"):
        score(tmp_path / "b", {"A": TRUTH}, {"A": [line(5, 7, 2)]})


def test_no_pedestrian_is_an_error_and_not_a_zero(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pedestrian in the ground truth of A"):
        score(tmp_path, {"A": []}, {"A": []})


def test_without_trackeval_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackeval", None)
    with pytest.raises(ImportError, match="pip install trackeval"):
        score_masks(tmp_path, tmp_path, {"A": 1})
