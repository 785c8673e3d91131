"""The coding length of a representation, exact and as the Taylor series that MEC trains with.

Source: Maximum Entropy Coding (arXiv 2210.11464), equation numbers below. Shape legend: m = rows of the
whole batch, m_r = this rank's rows of it, D = embedding dimension (the paper's d). Embeddings are rows
here, ``(m, D)``, so the paper's Z1^T Z2 is ``p @ z.T``. With mu = (m + d) / 2, eps_d^2 = eps^2 / d and
lambda = 1 / (m eps_d^2), the similarity matrix is C = lambda Z1^T Z2.

Every function takes this rank's rows and returns the whole batch's value, the same on all ranks; its gradient
is that of this rank's rows (:mod:`pretrain.collective` has the convention). Arithmetic is float32 whatever
comes in, also under autocast; float64 stays float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.collective import World, gather_rows
from pretrain.row_blocks import add_product, gather, transpose

ONE_PROCESS = World()


class DeterminantError(ValueError):
    """log det(I + C) of a matrix whose determinant is not positive."""


def lambda_from_eps(eps_d_sq: float, batch_size: int) -> float:
    """The paper's lambda = 1 / (m eps_d^2) (notation below Eq. 1)."""
    return 1.0 / (batch_size * eps_d_sq)


def mec_loss(
    p: Sequence[Tensor],
    z: Sequence[Tensor],
    lam: float,
    order: int,
    *,
    batch_size: int | None = None,
    world: World = ONE_PROCESS,
) -> Tensor:
    """The symmetric MEC loss (Eq. 3), scaled as in the authors' code.

    Args:
        p: online embeddings, ``(m_r, D)`` unit rows of two or more views; from the third on small crops.
        z: target embeddings of views 0 and 1, likewise.
        lam: lambda > 0, see :func:`lambda_from_eps`.
        order: number of Taylor terms, 4 in the paper; 0 for the exact log-determinant.
        batch_size: m, rows of all ranks together; ``len(p[0])`` when not given.

    Returns:
        A scalar: the mean of -log det(I + C) / (lambda m) over the :func:`view_pairs`. Division by
        lambda m makes the first-order term minus the mean cosine similarity, so the loss is about -1
        when the views agree; mu is a constant and left out;
        the coding length of Eq. 1 is minus the loss times lambda m mu.

    Raises:
        ValueError: fewer than two views, lam not above 0, or what :func:`coding_length` refuses.
    """
    if not lam > 0:
        raise ValueError(f"lambda is {lam}, expected above 0; see lambda_from_eps")
    pairs = view_pairs(p, z)
    m = len(p[0]) if batch_size is None else batch_size
    whole = [_gather(targets, m, world) for targets in z]  # once, however many views meet it
    lengths = [_coding_length(p[i], z[j], whole[j], lam, order, m, world) for i, j in pairs]
    return torch.stack(lengths).mean() / (-lam * m)


def view_pairs(p: Sequence[Tensor], z: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Which online view i meets which target view j: every i other than j.

    Two views give (0, 1) and (1, 0); a small crop meets both targets.

    Raises:
        ValueError: not two target views, or fewer than two online ones.
    """
    if len(z) != 2 or len(p) < 2:
        raise ValueError(
            f"{len(p)} online and {len(z)} target views, expected two target views (the full-size ones) "
            "and at least two online ones"
        )
    return [(i, j) for i in range(len(p)) for j in range(2) if i != j]


def coding_length(
    p: Tensor,
    z: Tensor,
    lam: float,
    order: int,
    *,
    batch_size: int | None = None,
    world: World = ONE_PROCESS,
) -> Tensor:
    """log det(I + C), C = lam P Z^T, or the first terms of its Taylor series (Eqs. 2 and 3, without mu).

    The series is Tr(sum_{k=1}^{order} (-1)^(k+1)/k C^k) and converges when the spectral norm of C is below 1.
    C is m x m (batch-wise) or D x D (feature-wise), whichever is smaller: the two have the same
    non-zero eigenvalues, hence equal determinants of I + C and equal traces at every order (Sylvester,
    Eqs. 4 and 18-21). The gradient is derived by hand, computed beside the value where one is asked for,
    and cannot be differentiated again.

    Over several ranks the work and each matrix of C's size are split between them; only the embeddings
    are gathered whole. The exact log-determinant is the exception: every rank computes all of it.

    Args:
        p, z: ``(m_r, D)``, this rank's rows.
        lam: the factor of C.
        order: number of Taylor terms; 0 for the exact log-determinant.
        batch_size: m, rows of all ranks together; ``len(p)`` when not given.

    Raises:
        ValueError: p and z of different shapes or not this rank's share of the batch, or a negative order.
        DeterminantError: at order 0, a determinant that is not positive (its logarithm does not exist).
        RuntimeError: in the backward pass, when asked for a gradient with a graph of its own.
    """
    m = len(p) if batch_size is None else batch_size
    return _coding_length(p, z, _gather(z, m, world), lam, order, m, world)


def spectral_norm(
    p: Tensor,
    z: Tensor,
    lam: float,
    *,
    num_iterations: int = 8,
    batch_size: int | None = None,
    world: World = ONE_PROCESS,
) -> float:
    """The largest singular value of C = lam P Z^T by power iteration; the series needs it below 1.

    Deterministic and from below: the estimate grows to the norm with the iterations. C is never formed, an
    iteration is four products of a matrix with a vector and two sums over the ranks.
    """
    m = len(p) if batch_size is None else batch_size
    p, z = at_least_float32(p), at_least_float32(z)
    # Not a vector of ones: embeddings that a batch-norm has centred nearly cancel in it.
    start = torch.randn(m, generator=torch.Generator().manual_seed(0))
    v = start[world.share(m)].to(p)
    norm = 0.0
    with torch.autocast(p.device.type, enabled=False):
        for _ in range(num_iterations + 1):
            v = v / _sum(v.square().sum(), world).sqrt().clamp_min(torch.finfo(v.dtype).tiny)
            u = lam * (p @ _sum(z.T @ v, world))  # C v
            norm = float(_sum(u.square().sum(), world).sqrt())
            v = lam * (z @ _sum(p.T @ u, world))  # C^T C v
    return norm


@torch.no_grad()
def effective_rank(z: Tensor) -> float:
    """exp of the entropy of the normalised singular values of the centred ``(m, D)``: 1 when collapsed.

    Roy and Vetterli, "The effective rank" (2007). The singular values are roots of the eigenvalues of the
    smaller Gram matrix, taken in float64: float32's rounding of a thousand zeros would look like a rank.
    """
    z = z.double()
    z = z - z.mean(0)
    gram = z @ z.T if len(z) <= z.shape[1] else z.T @ z
    s = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    share = s / s.sum().clamp_min(torch.finfo(s.dtype).tiny)
    return float(torch.exp(torch.special.entr(share).sum()))


def at_least_float32(x: Tensor) -> Tensor:
    """x as float32 where it is narrower; sums of half-precision products are not to be trusted."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _coding_length(
    p: Tensor, z: Tensor, whole_z: Tensor, lam: float, order: int, m: int, world: World
) -> Tensor:
    """:func:`coding_length` where all ranks' rows of z, ``(m, D)``, are already here."""
    if p.shape != z.shape:
        raise ValueError(f"p is {tuple(p.shape)} and z {tuple(z.shape)}, expected the same (rows, D)")
    if order < 0:
        raise ValueError(f"order is {order}, expected at least 1, or 0 for the exact log-determinant")
    if not torch.is_grad_enabled():
        p, z = p.detach(), z.detach()  # or gradients would be computed that nobody can ask for
    p, z = at_least_float32(p), at_least_float32(z)
    if order == 1:  # Tr C, minus whose gradient is SimSiam's and BYOL's (Eqs. 22 and 23); needs no C
        return lam * gather_rows((p * z).sum(1), world, m).sum()
    length: Tensor = _CodingLength.apply(p, z, whole_z, lam, order, world)  # type: ignore[no-untyped-call]
    return length


class _CodingLength(torch.autograd.Function):
    """Value and gradient of the series of order 2 and more, and of the exact log-determinant (order 0).

    The smaller side comes first: with (A, B) = (P, Z), or (P^T, Z^T) when m > D, let A and B be s x t with
    s <= t, C = lam A B^T and X = -C. Then log det(I - X) = -sum_k Tr(X^k) / k, and with F = sum_{k<n} X^k
    (F = (I - X)^-1 when exact) its gradients are dA = lam F^T B and dB = lam F A.
    """

    @staticmethod
    def forward(
        ctx: Any, p: Tensor, z: Tensor, whole_z: Tensor, lam: float, order: int, world: World
    ) -> Tensor:
        with torch.autocast(p.device.type, enabled=False):
            compute = _exact if order == 0 else _series
            value, dp, dz = compute(ctx.needs_input_grad[:2], p, z, whole_z, lam, order, world)
        ctx.save_for_backward(dp, dz)
        ctx.lam = lam
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would pass the gradient on as a constant
            raise RuntimeError(
                "the coding length's gradient is computed by hand and cannot be differentiated again; "
                "call backward without create_graph=True"
            )
        dp, dz = ctx.saved_tensors
        scale = gradient * ctx.lam
        return None if dp is None else scale * dp, None if dz is None else scale * dz, None, None, None, None


def _series(
    wanted: Sequence[bool], p: Tensor, z: Tensor, whole_z: Tensor, lam: float, order: int, world: World
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The series, and its gradients without the factor lam where they are wanted.

    Powers X^1 .. X^h are formed up to h = ceil(order / 2). They give the traces up to Tr X^h; the further
    ones are inner products Tr(X^h X^j) = <X^h, (X^j)^T>.
    """
    m, dim = whole_z.shape
    turned = m > dim
    s = dim if turned else m
    a, b = (transpose(p, m, world) if turned else p), (whole_z.T if turned else whole_z)
    h = (order + 1) // 2
    powers = [(a @ b.T).mul_(-lam)]
    for _ in range(1, h):
        powers.append(add_product(torch.zeros_like(powers[0]), powers[-1], powers[0], world))
    transposed = [transpose(power, s, world) for power in powers[: h if wanted[0] else order - h]]
    diagonal = world.share(s).start
    value = powers[0].new_zeros(())
    for k, power in enumerate(powers, 1):
        value -= power.diagonal(diagonal).sum() / k
    for k, other in enumerate(transposed[: order - h], h + 1):
        value -= torch.einsum("ij,ij->", powers[-1], other) / k
    value = _sum(value, world)
    # F^T from the powers of X^T, which are here: one matrix less to send than a transposed F
    dp = _gradient(_geometric(transposed, order, world), whole_z, turned, world) if wanted[0] else None
    dz = (
        _gradient(_geometric(powers, order, world), gather(p, m, world), turned, world) if wanted[1] else None
    )
    return value, dp, dz


def _geometric(powers: list[Tensor], order: int, world: World) -> Tensor:
    """This rank's rows of F = I + X + ... + X^(order - 1), from X^1 .. X^h.

    The terms beyond X^h share that factor, so that one more product sums them all: I + X + X^2 + X^2 X at
    order 4.
    """
    f = powers[0].clone()
    for power in powers[1:]:
        f.add_(power)
    f.diagonal(world.share(f.shape[1]).start).add_(1)
    beyond = powers[: order - 1 - len(powers)]
    if beyond:
        add_product(f, powers[-1], sum(beyond[1:], start=beyond[0]), world)
    return f


def _gradient(f: Tensor, whole: Tensor, turned: bool, world: World) -> Tensor:
    """F times the other side: ``(m_r, D)`` from this rank's rows of F (or F^T) and all rows of Z (or P)."""
    if not turned:
        return f @ whole
    rows = torch.mm(f, whole.T, out=f.new_empty(len(whole), len(f)).T)  # so that its transpose is contiguous
    return transpose(rows, whole.shape[1], world)


def _exact(
    wanted: Sequence[bool], p: Tensor, z: Tensor, whole_z: Tensor, lam: float, order: int, world: World
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """log det(I + C) and its gradients from one LU factorisation, whole on every rank."""
    m, dim = whole_z.shape
    whole_p = gather(p, m, world)
    a, b = (whole_p.T, whole_z.T) if m > dim else (whole_p, whole_z)
    matrix = (a @ b.T).mul_(lam)
    matrix.diagonal().add_(1)
    factors, pivots, _ = torch.linalg.lu_factor_ex(matrix)
    diagonal = factors.diagonal()
    value = diagonal.abs().log().sum()
    swaps = (pivots != torch.arange(1, len(pivots) + 1, device=pivots.device)).sum()
    negative = ((diagonal < 0).sum() + swaps) % 2 == 1
    if (negative | (diagonal == 0).any()) & ~value.isnan():
        raise DeterminantError(
            "log det(I + C): the determinant is not positive, so C has a spectral norm of 1 or more; "
            "lower lambda (raise eps_d^2), or train with the series (order 1 and more)"
        )
    gradients: list[Tensor | None] = []
    for want, other, adjoint in zip(wanted, (b, a), (True, False), strict=True):
        gradient = torch.linalg.lu_solve(factors, pivots, other, adjoint=adjoint) if want else None
        gradients.append(None if gradient is None else (gradient.T if m > dim else gradient)[world.share(m)])
    return value, gradients[0], gradients[1]


def _gather(z: Tensor, m: int, world: World) -> Tensor:
    """All ranks' rows of z, as constants."""
    own = world.sizes(m)[world.rank]
    if len(z) != own:
        raise ValueError(
            f"{len(z)} rows, expected {own}: rank {world.rank}'s share of batch_size {m} "
            f"over {world.size} processes"
        )
    return gather(at_least_float32(z), m, world)


def _sum(x: Tensor, world: World) -> Tensor:
    """The sum over the ranks, on every rank."""
    if world.size > 1:
        dist.all_reduce(x)
    return x
