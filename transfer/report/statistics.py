"""Intervals of a number and paired tests between two, with the standard library alone.

Sums are :func:`math.fsum` (since Python 3.12 ``sum`` rounds differently), so results agree across
Python versions. All intervals are two-sided at 95 %, all p values two-sided. What resamples is in
``transfer.report.resampling``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE = 0.95
Z_95 = 1.959963984540054  # 97.5 % point of the standard normal distribution
FRACTION_STEPS = 10_000  # of the continued fraction; it needs O(sqrt(df))


@dataclass(frozen=True)
class Interval:
    """Where a number may lie, and by which argument: ``kind`` is shown to readers."""

    low: float
    high: float
    kind: str


@dataclass(frozen=True)
class Comparison:
    """Second minus first, in the unit of the two; ``n`` counts pairs (items where nothing is paired).

    ``p_value`` is None where only an interval is defined.
    """

    difference: float
    low: float
    high: float
    p_value: float | None
    test: str
    n: int

    @property
    def beyond_noise(self) -> bool:
        """Whether the 95 % interval of the difference leaves out 0."""
        return not self.low <= 0.0 <= self.high


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    _require(values, 1)
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float:
    """Sample standard deviation (divided by n - 1) of at least two values.

    Exactly 0 when all are equal, whatever rounding the mean has.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    _require(values, 2)
    if min(values) == max(values):
        return 0.0
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def t_p_value(t: float, df: float) -> float:
    """Share of Student's t distribution outside ``-|t|..|t|``: I_x(df/2, 1/2) at x = df / (df + t^2).

    Abramowitz and Stegun 1964, 26.7.1 and 26.5.27. ``df`` need not be whole (Welch).

    Raises:
        ValueError: degrees of freedom that are not positive, or a t that is not a number.
    """
    if not df > 0 or math.isnan(t):
        raise ValueError(f"expected a number t and positive degrees of freedom, found {t} and {df}")
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(df / (df + t * t), t * t / (df + t * t), df / 2, 0.5)


@lru_cache(maxsize=4096)
def t_quantile(df: float) -> float:
    """The t that leaves 2.5 % of Student's distribution above it, by bisection of :func:`t_p_value`.

    Raises:
        ValueError: degrees of freedom that are not positive.
    """
    low, high = 0.0, 2.0
    while t_p_value(high, df) > 1 - CONFIDENCE:
        low, high = high, 2 * high
    while True:
        middle = (low + high) / 2
        if middle in (low, high):  # neighbouring floating-point numbers
            return middle
        if t_p_value(middle, df) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Interval of the mean of a few independent values, such as seeds: mean ± t * std / sqrt(n).

    Student 1908, Biometrika 6, with n - 1 degrees of freedom.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    half = t_quantile(len(values) - 1) * sample_std(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def wilson_interval(percent: float, n: int) -> tuple[float, float]:
    """Wilson score interval, in percent, of a share measured on ``n`` items (Wilson 1927, JASA 22).

    Unlike the normal approximation it stays inside 0..100 and has a width at 0 and 100.

    Raises:
        ValueError: a share outside 0..100, or no item.
    """
    if not 0.0 <= percent <= 100.0 or n < 1:
        raise ValueError(f"expected 0..100 percent of at least one item, found {percent} of {n}")
    share = percent / 100
    scale = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / scale
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2)) / scale
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def paired_t(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Student's t test of the differences of values with common seeds, ``first[i]`` beside ``second[i]``.

    Student 1908, Biometrika 6; n - 1 degrees of freedom. Equal differences give an interval without
    width, and p 0 (or 1 where they are all 0): seeds that change nothing say nothing about noise.

    Raises:
        ValueError: lengths that differ, fewer than two pairs, or a value that is not finite.
    """
    differences = paired_differences(first, second, 2)
    difference, std, n = mean(differences), sample_std(differences), len(differences)
    return _t_comparison(difference, std / math.sqrt(n), n - 1, f"paired t over {n} seeds", n)


def welch_t(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Welch's t test of two independent groups whose seeds are not the same (Welch 1947, Biometrika 34).

    Raises:
        ValueError: fewer than two values on a side, or one that is not finite.
    """
    shares = [sample_std(values) ** 2 / len(values) for values in (first, second)]
    error = math.fsum(shares)
    parts = [share**2 / (len(values) - 1) for share, values in zip(shares, (first, second), strict=True)]
    df = error**2 / math.fsum(parts) if math.fsum(parts) > 0 else float(len(first) + len(second) - 2)
    text = f"Welch t over {len(first)} and {len(second)} seeds"
    difference = mean(second) - mean(first)
    return _t_comparison(difference, math.sqrt(error), df, text, len(first) + len(second))


def mcnemar(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Exact McNemar test of hits (1) and misses (0) on the same items; the difference is in percent.

    p is the binomial one of the items on which the two differ (McNemar 1947, Psychometrika 12; exact as in
    Fagerland et al. 2013, BMC Med. Res. Methodol. 13:91), in whole numbers throughout. The interval is
    Newcombe's method 10 (1998, Statistics in Medicine 17:2635), Wilson intervals joined with the
    correlation of the two.

    Raises:
        ValueError: lengths that differ, no item, or a value other than 0 and 1.
    """
    paired_differences(first, second, 1)
    if not {*first, *second} <= {0, 1}:
        raise ValueError(f"expected hits 0 and 1 only, found {sorted({*first, *second} - {0, 1})[:3]}")
    n = len(first)
    both = sum(a == b == 1 for a, b in zip(first, second, strict=True))
    lost = round(math.fsum(first)) - both
    won = round(math.fsum(second)) - both
    neither = n - both - lost - won
    term = total = 1  # binomial coefficients of won + lost over 0 .. min(won, lost)
    for i in range(min(won, lost)):
        term = term * (won + lost - i) // (i + 1)
        total += term
    p_value = min(1.0, 2 * total / 2 ** (won + lost))  # division of integers rounds correctly at any size
    product = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    surplus = both * neither - won * lost
    corrected = max(surplus - n / 2, 0.0) if surplus > 0 else surplus
    correlation = corrected / math.sqrt(product) if product else 0.0
    shares = 100 * (both + lost) / n, 100 * (both + won) / n
    low, high = _difference_interval(shares[0], n, shares[1], n, correlation)
    return Comparison(100 * (won - lost) / n, low, high, p_value, f"McNemar, {n} items", n)


def unpaired_shares(first: float, first_n: int, second: float, second_n: int) -> Comparison:
    """Difference of two shares, in percent, known only by their size: Wilson intervals joined.

    Newcombe 1998 (Statistics in Medicine 17:873), method 10. On the same items the true interval is
    narrower, because both find the same items hard: this one calls too little a change, not too much.

    Raises:
        ValueError: a share outside 0..100, or no item.
    """
    low, high = _difference_interval(first, first_n, second, second_n, 0.0)
    text = f"Wilson, {first_n} and {second_n} items unpaired"
    return Comparison(second - first, low, high, None, text, first_n + second_n)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number, in the order given (Holm 1979, Scand. J. Statist. 6)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def paired_differences(first: Sequence[float], second: Sequence[float], at_least: int) -> list[float]:
    """Second minus first, pair by pair.

    Raises:
        ValueError: lengths that differ, fewer than ``at_least`` pairs, or a value that is not finite.
    """
    if len(first) != len(second):
        raise ValueError(f"expected pairs, found {len(first)} and {len(second)} values")
    _require(first, at_least)
    _require(second, at_least)
    return [b - a for a, b in zip(first, second, strict=True)]


def _require(values: Sequence[float], at_least: int) -> None:
    if len(values) < at_least:
        raise ValueError(f"expected at least {at_least} values, found {len(values)}")
    if not all(map(math.isfinite, values)):
        raise ValueError("expected finite values, found NaN or infinity")


def _t_comparison(difference: float, error: float, df: float, test: str, n: int) -> Comparison:
    half = t_quantile(df) * error
    p_value = t_p_value(difference / error, df) if error else float(difference == 0.0)
    return Comparison(difference, difference - half, difference + half, p_value, test, n)


def _difference_interval(
    first: float, first_n: int, second: float, second_n: int, correlation: float
) -> tuple[float, float]:
    """Newcombe's square-and-add interval of second minus first, shares in percent."""
    low1, high1 = wilson_interval(first, first_n)
    low2, high2 = wilson_interval(second, second_n)
    difference = second - first

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b))

    low = difference - reach(second - low2, high1 - first)
    high = difference + reach(high2 - second, first - low1)
    return max(-100.0, low), min(100.0, high)


def _incomplete_beta(x: float, y: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b); ``y`` is 1 - x, given so that neither is rounded."""
    if x <= 0.0 or y <= 0.0:
        return float(y <= 0.0)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _beta_fraction(x, a, b) / a
    return 1.0 - math.exp(log_front) * _beta_fraction(y, b, a) / b


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / ((1.0 - (a + b) * x / (a + 1.0)) or tiny)
    result = d
    for m in range(1, FRACTION_STEPS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / ((1.0 + step * d) or tiny)
            c = (1.0 + step / c) or tiny
            result *= c * d
        if abs(c * d - 1.0) < 1e-15:
            return result
    raise AssertionError(f"no convergence of the incomplete beta function at {x}, {a}, {b}")
