"""The objectives that MEC's paper calls low-order cases of its series, on the same network.

Source: Maximum Entropy Coding (arXiv 2210.11464), Eqs. 22 to 27. SimSiam's and BYOL's objective is
order 1; Barlow Twins' and VICReg's resemble order 2, feature-wise. Each function takes what
:func:`pretrain.objective.mec_loss` takes: p, ``(m_r, D)`` unit rows of two or more online views, and z, of
the two target views, of which pairs of different views are compared and averaged. The value is that of all
ranks' rows, the same on every rank, the gradient that of this rank's. Arithmetic is float32, also under
autocast; float64 stays float64. Every function raises ValueError where mec_loss does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.collective import World, gather_rows
from pretrain.objective import ONE_PROCESS, at_least_float32, mec_loss, view_pairs

BATCHNORM_EPS = 1e-5
VARIANCE_EPS = 1e-4  # under VICReg's square root, whose slope at zero is infinite


def cosine(
    p: Sequence[Tensor], z: Sequence[Tensor], *, batch_size: int | None = None, world: World = ONE_PROCESS
) -> Tensor:
    """Minus the mean cosine similarity: SimSiam and BYOL, order 1 of the series (Eqs. 22 and 23).

    Range -1 (the views agree) to 1. BYOL's squared distance of unit rows is 2 plus twice this.
    """
    pairs = view_pairs(p, z)
    m = len(p[0]) if batch_size is None else batch_size
    online, target = ([at_least_float32(x) for x in views] for views in (p, z))
    similarities = [gather_rows((online[i] * target[j]).sum(1), world, m).mean() for i, j in pairs]
    return -torch.stack(similarities).mean()


def barlow_twins(
    p: Sequence[Tensor],
    z: Sequence[Tensor],
    *,
    weight: float = 0.0051,
    batch_size: int | None = None,
    world: World = ONE_PROCESS,
) -> Tensor:
    """Cross-correlation towards the identity (Zbontar et al. 2021, arXiv 2103.03230, Eqs. 1 and 2).

    With every feature standardised over the batch and c = P^T Z / m, ``(D, D)``, the sum of (1 - c_ii)^2 plus
    ``weight`` times the sum of the squares off the diagonal. Order 2 of the coding length, feature-wise, is
    mu sum_i (-C_ii + C_ii^2 / 2) + mu/2 sum_{i != j} C_ij C_ji (Eqs. 24 and 25): its diagonal too is drawn
    to 1 and, C being nearly symmetric, the rest to 0; but C is not standardised.

    Args:
        weight: of the off-diagonal part; the default is the paper's 5.1e-3.

    Returns:
        A scalar of at least 0; D where nothing correlates.
    """

    def loss(p: Tensor, z: Tensor) -> Tensor:
        c = _standardised(p).T @ _standardised(z) / len(p)
        diagonal = c.diagonal()
        return (1 - diagonal).square().sum() + weight * (c.square().sum() - diagonal.square().sum())

    return _mean_over_pairs(loss, p, z, batch_size, world)


def vicreg(
    p: Sequence[Tensor],
    z: Sequence[Tensor],
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    batch_size: int | None = None,
    world: World = ONE_PROCESS,
) -> Tensor:
    """Invariance, variance and covariance (Bardes et al. 2022, arXiv 2105.04906, Eqs. 1 to 6), VICReg style.

    VICReg itself has two trained branches without normalisation. Here p and z arrive as unit rows and are
    multiplied by sqrt(D), so that the hinge's unit standard deviation is that of features spread evenly.
    The target is a constant: invariance is the mean square of p_i - z_j over rows and features; variance
    (mean hinge max(0, 1 - std)) and covariance (sum of squares off the diagonal, over D) are p_i's alone.

    Args:
        invariance, variance, covariance: the three weights; the defaults are the paper's.

    Returns:
        A scalar of at least 0.
    """

    def loss(p: Tensor, z: Tensor) -> Tensor:
        m, dim = p.shape
        centred = p - p.mean(0)
        cov = centred.T @ centred / (m - 1)
        spread = cov.diagonal()
        hinge = F.relu(1 - (spread + VARIANCE_EPS).sqrt()).mean()
        off_diagonal = (cov.square().sum() - spread.square().sum()) / dim
        return invariance * F.mse_loss(p, z) + variance * hinge + covariance * off_diagonal

    return _mean_over_pairs(loss, p, z, batch_size, world)


def simsiam_mec(
    p: Sequence[Tensor],
    z: Sequence[Tensor],
    lam: float,
    order: int,
    *,
    weight: float = 1.0,
    batch_size: int | None = None,
    world: World = ONE_PROCESS,
) -> Tensor:
    """SimSiam with MEC as its regulariser (section 3.4): cosine plus ``weight`` times ``mec_loss``."""
    alone = cosine(p, z, batch_size=batch_size, world=world)
    return alone + weight * mec_loss(p, z, lam, order, batch_size=batch_size, world=world)


def _mean_over_pairs(
    loss: Callable[[Tensor, Tensor], Tensor],
    p: Sequence[Tensor],
    z: Sequence[Tensor],
    batch_size: int | None,
    world: World,
) -> Tensor:
    """The mean of ``loss(p_i, z_j)`` over pairs of views, of all ranks' rows times sqrt(D)."""
    pairs = view_pairs(p, z)
    m = len(p[0]) if batch_size is None else batch_size
    spread = p[0].shape[1] ** 0.5
    with torch.autocast(p[0].device.type, enabled=False):
        whole_p, whole_z = (
            [gather_rows(at_least_float32(x) * spread, world, m) for x in views] for views in (p, z)
        )
        return torch.stack([loss(whole_p[i], whole_z[j]) for i, j in pairs]).mean()


def _standardised(rows: Tensor) -> Tensor:
    """Every feature at mean 0 and standard deviation 1 over the batch: batch-norm without affine part."""
    return F.batch_norm(rows, None, None, training=True, eps=BATCHNORM_EPS)
