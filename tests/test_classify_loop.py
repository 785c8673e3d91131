"""The shared training loop: its loss, its checkpoints, what it does when training diverges."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from transfer.classify import loop
from transfer.classify.features import FeatureBatches
from transfer.classify.loop import Diverged, build_optimiser, cross_entropy_sum, fit, lr_factors

CPU = torch.device("cpu")
FACTORS = lr_factors("cosine", 5)
BATCHES_PER_EPOCH = 4


class Interrupted(Exception):  # noqa: N818  # what a kill is to the process
    """Stands for a kill between two steps."""


def batches(seed: int = 0) -> FeatureBatches:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(31, 6, generator=generator)
    return FeatureBatches(features, (features[:, 0] > 0).long() + (features[:, 1] > 0).long(), 8, seed)


def model_and_optimiser(name: str = "lars") -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    groups = [
        {"params": list(model[:2].parameters()), "lr": 0.1},
        {"params": list(model[2:].parameters()), "lr": 1.0},
    ]
    return model, build_optimiser(groups, name, 0.9, 1e-4)


def train(path: Path | None, stop_at: int | None = None, name: str = "lars") -> tuple[nn.Module, float]:
    """Train to the end, or to just before step ``stop_at``, saving after each epoch."""

    def before_step(step: int, optimiser: Optimizer) -> None:
        if step == stop_at:
            raise Interrupted

    model, optimiser = model_and_optimiser(name)
    loss = fit(
        model, batches(), optimiser, FACTORS, CPU, checkpoint=path, save_every_s=0.0, before_step=before_step
    )
    return model, loss


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", ["lars", "sgd"])
@pytest.mark.parametrize("stop_at", [2, 4, 11, 19])
def test_resumed_run_ends_with_the_bits_of_the_undisturbed_one(
    tmp_path: Path, name: str, stop_at: int
) -> None:
    whole, whole_loss = train(None, name=name)
    path = tmp_path / "fit.pt"
    with pytest.raises(Interrupted):
        train(path, stop_at, name)
    assert path.exists() == (stop_at >= BATCHES_PER_EPOCH)
    resumed, resumed_loss = train(path, name=name)
    assert resumed_loss == whole_loss
    assert same(resumed, whole)


def test_the_order_of_the_resumed_epochs_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = train(None)
    with pytest.raises(Interrupted):
        train(tmp_path / "fit.pt", 11)
    monkeypatch.setattr(FeatureBatches, "set_epoch", lambda self, epoch: None)
    resumed, _ = train(tmp_path / "fit.pt")
    assert not same(resumed, whole)


def test_momentum_is_part_of_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = train(None)
    with pytest.raises(Interrupted):
        train(tmp_path / "fit.pt", 11)
    monkeypatch.setattr(torch.optim.Optimizer, "load_state_dict", lambda self, state: None)
    resumed, _ = train(tmp_path / "fit.pt")
    assert not same(resumed, whole)


def test_finished_training_is_loaded_and_not_trained_again(tmp_path: Path) -> None:
    whole, loss = train(tmp_path / "fit.pt")
    again, again_loss = train(tmp_path / "fit.pt", stop_at=0)  # a step would interrupt it
    assert again_loss == loss
    assert same(again, whole)


def test_steps_are_counted_through_a_resume(tmp_path: Path) -> None:
    steps: list[int] = []
    for stop_at in (6, None):
        model, optimiser = model_and_optimiser()

        def note(step: int, _: Optimizer, stop_at: int | None = stop_at) -> None:
            if step == stop_at:
                raise Interrupted
            steps.append(step)

        try:
            fit(
                model,
                batches(),
                optimiser,
                FACTORS,
                CPU,
                checkpoint=tmp_path / "fit.pt",
                save_every_s=0,
                before_step=note,
            )
        except Interrupted:
            assert stop_at == 6
    assert steps == [*range(6), *range(4, 20)]


def test_saves_are_as_rare_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []
    monkeypatch.setattr(loop, "_save", lambda path, part, optimiser, epoch, loss: epochs.append(epoch))
    model, optimiser = model_and_optimiser()
    fit(model, batches(), optimiser, FACTORS, CPU, checkpoint=tmp_path / "fit.pt", save_every_s=1e9)
    assert epochs == [5]
    fit(model, batches(), optimiser, FACTORS, CPU, checkpoint=tmp_path / "fit.pt", save_every_s=0.0)
    assert epochs == [5, 1, 2, 3, 4, 5]


def of_another_model(path: Path) -> None:
    torch.save({"model": nn.Linear(2, 2).state_dict(), "optimiser": {}, "epoch": 1, "loss": 1.0}, path)


def half_a_file(path: Path) -> None:
    train(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("spoil", [of_another_model, half_a_file, lambda path: path.write_bytes(b"")])
def test_checkpoint_that_does_not_fit_is_named(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(tmp_path / "fit.pt")
    with pytest.raises(ValueError, match=r"fit\.pt: no checkpoint of this run .*; remove it to start anew"):
        train(tmp_path / "fit.pt")


def test_loss_is_the_mean_over_images_not_over_batches() -> None:
    model, optimiser = model_and_optimiser()
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    data = batches()
    data.slices, data.batch_sizes = [slice(0, 29), slice(29, 31)], [29, 2]
    model.eval()
    model.train = lambda mode=True: model  # type: ignore[method-assign]  # running statistics: each image alone
    expected = F.cross_entropy(model(data.features), data.labels).item()
    assert fit(model, data, optimiser, [1.0], CPU) == pytest.approx(expected)


def test_diverged_training_says_so_and_leaves_no_checkpoint_of_it(tmp_path: Path) -> None:
    model, optimiser = model_and_optimiser("sgd")
    for group in optimiser.param_groups:
        group["lr"] = 1e38
    with pytest.raises(
        Diverged, match=r"the loss is (nan|inf) in epoch 1 at learning rates \[1e\+38, 1e\+38\]: lower"
    ):
        fit(model, batches(), optimiser, FACTORS, CPU, checkpoint=tmp_path / "fit.pt", save_every_s=0.0)
    assert not (tmp_path / "fit.pt").exists()


def test_of_several_losses_some_may_diverge() -> None:
    weight = nn.Parameter(torch.zeros(2, 6))
    optimiser = torch.optim.SGD([weight], lr=0.01)

    class Two(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return features @ weight.T

    def one_is_nan(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - labels[:, None]).square().sum(0) * torch.tensor([1.0, math.nan])

    def both_are_nan(outputs: Tensor, labels: Tensor) -> Tensor:
        return one_is_nan(outputs, labels) * math.nan

    assert math.isfinite(fit(Two(), batches(), optimiser, [1.0], CPU, loss=one_is_nan))
    assert weight[0].isfinite().all()
    assert weight[1].isnan().all()
    with pytest.raises(Diverged):
        fit(Two(), batches(), optimiser, [1.0], CPU, loss=both_are_nan)


def test_cross_entropy_of_class_numbers_and_of_several_labels() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    assert cross_entropy_sum(logits, torch.tensor([1, 0])).item() == pytest.approx(
        math.log(4 / 3) + math.log(2)
    )
    # sigmoid(log 3) = 3/4, sigmoid(0) = 1/2; the image marked -1 is left out
    targets = torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    expected = math.log(2) + math.log(4 / 3) + math.log(2)
    assert cross_entropy_sum(logits, targets).item() == pytest.approx(expected)
