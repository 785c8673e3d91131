"""Fine-tuning: a backbone and a new classifier, trained together with batch normalisation in train mode.

What the tasks ``semisup`` and ``finetune`` share. They differ in the labels that may be seen, in the
schedule, and in what is chosen.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from transfer.backbone.architecture import FEATURE_DIMS
from transfer.backbone.contract import Backbone
from transfer.classify.features import build_encoder, predict_split
from transfer.classify.loop import Classifier, Diverged, TrainBatches, build_head, build_optimiser, fit
from transfer.classify.scores import value_of
from transfer.data.batches import train_batches
from transfer.data.folders import ImageSetConfig, ImageSplit
from transfer.ranks import World, choose_device
from transfer.selection import SELECTION_NAME, Settings, choose

logger = logging.getLogger(__name__)
# What one setting gives: (the setting, images to train on, images to score, checkpoint) -> scores (N, C).
Tune = Callable[[Settings, ImageSplit, ImageSplit, Path], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one fine-tuning goes; the learning rates are the highest ones, batch size included.

    The rates follow ``factors``, one for each epoch, or fall as a cosine of each of ``steps`` steps.
    """

    lr_backbone: float
    lr_head: float
    weight_decay: float
    momentum: float
    nesterov: bool
    min_scale: float
    factors: Sequence[float] = ()
    steps: int | None = None
    feature_norm: bool = False
    bn_momentum_by_steps: bool = False


def fine_tune(
    backbone: Backbone,
    train: ImageSplit,
    recipe: Recipe,
    config: ImageSetConfig,
    world: World,
    checkpoint: Path | None = None,
) -> Classifier:
    """A backbone and a classifier, trained on ``train`` from the same beginning for every recipe.

    Raises:
        Diverged: a loss that is not finite.
    """
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    encoder = build_encoder(backbone, device)
    head = build_head(FEATURE_DIMS[backbone.info.arch], len(train.classes), recipe.feature_norm).to(device)
    model = Classifier(encoder, head, frozen=False)
    groups = [
        {"params": list(encoder.parameters()), "lr": recipe.lr_backbone},
        {"params": list(head.parameters()), "lr": recipe.lr_head},
    ]
    optimiser = build_optimiser(groups, "sgd", recipe.momentum, recipe.weight_decay, recipe.nesterov)
    batches: TrainBatches = train_batches(train, config, recipe.min_scale, world)
    if recipe.bn_momentum_by_steps:
        set_bn_momentum(model, len(batches))
    factors, before_step = recipe.factors, None
    if recipe.steps is not None:
        factors = [1.0] * math.ceil(recipe.steps / len(batches))
        before_step = cosine_per_step([group["lr"] for group in optimiser.param_groups], recipe.steps)
        batches = FirstSteps(batches, recipe.steps)
    fit(
        model,
        batches,
        optimiser,
        factors,
        device,
        bf16=config.bf16,
        world=world,
        checkpoint=checkpoint,
        before_step=before_step,
    )
    return model


def tune_and_choose(
    points: Sequence[Settings],
    tune: Tune,
    train: ImageSplit,
    val: ImageSplit,
    choice: tuple[ImageSplit, ImageSplit, str],
    config: ImageSetConfig,
    out: Path,
    world: World,
) -> Tensor:
    """Scores ``(N, C)`` of ``val`` after training on ``train`` with the best of ``points``.

    Only ``choice`` decides which one that is: the images to train on for it, the images to judge by, and
    what these are (``holdout`` or ``test``). Where it trains on ``train`` itself, the chosen point's
    checkpoint already is the result, and nothing is trained again.
    """
    tried, judged, judged_on = choice

    def checkpoint_of(index: int) -> Path:
        return out / f"point-{index}.pt"

    def score(index: int) -> float | None:
        try:
            scores = tune(points[index], tried, judged, checkpoint_of(index))
        except Diverged as error:
            logger.warning("point %d: %s", index + 1, error)
            return None
        return value_of(scores, judged, config.metric) if bool(torch.isfinite(scores).all()) else None

    def discard(index: int) -> None:
        if world.first:
            checkpoint_of(index).unlink(missing_ok=True)

    chosen = 0
    if len(points) > 1:
        path = out / SELECTION_NAME
        chosen = choose(points, score, path, judged_on, config.metric, len(judged), world, discard)
    checkpoint = checkpoint_of(chosen) if len(points) == 1 or tried is train else out / "final.pt"
    return tune(points[chosen], train, val, checkpoint)


def score_after_tuning(
    backbone: Backbone,
    train: ImageSplit,
    scored: ImageSplit,
    recipe: Recipe,
    config: ImageSetConfig,
    world: World,
    checkpoint: Path | None = None,
) -> Tensor:
    """Scores ``(N, C)`` of ``scored`` by a network fine-tuned on ``train``, on every rank."""
    model = fine_tune(backbone, train, recipe, config, world, checkpoint)
    return predict_split(model, scored, config, choose_device(config.device), world)


def set_bn_momentum(model: nn.Module, steps_per_epoch: int) -> None:
    """Batch statistics that remember max(1 - 10/s, 0.9), s steps an epoch (Kornblith et al., SimCLR, BYOL).

    Those papers count the share of the old value, torch that of the new one.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = min(10.0 / steps_per_epoch, 0.1)


def cosine_per_step(base_lrs: Sequence[float], num_steps: int) -> Callable[[int, Optimizer], None]:
    """Sets the rates before step k of K, counted from 0, to (1 + cos(pi k / K)) / 2 of the highest ones."""

    def before_step(step: int, optimiser: Optimizer) -> None:
        factor = (1.0 + math.cos(math.pi * step / num_steps)) / 2.0
        for group, base_lr in zip(optimiser.param_groups, base_lrs, strict=True):
            group["lr"] = base_lr * factor

    return before_step


class FirstSteps:
    """The batches of ``batches``, ended after ``num_steps`` of them, which may be within an epoch."""

    def __init__(self, batches: TrainBatches, num_steps: int) -> None:
        self.batches = batches
        self.num_steps = num_steps
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next iteration gives."""
        self.batches.set_epoch(epoch)
        left = max(0, self.num_steps - epoch * len(self.batches))
        self.batch_sizes = self.batches.batch_sizes[:left]

    def __len__(self) -> int:
        return min(len(self.batches), self.num_steps)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return islice(self.batches, len(self.batch_sizes))
