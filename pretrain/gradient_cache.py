"""Big batches on few devices: the exact gradient of a whole batch with the activations of a chunk.

The coding length couples all rows of a batch, so a batch cannot be cut into smaller ones whose
gradients are added. But the coupling sits behind the encoder: the features of all rows are first
computed chunk by chunk without a graph, the loss and its gradient with respect to them by heads and
objective on the whole batch, and a second pass over each chunk carries that gradient into the encoder (Gao et
al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"). It costs one more
forward pass of the online encoder.

Batch-norm: the heads' layers see the whole batch. The encoder's normalise by the chunk, in both
passes alike, so that the gradient is exact for the network that normalises so, and equal to the
whole batch's where nothing depends on the batch (no batch-norm, or frozen). The encoder's running statistics
move once per chunk, in the second pass. As everywhere, the target sees both views of a chunk together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pretrain.network import MEC

Loss = Callable[[list[Tensor], list[Tensor]], Tensor]


def backward_in_chunks(
    model: MEC,
    views: Sequence[Tensor],
    loss: Loss,
    chunk_size: int,
    autocast: Callable[[], torch.autocast],
    scaled: Callable[[Tensor], Tensor],
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Compute the loss of a whole batch and leave its gradient in the parameters.

    Args:
        model: the network; its encoder must draw nothing at random (the two passes would differ).
        views: ``(B, 3, H, W)`` each, two full-size ones first.
        loss: from p and z, lists of ``(B, D)`` unit rows, to a scalar.
        chunk_size: images whose activations are in memory at a time.
        autocast: makes the context of every forward pass.
        scaled: multiplies the loss by fp16's loss scale, or does nothing.

    Returns:
        The loss, p and z, all without graph.
    """
    encoder = model.online.encoder
    with torch.no_grad(), autocast(), _running_statistics_kept(encoder):
        features = [torch.cat([encoder(chunk) for chunk in torch.split(view, chunk_size)]) for view in views]
        pairs = zip(*(torch.split(view, chunk_size) for view in views[:2]), strict=True)
        targets = [model.target.encoder(torch.cat(pair)).chunk(2) for pair in pairs]
    for feature in features:
        feature.requires_grad_()
    with autocast():
        p = [model.embed(feature) for feature in features]
        with torch.no_grad():
            both = torch.cat([torch.cat(view) for view in zip(*targets, strict=True)])
            z = list(model.unit_rows(model.target.projector(both)).chunk(2))
    value = loss(p, z)
    scaled(value).backward()  # type: ignore[no-untyped-call]
    for view, feature in zip(views, features, strict=True):
        assert feature.grad is not None
        for chunk, gradient in zip(
            torch.split(view, chunk_size), torch.split(feature.grad, chunk_size), strict=True
        ):
            with autocast():
                again = encoder(chunk)
            again.backward(gradient)
    return value.detach(), [x.detach() for x in p], z


@contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch-norms normalise by the batch as ever, but do not note it."""
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counts = [
        None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone() for norm in norms
    ]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)
