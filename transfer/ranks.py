"""The processes that torchrun started for one task, and the few collectives that they need.

A batch of n rows is split over the ranks as ``torch.tensor_split`` splits it, each rank's loss is the sum
over its own rows divided by the whole batch, and gradients are summed: the result is that of one process.
``pretrain`` has its own such module, because the two packages meet only at a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process, ``rank`` of ``size``; the default is a task of one process."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sizes(self, num_rows: int) -> list[int]:
        """How many of ``num_rows`` rows each rank holds."""
        return [num_rows // self.size + (rank < num_rows % self.size) for rank in range(self.size)]

    def share(self, num_rows: int) -> slice:
        """This rank's rows of ``num_rows``."""
        sizes = self.sizes(num_rows)
        start = sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU when there is one; any other name is torch's."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def size_asked() -> int:
    """How many processes torchrun started: 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device: torch.device) -> World:
    """Join the processes that torchrun started (gloo on CPU, NCCL on CUDA), or be the only one.

    Who has joined already gets the same answer again.

    Raises:
        ValueError: torchrun started more local processes than there are GPUs.
    """
    if dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    if size_asked() == 1:
        return World()
    if device.type == "cuda":
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        if local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"local rank {local_rank} has no GPU of its own ({torch.cuda.device_count()} found); lower "
                "--num-gpus or torchrun's --nproc-per-node"
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return World(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Leave what :func:`join` joined; nothing where there was one process."""
    if dist.is_initialized():
        dist.destroy_process_group()


@torch.no_grad()
def gather_rows(rows: Tensor, world: World, num_rows: int) -> Tensor:
    """All ranks' rows ``(num_rows, ...)`` in rank order, on every rank, without gradient."""
    if world.size == 1:
        return rows
    sizes = world.sizes(num_rows)
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    blocks = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(blocks, padded)
    return torch.cat([block[:size] for block, size in zip(blocks, sizes, strict=True)])


@torch.no_grad()
def sum_over_ranks(value: Tensor, world: World) -> Tensor:
    """``value`` summed over the ranks, in place."""
    if world.size > 1:
        dist.all_reduce(value)
    return value


def share_object(value: T, world: World) -> T:
    """The first rank's ``value``, on every rank: what is too dear to find out on each of them."""
    if world.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace every gradient by its sum over the ranks, in one all-reduce."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world.size == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(old) for part, old in zip(parts, gradients, strict=True)])


def synchronise_batchnorm(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The model with batch-norm statistics of the whole batch, however many ranks hold it.

    On CUDA torch's own; that refuses CPU tensors, so elsewhere :class:`SyncBatchNorm`.
    """
    if world.size == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, SyncBatchNorm.like(child))
    return model


class SyncBatchNorm(_BatchNorm):
    """Batch-norm over the rows of all ranks; statistics in float32 also under autocast."""

    @classmethod
    def like(cls, other: _BatchNorm) -> SyncBatchNorm:
        """The synchronised twin of ``other``: the same parameters and buffers, not copies."""
        twin = cls(other.num_features, other.eps, other.momentum, other.affine, other.track_running_stats)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(twin, name, getattr(other, name))
        return twin.train(other.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C, ...), found shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, ...)`` normalised over everything but C; by the running statistics in eval mode."""
        self._check_input_dim(input)
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        sums = _differentiable_sum(torch.cat([x.sum(dims), x.new_tensor([x.numel() // x.shape[1]])]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance = _differentiable_sum(centred.square().sum(dims)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                assert self.momentum is not None  # no backbone here averages cumulatively
                assert self.num_batches_tracked is not None
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
                self.num_batches_tracked += 1
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)


def _differentiable_sum(x: Tensor) -> Tensor:
    return _Sum.apply(x)  # type: ignore[no-untyped-call, no-any-return]


class _Sum(torch.autograd.Function):
    """Sum over the ranks; every rank's loss depends on the sum, so its gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient
