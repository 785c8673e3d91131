"""Batch-norm whose statistics are those of the whole batch, however many ranks hold it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pretrain.collective import World
from pretrain.objective import at_least_float32


def synchronise(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The model with every batch-norm synchronised over the ranks; itself when there is one.

    On CUDA torch's own fused one; that refuses CPU tensors, so elsewhere :class:`SyncBatchNorm`.
    """
    if world.size == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, SyncBatchNorm.like(child))
    return model


class SyncBatchNorm(_BatchNorm):
    """Batch-norm over all ranks' rows by two differentiable sums: of x, then of (x - mean)^2.

    Shares of different sizes count by their sizes. Statistics are float32 also under autocast.
    """

    @classmethod
    def like(cls, other: _BatchNorm) -> SyncBatchNorm:
        """The synchronised twin of ``other``, with the same parameters and buffers."""
        twin = cls(other.num_features, other.eps, other.momentum, other.affine, other.track_running_stats)
        twin.weight, twin.bias = other.weight, other.bias
        twin.running_mean, twin.running_var = other.running_mean, other.running_var
        twin.num_batches_tracked = other.num_batches_tracked
        return twin.train(other.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C, ...), found shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, ...)`` normalised over everything but C; running statistics in eval mode."""
        self._check_input_dim(input)
        if not self.training:
            return super().forward(input)
        x = at_least_float32(input)
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = x.new_tensor([x.numel() // x.shape[1]])
        sums = _sum_over_ranks(torch.cat([x.sum(dims), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = x - mean.view(shape)
        variance = _sum_over_ranks(centred.square().sum(dims)) / total
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                assert self.momentum is not None
                assert self.num_batches_tracked is not None
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * total / (total - 1), self.momentum)
                self.num_batches_tracked += 1
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)


class _Sum(torch.autograd.Function):
    """Sum over the ranks; every rank's loss depends on the sum, so its gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient


def _sum_over_ranks(x: Tensor) -> Tensor:
    return _Sum.apply(x)  # type: ignore[no-untyped-call, no-any-return]
