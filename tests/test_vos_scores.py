"""J and F by hand arithmetic, and which frames and objects count."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from transfer.track.scores import vos_scores
from transfer.track.scores.vos_scores import ObjectScore, average, name_objects, score_objects

Ids = NDArray[np.uint8]
SIZE = (60, 80)  # of a diagonal of 100: a boundary may be off by ceil(0.008 * 100) = 1 pixel


def square(left: int, top: int = 20, side: int = 10, number: int = 1, size: tuple[int, int] = SIZE) -> Ids:
    ids = np.zeros(size, dtype=np.uint8)
    ids[top : top + side, left : left + side] = number
    return ids


def score(truth: list[Ids], found: list[Ids], number: int = 1) -> tuple[float, float]:
    """Of one object in frames that count: a first and a last one are put around them."""
    empty = np.zeros_like(truth[0])
    result = score_objects([empty, *truth, empty], [empty, *found, empty], [number])[number]
    return result.j, result.f


def test_equal_masks_score_one() -> None:
    assert score([square(10), square(12)], [square(10), square(12)]) == (1.0, 1.0)


def test_nothing_where_nothing_is_scores_one_and_elsewhere_nothing() -> None:
    empty = np.zeros(SIZE, dtype=np.uint8)
    assert score([empty], [empty]) == (1.0, 1.0)
    assert score([square(10)], [empty]) == (0.0, 0.0)
    assert score([empty], [square(10)]) == (0.0, 0.0)


def test_a_square_shifted_by_half_overlaps_by_a_third() -> None:
    """50 pixels in both, 150 in either."""
    j, _ = score([square(10)], [square(15)])
    assert j == pytest.approx(50 / 150)


def test_a_boundary_one_pixel_off_is_right_and_two_off_is_not() -> None:
    """J: 90 of 110 and 80 of 120 pixels.

    The boundary of a square of 10 is a ring of 11 x 11: 40 pixels. Of one shifted by 2, those within 1 of the
    other are 10 each of the upper and the lower row, and both ends of one column: 22.
    """
    assert score([square(20)], [square(21)]) == (pytest.approx(90 / 110), 1.0)
    j, f = score([square(20)], [square(22)])
    assert j == pytest.approx(80 / 120)
    assert f == pytest.approx(22 / 40)


def boundary_f(truth: Ids, found: Ids, reach: int = 1) -> float:
    """F from its description, for masks that do not touch the image's edge; one pixel at a time."""

    def boundary(mask: Ids) -> set[tuple[int, int]]:
        rows, columns = mask.shape
        neighbours = ((0, 1), (1, 0), (1, 1))
        return {
            (y, x)
            for y in range(rows - 1)
            for x in range(columns - 1)
            if any(mask[y + j, x + i] != mask[y, x] for j, i in neighbours)
        }

    def share(pixels: set[tuple[int, int]], others: set[tuple[int, int]]) -> float:
        right = [p for p in pixels if any((p[0] - y) ** 2 + (p[1] - x) ** 2 <= reach**2 for y, x in others)]
        return len(right) / len(pixels)

    precision, recall = (
        share(boundary(found), boundary(truth)),
        share(boundary(truth), boundary(found)),
    )
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(3))
def test_f_equals_a_slow_version(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, found = (np.zeros(SIZE, dtype=np.uint8) for _ in range(2))
    for mask in (truth, found):
        for _ in range(4):
            top, left = generator.integers(5, 30, size=2)
            mask[top : top + 15, left : left + 12] = 1
    assert score([truth], [found])[1] == pytest.approx(boundary_f(truth, found))


def test_the_first_and_the_last_frame_do_not_count() -> None:
    truth = [square(10)] * 4
    empty = np.zeros(SIZE, dtype=np.uint8)
    assert score_objects(truth, [empty, square(10), square(10), empty], [1])[1] == ObjectScore(1.0, 1.0)
    halved = score_objects(truth, [square(10), square(10), empty, square(10)], [1])[1]
    assert halved == ObjectScore(0.5, 0.5)


def test_objects_are_known_by_number_not_by_overlap() -> None:
    """TrackEval's own matching would give swapped objects a score of 1."""
    truth = square(10) + square(40, number=2)
    swapped = square(40) + square(10, number=2)
    scores = score_objects([truth] * 3, [swapped] * 3, [1, 2])
    assert scores == {1: ObjectScore(0.0, 0.0), 2: ObjectScore(0.0, 0.0)}
    right = score_objects([truth] * 3, [truth] * 3, [1, 2])
    assert right == {1: ObjectScore(1.0, 1.0), 2: ObjectScore(1.0, 1.0)}


def test_void_pixels_are_neither_right_nor_wrong() -> None:
    truth = square(10)
    truth[20:30, 20:25] = 255
    assert score([truth], [square(10) | square(15)]) == (1.0, 1.0)
    truth[20:30, 20:25] = 0
    assert score([truth], [square(10) | square(15)])[0] == pytest.approx(100 / 150)


def test_long_videos_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    truth = [square(int(left)) for left in generator.integers(5, 60, size=12)]
    found = [square(int(left)) for left in generator.integers(5, 60, size=12)]
    whole = score(truth, found)
    monkeypatch.setattr(vos_scores, "AT_ONCE", 5)
    assert score(truth, found) == pytest.approx(whole)


def test_means_are_over_objects_not_over_videos() -> None:
    scores = {
        "a": {1: ObjectScore(1.0, 0.5), 2: ObjectScore(0.5, 0.5)},
        "b": {1: ObjectScore(0.0, 0.2)},
    }
    by_name = name_objects(scores)
    assert list(by_name) == ["a_1", "a_2", "b_1"]
    means = average(by_name.values())
    assert means == pytest.approx({"j_mean": 150 / 3, "f_mean": 120 / 3, "j_and_f": 45.0})


def test_what_cannot_be_scored_is_named() -> None:
    with pytest.raises(ValueError, match="expected at least three frames"):
        score_objects([square(1)] * 2, [square(1)] * 2, [1])
    with pytest.raises(ValueError, match=r"frame 1: expected a mask of \(60, 80\), found one of \(60, 81\)"):
        score([square(1)], [square(1, size=(60, 81))])
    with pytest.raises(ValueError, match="frame 1: expected the objects 1, found 2, 7 in the result"):
        score([square(1)], [square(1, number=2) | square(30, number=7)])
    with pytest.raises(ValueError, match="zip"):
        score_objects([square(1)] * 4, [square(1)] * 3, [1])
    with pytest.raises(ValueError, match="no objects"):
        average([])
    with pytest.raises(ValueError, match="not finite"):
        average([ObjectScore(float("nan"), 1.0)])


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r"pip install trackeval .* scikit-image"):
        score([square(1)], [square(1)])
