"""Intervals and paired tests: by hand arithmetic, from published examples, and against scipy."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from transfer.report.statistics import (
    holm,
    mcnemar,
    mean,
    mean_interval,
    paired_t,
    sample_std,
    t_p_value,
    t_quantile,
    unpaired_shares,
    welch_t,
    wilson_interval,
)


def hits(both: int, lost: int, won: int, neither: int) -> tuple[list[int], list[int]]:
    first = [1] * both + [1] * lost + [0] * won + [0] * neither
    return first, [1] * both + [0] * lost + [1] * won + [0] * neither


@pytest.mark.parametrize("df", [*range(1, 61), 100, 1000, 5000, 1.5, 2.25, 17.3])
def test_t_quantiles_agree_with_scipy(df: float) -> None:
    assert t_quantile(df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-9)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 30, 999, 2.7, 1234.5])
@pytest.mark.parametrize("t", [0.0, 1e-9, 0.01, 0.5, 1.0, 2.0, 4.3, 12.0, 300.0])
def test_t_p_values_agree_with_scipy(t: float, df: float) -> None:
    assert t_p_value(t, df) == t_p_value(-t, df) == pytest.approx(2 * stats.t.sf(t, df), rel=1e-9)


def test_t_by_hand() -> None:
    # One degree of freedom is Cauchy's distribution, two have the closed form t / sqrt(2 + t^2).
    assert t_quantile(1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-12)
    assert t_quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-12)
    assert t_p_value(3.0, 2) == pytest.approx(1 - 3 / math.sqrt(11), rel=1e-12)
    assert (t_p_value(0.0, 5), t_p_value(math.inf, 5)) == (1.0, 0.0)


def test_mean_and_deviation_by_hand() -> None:
    assert mean([40.0, 42.0, 47.0]) == 43.0
    assert sample_std([40.0, 42.0, 47.0]) == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    assert sample_std([0.1] * 3) == 0.0  # 0.1 * 3 / 3 is not 0.1
    low, high = mean_interval([40.0, 42.0, 47.0])
    half = 4.302652729749464 * math.sqrt(13 / 3)  # the quantile of 2 degrees of freedom, 4.303 in any table
    assert (low, high) == pytest.approx((43 - half, 43 + half))


def test_mean_interval_agrees_with_scipy() -> None:
    values = [70.1, 70.6, 69.8, 71.0, 70.2]
    expected = stats.t.interval(0.95, 4, loc=mean(values), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("correct", "n"), [(0, 10), (10, 10), (1, 10), (452, 1000), (37_000, 50_000), (1, 1)]
)
def test_wilson_interval_agrees_with_scipy(correct: int, n: int) -> None:
    expected = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    found = wilson_interval(100 * correct / n, n)
    assert found == pytest.approx((100 * expected.low, 100 * expected.high), rel=1e-9, abs=1e-12)


def test_paired_t_agrees_with_scipy_and_ignores_what_pairs_share() -> None:
    first, second = [40.0, 52.0, 47.0, 60.0], [41.0, 52.5, 48.5, 60.5]
    found = paired_t(first, second)
    expected = stats.ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert (found.difference, found.n, found.test) == (0.875, 4, "paired t over 4 seeds")
    assert found.p_value is not None
    assert found.p_value < 0.05 < stats.ttest_ind(first, second).pvalue
    back = paired_t(second, first)
    assert (back.difference, back.low, back.high, back.p_value) == (
        *(-found.difference, -found.high, -found.low, found.p_value),
    )


def test_paired_t_by_hand() -> None:
    found = paired_t([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])  # mean 2, std 1, t = 2 sqrt(3), 2 degrees of freedom
    t = 2 * math.sqrt(3)
    assert found.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert not found.beyond_noise  # three seeds: half the interval is 4.303 / sqrt(3) = 2.48
    assert paired_t([1.0, 2.0], [1.0, 2.0]).p_value == 1.0
    assert paired_t([1.0, 2.0], [2.0, 3.0]).p_value == 0.0


def test_welch_t_agrees_with_scipy() -> None:
    first, second = [40.0, 41.0, 43.5], [44.0, 44.2, 43.9, 45.0, 44.4]
    found = welch_t(first, second)
    expected = stats.ttest_ind(second, first, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert welch_t([1.0, 1.0], [2.0, 2.0]).p_value == 0.0


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (2, 12), (7, 7), (300, 250), (4000, 4200)])
def test_mcnemar_p_values_are_binomial(lost: int, won: int) -> None:
    found = mcnemar(*hits(30, lost, won, 20))
    expected = stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert found.p_value == pytest.approx(expected, rel=1e-9)
    assert found.difference == pytest.approx(100 * (won - lost) / (50 + lost + won))


@pytest.mark.parametrize(
    ("table", "interval"),
    [
        # Altman et al. 2000, Statistics with Confidence, table 6.2 (the example of R's biostatUZH)
        ((14, 0, 5, 22), (1.15, 22.65)),
        # Airway responsiveness of Bentur et al. 2009 (the example of R's contingencytables)
        ((1, 1, 7, 12), (2.56, 50.69)),
    ],
)
def test_the_interval_of_paired_shares_on_textbook_tables(
    table: tuple[int, int, int, int], interval: tuple[float, float]
) -> None:
    found = mcnemar(*hits(*table))
    assert (found.low, found.high) == pytest.approx(interval, abs=0.005)


def test_paired_shares_by_hand() -> None:
    # 2 lost, 12 won, 36 both, 0 neither of 50: 76 % and 96 %; correlation (0 - 24) / sqrt(38 * 12 * 48 * 2)
    found = mcnemar(*hits(36, 2, 12, 0))
    (low1, high1), (low2, high2) = wilson_interval(76, 50), wilson_interval(96, 50)
    r = -24 / math.sqrt(38 * 12 * 48 * 2)
    below = math.sqrt((96 - low2) ** 2 - 2 * r * (96 - low2) * (high1 - 76) + (high1 - 76) ** 2)
    above = math.sqrt((high2 - 96) ** 2 - 2 * r * (high2 - 96) * (76 - low1) + (76 - low1) ** 2)
    assert (found.low, found.high) == pytest.approx((20 - below, 20 + above))
    assert found.p_value == pytest.approx(2 * (1 + 14 + 91) / 2**14)


def test_pairing_narrows_the_interval_of_two_shares() -> None:
    paired = mcnemar(*hits(700, 20, 40, 240))
    apart = unpaired_shares(72.0, 1000, 74.0, 1000)
    assert apart.low < paired.low < 2.0 < paired.high < apart.high
    assert (paired.beyond_noise, apart.beyond_noise, apart.p_value) == (True, False, None)
    (low1, high1), (low2, high2) = wilson_interval(72, 1000), wilson_interval(74, 1000)
    assert apart.low == pytest.approx(2 - math.hypot(74 - low2, high1 - 72))
    assert apart.high == pytest.approx(2 + math.hypot(high2 - 74, 72 - low1))


def test_intervals_hold_what_they_promise() -> None:
    """Coverage by simulation: near 95 % of 600 intervals hold the truth (standard error 0.9 %)."""
    draw = random.Random(0)
    covered = {"t": 0, "paired shares": 0}
    for _ in range(600):
        low, high = mean_interval([draw.gauss(3.0, 2.0) for _ in range(3)])
        covered["t"] += low <= 3.0 <= high
        first, second = [], []
        for _ in range(80):
            ease = draw.random()
            first.append(int(draw.random() < 0.4 + 0.5 * ease))  # 65 %
            second.append(int(draw.random() < 0.5 + 0.5 * ease))  # 75 %
        found = mcnemar(first, second)
        covered["paired shares"] += found.low <= 10.0 <= found.high
    assert all(0.92 <= count / 600 <= 0.985 for count in covered.values()), covered


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean([]), "at least 1 values, found 0"),
        (lambda: mean([math.nan]), "finite"),
        (lambda: sample_std([1.0]), "at least 2 values, found 1"),
        (lambda: mean_interval([1.0]), "positive degrees of freedom"),
        (lambda: t_p_value(math.nan, 3), "a number t"),
        (lambda: wilson_interval(101.0, 5), "0..100 percent"),
        (lambda: wilson_interval(50.0, 0), "at least one item"),
        (lambda: paired_t([1.0, 2.0], [1.0]), "expected pairs, found 2 and 1 values"),
        (lambda: paired_t([1.0], [2.0]), "at least 2 values"),
        (lambda: welch_t([1.0, 2.0], [1.0]), "at least 2 values"),
        (lambda: mcnemar([], []), "at least 1 values"),
        (lambda: mcnemar([0, 1], [0, 2]), r"hits 0 and 1 only, found \[2\]"),
        (lambda: unpaired_shares(50.0, 10, -1.0, 10), "0..100 percent"),
    ],
)
def test_what_has_no_answer_is_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
