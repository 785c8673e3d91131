"""Assignments with a limit, and the tracker's stages one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from transfer.track.frozen.association import Observation, Thresholds, Tracker
from transfer.track.frozen.matching import assign, iou_costs

Float = NDArray[np.float64]
RED, GREEN, BLUE = torch.eye(3)


def see(left: float, colour: torch.Tensor, top: float = 50.0, score: float = 0.9) -> Observation:
    """A box of 20x40 whose two points have one colour."""
    return Observation(np.array([left, top, 20.0, 40.0]), score, colour.repeat(2, 1))


def ids(tracker: Tracker, *observations: Observation) -> dict[int, int]:
    """Index of the observation -> id of its track."""
    return {track.index: track.track_id for track in tracker.update(observations)}


def cheapest(costs: Float, limit: float) -> float:
    """By trying everything: pairs at their cost, everyone else at half the limit."""
    rows, columns = costs.shape
    best = np.inf
    for chosen in permutations(range(columns + rows), rows):  # beyond the columns: alone
        pairs = [(row, column) for row, column in enumerate(chosen) if column < columns]
        alone = rows + columns - 2 * len(pairs)
        best = min(best, sum(costs[pair] for pair in pairs) + alone * limit / 2)
    return best


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (1, 1)])
def test_an_assignment_is_the_cheapest_with_its_limit(seed: int, shape: tuple[int, int]) -> None:
    costs = np.random.default_rng(seed).uniform(0, 1, shape)
    costs[costs > 0.9] = np.inf
    found = assign(costs, 0.6)
    alone = len(found.rows) + len(found.columns)
    assert alone + 2 * len(found.pairs) == sum(shape)
    assert sum(costs[pair] for pair in found.pairs) + alone * 0.3 == pytest.approx(cheapest(costs, 0.6))


@pytest.mark.parametrize("seed", range(5))
def test_an_assignment_is_that_of_lapjv(seed: int) -> None:
    lap = pytest.importorskip("lap")
    costs = np.random.default_rng(seed).uniform(0, 1, (30, 24))
    _, by_row, _ = lap.lapjv(costs, extend_cost=True, cost_limit=0.2)
    expected = [(row, int(column)) for row, column in enumerate(by_row) if column >= 0]
    assert sorted(assign(costs, 0.2).pairs) == expected


def test_an_expensive_pair_is_not_forced_on_the_others() -> None:
    costs = np.array([[0.1, 0.5], [0.5, 9.0]])
    # Complete assignments: 0.1 + 9.0 or 0.5 + 0.5. With a limit of 0.7 the first, its second pair left out.
    assert assign(costs, 0.7).pairs == [(0, 0)]
    assert assign(costs, 2.0).pairs == [(0, 1), (1, 0)]


def test_an_empty_side_leaves_the_other_alone() -> None:
    assert assign(np.zeros((0, 2)), 0.5) == ([], [], [0, 1])
    assert assign(np.zeros((2, 0)), 0.5) == ([], [0, 1], [])


def test_a_cost_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="cost of track 0 and detection 1 is not a number"):
        assign(np.array([[0.0, np.nan]]), 0.5)


def test_overlap_counts_the_last_pixel() -> None:
    first, second = np.array([[0.0, 0, 9, 9]]), np.array([[5.0, 0, 9, 9], [20.0, 0, 9, 9]])
    assert iou_costs(first, second)[0] == pytest.approx([1 - 50 / 150, 1.0])
    assert iou_costs(np.zeros((0, 4)), second).shape == (0, 2)


@pytest.mark.parametrize("motion", [False, True])
def test_ids_stay_with_what_moves_a_little(motion: bool) -> None:
    tracker = Tracker(Thresholds(motion=motion))
    for frame in range(10):
        found = ids(tracker, see(100 - 2.0 * frame, RED), see(300 + 3.0 * frame, GREEN))
        assert found == {0: 1, 1: 2}


def test_appearance_follows_a_swap_and_overlap_does_not() -> None:
    for appearance, expected in ((True, {0: 2, 1: 1}), (False, {0: 1, 1: 2})):
        tracker = Tracker(Thresholds(appearance=appearance))
        assert ids(tracker, see(100, RED), see(300, GREEN)) == {0: 1, 1: 2}
        assert ids(tracker, see(100, GREEN), see(300, RED)) == expected


def test_gated_motion_forbids_a_leap() -> None:
    tracker = Tracker(Thresholds(motion=True))
    for _ in range(3):
        assert ids(tracker, see(100, RED), see(300, GREEN)) == {0: 1, 1: 2}
    assert ids(tracker, see(100, GREEN), see(300, RED)) == {0: 1, 1: 2}


def test_overlap_catches_what_changes_its_looks() -> None:
    tracker = Tracker(Thresholds())
    assert ids(tracker, see(100, RED)) == {0: 1}
    assert ids(tracker, see(102, BLUE)) == {0: 1}
    alone = Tracker(Thresholds(use_kalman=False))  # without the stages by overlap
    assert ids(alone, see(100, RED)) == {0: 1}
    assert ids(alone, see(102, BLUE)) == {0: 2}


def test_a_track_that_starts_late_is_reported_from_its_second_frame() -> None:
    tracker = Tracker(Thresholds())
    assert ids(tracker, see(100, RED)) == {0: 1}
    assert ids(tracker, see(100, RED), see(300, GREEN)) == {0: 1}
    assert ids(tracker, see(100, RED), see(303, GREEN)) == {0: 1, 1: 2}


def test_tracks_of_masks_and_poses_count_from_their_first_frame_on() -> None:
    tracker = Tracker(Thresholds(confirmed_at_once=True))
    assert ids(tracker) == {}
    assert ids(tracker, see(100, RED)) == {0: 1}
    assert ids(tracker, see(100, RED), see(300, GREEN)) == {0: 1, 1: 2}
    # Appearance finds it again far away, where an unconfirmed one has overlap alone.
    assert ids(tracker, see(100, RED), see(400, GREEN)) == {0: 1, 1: 2}


def test_what_was_lost_until_now_is_marked_for_one_frame() -> None:
    tracker = Tracker(Thresholds())
    seen = [tracker.update(frame) for frame in ([see(100, RED)], [], [see(100, RED)], [see(100, RED)])]
    assert [[track.came_back for track in frame] for frame in seen] == [[False], [], [True], [False]]


def test_an_unconfirmed_track_without_a_partner_ends() -> None:
    tracker = Tracker(Thresholds())
    ids(tracker, see(100, RED))
    ids(tracker, see(100, RED), see(300, GREEN))
    ids(tracker, see(100, RED))
    ids(tracker, see(100, RED), see(300, GREEN))
    assert ids(tracker, see(100, RED), see(300, GREEN)) == {0: 1, 1: 3}


def test_what_is_unsure_starts_no_track_but_goes_on_with_one() -> None:
    tracker = Tracker(Thresholds())
    assert ids(tracker, see(100, RED), see(300, GREEN, score=0.4)) == {0: 1}
    assert ids(tracker, see(100, RED, score=0.1)) == {0: 1}


@pytest.mark.parametrize(("gap", "kept"), [(10, True), (12, True), (13, False)])
def test_a_lost_track_comes_back_within_its_time(gap: int, kept: bool) -> None:
    """Over ten frames at ten a second it ends, and the original compares what it ended once more."""
    tracker = Tracker(Thresholds(track_buffer=30), frame_rate=10)
    assert ids(tracker, see(100, RED), see(300, GREEN)) == {0: 1, 1: 2}
    for _ in range(gap - 1):
        ids(tracker, see(300, GREEN))
    found = ids(tracker, see(300, GREEN), see(100, RED))
    assert found == ({0: 2, 1: 1} if kept else {0: 2})


def test_a_track_that_came_back_after_its_end_ends_when_it_is_lost_again() -> None:
    tracker = Tracker(Thresholds(), frame_rate=10)
    ids(tracker, see(100, RED), see(300, GREEN))
    for _ in range(11):
        ids(tracker, see(300, GREEN))
    assert ids(tracker, see(300, GREEN), see(100, RED)) == {0: 2, 1: 1}
    ids(tracker, see(300, GREEN))
    assert ids(tracker, see(300, GREEN), see(100, RED)) == {0: 2}


def test_of_two_tracks_in_one_place_the_younger_ends() -> None:
    limits = Thresholds()
    tracker = Tracker(limits)
    for _ in range(3):
        ids(tracker, see(100, RED))
    ids(tracker)  # red is lost
    ids(tracker, see(100, GREEN))  # unlike red, and lost tracks have no second stage: a new track
    assert [track.track_id for track in tracker.tracked] == []  # where the lost one is: the younger ends
    assert [track.track_id for track in tracker.lost] == [1]
    apart = Tracker(replace(limits, duplicate_iou=0.0))
    for _ in range(3):
        ids(apart, see(100, RED))
    ids(apart)
    ids(apart, see(100, GREEN))
    assert [track.track_id for track in apart.tracked] == [2]


def test_features_that_are_not_finite_are_refused() -> None:
    tracker = Tracker(Thresholds())
    tracker.update([see(100, RED)])
    with pytest.raises(ValueError, match="not a number"):
        tracker.update([see(100, RED * float("nan"))])


def test_an_empty_frame_loses_nothing() -> None:
    tracker = Tracker(Thresholds())
    assert ids(tracker) == {}
    assert ids(tracker, see(100, RED)) == {}  # not the video's first frame: unconfirmed
    assert ids(tracker, see(100, RED)) == {0: 1}
    assert ids(tracker) == {}
    assert ids(tracker, see(100, RED)) == {0: 1}
