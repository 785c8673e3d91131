"""The objective against formulas written out plainly here, and against the exact log-determinant."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.objective import (
    effective_rank,
    lambda_from_eps,
    log_det,
    log_det_series,
    mec_loss,
    similarity,
    spectral_norm,
)

SHAPES = [(16, 48), (32, 32), (48, 16)]  # m < d, m = d, m > d


def embeddings(shape: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two unit-row matrices that resemble each other, float64."""
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(shape, generator=generator, dtype=torch.float64)
    z2 = z1 + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return F.normalize(z1, dim=1), F.normalize(z2, dim=1)


def plain_series(z1: Tensor, z2: Tensor, lam: float, order: int) -> Tensor:
    """Eq. 3's trace by dense powers of the m x m matrix, as the paper writes it."""
    c = lam * z1 @ z2.T
    power, total = torch.eye(len(c), dtype=c.dtype), torch.zeros((), dtype=c.dtype)
    for k in range(1, order + 1):
        power = power @ c
        total = total + (-1) ** (k + 1) / k * torch.trace(power)
    return total


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", range(1, 9))
def test_series_and_gradient_equal_the_dense_powers(shape: tuple[int, int], order: int) -> None:
    z1, z2 = embeddings(shape)
    lam = lambda_from_eps(0.5, shape[0])
    z1.requires_grad_()
    ours = log_det_series(similarity(z1, z2, lam), order)
    plain = plain_series(z1, z2, lam, order)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    (ours_gradient,) = torch.autograd.grad(ours, z1)
    (plain_gradient,) = torch.autograd.grad(plain, z1)
    torch.testing.assert_close(ours_gradient, plain_gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_series_approaches_the_exact_coding_length(shape: tuple[int, int]) -> None:
    z1, z2 = embeddings(shape)
    c = similarity(z1, z2, lambda_from_eps(0.5, shape[0]))
    assert spectral_norm(c, 50) < 1
    exact = log_det(c)
    errors = [abs(float(log_det_series(c, order) - exact)) for order in (1, 2, 4, 8, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9


def test_series_does_not_converge_outside_its_disc() -> None:
    c = 1.5 * torch.eye(4, dtype=torch.float64)
    errors = [abs(float(log_det_series(c, order) - log_det(c))) for order in (4, 8, 16)]
    assert errors == sorted(errors)


def test_order_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, found 0"):
        log_det_series(torch.eye(2), 0)


def test_first_order_loss_is_minus_the_mean_cosine() -> None:
    p1, z2 = embeddings((16, 48), 1)
    p2, z1 = embeddings((16, 48), 2)
    lam = lambda_from_eps(0.06, 16)
    cosine = ((p1 * z2).sum(1).mean() + (p2 * z1).sum(1).mean()) / 2
    torch.testing.assert_close(mec_loss(p1, p2, z1, z2, lam, order=1), -cosine)


def test_two_by_two_by_hand() -> None:
    # z1 = z2 = I, lambda = 1/2: C = I/2, series of order 2 = 2 * (1/2 - 1/8) = 3/4
    z = torch.eye(2, dtype=torch.float64)
    assert float(log_det_series(similarity(z, z, 0.5), 2)) == pytest.approx(3 / 4)
    # both directions agree, so the loss is -(3/4) / (lambda * m) = -3/4
    assert float(mec_loss(z, z, z, z, 0.5, 2)) == pytest.approx(-3 / 4)


def test_spectral_norm_and_rank_equal_the_decomposition() -> None:
    z1, z2 = embeddings((24, 40))
    c = similarity(z1, z2, 0.1)
    assert spectral_norm(c, 500) == pytest.approx(float(torch.linalg.matrix_norm(c, 2)), rel=1e-6)
    one_direction = torch.outer(torch.arange(8.0), torch.ones(4))
    assert effective_rank(one_direction + 1) == pytest.approx(1)
    assert effective_rank(torch.cat([torch.eye(4), -torch.eye(4)])) == pytest.approx(4, rel=1e-5)
