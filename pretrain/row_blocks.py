"""Matrices split by rows over the ranks, and the three operations that the objective needs of them.

An ``(n, k)`` matrix is n rows of which each rank holds ``World.sizes(n)[rank]``, in rank order. A run of
one process holds whole matrices; then these are the plain operations, and nothing is communicated.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.collective import World


def gather(rows: Tensor, num_rows: int, world: World) -> Tensor:
    """All ranks' rows ``(num_rows, k)``, as constants.

    Every rank broadcasts its rows into their place, also where the shares differ: on CPUs half the time of
    ``all_gather``, which pads and copies.
    """
    if world.size == 1:
        return rows.detach()
    whole = rows.new_empty(num_rows, *rows.shape[1:])
    whole[world.share(num_rows)] = rows.detach()
    for rank, block in enumerate(whole.tensor_split(world.size)):
        dist.broadcast(block, rank)
    return whole


def transpose(rows: Tensor, num_rows: int, world: World) -> Tensor:
    """This rank's rows of X^T from its rows of X.

    Args:
        rows: ``(n_r, k)``, this rank's rows of X.
        num_rows: n, X's rows of all ranks together.

    Returns:
        ``(k_r, n)``: of one process a view, of several a contiguous copy.
    """
    if world.size == 1:
        return rows.T
    sent = rows.T.contiguous()  # its rows for every rank in turn
    heights, widths = world.sizes(len(sent)), world.sizes(num_rows)
    height = heights[world.rank]
    parts = [height * width for width in widths]
    received = sent.new_empty(sum(parts))
    dist.all_to_all_single(received, sent.view(-1), parts, [size * len(rows) for size in heights])
    blocks = torch.split_with_sizes(received, parts)
    return torch.cat([block.view(height, width) for block, width in zip(blocks, widths, strict=True)], 1)


def add_product(total: Tensor, x: Tensor, y: Tensor, world: World) -> Tensor:
    """Add this rank's rows of X Y to ``total``, in place.

    Every rank broadcasts its rows of Y in turn, so that a rank holds its share of Y and one other's.

    Args:
        total: ``(n_r, n)``.
        x, y: ``(n_r, n)``, this rank's rows of two square matrices; y contiguous over several ranks.
    """
    if world.size == 1:
        return total.addmm_(x, y)
    for rank, columns in enumerate(x.tensor_split(world.size, dim=1)):
        block = y if rank == world.rank else y.new_empty(columns.shape[1], y.shape[1])
        dist.broadcast(block, rank)
        total.addmm_(columns, block)
    return total
