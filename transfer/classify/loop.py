"""The one training loop of linear probe and fine-tuning.

The two differ in what is given to it: the parameter groups, and whether the backbone is frozen.
Shapes: B images of a batch, C classes.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from transfer.classify.features import SECONDS_BETWEEN_LINES, Batches, Encoder
from transfer.ranks import World, sum_gradients, sum_over_ranks, synchronise_batchnorm

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_SAVES = 30.0


class TrainBatches(Batches, Protocol):
    """What is trained on: this rank's rows of each batch, in an order that the epoch's number decides."""

    batch_sizes: list[int]  # of all ranks together

    def set_epoch(self, epoch: int) -> None: ...


class Diverged(ValueError):  # noqa: N818  # a state of the training, not a mistake of the program
    """The loss is not finite; every rank raises it alike."""


class Classifier(nn.Module):
    """An encoder and a head: images ``(B, 3, H, W)`` -> logits ``(B, C)``.

    ``frozen`` keeps the encoder in eval mode and out of the graph, so neither its parameters nor its
    batch statistics move.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, frozen: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.frozen = frozen

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.encoder(images)
        # In bf16 logits would have 8 significant bits: classes would tie, and a tie counts as an error.
        with torch.autocast(images.device.type, enabled=False):
            return self.head(features.float())  # type: ignore[no-any-return]


def trained_part(model: nn.Module) -> nn.Module:
    """What training changes: the head of a frozen :class:`Classifier`, else the whole model."""
    return model.head if isinstance(model, Classifier) and model.frozen else model


def build_head(num_features: int, num_classes: int, feature_norm: bool) -> nn.Sequential:
    """A linear classifier: weights N(0, 0.01), bias 0, as every published protocol starts it.

    ``feature_norm`` puts batch normalisation without parameters before it (MEC's linear probe).
    """
    linear = nn.Linear(num_features, num_classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    norm = [nn.BatchNorm1d(num_features, eps=1e-6, affine=False)] if feature_norm else []
    return nn.Sequential(*norm, linear)


def build_optimiser(
    groups: Sequence[dict[str, Any]], name: str, momentum: float, weight_decay: float, nesterov: bool = False
) -> Optimizer:
    """``sgd`` or ``lars`` over parameter groups that carry their own ``lr`` (and ``weight_decay``, if any).

    Raises:
        ValueError: another name.
    """
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    if name == "lars":
        from timm.optim.lars import Lars  # imported here: it costs a second that SGD need not pay

        # always_adapt: without it timm's LARS is plain SGD wherever the weight decay is 0, as it is here.
        lars: Optimizer = Lars(
            groups, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, always_adapt=True
        )
        return lars
    raise ValueError(f"optimiser: expected sgd or lars, found {name!r}")


def lr_factors(schedule: str, epochs: int, milestones: Sequence[int] = (), gamma: float = 0.1) -> list[float]:
    """One factor on the learning rate for each epoch.

    ``cosine`` falls from 1 towards 0 (epoch e of E: (1 + cos(pi e / E)) / 2); ``step`` multiplies by
    ``gamma`` at each milestone.

    Raises:
        ValueError: another schedule, no epoch, or a milestone that is never reached.
    """
    if epochs < 1:
        raise ValueError(f"epochs: expected at least 1, found {epochs}")
    if schedule == "cosine":
        return [(1.0 + math.cos(math.pi * epoch / epochs)) / 2.0 for epoch in range(epochs)]
    if schedule == "step":
        if not milestones or not all(0 < milestone < epochs for milestone in milestones):
            raise ValueError(f"milestones: expected epochs in 1..{epochs - 1}, found {list(milestones)}")
        return [gamma ** sum(epoch >= milestone for milestone in milestones) for epoch in range(epochs)]
    raise ValueError(f"schedule: expected cosine or step, found {schedule!r}")


def cross_entropy_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B, C)``, summed over the images.

    Labels ``(B,)`` are class numbers. Targets ``(B, C)`` of a multi-label set are 1, 0 or -1: binary
    cross-entropies, summed over the classes too, without those marked -1.
    """
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels, reduction="sum")
    targets = labels.clamp(min=0).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(
        logits, targets, weight=(labels >= 0).to(logits.dtype), reduction="sum"
    )


def fit(
    model: nn.Module,
    batches: TrainBatches,
    optimiser: Optimizer,
    factors: Sequence[float],
    device: torch.device,
    *,
    bf16: bool = False,
    world: World | None = None,
    checkpoint: Path | None = None,
    save_every_s: float | None = None,
    loss: Callable[[Any, Tensor], Tensor] = cross_entropy_sum,
    before_step: Callable[[int, Optimizer], None] | None = None,
) -> float:
    """Train, one pass over ``batches`` per factor; returns the last epoch's mean loss of an image.

    The loss of a batch is that of all ranks' images over their number, whatever the number of ranks, and
    batch normalisation in train mode sees all of them.

    Args:
        factors: on the learning rates that ``optimiser`` comes with, one for each epoch.
        checkpoint: where an epoch's end is kept, at most every ``save_every_s`` (30) seconds and after the
            last; training goes on from there when the file exists, to the same bits. The caller removes it.
        loss: of outputs and labels, summed over the images given; or several losses ``(L,)`` of models that
            share no parameter, of which some may diverge.
        before_step: is called with the number of the step, from 0, and may set learning rates.

    Raises:
        Diverged: a mean loss that is not finite; of several losses, none that is.
    """
    world = world or World()
    save_every_s = SECONDS_BETWEEN_SAVES if save_every_s is None else save_every_s
    base_lrs = [group["lr"] for group in optimiser.param_groups]
    part = synchronise_batchnorm(trained_part(model), world, device)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    done, mean_loss = _resume(checkpoint, part, optimiser)
    num_steps, step = len(factors) * len(batches), done * len(batches)
    model.train()
    start = shown = saved = time.monotonic()
    first_step = step
    for epoch in range(done, len(factors)):
        batches.set_epoch(epoch)
        for group, base_lr in zip(optimiser.param_groups, base_lrs, strict=True):
            group["lr"] = base_lr * factors[epoch]
        total = torch.zeros((), device=device, dtype=torch.float64)  # or (L,), once a loss was added
        for size, (inputs, labels) in zip(batches.batch_sizes, batches, strict=True):
            if before_step is not None:
                before_step(step, optimiser)
            optimiser.zero_grad(set_to_none=True)
            inputs, labels = inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                own_loss = loss(model(inputs), labels)
            (own_loss.sum() / size).backward()  # type: ignore[no-untyped-call]
            sum_gradients(parameters, world)
            optimiser.step()
            own_loss = own_loss.detach()
            total = total + own_loss.double()  # read once an epoch: a read waits for the GPU
            step += 1
            now = time.monotonic()
            if world.first and (now - shown > SECONDS_BETWEEN_LINES or step == num_steps):
                shown = now
                eta_s = (now - start) / (step - first_step) * (num_steps - step)
                logger.info(
                    "epoch %d/%d  iteration %d/%d  loss %.4f  ETA %.0f s",
                    epoch + 1, len(factors), step, num_steps, float(own_loss.nanmean()) / max(1, len(labels)),
                    eta_s,
                )  # fmt: skip
        losses = sum_over_ranks(total, world) / sum(batches.batch_sizes)
        finite = losses[torch.isfinite(losses)]
        mean_loss = float(finite.mean()) if len(finite) else float(losses.mean())
        if not math.isfinite(mean_loss):
            raise Diverged(
                f"the loss is {mean_loss} in epoch {epoch + 1} at learning rates {base_lrs}: lower them"
            )
        now = time.monotonic()
        if checkpoint is not None and (now - saved >= save_every_s or epoch + 1 == len(factors)):
            saved = now
            if world.first:
                _save(checkpoint, part, optimiser, epoch + 1, mean_loss)
    return mean_loss


def _save(path: Path, part: nn.Module, optimiser: Optimizer, epoch: int, mean_loss: float) -> None:
    """Write a checkpoint, whole or not at all."""
    state = {
        "model": part.state_dict(),
        "optimiser": optimiser.state_dict(),
        "epoch": epoch,
        "loss": mean_loss,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as handle:
            torch.save(state, handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _resume(path: Path | None, part: nn.Module, optimiser: Optimizer) -> tuple[int, float]:
    """Load a checkpoint where there is one: how many epochs it has seen, and the last one's loss.

    Raises:
        ValueError: a file that cannot be read, or that is of another model.
    """
    if path is None or not path.exists():
        return 0, math.nan
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        part.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: no checkpoint of this run ({reason}); remove it to start anew") from error
    logger.info("%s: resumed after epoch %d", path, state["epoch"])
    return state["epoch"], state["loss"]
