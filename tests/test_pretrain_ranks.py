"""One, two and four processes: the same statistics, loss, gradient and position."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from ranks import run_ranks
from torch import Tensor, nn

from pretrain.collective import World, gather_rows, sum_gradients
from pretrain.config import Config, DataConfig, ModelConfig, ObjectiveConfig
from pretrain.network import MEC
from pretrain.run import make_loss
from pretrain.sync_batchnorm import synchronise

ROWS = 10  # over four ranks: 3, 3, 2, 2
MODEL = ModelConfig(
    arch="resnet18-cifar-w16", projector_layers=2, projector_hidden_dim=24, dim=12, predictor_hidden_dim=8
)
OBJECTIVES = {
    "mec": ObjectiveConfig(eps_d_sq=2.0),
    "mec, first order": ObjectiveConfig(eps_d_sq=2.0, order=1),
    "mec, exact": ObjectiveConfig(eps_d_sq=2.0, order=0),
    "barlow-twins": ObjectiveConfig(name="barlow-twins"),
    "vicreg": ObjectiveConfig(name="vicreg"),
    "simsiam+mec": ObjectiveConfig(name="simsiam+mec", eps_d_sq=2.0),
}


def test_shares_are_those_of_tensor_split() -> None:
    for rows in range(4, 20):
        for size in (1, 2, 3, 4):
            parts = torch.arange(rows).tensor_split(size)
            for rank, part in enumerate(parts):
                assert torch.equal(torch.arange(rows)[World(rank, size).share(rows)], part)


def statistics(world: World) -> dict[str, Tensor]:
    """Batch-norm of this rank's rows, in 2-D and 4-D, its gradients and running statistics."""
    torch.manual_seed(0)
    facts = {}
    for name, x, norm in (
        ("rows", 3 + torch.randn(ROWS, 6), nn.BatchNorm1d(6)),
        ("images", 3 + torch.randn(ROWS, 5, 4, 3), nn.BatchNorm2d(5)),
    ):
        nn.init.uniform_(norm.weight)
        weights = torch.randn_like(x)
        model = synchronise(nn.Sequential(norm), world, torch.device("cpu"))
        own = x[world.share(ROWS)].requires_grad_()
        y = model(own)
        (y * weights[world.share(ROWS)]).sum().backward()
        sum_gradients(model.parameters(), world)
        assert own.grad is not None
        facts[f"{name} y"], facts[f"{name} dx"] = y.detach(), own.grad
        for key, value in model[0].named_parameters():
            facts[f"{name} d{key}"] = value.grad
        facts |= {f"{name} {key}": value.clone() for key, value in model[0].named_buffers()}
        facts[f"{name} eval"] = model.eval()(own).detach()
    return facts


@pytest.mark.parametrize("size", [2, 4])
def test_batch_norm_over_ranks_is_batch_norm_of_the_whole(size: int) -> None:
    whole = statistics(World())
    ranks = run_ranks(size, statistics)
    for key, expected in whole.items():
        by_row = key.split()[1] in ("y", "dx", "eval")
        found = torch.cat([rank[key] for rank in ranks]) if by_row else ranks[-1][key]
        torch.testing.assert_close(
            found, expected, rtol=1e-5, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}"
        )


def gradients(world: World, sync: bool = True) -> dict[str, Any]:
    """Loss and gradient of every objective through the whole network, this rank holding its share."""
    torch.manual_seed(0)
    model = MEC(MODEL).double()  # in float32 a rounding may switch a ReLU and hide what is compared
    for module in model.modules():  # the zero at the end of each block would hide half of the gradients
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    views = [torch.randn(ROWS, 3, 16, 16, dtype=torch.float64)[world.share(ROWS)] for _ in range(3)]
    if sync:
        model = synchronise(model, world, torch.device("cpu"))  # type: ignore[assignment]
    initial = copy.deepcopy(model.state_dict())
    facts: dict[str, Any] = {}
    for name, objective in OBJECTIVES.items():
        model.load_state_dict(initial)
        model.zero_grad()
        config = Config(data=DataConfig(name="noise", dir="none"), model=MODEL, objective=objective)
        config.optim.batch_size = ROWS
        p, z = model(views)
        loss = make_loss(config, world)(p, z, 0.05)
        loss.backward()
        sum_gradients(model.parameters(), world)
        facts[name] = {
            "loss": loss.detach(),
            "gradient": torch.cat([q.grad.flatten() for q in model.parameters() if q.grad is not None]),
        }
    return facts


def distance(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what was expected."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("size", [2, 4])
def test_loss_and_gradient_are_those_of_one_process(size: int) -> None:
    whole = gradients(World())
    for rank in run_ranks(size, gradients):
        for name, expected in whole.items():
            assert float(rank[name]["loss"] - expected["loss"]) == pytest.approx(0, abs=1e-9), name
            assert distance(rank[name]["gradient"], expected["gradient"]) < 1e-9, name


def test_without_synchronised_batch_norm_it_is_another_gradient() -> None:
    whole = gradients(World())["mec"]["gradient"]
    assert distance(run_ranks(2, gradients, False)[0]["mec"]["gradient"], whole) > 0.01


def gathered(world: World) -> tuple[Tensor, Tensor]:
    rows = torch.arange(ROWS * 2.0).view(ROWS, 2)[world.share(ROWS)].requires_grad_()
    whole = gather_rows(rows, world, ROWS)
    whole.square().sum().backward()
    assert rows.grad is not None
    return whole.detach(), rows.grad


def test_gathered_rows_keep_their_order_and_the_gradient_of_the_own_ones() -> None:
    rows = torch.arange(ROWS * 2.0).view(ROWS, 2)
    ranks = run_ranks(4, gathered)
    assert all(torch.equal(whole, rows) for whole, _ in ranks)
    assert torch.equal(torch.cat([gradient for _, gradient in ranks]), 2 * rows)
