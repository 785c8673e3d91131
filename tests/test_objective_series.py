"""The objective against formulas written out plainly here, and against the exact log-determinant."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pretrain.objective import (
    coding_length,
    effective_rank,
    lambda_from_eps,
    mec_loss,
    spectral_norm,
    view_pairs,
)

SHAPES = [(16, 48), (32, 32), (48, 16)]  # m < d, m = d, m > d


def embeddings(shape: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two unit-row matrices that resemble each other, float64."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(shape, generator=generator, dtype=torch.float64)
    p = z + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return F.normalize(p, dim=1), F.normalize(z, dim=1)


def plain_length(p: Tensor, z: Tensor, lam: float, order: int) -> Tensor:
    """Eq. 3's trace by dense powers of the m x m matrix, as the paper writes it; order 0: Eq. 1's log det."""
    c = lam * p @ z.T
    power, total = torch.eye(len(c), dtype=c.dtype), torch.zeros((), dtype=c.dtype)
    if order == 0:
        return torch.logdet(power + c)
    for k in range(1, order + 1):
        power = power @ c
        total = total + (-1) ** (k + 1) / k * torch.trace(power)
    return total


def assert_close(ours: Tensor, reference: Tensor, tolerance: float) -> None:
    """The error's norm over the reference's."""
    assert ours.shape == reference.shape
    assert ((ours - reference).norm() / reference.norm()).item() < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("shape", [*SHAPES, (13, 7), (96, 160)])
@pytest.mark.parametrize("order", range(9))
def test_value_and_gradients_equal_the_dense_powers(
    shape: tuple[int, int], order: int, dtype: torch.dtype, tolerance: float
) -> None:
    plain = [x.requires_grad_() for x in embeddings(shape)]
    ours = [x.detach().to(dtype).requires_grad_() for x in plain]
    lam = lambda_from_eps(0.5, shape[0])
    reference, length = plain_length(*plain, lam, order), coding_length(*ours, lam, order)
    assert length.dtype == dtype
    assert_close(length, reference, tolerance)
    for mine, other in zip(
        torch.autograd.grad(length, ours), torch.autograd.grad(reference, plain), strict=True
    ):
        assert_close(mine, other, tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_wise_and_feature_wise_agree_at_every_order(shape: tuple[int, int]) -> None:
    p, z = embeddings(shape)
    for order in range(9):
        torch.testing.assert_close(coding_length(p, z, 0.05, order), coding_length(p.T, z.T, 0.05, order))


@pytest.mark.parametrize("shape", SHAPES)
def test_series_approaches_the_exact_log_determinant(shape: tuple[int, int]) -> None:
    p, z = embeddings(shape)
    lam = lambda_from_eps(0.5, shape[0])
    assert spectral_norm(p, z, lam, num_iterations=50) < 1
    exact = plain_length(p, z, lam, 0)
    errors = [abs(float(coding_length(p, z, lam, order) - exact)) for order in (1, 2, 4, 8, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9


def test_series_does_not_converge_outside_its_disc() -> None:
    z = torch.eye(4, dtype=torch.float64)
    errors = [
        abs(float(coding_length(z, z, 1.5, order) - coding_length(z, z, 1.5, 0))) for order in (4, 8, 16)
    ]
    assert errors == sorted(errors)


def test_two_by_two_by_hand() -> None:
    # p = z = I, lambda = 1/2: C = I/2, series of order 2 = 2 * (1/2 - 1/8) = 3/4
    z = torch.eye(2, dtype=torch.float64)
    assert float(coding_length(z, z, 0.5, 2)) == pytest.approx(3 / 4)
    # both directions agree, so the loss is -(3/4) / (lambda * m) = -3/4
    assert float(mec_loss([z, z], [z, z], 0.5, 2)) == pytest.approx(-3 / 4)


def test_first_order_loss_is_minus_the_mean_cosine() -> None:
    p1, z2 = embeddings((16, 48), 1)
    p2, z1 = embeddings((16, 48), 2)
    cosine = ((p1 * z2).sum(1).mean() + (p2 * z1).sum(1).mean()) / 2
    torch.testing.assert_close(mec_loss([p1, p2], [z1, z2], lambda_from_eps(0.06, 16), 1), -cosine)


def test_small_crops_meet_both_targets() -> None:
    (p0, z0), (p1, z1), (p2, p3) = (embeddings((8, 12), seed) for seed in range(3))
    assert view_pairs([p0, p1], [z0, z1]) == [(0, 1), (1, 0)]
    pairs = [(p0, z1), (p1, z0), (p2, z0), (p2, z1), (p3, z0), (p3, z1)]
    lam = lambda_from_eps(0.5, 8)
    lengths = [plain_length(p, z, lam, 4) for p, z in pairs]
    expected = -sum(lengths) / 6 / (lam * 8)
    torch.testing.assert_close(mec_loss([p0, p1, p2, p3], [z0, z1], lam, 4), expected)


@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_autocast_leaves_the_objective_in_float32(order: int) -> None:
    p, z = (x.float() for x in embeddings((24, 40)))
    p.requires_grad_()
    lam = lambda_from_eps(0.5, 24)
    outside = coding_length(p, z, lam, order)
    (gradient_outside,) = torch.autograd.grad(outside, p)
    with torch.autocast("cpu", torch.bfloat16):
        inside = coding_length(p, z, lam, order)
        (gradient_inside,) = torch.autograd.grad(inside, p)
        assert (p @ z.T).dtype == torch.bfloat16  # what a product of one's own would have been
    assert torch.equal(inside, outside)
    assert torch.equal(gradient_inside, gradient_outside)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", [0, 1, 4])
def test_half_precision_rows_are_accumulated_in_float32(dtype: torch.dtype, order: int) -> None:
    p, z = (x.to(dtype) for x in embeddings((24, 40)))
    p.requires_grad_()
    length = coding_length(p, z, 0.05, order)
    assert length.dtype == torch.float32
    assert_close(length, plain_length(p.double(), z.double(), 0.05, order), 1e-6)
    (gradient,) = torch.autograd.grad(length, p)
    assert gradient.dtype == dtype


def test_gradient_is_of_what_is_asked_and_once() -> None:
    p, z = embeddings((8, 12))
    assert not coding_length(p, z, 0.1, 4).requires_grad
    with torch.no_grad():
        assert not coding_length(p.requires_grad_(), z, 0.1, 4).requires_grad
    length = coding_length(p, z.requires_grad_(), 0.1, 4)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(length, z, create_graph=True)
    assert_close(*torch.autograd.grad(length, z), *torch.autograd.grad(plain_length(p, z, 0.1, 4), z), 1e-12)


def flops(order: int, m: int, dim: int, differentiate: bool = True) -> int:
    """Multiplications and additions in matrix products of one forward and backward pass."""
    p, z = torch.randn(m, dim, requires_grad=differentiate), torch.randn(m, dim)
    added = {torch.ops.aten.addmm_: lambda total, x, y, **_: 2 * x[0] * x[1] * y[1]}  # of shapes
    with FlopCounterMode(display=False, custom_mapping=added) as counter:
        length = coding_length(p, z, 1e-4, order)
        if differentiate:
            length.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(("m", "dim"), [(32, 64), (64, 32)])
def test_no_matrix_product_too_many(m: int, dim: int) -> None:
    s, t = min(m, dim), max(m, dim)
    inner = 2 * s * s  # of one inner product for a trace
    assert flops(1, m, dim) == 0
    assert flops(2, m, dim) == 2 * (2 * s * s * t) + inner
    assert flops(3, m, dim) == 2 * (2 * s * s * t + s**3) + inner
    assert flops(4, m, dim) == 2 * (2 * s * s * t + 2 * s**3) + 2 * inner
    assert flops(4, m, dim, differentiate=False) == 2 * (s * s * t + s**3) + 2 * inner
    assert flops(8, m, dim) == 2 * (2 * s * s * t + 4 * s**3) + 4 * inner


def test_spectral_norm_equals_the_decomposition() -> None:
    p, z = embeddings((24, 40))
    norm = float(torch.linalg.matrix_norm(0.1 * p @ z.T, 2))
    estimates = [spectral_norm(p, z, 0.1, num_iterations=count) for count in (2, 8, 500)]
    assert estimates == sorted(estimates)
    assert estimates[-1] == pytest.approx(norm, rel=1e-6)
    assert spectral_norm(torch.zeros(3, 4), torch.zeros(3, 4), 1.0) == 0


def test_spectral_norm_sees_centred_embeddings() -> None:
    # what a batch-norm leaves: a vector of ones is in the null space
    _, z = embeddings((24, 40))
    z = z - z.mean(0)
    assert spectral_norm(z, z, 1.0) > 0.8 * float(torch.linalg.matrix_norm(z @ z.T, 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_effective_rank_equals_the_decomposition(shape: tuple[int, int]) -> None:
    z = embeddings(shape)[0]
    s = torch.linalg.svdvals(z - z.mean(0))
    share = s / s.sum()
    entropy = -sum(float(x) * float(x.log()) for x in share if x > 1e-12)
    assert effective_rank(z) == pytest.approx(torch.tensor(entropy).exp().item(), rel=1e-5)


def test_effective_rank_of_collapse_is_one_also_in_float32() -> None:
    one_direction = torch.outer(torch.linspace(-1, 1, 256), torch.linspace(0.5, 1, 300))
    assert effective_rank(one_direction) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.ones(8, 4)) == pytest.approx(1)
    assert effective_rank(torch.cat([torch.eye(4), -torch.eye(4)])) == pytest.approx(4, rel=1e-5)


def test_refusals_name_what_was_found() -> None:
    p, z = embeddings((6, 9))
    with pytest.raises(ValueError, match="order is -1, expected at least 1, or 0 for the exact"):
        coding_length(p, z, 0.1, -1)
    with pytest.raises(ValueError, match=r"p is \(6, 9\) and z \(6, 8\)"):
        coding_length(p, z[:, :8], 0.1, 4)
    with pytest.raises(ValueError, match="6 rows, expected 12: rank 0's share of batch_size 12 over 1 proc"):
        coding_length(p, z, 0.1, 4, batch_size=12)
    with pytest.raises(ValueError, match="1 online and 2 target views"):
        mec_loss([p], [z, z], 0.1, 4)
    with pytest.raises(ValueError, match="2 online and 3 target views"):
        mec_loss([p, p], [z, z, z], 0.1, 4)
    with pytest.raises(ValueError, match="lambda is 0, expected above 0"):
        mec_loss([p, p], [z, z], 0, 4)


@pytest.mark.parametrize("z", [-torch.eye(3), torch.diag(torch.tensor([-1.0, 1.0, 1.0]))])
def test_exact_refuses_a_determinant_that_is_not_positive(z: Tensor) -> None:
    assert float(torch.linalg.det(torch.eye(3) + 2 * z)) < 0
    for lam in (1, 2):  # at 1 the determinant is zero
        with pytest.raises(ValueError, match=r"not positive.*lower lambda"):
            coding_length(torch.eye(3), z, lam, 0)


def test_exact_passes_on_what_is_not_a_number() -> None:
    # the caller stops at a loss that is not finite; a determinant's sign would be the wrong reason
    p, z = (x.float() for x in embeddings((6, 9)))
    p[0, 0] = torch.nan
    assert coding_length(p, z, 0.1, 0).isnan()
