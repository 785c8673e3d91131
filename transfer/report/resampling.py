"""Bootstrap over items (sequences, images): the same numbers on every machine and Python version.

Resamples come from ``random.Random(seed).random()``, whose sequence Python guarantees, and not from
numpy, whose generators may change between versions. For one number of items they are always the
same, so that two metrics or two backbones are resampled alike.
"""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

from transfer.report.statistics import CONFIDENCE, Comparison, mean, paired_differences

RESAMPLES = 9_999
SEED = 20_221_124
MIN_ITEMS = 5  # below it the distinct resamples (126 of 5 items) are too few for a tail of 2.5 %
NORMAL = NormalDist()


def bootstrap_interval(values: Sequence[float], method: str = "bca") -> tuple[float, float]:
    """95 % interval of the mean of ``values``, one an item.

    ``percentile`` takes the quantiles of the resampled means (Efron 1979, Ann. Statist. 7); ``bca`` corrects
    them for bias and skewness (Efron 1987, JASA 82; Efron and Tibshirani 1993, chapter 14). Values that are
    all the same give an interval without width.

    Raises:
        ValueError: another method, fewer than :data:`MIN_ITEMS` values, or one that is not finite.
    """
    if method not in ("bca", "percentile"):
        raise ValueError(f"method: expected bca or percentile, found {method!r}")
    return _interval(values, resampled_means(values), method)


def paired_bootstrap(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Difference of two means over the same items, ``first[i]`` beside ``second[i]``, by resampling items.

    The interval is BCa of the differences. p is the share of resampled means that lie as far from the
    observed mean as that lies from 0 (Efron and Tibshirani 1993, 16.4), counting the observed one, so it
    is at least 1 / 10,000.

    Raises:
        ValueError: lengths that differ, fewer than :data:`MIN_ITEMS` pairs, or a value that is not finite.
    """
    differences = paired_differences(first, second, MIN_ITEMS)
    means = resampled_means(differences)
    low, high = _interval(differences, means, "bca")
    observed = mean(differences)
    far = sum(abs(value - observed) >= abs(observed) for value in means)
    p_value = (far + 1) / (len(means) + 1)
    n = len(differences)
    return Comparison(observed, low, high, p_value, f"paired bootstrap over {n} items", n)


def resampled_means(values: Sequence[float]) -> list[float]:
    """The means of :data:`RESAMPLES` resamples of ``values``, sorted.

    Raises:
        ValueError: fewer than :data:`MIN_ITEMS` values, or one that is not finite.
    """
    if len(values) < MIN_ITEMS:
        raise ValueError(f"expected at least {MIN_ITEMS} items to resample, found {len(values)}")
    mean(values)  # refuses what is not finite
    pick, n = values.__getitem__, len(values)
    return sorted(math.fsum(map(pick, resample)) / n for resample in _resamples(n))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Quantile of sorted values, interpolated linearly between neighbours (Hyndman and Fan 1996, type 7).

    Raises:
        ValueError: no value, or a share outside 0..1.
    """
    if not ordered or not 0.0 <= share <= 1.0:
        raise ValueError(f"expected values and a share in 0..1, found {len(ordered)} values and {share}")
    place = share * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _interval(values: Sequence[float], means: Sequence[float], method: str) -> tuple[float, float]:
    if min(values) == max(values):
        return values[0], values[0]
    tails = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    if method == "bca":
        tails = _corrected(values, means, tails)
    return quantile(means, tails[0]), quantile(means, tails[1])


def _corrected(
    values: Sequence[float], means: Sequence[float], tails: tuple[float, float]
) -> tuple[float, float]:
    """BCa's shares in place of ``tails``; the jackknife of a mean has a closed form."""
    observed = mean(values)
    below = (bisect_left(means, observed) + bisect_right(means, observed)) / (2 * len(means))
    half = 0.5 / len(means)
    bias = NORMAL.inv_cdf(min(max(below, half), 1 - half))
    deviations = [observed - value for value in values]
    squares = math.fsum(d * d for d in deviations)
    acceleration = -math.fsum(d**3 for d in deviations) / (6 * squares**1.5)

    def corrected(share: float) -> float:
        z = bias + NORMAL.inv_cdf(share)
        return 0.5 * math.erfc(-(bias + z / (1 - acceleration * z)) / math.sqrt(2))

    return corrected(tails[0]), corrected(tails[1])


@lru_cache(maxsize=2)
def _resamples(n: int) -> tuple[array[int], ...]:
    draw = random.Random(SEED).random
    return tuple(array("L", (int(draw() * n) for _ in range(n))) for _ in range(RESAMPLES))
