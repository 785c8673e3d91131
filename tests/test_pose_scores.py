"""Scores of poses against hand arithmetic, through motmetrics."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transfer.data.posetrack import PersonPose, PoseFrame
from transfer.track.polygons import strictly_inside
from transfer.track.scores.pose_scores import score_poses

pytest.importorskip("motmetrics")
HEAD = 0.6 * 50  # the head's box is 30 x 40
ALL = tuple(range(15))


def person(identity: int, x: float, joints: tuple[int, ...] = ALL, shift: float = 0.0) -> PersonPose:
    """Somebody at x whose joint j lies at (x, 10 j); ``shift`` moves every joint, not the head's box."""
    places = np.full((15, 3), np.nan)
    for joint in joints:
        places[joint] = (x + shift, 10.0 * joint, 1.0)
    return PersonPose(identity, places, np.full(4, np.nan), np.array([x, 0.0, 30.0, 40.0]))


def frame(*people: PersonPose, ignored: tuple[np.ndarray, ...] = ()) -> PoseFrame:
    return PoseFrame(Path("000001.jpg"), 1, True, people, ignored)


def walk(*identities: int, frames: int = 5, shift: float = 0.0) -> list[PoseFrame]:
    return [
        frame(*(person(number, 500.0 * number % 1999, shift=shift) for number in identities))
        for _ in range(frames)
    ]


def test_perfect_poses_score_100() -> None:
    pooled, by_sequence = score_poses({"A": walk(1, 2), "B": walk(3)}, {"A": walk(1, 2), "B": walk(3)})
    assert pooled == pytest.approx({"idf1": 100, "id_switches": 0, "mota": 100})
    assert by_sequence == {"A": pytest.approx(pooled), "B": pytest.approx(pooled)}


def test_the_last_frame_does_not_count() -> None:
    found = [*walk(1)[:-1], frame()]
    assert score_poses({"A": walk(1)}, {"A": found})[0]["mota"] == pytest.approx(100)
    found = [frame(), *walk(1)[1:]]  # any other one does
    assert score_poses({"A": walk(1)}, {"A": found})[0]["mota"] < 100


def test_a_changed_identity_counts_once_for_each_joint() -> None:
    found = [frame(person(9 if index == 3 else 1, 500.0)) for index in range(5)]
    pooled, _ = score_poses({"A": walk(1)}, {"A": found})
    assert pooled["id_switches"] == 15  # in the last of four frames that count
    assert pooled["mota"] == pytest.approx(100 * (1 - 1 / 4))
    assert pooled["idf1"] == pytest.approx(100 * 2 * 3 / (2 * 3 + 1 + 1))


def test_means_over_joints_and_sums_of_switches() -> None:
    # Joint 0 is never found; all others are.
    found = [frame(person(1, 500.0, joints=ALL[1:])) for _ in range(5)]
    pooled, _ = score_poses({"A": walk(1)}, {"A": found})
    assert pooled["mota"] == pytest.approx(100 * 14 / 15)
    assert pooled["idf1"] == pytest.approx(100 * 14 / 15)


def test_idf1_is_a_mean_over_sequences_and_mota_is_pooled() -> None:
    truth = {"A": walk(1, frames=2), "B": walk(1, frames=10)}  # one frame and nine that count
    far = [frame(person(1, 500.0, shift=1000.0)) for _ in range(2)]
    pooled, by_sequence = score_poses(truth, {"A": far, "B": walk(1, frames=10)})
    assert by_sequence["A"]["idf1"] == 0
    assert by_sequence["A"]["mota"] == pytest.approx(100 * (1 - 2 / 1))  # a miss and a false positive
    assert pooled["idf1"] == pytest.approx((0 + 100) / 2)
    assert pooled["mota"] == pytest.approx(100 * (1 - 2 / 10))


def test_a_joint_that_one_sequence_lacks_is_left_out_of_idf1() -> None:
    fourteen = [frame(person(1, 500.0, joints=ALL[1:])) for _ in range(5)]
    zero_wrong = [frame(person(1, 500.0)) for _ in range(5)]
    zero_wrong[0] = frame(person(1, 500.0, joints=ALL[1:]))  # joint 0 missed in one of four frames
    pooled, _ = score_poses({"A": fourteen, "B": walk(1)}, {"A": fourteen, "B": zero_wrong})
    assert pooled["idf1"] == pytest.approx(100)  # joint 0 would have lowered it
    assert pooled["mota"] == pytest.approx(100 * (14 + 3 / 4) / 15)


def test_a_joint_matches_up_to_half_a_head_away() -> None:
    near, far = walk(1, shift=0.5 * HEAD), walk(1, shift=0.5 * HEAD + 0.01)
    assert score_poses({"A": walk(1)}, {"A": near})[0]["mota"] == pytest.approx(100)
    assert score_poses({"A": walk(1)}, {"A": far})[0]["mota"] == pytest.approx(-100)


def test_a_frame_without_found_poses_costs_one_miss_and_one_false_positive_a_joint() -> None:
    truth = walk(1, 2)
    found = [frame(), *walk(1, 2)[1:]]
    # Objects: the stand-in of the first frame, and two in each of three; not four times two.
    assert score_poses({"A": truth}, {"A": found})[0]["mota"] == pytest.approx(100 * (1 - 2 / 7))


def test_frames_without_annotated_persons_do_not_count() -> None:
    truth = walk(1)
    with_gap = [*truth[:2], frame(), *truth[2:]]
    found = [*truth[:2], frame(person(7, 900.0)), *truth[2:]]
    assert score_poses({"A": with_gap}, {"A": found})[0] == pytest.approx(
        {"idf1": 100, "id_switches": 0, "mota": 100}
    )


def test_joints_in_a_region_to_ignore_are_neither_right_nor_wrong() -> None:
    region = np.array([[800.0, -10], [1000, -10], [1000, 145], [800, 145]])
    extra = person(7, 900.0)
    truth = [frame(person(1, 500.0), ignored=(region,)) for _ in range(5)]
    found = [frame(person(1, 500.0), extra) for _ in range(5)]
    assert score_poses({"A": truth}, {"A": found})[0]["mota"] == pytest.approx(100)
    assert score_poses({"A": walk(1)}, {"A": found})[0]["mota"] == pytest.approx(0)
    small = np.array([[800.0, -10], [1000, -10], [1000, 45], [800, 45]])  # joints 0 to 4
    truth = [frame(person(1, 500.0), ignored=(small,)) for _ in range(5)]
    assert score_poses({"A": truth}, {"A": found})[0]["mota"] == pytest.approx(100 * 5 / 15)


def test_a_polygon_contains_what_is_inside_and_not_its_edge() -> None:
    notched = np.array([[0.0, 0], [10, 0], [10, 10], [5, 5], [0, 10]])
    x = np.array([5.0, 5, 2, 8, 0, 10, 5, 11, np.nan])
    y = np.array([2.0, 7, 6, 6, 5, 5, 5, 5, 1])
    expected = [True, False, True, True, False, False, False, False, False]
    assert strictly_inside(x, y, notched).tolist() == expected
    assert strictly_inside(x, y, notched[::-1]).tolist() == expected


def test_one_shared_identity_of_untracked_poses_can_be_scored() -> None:
    found = [frame(person(1000, 500.0), person(1000, 1000.0)) for _ in range(5)]
    pooled, _ = score_poses({"A": walk(1, 2)}, {"A": found})
    assert 0 <= pooled["idf1"] <= 50
    assert pooled["mota"] <= 100


def test_what_has_no_score_is_named() -> None:
    with pytest.raises(ValueError, match="A: 1 frames with an annotated person"):
        score_poses({"A": walk(1, frames=1)}, {"A": walk(1, frames=1)})
    with pytest.raises(ValueError, match="A: 4 frames of found poses, expected 5"):
        score_poses({"A": walk(1)}, {"A": walk(1, frames=4)})
    with pytest.raises(ValueError, match=r"found poses are of \['B'\], expected those of \['A'\]"):
        score_poses({"A": walk(1)}, {"B": walk(1)})
    headless = replace(person(1, 0.0), head=np.full(4, np.nan))
    with pytest.raises(ValueError, match=r"A: 000001\.jpg: an annotated person has no head box"):
        score_poses({"A": [frame(headless)] * 3}, {"A": walk(1, frames=3)})


def test_without_motmetrics_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "motmetrics", None)
    with pytest.raises(ImportError, match="pip install motmetrics"):
        score_poses({"A": walk(1)}, {"A": walk(1)})
