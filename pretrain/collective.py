"""The processes of a run: who they are, which rows are whose, and the collectives that the loop needs.

One convention everywhere: a batch of m rows is split over the ranks like ``torch.tensor_split`` splits
it (the first m % size ranks hold one row more), every rank's loss is the loss of the whole batch, and a
rank's gradient is that loss's gradient through its own rows. The sum of the ranks' gradients is then the
gradient of one process with the whole batch, also where the ranks' shares differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 2**23  # elements of one gradient all-reduce, 32 MiB in float32


@dataclass(frozen=True)
class World:
    """This process among ``size`` of one run; the default is a run of one process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sizes(self, num_rows: int) -> list[int]:
        """How many of ``num_rows`` rows each rank holds."""
        return [num_rows // self.size + (rank < num_rows % self.size) for rank in range(self.size)]

    def share(self, num_rows: int) -> slice:
        """This rank's rows of a batch of ``num_rows``."""
        sizes = self.sizes(num_rows)
        start = sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])


def join(device: str) -> World:
    """Join the run that torchrun started (gloo on CPU, NCCL on CUDA), or be its only process.

    Raises:
        ValueError: torchrun started more local processes than there are GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    world = World(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))
    if device == "cuda":
        if world.local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"local rank {world.local_rank} has no GPU of its own ({torch.cuda.device_count()} found); "
                "lower torchrun's --nproc-per-node"
            )
        torch.cuda.set_device(world.local_rank)
    if not dist.is_initialized():
        # gloo beside NCCL: flags that the loop reads every step are CPU tensors and never wait for the GPU
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    return world


def leave(world: World) -> None:
    """Leave the run that :func:`join` joined."""
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def gather_rows(rows: Tensor, world: World, num_rows: int) -> Tensor:
    """All ranks' rows ``(num_rows, D)`` in rank order; this rank's part keeps its gradient.

    The other ranks' rows are constants, so nothing is communicated in the backward pass.
    """
    if world.size == 1:
        return rows
    sizes = world.sizes(num_rows)
    padded = rows.detach().new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows.detach()
    blocks = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(blocks, padded)
    parts = [block[:size] for block, size in zip(blocks, sizes, strict=True)]
    parts[world.rank] = rows
    return torch.cat(parts)


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace every gradient by its sum over the ranks, in buckets of 32 MiB."""
    if world.size == 1:
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        bucket.append(parameter.grad)
        if sum(gradient.numel() for gradient in bucket) >= BUCKET:
            _sum_bucket(bucket)
            bucket = []
    if bucket:
        _sum_bucket(bucket)


def agree(flag: int, world: World) -> int:
    """The largest of the ranks' flags, on every rank; for "was any of us told to stop?"."""
    if world.size == 1:
        return flag
    flags = torch.tensor([flag])
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return int(flags)


def _sum_bucket(bucket: list[Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in bucket])
    dist.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in bucket])
    torch._foreach_copy_(bucket, [part.view_as(old) for part, old in zip(parts, bucket, strict=True)])
