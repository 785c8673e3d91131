"""Fine-tuning against a loop written out in plain PyTorch, and what it may and may not move."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from classify_images import make_backbone, write_digits
from finetune_scene import semisup_config, with_targets
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from transfer.backbone.contract import Backbone
from transfer.classify.finetuning import Recipe, fine_tune, score_after_tuning, set_bn_momentum
from transfer.classify.semisup import Config, recipe_of
from transfer.data.batches import eval_batches, train_batches
from transfer.data.folders import ImageSplit, read_split
from transfer.ranks import World

PLAIN = Recipe(0.002, 0.01, 0.0005, 0.9, nesterov=True, min_scale=0.5, factors=[1.0, 0.5])
ONCE = replace(PLAIN, factors=[1.0])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 6, 3)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def config(data_dir: Path) -> Config:
    return semisup_config(data_dir, batch_size=16)


@pytest.fixture(scope="module")
def train(data_dir: Path) -> ImageSplit:
    return read_split(data_dir, "train")  # 60 images: batches of 16, 16, 16, 12


def tuned(backbone: Backbone, train: ImageSplit, recipe: Recipe, config: Config) -> dict[str, Tensor]:
    return fine_tune(backbone, train, recipe, config, World()).state_dict()


def first_head(backbone: Backbone, train: ImageSplit, config: Config) -> nn.Linear:
    """The classifier before any step: rates of zero move nothing."""
    still = tuned(backbone, train, replace(ONCE, lr_backbone=0.0, lr_head=0.0), config)
    head = nn.Linear(512, 10)
    head.load_state_dict({"weight": still["head.0.weight"], "bias": still["head.0.bias"]})
    return head


def normalise(images: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (images.float() / 255.0 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    return pixels.contiguous(memory_format=torch.channels_last)


def by_hand(
    backbone: Backbone, train: ImageSplit, val: ImageSplit, config: Config, train_mode: bool = True
) -> Tensor:
    """PLAIN, written out: torchvision's network, torch's SGD, the mean cross-entropy.

    In the memory format of ours: batch statistics of 16 positions would make other roundings visible.
    """
    network = resnet18()
    network.fc = nn.Identity()
    network.load_state_dict(dict(backbone.state))
    network.to(memory_format=torch.channels_last)
    head = first_head(backbone, train, config)
    optimiser = torch.optim.SGD(
        [{"params": network.parameters(), "lr": 0.002}, {"params": head.parameters(), "lr": 0.01}],
        momentum=0.9,
        weight_decay=0.0005,
        nesterov=True,
    )
    network.train(train_mode)
    batches = train_batches(train, config, 0.5)
    for epoch, rates in enumerate([(0.002, 0.01), (0.001, 0.005)]):
        batches.set_epoch(epoch)
        optimiser.param_groups[0]["lr"], optimiser.param_groups[1]["lr"] = rates
        for images, labels in batches:
            optimiser.zero_grad()
            F.cross_entropy(head(network(normalise(images))), labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    network.eval()
    with torch.no_grad():
        return torch.cat([head(network(normalise(images))) for images, _ in eval_batches(val, config)])


def test_scores_are_those_of_a_loop_written_out(
    data_dir: Path, backbone: Backbone, train: ImageSplit, config: Config
) -> None:
    val = read_split(data_dir, "val")
    ours = score_after_tuning(backbone, train, val, PLAIN, config, World())
    assert ours.std() > 0.1
    torch.testing.assert_close(ours, by_hand(backbone, train, val, config), rtol=0, atol=1e-5)
    frozen_statistics = by_hand(backbone, train, val, config, train_mode=False)
    assert (ours - frozen_statistics).abs().max() > 0.1


def test_rates_are_separate_and_batch_statistics_move_with_either(
    backbone: Backbone, train: ImageSplit, config: Config
) -> None:
    start = first_head(backbone, train, config)
    buffers = {key for key in backbone.state if "running" in key or "num_batches" in key}
    for recipe in (replace(ONCE, lr_backbone=0.0), replace(ONCE, lr_head=0.0)):
        after = tuned(backbone, train, recipe, config)
        moved = {
            key for key in backbone.state if not (after[f"encoder.resnet.{key}"] == backbone.state[key]).all()
        }
        parameters = set() if recipe.lr_backbone == 0.0 else backbone.state.keys() - buffers
        assert moved == buffers | parameters
        assert torch.equal(after["head.0.weight"], start.weight) == (recipe.lr_head == 0.0)


def test_a_recipe_starts_like_every_other(backbone: Backbone, train: ImageSplit, config: Config) -> None:
    once = tuned(backbone, train, ONCE, config)
    tuned(backbone, train, replace(ONCE, lr_head=0.03), config)
    again = tuned(backbone, train, ONCE, config)
    assert all(torch.equal(once[key], again[key]) for key in once)
    other_seed = tuned(backbone, train, ONCE, semisup_config(Path(config.data_dir), seed=1))
    assert not torch.equal(once["head.0.weight"], other_seed["head.0.weight"])


def test_a_difficult_label_teaches_its_class_nothing(
    backbone: Backbone, train: ImageSplit, config: Config
) -> None:
    recipe = replace(ONCE, weight_decay=0.0)
    start = first_head(backbone, train, config)
    split = with_targets(train)
    assert split.targets is not None
    split.targets[:, 3] = -1.0
    after = tuned(backbone, split, recipe, config)["head.0.weight"]
    moved = [not torch.equal(after[label], start.weight[label]) for label in range(10)]
    assert moved == [label != 3 for label in range(10)]
    split.targets[:, 3] = 0.0
    assert not torch.equal(tuned(backbone, split, recipe, config)["head.0.weight"][3], start.weight[3])


def test_steps_end_within_an_epoch_on_a_cosine(
    backbone: Backbone, train: ImageSplit, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []
    step = torch.optim.SGD.step

    def noted(self: torch.optim.SGD) -> None:
        rates.append([group["lr"] for group in self.param_groups])
        step(self)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    tuned(backbone, train, replace(PLAIN, factors=(), steps=6), config)
    expected = [(1.0 + math.cos(math.pi * k / 6)) / 2.0 for k in range(6)]
    assert rates == [[0.002 * factor, 0.01 * factor] for factor in expected]


def test_a_whole_epoch_of_steps_sees_the_batches_of_an_epoch(
    backbone: Backbone, train: ImageSplit, config: Config
) -> None:
    # 4 steps are one epoch, 5 are not
    counts = {
        steps: int(
            tuned(backbone, train, replace(PLAIN, factors=(), steps=steps), config)[
                "encoder.resnet.bn1.num_batches_tracked"
            ]
            - backbone.state["bn1.num_batches_tracked"]
        )
        for steps in (1, 4, 5)
    }
    assert counts == {1: 1, 4: 4, 5: 5}


@pytest.mark.parametrize(("steps_per_epoch", "new_share"), [(4, 0.1), (100, 0.1), (200, 0.05), (1000, 0.01)])
def test_batch_statistics_remember_by_the_steps_of_an_epoch(steps_per_epoch: int, new_share: float) -> None:
    assert math.isclose(1.0 - max(1.0 - 10.0 / steps_per_epoch, 0.9), new_share)
    norm = nn.BatchNorm2d(3, momentum=0.5)
    set_bn_momentum(nn.Sequential(norm, nn.ReLU()), steps_per_epoch)
    assert norm.momentum == pytest.approx(new_share)


def test_barlow_twins_paper_schedule_falls_after_epochs_12_and_16(data_dir: Path) -> None:
    config = semisup_config(data_dir, schedule="step", milestones=[12, 16], gamma=0.2, epochs=20)
    recipe = recipe_of({"lr_backbone": 0.002, "lr_head": 0.5, "epochs": 20}, config, 12_811)
    assert list(recipe.factors) == pytest.approx([1.0] * 12 + [0.2] * 4 + [0.04] * 4)
    assert (recipe.lr_backbone, recipe.lr_head) == (0.002, 0.5)


@pytest.mark.parametrize(("batch_size", "num_images", "scale"), [(1024, 12_811, 4.0), (1024, 128, 0.5)])
def test_rates_scale_with_the_batch_that_there_is(
    data_dir: Path, batch_size: int, num_images: int, scale: float
) -> None:
    config = semisup_config(data_dir, scale_lr=True, batch_size=batch_size)
    recipe = recipe_of({"lr_backbone": 0.05, "lr_head": 0.1, "epochs": 8}, config, num_images)
    assert (recipe.lr_backbone, recipe.lr_head) == pytest.approx((0.05 * scale, 0.1 * scale))
