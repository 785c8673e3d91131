"""The coding length of a representation, exact and as the Taylor series that MEC trains with.

Source: Maximum Entropy Coding (arXiv 2210.11464), equation numbers below. Shape legend: B = batch
(the paper's m), D = embedding dimension (the paper's d). Embeddings are rows here, ``(B, D)``, so
the paper's Z1^T Z2 is ``z1 @ z2.T``. With mu = (m + d) / 2, eps_d^2 = eps^2 / d and
lambda = 1 / (m eps_d^2), the similarity matrix is C = lambda Z1^T Z2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_from_eps(eps_d_sq: float, batch_size: int) -> float:
    """The paper's lambda = 1 / (m eps_d^2) (notation below Eq. 1)."""
    return 1.0 / (batch_size * eps_d_sq)


def similarity(z1: Tensor, z2: Tensor, lam: float) -> Tensor:
    """C = lam Z1^T Z2, batch-wise ``(B, B)`` or feature-wise ``(D, D)``, whichever is smaller.

    The two have the same non-zero eigenvalues, so log det(I + C) and the trace of every power of C
    agree (Sylvester, Eqs. 4 and 18-21).
    """
    num_samples, dim = z1.shape
    return lam * (z1 @ z2.T if num_samples <= dim else z1.T @ z2)


def log_det(c: Tensor) -> Tensor:
    """log det(I + C) (Eq. 1 without mu), for a C whose I + C has a positive determinant."""
    return torch.logdet(torch.eye(len(c), dtype=c.dtype, device=c.device) + c)


def log_det_series(c: Tensor, order: int) -> Tensor:
    """Tr(sum_{k=1}^{order} (-1)^(k+1)/k C^k), the Taylor series of log det(I + C) (Eqs. 2 and 3).

    Converges when the spectral norm of C is below 1. Powers are formed only up to half the order:
    Tr(C^(i+j)) is the sum of the elementwise product of C^i and the transpose of C^j.

    Raises:
        ValueError: order below 1.
    """
    if order < 1:
        raise ValueError(f"order of the series must be at least 1, found {order}")
    trace = torch.diagonal(c).sum()
    powers = [c]  # powers[i] = C^(i+1)
    for k in range(2, order + 1):
        i, j = (k + 1) // 2, k // 2
        if len(powers) < i:
            powers.append(powers[-1] @ c)
        trace = trace + (-1) ** (k + 1) / k * (powers[i - 1] * powers[j - 1].T).sum()
    return trace


def mec_loss(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor, lam: float, order: int) -> Tensor:
    """The symmetric MEC loss (Eq. 3), scaled as in the authors' code.

    Args:
        p1, p2: ``(B, D)`` online embeddings of the two views, unit rows.
        z1, z2: ``(B, D)`` momentum-target embeddings of the same views, unit rows, no gradient.
        lam: lambda > 0, see :func:`lambda_from_eps`.
        order: number of Taylor terms, 4 in the paper.

    Returns:
        A scalar. Division by lambda m makes the first-order term minus the mean cosine
        similarity, so the loss is about -1 when the views agree; mu is a constant and left out.
    """
    scale = -0.5 / (lam * len(p1))
    return scale * (
        log_det_series(similarity(p1, z2, lam), order) + log_det_series(similarity(p2, z1, lam), order)
    )


@torch.no_grad()
def spectral_norm(c: Tensor, num_iterations: int = 8) -> float:
    """Largest singular value of C by power iteration, deterministic; the series needs it below 1."""
    v = torch.ones(c.shape[1], dtype=c.dtype, device=c.device)
    for _ in range(num_iterations):
        v = c.T @ (c @ v)
        v = v / v.norm().clamp_min(1e-12)
    return float((c @ v).norm())


@torch.no_grad()
def effective_rank(z: Tensor) -> float:
    """exp of the entropy of the normalised singular values of ``(B, D)``: 1 when collapsed."""
    s = torch.linalg.svdvals(z - z.mean(0))
    p = s / s.sum().clamp_min(1e-12)
    return float(torch.exp(-(p * torch.log(p.clamp_min(1e-12))).sum()))
