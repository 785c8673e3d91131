"""Gradient caching against the whole batch at once: the same gradient, a fraction of the activations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pretrain.config import ModelConfig
from pretrain.gradient_cache import backward_in_chunks
from pretrain.network import MEC
from pretrain.objective import lambda_from_eps, mec_loss

ROWS = 512
EPS_D_SQ = 0.06


def network(frozen: bool = True) -> MEC:
    """A small MEC; batch-norm as in training, or by its running statistics."""
    torch.manual_seed(0)
    config = ModelConfig(
        arch="resnet18-cifar-w16",
        projector_layers=2,
        projector_hidden_dim=32,
        dim=32,
        predictor_hidden_dim=16,
    )
    model = MEC(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
        if isinstance(module, _BatchNorm) and frozen:
            module.eval()
    return model


def loss(p: list[Tensor], z: list[Tensor]) -> Tensor:
    return mec_loss(p, z, lambda_from_eps(EPS_D_SQ, ROWS), 4)


def views(rows: int = ROWS, size: int = 16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(rows, 3, size, size, generator=generator) for _ in range(2)]


def gradient(model: MEC) -> Tensor:
    return torch.cat([q.grad.flatten() for q in model.parameters() if q.grad is not None])


class Saved:
    """A tensor that the graph keeps for the backward pass; counted while it is alive."""

    def __init__(self, tensor: Tensor, meter: Meter) -> None:
        self.tensor, self.meter, self.size = tensor, meter, tensor.untyped_storage().nbytes()
        self.key = tensor.untyped_storage().data_ptr()
        meter.add(self)

    def __del__(self) -> None:
        self.meter.drop(self)


class Meter:
    """Bytes of distinct storages that graphs hold, now and at most."""

    def __init__(self, model: nn.Module) -> None:
        self.ignored = {q.untyped_storage().data_ptr() for q in [*model.parameters(), *model.buffers()]}
        self.counts: dict[int, int] = {}
        self.now = self.peak = 0

    def add(self, saved: Saved) -> None:
        self.counts[saved.key] = self.counts.get(saved.key, 0) + 1
        if self.counts[saved.key] == 1 and saved.key not in self.ignored:
            self.now += saved.size
            self.peak = max(self.peak, self.now)

    def drop(self, saved: Saved) -> None:
        self.counts[saved.key] -= 1
        if self.counts[saved.key] == 0 and saved.key not in self.ignored:
            self.now -= saved.size


@contextmanager
def metered(model: nn.Module) -> Iterator[Meter]:
    meter = Meter(model)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: Saved(tensor, meter), lambda saved: saved.tensor
    ):
        yield meter


def test_chunks_of_64_give_the_gradient_of_512_at_a_fraction_of_the_memory() -> None:
    model = network()
    with metered(model) as whole_memory:
        p, z = model(views())
        whole_loss = loss(p, z)
        whole_loss.backward()
    whole = gradient(model)
    model.zero_grad()
    with metered(model) as chunk_memory:
        value, p_in_chunks, _ = backward_in_chunks(model, views(), loss, 64, nullcontext, lambda x: x)
    difference = (gradient(model) - whole).norm() / whole.norm()
    assert float(difference) < 1e-5
    assert float(value) == pytest.approx(float(whole_loss.detach()), rel=1e-5)
    torch.testing.assert_close(p_in_chunks[0], p[0].detach(), rtol=1e-4, atol=1e-5)
    assert chunk_memory.peak < 0.35 * whole_memory.peak


def test_it_is_not_the_mean_of_the_chunks_own_losses() -> None:
    model = network()
    p, z = model(views())
    loss(p, z).backward()
    whole = gradient(model)
    model.zero_grad()
    for chunk in zip(*(view.split(64) for view in views()), strict=True):
        p, z = model(chunk)
        (mec_loss(p, z, lambda_from_eps(EPS_D_SQ, 64), 4) / 8).backward()
    assert float((gradient(model) - whole).norm() / whole.norm()) > 1e-3


def test_batch_norm_in_training_is_that_of_the_chunk_and_noted_once() -> None:
    torch.manual_seed(0)
    model = network(frozen=False)
    norm = model.online.encoder.bn1
    before, count = norm.running_mean.clone(), int(norm.num_batches_tracked)
    batch = views(8)
    backward_in_chunks(model, batch, loss, 4, nullcontext, lambda x: x)
    cached = gradient(model)
    assert int(norm.num_batches_tracked) == count + 4  # two views of two chunks, once each
    expected = before.clone()
    with torch.no_grad():
        for view in batch:
            for chunk in view.split(4):
                expected.lerp_(model.online.encoder.conv1(chunk).mean((0, 2, 3)), norm.momentum)
    torch.testing.assert_close(norm.running_mean, expected)
    # and the gradient is exact for the network that normalises by chunks: one graph over all of it
    model = network(frozen=False)
    features = [torch.cat([model.online.encoder(chunk) for chunk in view.split(4)]) for view in batch]
    p = [model.embed(feature) for feature in features]
    with torch.no_grad():
        pairs = zip(*(view.split(4) for view in batch), strict=True)
        features_of = [model.target.encoder(torch.cat(pair)).chunk(2) for pair in pairs]
        both = torch.cat([torch.cat(view) for view in zip(*features_of, strict=True)])
        z = list(model.unit_rows(model.target.projector(both)).chunk(2))
    loss(p, z).backward()
    assert float((cached - gradient(model)).norm() / gradient(model).norm()) < 1e-4
