"""The linear probe trains its classifier and nothing else, at the learning rates of the protocol."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from classify_images import linear_config, make_backbone, write_digits

from transfer.backbone.contract import Backbone
from transfer.classify import linear
from transfer.classify.features import assert_frozen, build_encoder
from transfer.classify.loop import Classifier, build_head, build_optimiser, fit, lr_factors
from transfer.data.batches import train_batches
from transfer.data.folders import read_split
from transfer.report.rows import Measurement

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 12, 4)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.mark.parametrize("frozen", [True, False])
def test_training_the_head_moves_no_backbone_tensor(data_dir: Path, backbone: Backbone, frozen: bool) -> None:
    encoder = build_encoder(backbone, CPU)
    head = build_head(512, 10, feature_norm=True)
    before = head[1].weight.detach().clone()
    config = linear_config(data_dir)
    model = Classifier(encoder, head, frozen=frozen)
    optimiser = build_optimiser([{"params": list(head.parameters()), "lr": 0.1}], "sgd", 0.9, 0.0)
    fit(model, train_batches(read_split(data_dir, "train"), config, 0.5), optimiser, [1.0], CPU)
    assert not torch.equal(head[1].weight, before)
    if frozen:
        assert_frozen(encoder.resnet, backbone.state)
    else:  # the control: in train mode the batch statistics move although no gradient step does
        with pytest.raises(ValueError, match="running_mean"):
            assert_frozen(encoder.resnet, backbone.state)


@pytest.mark.parametrize(
    ("augment", "optimiser", "base_lr", "epochs"),
    [(False, "sgd", 0.5, 30), (False, "lars", 20.0, 30), (True, "sgd", 0.5, 4), (False, "lbfgs", 0.0, 0)],
)
def test_run_learns_digits(
    data_dir: Path,
    backbone: Backbone,
    tmp_path: Path,
    augment: bool,
    optimiser: str,
    base_lr: float,
    epochs: int,
) -> None:
    config = linear_config(
        data_dir,
        augment=augment,
        optimiser=optimiser,
        base_lr=base_lr,
        epochs=epochs,
        min_scale=0.8,
        l2s=[0.1] if optimiser == "lbfgs" else [],
    )
    top1, top5 = linear.run(backbone, config, tmp_path)
    assert top1.n == 40
    assert top1.selection == "last"
    assert top1.value is not None
    assert top5.value is not None
    assert 40.0 < top1.value <= top5.value  # chance is 10


def test_run_repeats_exactly_with_the_same_seed(data_dir: Path, backbone: Backbone, tmp_path: Path) -> None:
    def rows(seed: int, out: str) -> list[Measurement]:
        config = linear_config(data_dir, augment=True, epochs=1, seed=seed)
        return list(linear.run(backbone, config, tmp_path / out))

    first = rows(0, "a")
    torch.manual_seed(5)  # what another task may have drawn before decides nothing
    assert rows(0, "b") == first
    assert rows(1, "c") != first


def test_diverged_loss_is_an_error_that_names_the_learning_rate(
    data_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    config = linear_config(data_dir, base_lr=1e38, feature_norm=False)
    with pytest.raises(ValueError, match="lower them"):
        list(linear.run(backbone, config, tmp_path))


@pytest.mark.parametrize("name", ["lars", "sgd"])
def test_lars_scales_the_step_to_the_weight_also_without_weight_decay(name: str) -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))  # norm 5
    weight.grad = torch.tensor([0.0, 2.0])  # norm 2
    build_optimiser([{"params": [weight], "lr": 10.0}], name, momentum=0.9, weight_decay=0.0).step()
    # LARS: lr * 0.001 * 5 / 2 * gradient = 10 * 0.0025 * 2 = 0.05; SGD: 10 * 2 = 20
    expected = 4.0 - (0.05 if name == "lars" else 20.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([3.0, expected]), rtol=1e-6, atol=0.0)


def test_unknown_optimiser_is_refused() -> None:
    with pytest.raises(ValueError, match="expected sgd or lars, found 'adam'"):
        build_optimiser([{"params": [torch.zeros(1)], "lr": 1.0}], "adam", 0.9, 0.0)


def test_schedules_by_hand() -> None:
    assert lr_factors("cosine", 4) == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    assert lr_factors("step", 5, [2, 4], 0.2) == pytest.approx([1.0, 1.0, 0.2, 0.2, 0.04])


@pytest.mark.parametrize(
    ("schedule", "epochs", "milestones"),
    [("linear", 3, []), ("cosine", 0, []), ("step", 3, []), ("step", 3, [3])],
)
def test_schedule_that_cannot_be_followed_is_refused(
    schedule: str, epochs: int, milestones: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"schedule|epochs|milestones"):
        lr_factors(schedule, epochs, milestones)
