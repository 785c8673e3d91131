"""Schedules by hand arithmetic."""

from __future__ import annotations

import pytest

from pretrain.schedule import lambda_at, learning_rate, target_momentum, warmup_steps


def test_warmup_never_exceeds_a_fifth_of_the_run() -> None:
    assert warmup_steps(10, steps_per_epoch=1000, total_steps=100_000) == 10_000
    assert warmup_steps(10, steps_per_epoch=10, total_steps=30) == 6
    assert warmup_steps(10, steps_per_epoch=1, total_steps=1) == 0


def test_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    rates = [learning_rate(step, 110, 10, 2.0) for step in (0, 5, 10, 60, 110)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.0, 0.0])
    assert learning_rate(0, 1, 0, 2.0) == 2.0


def test_target_momentum_rises_to_one_and_no_momentum_stays_none() -> None:
    assert [target_momentum(step, 100, 0.996) for step in (0, 50, 100)] == pytest.approx([0.996, 0.998, 1.0])
    assert [target_momentum(step, 100, 0.0) for step in (0, 50, 99)] == [0.0, 0.0, 0.0]


def test_inverse_lambda_falls_linearly_from_eight_times_its_value() -> None:
    inverses = [1 / lambda_at(step, 10, lam=0.25) for step in (0, 5, 10, 11)]
    assert inverses == pytest.approx([32.0, 18.0, 4.0, 4.0])
    assert lambda_at(0, 0, 0.25) == 0.25


def test_linear_lambda_rises_from_an_eighth_of_its_value() -> None:
    assert [lambda_at(step, 10, 0.8, "linear") for step in (0, 5, 10, 11)] == pytest.approx(
        [0.1, 0.45, 0.8, 0.8]
    )
