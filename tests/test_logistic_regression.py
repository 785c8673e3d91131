"""Logistic regression: against scikit-learn's on the same features, its objective against differences."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from transfer.classify import logistic
from transfer.classify.logistic import Objective, fit_logistic

IMAGES, LABELS = load_digits(return_X_y=True)  # values 0..16, not centred
TRAIN, TEST = slice(0, 1000), slice(1000, None)


def digits(rows: slice, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.tensor(IMAGES[rows] / 16, dtype=dtype), torch.tensor(LABELS[rows])


def accuracy(weight: Tensor, bias: Tensor) -> float:
    features, labels = digits(TEST, weight.dtype)
    return 100 * float(((features @ weight.T + bias).argmax(1) == labels).double().mean())


def reference(l2: float, num: int) -> LogisticRegression:
    """The same objective by scikit-learn, further than it goes by itself."""
    return LogisticRegression(C=1 / (l2 * num), max_iter=10_000, tol=1e-7)


@pytest.mark.parametrize("l2", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_accuracy_and_coefficients_are_scikit_learns(
    l2: float, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    weight, bias = fit_logistic(*digits(TRAIN, dtype), l2, 10)
    assert (weight.shape, bias.shape, weight.dtype) == ((10, 64), (10,), dtype)
    expected = reference(l2, 1000).fit(IMAGES[TRAIN] / 16, LABELS[TRAIN])
    assert accuracy(weight, bias) == pytest.approx(
        100 * expected.score(IMAGES[TEST] / 16, LABELS[TEST]), abs=0.1
    )
    scale = np.abs(expected.coef_).max()
    np.testing.assert_allclose(weight, expected.coef_, atol=2e-3 * scale)
    # a constant on every bias changes nothing
    centred = expected.intercept_ - expected.intercept_.mean()
    np.testing.assert_allclose(bias - bias.mean(), centred, atol=5e-3 * np.abs(centred).max())
    assert caplog.text == ""  # all reached the minimum


def test_another_l2_gives_other_coefficients() -> None:
    """Negative control: a factor of two in the mapping to C would be seen."""
    weight, _ = fit_logistic(*digits(TRAIN), 1e-3, 10)
    other = reference(2e-3, 1000).fit(IMAGES[TRAIN] / 16, LABELS[TRAIN])
    assert np.abs(weight.numpy() - other.coef_).max() > 0.1


def test_several_labels_are_one_classifier_each() -> None:
    features, _ = digits(TRAIN)
    generator = np.random.default_rng(0)
    targets = np.stack([LABELS[TRAIN] % 2 == 0, LABELS[TRAIN] > 4], axis=1).astype(float)
    targets[generator.random(targets.shape) < 0.2] = -1.0  # difficult: not in training
    weight, bias = fit_logistic(features, torch.tensor(targets), 1e-3, 2)
    for column in range(2):
        kept = targets[:, column] >= 0
        assert 700 < kept.sum() < 900
        expected = reference(1e-3, int(kept.sum())).fit(IMAGES[TRAIN][kept] / 16, targets[kept, column])
        np.testing.assert_allclose(
            weight[column], expected.coef_[0], atol=5e-3 * np.abs(expected.coef_).max()
        )
        assert bias[column].item() == pytest.approx(expected.intercept_[0], rel=0.01, abs=0.01)


def test_two_classes_are_those_of_half_the_penalty() -> None:
    rows = np.flatnonzero(LABELS < 2)
    features, labels = torch.tensor(IMAGES[rows] / 16), torch.tensor(LABELS[rows])
    weight, _ = fit_logistic(features, labels, 2e-3, 2)
    expected = reference(1e-3, len(rows)).fit(features, labels).coef_[0]
    np.testing.assert_allclose(weight[1] - weight[0], expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("several", [False, True])
def test_the_gradient_is_that_of_the_loss(several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "LOGITS_AT_ONCE", 3 * 7)  # blocks of seven images, the last one of two
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 4, generator=generator, dtype=torch.float64) + 3.0
    labels = torch.randint(-1, 2, (30, 3), generator=generator) if several else torch.arange(30) % 3
    objective = Objective(features, labels, 0.1, 3)
    packed = np.random.default_rng(0).normal(size=15)
    value, gradient = objective(packed)
    for i in range(15):
        step = np.eye(15)[i] * 1e-6
        slope = (objective(packed + step)[0] - objective(packed - step)[0]) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-8)
    weight, bias = objective.unpack(packed)
    logits = features @ weight.T + bias
    if several:
        share = [logits[labels[:, c] >= 0, c] for c in range(3)]
        truth = [labels[labels[:, c] >= 0, c].double() for c in range(3)]
        mean = sum(
            torch.nn.functional.binary_cross_entropy_with_logits(*pair)
            for pair in zip(share, truth, strict=True)
        )
    else:
        mean = torch.nn.functional.cross_entropy(logits, labels)
    assert value == pytest.approx(float(mean + 0.05 * weight.square().sum()))
    np.testing.assert_allclose(objective.pack(weight, bias), packed)


def test_a_neighbouring_result_shortens_the_way_to_the_same_minimum(caplog: pytest.LogCaptureFixture) -> None:
    features, labels = digits(TRAIN, torch.float64)
    neighbour = fit_logistic(features, labels, 2e-4, 10)
    with caplog.at_level(logging.INFO):
        cold, _ = fit_logistic(features, labels, 1e-4, 10)
        warm, _ = fit_logistic(features, labels, 1e-4, 10, start=neighbour)
    np.testing.assert_allclose(warm, cold, atol=0.02)
    first, second = (record.args[0] for record in caplog.records if "steps, loss" in record.getMessage())  # type: ignore[index]
    assert second < first


def test_images_that_hardly_differ_are_told_apart_in_float32() -> None:
    """Features of unit length are alike; without centring, float32 products lose the little that differs."""
    features, labels = digits(TRAIN, torch.float64)
    alike = 1.0 + 1e-3 * features
    exact, _ = fit_logistic(alike, labels, 1e-8, 10)
    found, _ = fit_logistic(alike.float(), labels, 1e-8, 10)
    assert (found - exact).abs().max() < 0.01 * exact.abs().max()


def test_too_few_steps_warn_with_the_gradient(caplog: pytest.LogCaptureFixture) -> None:
    fit_logistic(*digits(TRAIN), 1e-3, 10, max_iter=3)
    assert "stopped after 3 steps at a gradient of" in caplog.text


@pytest.mark.parametrize(
    ("features", "labels", "l2", "message"),
    [
        (
            torch.ones(4, 2),
            torch.zeros(4, dtype=torch.int64),
            0.0,
            "l2: expected a positive number .* found 0.0",
        ),
        (
            torch.ones(4, 2),
            torch.zeros(3, dtype=torch.int64),
            1.0,
            r"labels \(4,\) or targets \(4, 3\).* \(3,\)",
        ),
        (torch.ones(0, 2), torch.zeros(0, dtype=torch.int64), 1.0, "at least one"),
        (torch.full((4, 2), torch.inf), torch.zeros(4, dtype=torch.int64), 1.0, "NaN or infinity"),
    ],
)
def test_what_has_no_minimum_is_refused(features: Tensor, labels: Tensor, l2: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_logistic(features, labels, l2, 3)
