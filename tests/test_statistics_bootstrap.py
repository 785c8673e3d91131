"""The bootstrap over items: by hand, against scipy on the very same resamples, the same everywhere."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from transfer.report.resampling import (
    MIN_ITEMS,
    RESAMPLES,
    bootstrap_interval,
    paired_bootstrap,
    quantile,
    resampled_means,
)

ROOT = Path(__file__).resolve().parent.parent
SKEWED = [1.2, 2.5, 3.1, 4.0, 4.4, 6.0, 7.9, 11.0, 15.5, 22.0, 31.0, 60.0]


class Resampled:
    """What scipy wants to see of an earlier bootstrap."""

    def __init__(self, values: list[float]) -> None:
        self.bootstrap_distribution = np.array(resampled_means(values))


@pytest.mark.parametrize(("method", "name"), [("bca", "BCa"), ("percentile", "percentile")])
@pytest.mark.parametrize("values", [SKEWED, [50.0, 50.0, 50.0, 50.0, 80.0], [-value for value in SKEWED]])
def test_intervals_are_scipys_on_the_same_resamples(values: list[float], method: str, name: str) -> None:
    expected = stats.bootstrap(
        (values,), np.mean, method=name, n_resamples=0, bootstrap_result=Resampled(values)
    ).confidence_interval
    assert bootstrap_interval(values, method) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_intervals_are_near_scipys_on_resamples_of_its_own() -> None:
    expected = stats.bootstrap(
        (SKEWED,), np.mean, n_resamples=20_000, random_state=np.random.default_rng(1)
    ).confidence_interval
    low, high = bootstrap_interval(SKEWED)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=0.05)


def test_bca_moves_a_skewed_interval_to_the_long_tail() -> None:
    percentile, bca = bootstrap_interval(SKEWED, "percentile"), bootstrap_interval(SKEWED)
    assert percentile[0] < bca[0]
    assert percentile[1] < bca[1]


def test_resamples_have_the_spread_that_theory_says() -> None:
    means = resampled_means(SKEWED)
    assert (len(means), means) == (RESAMPLES, sorted(means))
    # The deviation of a resampled mean is that of the values, divided by n, over sqrt(n).
    assert np.std(means) == pytest.approx(np.std(SKEWED) / math.sqrt(12), rel=0.02)
    error = np.std(means) / math.sqrt(RESAMPLES)
    assert np.mean(means) == pytest.approx(np.mean(SKEWED), abs=3 * error)


def test_quantiles_by_hand() -> None:
    assert quantile([1.0, 2.0, 4.0], 0.25) == 1.5
    assert quantile([1.0, 2.0, 4.0], 0.9) == pytest.approx(2 + 0.8 * 2)
    assert (quantile([1.0, 2.0], 0.0), quantile([1.0, 2.0], 1.0), quantile([3.0], 0.7)) == (1.0, 2.0, 3.0)
    values = sorted(random.Random(0).random() for _ in range(37))
    assert quantile(values, 0.123) == pytest.approx(np.quantile(values, 0.123))


def test_paired_bootstrap_ignores_what_items_share() -> None:
    better = [value + 1.0 + 0.1 * (i % 3) for i, value in enumerate(SKEWED)]
    found = paired_bootstrap(SKEWED, better)
    assert found.difference == pytest.approx(1.1)
    assert 1.0 <= found.low < 1.1 < found.high <= 1.2
    assert found.p_value == 1 / (RESAMPLES + 1)
    assert (found.beyond_noise, found.n, found.test) == (True, 12, "paired bootstrap over 12 items")
    low, high = bootstrap_interval(SKEWED)
    assert high - low > 10 * (found.high - found.low)


def test_paired_bootstrap_of_equal_backbones_finds_nothing() -> None:
    found = paired_bootstrap(SKEWED, SKEWED)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    draw = random.Random(3)
    p_values = []
    for _ in range(60):
        first = [draw.gauss(50, 10) for _ in range(20)]
        p_value = paired_bootstrap(first, [value + draw.gauss(0, 3) for value in first]).p_value
        assert p_value is not None
        p_values.append(p_value)
    assert sum(p < 0.05 for p in p_values) <= 10  # 3 are expected
    assert min(p_values) < 0.2 < 0.8 < max(p_values)


def test_resamples_are_the_same_in_another_process_and_need_no_package() -> None:
    code = (
        "import sys; from transfer.report.resampling import bootstrap_interval;"
        f"print(repr(bootstrap_interval({SKEWED!r})), [m for m in ('numpy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True
    )
    assert done.stdout == f"{bootstrap_interval(SKEWED)!r} []\n", done.stderr


def test_the_interval_is_the_one_of_every_python_version() -> None:
    """Typed from CPython 3.10; 3.12 and 3.13 gave the same digits."""
    low, high = bootstrap_interval(SKEWED)
    assert (f"{low:.10g}", f"{high:.10g}") == EXPECTED


EXPECTED = ("7.558333333", "28.56221213")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([1.0] * (MIN_ITEMS - 1)), "at least 5 items to resample, found 4"),
        (lambda: bootstrap_interval([1.0, math.inf, 1.0, 1.0, 1.0]), "finite"),
        (lambda: bootstrap_interval(SKEWED, "basic"), "expected bca or percentile, found 'basic'"),
        (lambda: paired_bootstrap(SKEWED, SKEWED[1:]), "expected pairs, found 12 and 11"),
        (lambda: paired_bootstrap([1.0], [2.0]), "at least 5 values"),
        (lambda: quantile([], 0.5), "expected values"),
        (lambda: quantile([1.0], 1.5), "0..1"),
    ],
)
def test_what_has_no_answer_is_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()


def test_values_that_are_all_the_same_have_an_interval_without_width() -> None:
    assert bootstrap_interval([7.0] * 6) == (7.0, 7.0)
