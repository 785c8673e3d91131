"""Held-out images: from every class by its share, the same for a seed, never an image that is trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from transfer.classify.holdout import draw_holdout, split_holdout
from transfer.data.folders import ImageSplit


def make_split(*sizes: int) -> ImageSplit:
    labels = tuple(label for label, size in enumerate(sizes) for _ in range(size))
    names = tuple(f"c{label}/{number}.png" for number, label in enumerate(labels))
    return ImageSplit(Path("train"), tuple(f"c{label}" for label in range(len(sizes))), names, labels)


def test_each_class_gives_its_share() -> None:
    split = make_split(100, 50, 10)
    held = draw_holdout(split, range(160), 32, seed=0)
    assert held == sorted(set(held))
    assert Counter(split.labels[index] for index in held) == {0: 20, 1: 10, 2: 2}


def test_the_number_is_exact_where_classes_do_not_divide_it() -> None:
    split = make_split(*[130] * 10)
    held = draw_holdout(split, range(1300), 77, seed=0)
    assert len(held) == 77
    assert sorted(Counter(split.labels[index] for index in held).values()) == [7] * 3 + [8] * 7


def test_only_candidates_are_drawn() -> None:
    split = make_split(20, 20)
    candidates = [index for index in range(40) if index % 4 != 0]
    assert set(draw_holdout(split, candidates, 30, seed=0)) == set(candidates)


def test_a_seed_decides_and_fewer_are_a_part_of_more() -> None:
    split = make_split(50, 50)
    held = draw_holdout(split, range(100), 40, seed=0)
    assert draw_holdout(split, range(100), 40, seed=0) == held
    assert draw_holdout(split, range(100), 40, seed=1) != held
    assert set(draw_holdout(split, range(100), 14, seed=0)) < set(held)


@pytest.mark.parametrize("num_images", [0, 41])
def test_more_than_there_are_is_refused(num_images: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to 40 held-out images.*found {num_images}"):
        draw_holdout(make_split(20, 20), range(40), num_images, seed=0)


def test_what_is_held_out_is_not_trained_on() -> None:
    split = make_split(20, 20)
    rest, held = split_holdout(split, 10, seed=0)
    assert set(rest.names).isdisjoint(held.names)
    assert sorted(rest.names + held.names) == sorted(split.names)
    assert Counter(held.labels) == {0: 5, 1: 5}


def test_a_class_without_an_image_left_is_named() -> None:
    split_holdout(make_split(20, 2), 11, seed=0)
    with pytest.raises(ValueError, match=r"leaves 1 classes without one to train on, such as \['c1'\]"):
        split_holdout(make_split(20, 1), 11, seed=0)
