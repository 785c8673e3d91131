"""Heads trained side by side end where each would have ended alone, and timm's LARS would have led it."""

from __future__ import annotations

import itertools

import pytest
import torch
from timm.optim.lars import Lars
from torch import Tensor, nn
from torch.nn import functional as F

from transfer.classify.features import FeatureBatches
from transfer.classify.heads import Heads, HeadSettings, head_losses, layers_used
from transfer.classify.loop import build_optimiser, fit, lr_factors

CPU = torch.device("cpu")
DIMS = {"layer2": 3, "layer3": 4, "avgpool": 8}
GRID = [
    HeadSettings(lr, weight_decay, layers)
    for layers, lr, weight_decay in itertools.product(
        ["avgpool", "layer3", "avgpool+layer2"], [0.1, 3.0], [0.0, 0.05]
    )
]


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, sum(DIMS.values()), generator=generator) * 2.0 + 1.0
    return features, features[:, :5].argmax(1)


def train(
    data: tuple[Tensor, Tensor], settings: list[HeadSettings], optimiser: str = "lars", norm: bool = True
) -> Heads:
    heads = Heads(settings, DIMS, 5, norm, seed=3)
    steps = build_optimiser(heads.groups(settings), optimiser, 0.9, 0.0)
    fit(heads, FeatureBatches(*data, 16, 0), steps, lr_factors("cosine", 6), CPU, loss=head_losses)
    return heads


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("optimiser", ["lars", "sgd"])
def test_each_head_of_a_sweep_equals_the_head_alone(
    data: tuple[Tensor, Tensor], optimiser: str, norm: bool
) -> None:
    sweep = train(data, GRID, optimiser, norm)
    for index, settings in enumerate(GRID):
        alone = train(data, [settings], optimiser, norm)
        torch.testing.assert_close(sweep.weights[index], alone.weights[0], rtol=0.0, atol=0.0)
        torch.testing.assert_close(sweep.biases[index], alone.biases[0], rtol=0.0, atol=0.0)
    flat = [weight.detach().flatten().tolist() for weight in sweep.weights]
    assert len(set(map(tuple, flat))) == len(GRID)  # the control: the settings matter


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_lars_leads_a_head_as_timm_leads_a_linear_layer(
    data: tuple[Tensor, Tensor], weight_decay: float
) -> None:
    features, labels = data
    settings = [HeadSettings(0.7, 0.0), HeadSettings(2.0, weight_decay, "avgpool")]
    heads = Heads(settings, {"avgpool": features.shape[1]}, 5, True, seed=3)
    optimiser = build_optimiser(heads.groups(settings), "lars", 0.9, 0.0)

    reference = nn.Sequential(nn.BatchNorm1d(15, eps=1e-6, affine=False), nn.Linear(15, 5))
    with torch.no_grad():
        reference[1].weight.copy_(heads.weights[1])
        reference[1].bias.zero_()
    lars = Lars(
        reference.parameters(), lr=2.0, momentum=0.9, weight_decay=weight_decay, trust_coeff=0.001,
        always_adapt=True,
    )  # fmt: skip

    def reference_step(inputs: Tensor, targets: Tensor) -> None:
        lars.zero_grad()
        F.cross_entropy(reference(inputs), targets).backward()
        lars.step()

    batches = FeatureBatches(features, labels, 16, 0)
    trajectory: list[tuple[Tensor, Tensor]] = []
    for epoch in range(4):
        batches.set_epoch(epoch)
        for inputs, targets in batches:
            reference_step(inputs, targets)
            trajectory.append((reference[1].weight.detach().clone(), reference[1].bias.detach().clone()))

    def compare(step: int, _: torch.optim.Optimizer) -> None:
        if step > 0:
            weight, bias = trajectory[step - 1]
            torch.testing.assert_close(heads.weights[1].detach(), weight, rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(heads.biases[1].detach(), bias, rtol=1e-5, atol=1e-7)

    fit(heads, batches, optimiser, [1.0] * 4, CPU, loss=head_losses, before_step=compare)
    compare(len(trajectory), optimiser)
    assert not torch.allclose(trajectory[0][0], trajectory[-1][0], rtol=1e-2)
    assert not torch.allclose(heads.weights[0].detach(), trajectory[-1][0], rtol=1e-2)  # another lr


def test_a_head_that_diverges_spoils_no_other(data: tuple[Tensor, Tensor]) -> None:
    wild = HeadSettings(1e38, 0.0)
    mixed = train(data, [GRID[0], wild, GRID[1]], "sgd")
    tame = train(data, GRID[:2], "sgd")
    assert not mixed.scores(1, data[0]).isfinite().all()
    for ours, theirs in ((0, 0), (2, 1)):
        torch.testing.assert_close(mixed.weights[ours], tame.weights[theirs], rtol=0.0, atol=0.0)
    with pytest.raises(ValueError, match=r"at learning rates \[1e\+38, 1e\+38\]: lower them"):
        train(data, [wild, HeadSettings(1e38, 0.1)], "sgd")


def test_start_depends_on_the_seed_and_not_on_the_other_heads() -> None:
    many, one = Heads(GRID, DIMS, 5, False, seed=3), Heads(GRID[4:5], DIMS, 5, False, seed=3)
    assert torch.equal(many.weights[4], one.weights[0])
    assert not torch.equal(one.weights[0], Heads(GRID[4:5], DIMS, 5, False, seed=4).weights[0])
    wide = Heads([HeadSettings(1.0, 0.0)], {"avgpool": 2000}, 100, False, seed=0)
    assert wide.weights[0].std().item() == pytest.approx(0.01, rel=0.02)
    assert not wide.biases[0].any()


def test_heads_see_the_columns_of_their_layers(data: tuple[Tensor, Tensor]) -> None:
    features, _ = data
    heads = train(data, GRID, "sgd")
    norm = nn.BatchNorm1d(15, eps=1e-6, affine=False).eval()
    norm.load_state_dict(heads.norm.state_dict())
    index = next(i for i, head in enumerate(GRID) if head.layers == "avgpool+layer2")
    normed = norm(features)
    inputs = torch.cat([normed[:, 7:], normed[:, :3]], dim=1)  # avgpool stands last, layer2 first
    expected = F.linear(inputs, heads.weights[index], heads.biases[index])
    torch.testing.assert_close(heads.scores(index, features), expected.detach())
    torch.testing.assert_close(heads.eval()(features)[index], expected)


def test_layers_used_are_in_the_networks_order() -> None:
    assert layers_used(["avgpool+layer1", "layer3", "avgpool"]) == ("layer1", "layer3", "avgpool")


@pytest.mark.parametrize("names", [[], ["fc"], ["layer3+"], ["avgpool+avgpool"]])
def test_layers_that_are_none_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="layers: expected names from layer1"):
        layers_used(names)
