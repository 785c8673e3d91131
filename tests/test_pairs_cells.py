"""Two backbones under one protocol: which test compares them, and what is not compared at all."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from report_rows import MEC, of
from scipy import stats

from transfer.report.aggregate import to_cells
from transfer.report.footnotes import say_pairs
from transfer.report.items import ItemKey, Items, item_key, name_items
from transfer.report.pairs import Pair, pairs
from transfer.report.resampling import paired_bootstrap
from transfer.report.rows import Row

MOCO = replace(MEC, method="moco-v2", backbone_sha256="12" * 32)
SWAV = replace(MEC, method="swav", backbone_sha256="34" * 32)
NAMES = [f"{i}.png" for i in range(10)]


def seeds(row: Row, *values: float, first: int = 0) -> list[Row]:
    return [replace(row, seed=first + seed, value=value) for seed, value in enumerate(values)]


def only(rows: Sequence[Row], items: Mapping[ItemKey, Items] | None = None) -> Pair:
    (pair,) = pairs(to_cells([], rows, items))
    return pair


def test_common_seeds_are_paired() -> None:
    pair = only([*seeds(MEC, 41.0, 52.5, 48.5, 60.0), *seeds(MOCO, 40.0, 52.0, 47.0, first=0)])
    assert (pair.first.method, pair.second.method) == ("mec", "moco-v2")
    found = pair.comparison
    assert (found.test, found.n, found.difference) == ("paired t over 3 seeds", 3, -1.0)
    assert found.p_value == pytest.approx(stats.ttest_rel([40, 52, 47], [41, 52.5, 48.5]).pvalue)
    assert pair.holm_p == found.p_value


def test_other_seeds_are_two_groups() -> None:
    found = only([*seeds(MEC, 41.0, 42.0), *seeds(MOCO, 44.0, 46.0, first=5)]).comparison
    assert found.test == "Welch t over 2 and 2 seeds"
    assert found.p_value == pytest.approx(stats.ttest_ind([44, 46], [41, 42], equal_var=False).pvalue)


def test_one_seed_is_compared_image_by_image_where_the_images_are_known() -> None:
    better = replace(MOCO, value=70.0)
    items = {
        item_key(MEC): name_items(NAMES, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]),
        item_key(better): name_items(NAMES, [1, 1, 1, 0, 1, 1, 1, 1, 0, 0]),
    }
    found = only([MEC, better], items).comparison
    assert (found.test, found.difference) == ("McNemar, 10 items", pytest.approx(30.0))
    assert found.p_value == pytest.approx(stats.binomtest(1, 5).pvalue)
    assert only([MEC, better]).comparison.test == "Wilson, 10 and 10 items unpaired"
    others = {**items, item_key(better): name_items(NAMES[::-1], items[item_key(better)].values)}
    assert only([MEC, better], others).comparison.test == "Wilson, 10 and 10 items unpaired"


def test_seeds_that_change_nothing_leave_the_decision_to_the_images() -> None:
    rows = [*seeds(MEC, 40.0, 40.0, 40.0), *seeds(MOCO, 50.0, 50.0, 50.0)]
    found = only(rows).comparison
    assert (found.test, found.beyond_noise) == ("Wilson, 10 and 10 items unpaired", False)


def test_sequences_are_resampled_in_pairs() -> None:
    first, second = [50.0, 60.0, 40.0, 55.0, 45.0, 20.0], [53.0, 62.0, 44.0, 57.0, 49.0, 21.0]
    names = [f"{letter}/img" for letter in "ABCDEF"]
    a = of(MEC, "success", sum(first) / 6, task="sot", n=6)
    b = of(MOCO, "success", 47.667, task="sot", n=6)
    items = {item_key(a): name_items(names, first), item_key(b): name_items(names, second)}
    assert only([a, b], items).comparison == paired_bootstrap(first, second)
    assert pairs(to_cells([], [a, b])) == []  # nothing is known about the spread
    few = {key: Items(value.values[:4], value.names_sha256) for key, value in items.items()}
    assert pairs(to_cells([], [a, b], few)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"selection": "best-test"},
        {"protocol": "linear-cached-sgd"},
        {"split": "train"},
        {"dataset": "cifar10"},
        {"value": None, "status": "failed: x"},
    ],
)
def test_what_answers_another_question_is_not_compared(changes: dict[str, object]) -> None:
    assert pairs(to_cells([], [MEC, MOCO])) != []
    assert pairs(to_cells([], [MEC, replace(MOCO, **changes)])) == []  # type: ignore[arg-type]


def test_published_numbers_are_not_compared() -> None:
    published = replace(
        MOCO, reported="own", backbone_sha256="", config_sha256="", code_version="", seed=None
    )
    assert pairs(to_cells([published], [MEC])) == []


def test_p_values_are_adjusted_for_their_number() -> None:
    rows = [*seeds(MEC, 40.0, 42.0, 41.5), *seeds(MOCO, 45.0, 46.0, 47.5), *seeds(SWAV, 45.5, 46.0, 47.0)]
    found = pairs(to_cells([], rows))
    assert len(found) == 3
    smallest = min(found, key=lambda pair: pair.comparison.p_value or 1.0)
    assert smallest.holm_p == pytest.approx(3 * (smallest.comparison.p_value or 1.0))


def test_no_order_of_the_rows_changes_a_comparison() -> None:
    rows = [
        row
        for line in (MEC, MOCO, SWAV)
        for row in seeds(line, *(40 + len(line.method) * s for s in (0.1, 1.3, 0.7)))
    ]
    expected = pairs(to_cells([], rows))
    for seed in range(5):
        assert pairs(to_cells([], random.Random(seed).sample(rows, len(rows)))) == expected


def test_a_section_says_the_difference_of_its_lines_by_the_test_that_applies() -> None:
    """20 images, of which 3 speak for one and 13 for the other: p = 2 * P(X <= 3 | 16, 1/2)."""
    names = [f"{i}.png" for i in range(20)]
    first = [1] * 2 + [1] * 3 + [0] * 15
    second = [1] * 2 + [0] * 3 + [1] * 13 + [0] * 2
    rows = [
        replace(MEC, method=method, backbone_sha256=sha * 64, n=20, value=5.0 * sum(hits), seed=0)
        for method, sha, hits in (("random", "a", first), ("mec", "b", second))
    ]
    items = {item_key(row): name_items(names, hits) for row, hits in zip(rows, (first, second), strict=True)}
    p = 2 * sum(math.comb(16, k) for k in range(4)) / 2**16
    (said,) = say_pairs(to_cells([], rows, items))
    assert "MEC minus Random init. +50.0 [" in said
    assert f"p = {p:.3f}, n = 20)" in said
    (unpaired,) = say_pairs(to_cells([], rows))
    assert "Wilson, 20 and 20 items unpaired" in unpaired
    assert say_pairs(to_cells([], rows[:1])) == []  # a single line has nothing to be compared with
    many = [replace(rows[0], backbone_sha256=f"{i:064x}") for i in range(5)]
    assert say_pairs(to_cells([], many)) == []  # ten differences are a table of their own
