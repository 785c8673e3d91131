"""Tracking scores against hand arithmetic, through the code that every run uses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mot_scene import FRAMEWORK_WARNINGS, walk, write_scene

from transfer.data.motchallenge import read_boxes, read_sequence, to_coco_video

pytestmark = [pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]
DISTRACTOR = "1,7,40,30,8,8,1,8,1"


def tracks_like(folder: Path, identities: dict[int, int] | None = None) -> list[Any]:
    """The ground truth of a sequence as mmtrack returns tracks; ``identities`` renames by frame."""
    frames: list[Any] = [np.zeros((0, 6)) for _ in range(read_sequence(folder).num_frames)]
    for box in read_boxes(folder / "gt" / "gt.txt"):
        identity = (identities or {}).get(box.frame, box.identity)
        row = [identity, box.left, box.top, box.left + box.width, box.top + box.height, 0.9]
        frames[box.frame - 1] = np.vstack([frames[box.frame - 1], row])
    return [[rows] for rows in frames]


def nothing(folder: Path) -> list[Any]:
    return [[np.zeros((0, 6))] for _ in range(read_sequence(folder).num_frames)]


def score(root: Path, folders: list[Path], tracks: list[Any]) -> dict[str, float]:
    from mmtrack.datasets import MOTChallengeDataset

    from transfer.track.mm.mot_evaluation import evaluate

    to_coco_video(folders, root / "all.json")
    dataset = MOTChallengeDataset(
        ann_file=str(root / "all.json"),
        img_prefix=str(root),
        ref_img_sampler=None,
        pipeline=[],
        test_mode=True,
    )
    return evaluate(dataset, {"track_bboxes": tracks}, root / "out")


def by_mmtrack(root: Path) -> dict[str, float]:
    return dict(json.loads((root / "out" / "scores.json").read_text())["mmtrack"])


def test_perfect_tracks_score_100(tmp_path: Path) -> None:
    folders = [
        write_scene(tmp_path, "A", [*walk(1, 4), *walk(2, 28)]),
        write_scene(tmp_path, "B", walk(1, 10, frames=3)),
    ]
    tracks = [frame for folder in folders for frame in tracks_like(folder)]
    scores = score(tmp_path, folders, tracks)
    assert scores == pytest.approx({"mota": 100, "idf1": 100, "hota": 100, "id_switches": 0})
    assert by_mmtrack(tmp_path) == pytest.approx(scores, abs=0.051)


def test_one_wrong_identity_costs_what_the_definitions_say(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, "A", walk(1, 4))
    scores = score(tmp_path, [folder], tracks_like(folder, {4: 9}))
    # Four boxes, all found; three carry the identity of the longer match, one another.
    assert scores["id_switches"] == 1
    assert scores["mota"] == pytest.approx(100 * (1 - (0 + 0 + 1) / 4))
    assert scores["idf1"] == pytest.approx(100 * 2 * 3 / (2 * 3 + 1 + 1))
    association = (
        3 * (3 / (3 + 1 + 0)) + 1 * (1 / (1 + 3 + 0))
    ) / 4  # TPA / (TPA + FNA + FPA), mean over boxes
    assert scores["hota"] == pytest.approx(100 * math.sqrt(1.0 * association))
    assert by_mmtrack(tmp_path) == pytest.approx(scores, abs=0.051)


def test_a_tracker_that_finds_nothing_scores_zero_and_not_nan(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, "A", walk(1, 4))
    scores = score(tmp_path, [folder], nothing(folder))
    assert scores == {"mota": 0.0, "idf1": 0.0, "hota": 0.0, "id_switches": 0.0}
    assert by_mmtrack(tmp_path) == {}  # it cannot read the empty file


def test_an_empty_sequence_beside_a_perfect_one_counts_as_misses(tmp_path: Path) -> None:
    folders = [write_scene(tmp_path, "A", walk(1, 4)), write_scene(tmp_path, "B", walk(1, 4))]
    scores = score(tmp_path, folders, tracks_like(folders[0]) + nothing(folders[1]))
    assert scores["mota"] == pytest.approx(100 * (1 - 4 / 8))
    assert scores["idf1"] == pytest.approx(100 * 2 * 4 / (2 * 4 + 4 + 0))
    assert scores["hota"] == pytest.approx(100 * math.sqrt(4 / 8 * 1.0))


def test_more_false_boxes_than_targets_make_mota_negative(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, "A", walk(1, 4, frames=2), num_frames=4)
    false_boxes = [[np.array([[5.0, 40, 30, 50, 40, 0.9], [6.0, 50, 2, 60, 12, 0.9]])] for _ in range(4)]
    scores = score(tmp_path, [folder], false_boxes)
    assert scores["mota"] == pytest.approx(100 * (1 - (2 + 8 + 0) / 2))
    assert scores["idf1"] == scores["hota"] == 0.0


def test_a_box_on_a_distractor_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    with_it = write_scene(tmp_path / "with", "A", [*walk(1, 4), DISTRACTOR])
    tracks = tracks_like(with_it)
    assert sum(len(frame[0]) for frame in tracks) == 5
    assert score(tmp_path / "with", [with_it], tracks)["mota"] == pytest.approx(100)
    without = write_scene(tmp_path / "without", "A", walk(1, 4))  # the same box where no distractor is
    assert score(tmp_path / "without", [without], tracks)["mota"] == pytest.approx(100 * (1 - 1 / 4))
