"""The low-order objectives against their papers' formulas, written out with loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.low_order import barlow_twins, cosine, simsiam_mec, vicreg
from pretrain.objective import coding_length, lambda_from_eps, mec_loss

Loss = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


def views(m: int = 9, dim: int = 5) -> tuple[list[Tensor], list[Tensor]]:
    """Three online views and two targets, float64 unit rows that resemble each other."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(m, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(5, m, dim, generator=generator, dtype=torch.float64)
    noisy = [F.normalize(image + 0.5 * x, dim=1) for x in noise]
    return noisy[:3], noisy[3:]


def columns(rows: Tensor) -> list[list[float]]:
    """The features of all rows, times sqrt(D)."""
    return [[x * rows.shape[1] ** 0.5 for x in column] for column in rows.T.tolist()]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def moment(x: Sequence[float], y: Sequence[float], lost: int = 0) -> float:
    """The covariance of two features; ``lost`` degrees of freedom."""
    products = [(a - mean(x)) * (b - mean(y)) for a, b in zip(x, y, strict=True)]
    return sum(products) / (len(x) - lost)


def plain_barlow_twins(p: Tensor, z: Tensor, weight: float) -> float:
    loss = 0.0
    for i, x in enumerate(columns(p)):
        for j, y in enumerate(columns(z)):
            c = moment(x, y) / ((moment(x, x) + 1e-5) * (moment(y, y) + 1e-5)) ** 0.5
            loss += (1 - c) ** 2 if i == j else weight * c**2
    return loss


def plain_vicreg(p: Tensor, z: Tensor, weights: tuple[float, float, float]) -> float:
    xs, ys = columns(p), columns(z)
    invariance = mean([(a - b) ** 2 for x, y in zip(xs, ys, strict=True) for a, b in zip(x, y, strict=True)])
    variance = mean([max(0.0, 1 - (moment(x, x, 1) + 1e-4) ** 0.5) for x in xs])
    off = [moment(x, y, 1) ** 2 for i, x in enumerate(xs) for j, y in enumerate(xs) if i != j]
    return weights[0] * invariance + weights[1] * variance + weights[2] * sum(off) / len(xs)


def over_pairs(plain: Callable[[Tensor, Tensor], float], p: Sequence[Tensor], z: Sequence[Tensor]) -> float:
    """Three online views: the third, a small crop, meets both targets."""
    return mean([plain(p[0], z[1]), plain(p[1], z[0]), plain(p[2], z[0]), plain(p[2], z[1])])


@pytest.mark.parametrize("weight", [0.0051, 0.3])
@pytest.mark.parametrize("shape", [(9, 5), (5, 9)])
def test_barlow_twins_is_its_formula(shape: tuple[int, int], weight: float) -> None:
    p, z = views(*shape)
    expected = over_pairs(lambda x, y: plain_barlow_twins(x, y, weight), p, z)
    assert float(barlow_twins(p, z, weight=weight)) == pytest.approx(expected, rel=1e-12)
    assert float(barlow_twins(p, z)) == pytest.approx(float(barlow_twins(p, z, weight=0.0051)), rel=1e-15)


def test_barlow_twins_by_hand() -> None:
    # Two features, +-1 / sqrt(2) in all four combinations: uncorrelated with each other.
    z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64) / 2**0.5
    assert float(barlow_twins([z, z], [z, z])) == pytest.approx(0, abs=1e-9)
    swapped = z.flip(1)  # c = [[0, 1], [1, 0]]
    assert float(barlow_twins([swapped, swapped], [z, z], weight=0.5)) == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("shape", [(9, 5), (5, 9)])
def test_vicreg_is_its_formula(shape: tuple[int, int], weights: tuple[float, float, float]) -> None:
    p, z = views(*shape)
    expected = over_pairs(lambda x, y: plain_vicreg(x, y, weights), p, z)
    invariance, variance, covariance = weights
    ours = vicreg(p, z, invariance=invariance, variance=variance, covariance=covariance)
    assert float(ours) == pytest.approx(expected, rel=1e-12)
    if weights == (25, 25, 1):
        assert torch.equal(vicreg(p, z), ours)


def test_vicreg_of_spread_and_of_collapsed_features() -> None:
    spread = torch.cat([torch.eye(4), -torch.eye(4)]).double()  # unbiased standard deviation sqrt(8/7) > 1
    assert float(vicreg([spread, spread], [spread, spread])) == 0
    collapsed = F.normalize(torch.ones(8, 4, dtype=torch.float64), dim=1)
    assert float(vicreg([collapsed] * 2, [collapsed] * 2)) == pytest.approx(25 * (1 - 0.01))


def test_cosine_is_the_first_order_of_mec() -> None:
    p, z = views()
    expected = over_pairs(lambda x, y: -mean([float(a @ b) for a, b in zip(x, y, strict=True)]), p, z)
    assert float(cosine(p, z)) == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(cosine(p, z), mec_loss(p, z, 0.1, 1))
    assert float(cosine([p[0]] * 2, [p[0]] * 2)) == pytest.approx(-1)


def test_second_order_is_barlow_twins_shape() -> None:
    # Eqs. 24 and 25 with features that are not correlated across: only the diagonal of C is left.
    z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64) / 2**0.5
    lam = 0.1
    diagonal = (lam * z.T @ z).diagonal()
    torch.testing.assert_close(coding_length(z, z, lam, 2), (diagonal - diagonal.square() / 2).sum())


def test_simsiam_mec_adds_the_coding_length() -> None:
    p, z = views()
    lam = lambda_from_eps(0.5, 9)
    expected = cosine(p, z) + 0.25 * mec_loss(p, z, lam, 4)
    torch.testing.assert_close(simsiam_mec(p, z, lam, 4, weight=0.25), expected)


LOSSES: list[Loss] = [cosine, barlow_twins, vicreg, lambda p, z: simsiam_mec(p, z, 0.1, 4)]


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_the_slope(loss: Loss) -> None:
    p, z = views()
    p = [x.requires_grad_() for x in p]
    assert torch.autograd.gradcheck(lambda *online: loss(online, z), p)


@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_leaves_the_objective_in_float32(loss: Loss) -> None:
    p, z = ([x.float() for x in side] for side in views(24, 40))
    outside = loss(p, z)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(p, z)
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_rows_give_a_float32_loss(loss: Loss) -> None:
    p, z = ([x.bfloat16() for x in side] for side in views(24, 40))
    value = loss(p, z)
    assert value.dtype == torch.float32
    wide = loss([x.float() for x in p], [x.float() for x in z])
    torch.testing.assert_close(value, wide)


@pytest.mark.parametrize("loss", LOSSES)
def test_views_of_the_wrong_number_are_refused(loss: Loss) -> None:
    p, z = views()
    with pytest.raises(ValueError, match="1 online and 2 target views"):
        loss(p[:1], z)
