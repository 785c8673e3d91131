"""Many-shot transfer: fine-tune the whole network on all labels of another set.

The protocol of Kornblith et al. (arXiv 1805.08974) as SimCLR (2002.05709, B.8.2) and BYOL (2006.07733,
D.3) state it: Nesterov SGD, batch 256, 20,000 steps, learning rate and weight decay chosen from a grid on
held-out training images, then trained again on all of them. That the rate falls as a cosine is in neither.
The last step is reported, by the set's own metric; of sets with several labels an image each class is a
binary problem, and an image that is marked difficult for a class is no part of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from torch import Tensor

from transfer.backbone.contract import Backbone
from transfer.classify.finetuning import Recipe, score_after_tuning, tune_and_choose
from transfer.classify.holdout import split_holdout
from transfer.classify.scores import measure
from transfer.data.folders import ImageSetConfig, ImageSplit, read_splits
from transfer.data.subsets import write_list
from transfer.ranks import choose_device, join
from transfer.report.rows import Measurement
from transfer.selection import Settings, selection_of

logger = logging.getLogger(__name__)


@dataclass
class Config(ImageSetConfig):
    """Fine-tuning protocol; ``batch_size`` images a step, or all where there are fewer.

    Every pair of ``lrs`` x ``weight_decays`` is tried; the learning rate is that of backbone and classifier
    alike and not scaled by the batch. ``holdout`` is the share of the training images that choose.
    """

    steps: int = 20_000
    lrs: list[float] = field(default_factory=lambda: [0.01])
    weight_decays: list[float] = field(default_factory=lambda: [0.0])
    weight_decay_over_lr: bool = True  # weight decays are divided by the learning rate, as those papers do
    momentum: float = 0.9
    nesterov: bool = True
    bn_momentum_by_steps: bool = True  # batch statistics remember max(1 - 10/s, 0.9), s steps an epoch
    min_scale: float = 0.08  # smallest area of a random crop
    holdout: float = 0.0
    holdout_seed: int = 0
    choose_on: str = "holdout"  # or test


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """The validation images' metrics after the last step; held-out images are named in ``out/holdout.txt``.

    Raises:
        ValueError: no step, an empty grid, one with nothing to choose on, or a loss that is not finite.
    """
    points = grid(config)
    selection = selection_of(len(points), config.choose_on, config.holdout > 0.0)
    world = join(choose_device(config.device))
    train, val = read_splits(config)
    choice = (train, val, "test")
    if selection == "best-val":
        num_held_out = max(1, round(config.holdout * len(train)))
        choice = (*split_holdout(train, num_held_out, config.holdout_seed), "holdout")
        if world.first:
            write_list(out / "holdout.txt", choice[1].names)
    logger.info("fine-tuning on %d images of %d classes", len(train), len(train.classes))

    def tune(settings: Settings, images: ImageSplit, scored: ImageSplit, checkpoint: Path) -> Tensor:
        recipe = recipe_of(settings, config)
        return score_after_tuning(backbone, images, scored, recipe, config, world, checkpoint)

    scores = tune_and_choose(points, tune, train, val, choice, config, out, world)
    if world.first:
        yield from measure(scores, val, config, out, selection)


def grid(config: Config) -> list[Settings]:
    """The settings to choose among.

    Raises:
        ValueError: an empty list, no step, or a share of held-out images outside 0..1.
    """
    if config.steps < 1 or not config.lrs or not config.weight_decays or not 0.0 <= config.holdout < 1.0:
        raise ValueError(
            f"expected at least one of steps, lrs and weight_decays, and a holdout in [0, 1), found "
            f"steps {config.steps}, lrs {config.lrs}, weight_decays {config.weight_decays}, holdout "
            f"{config.holdout}"
        )
    if config.weight_decay_over_lr and min(config.lrs) <= 0.0:
        raise ValueError(f"weight_decay_over_lr: expected learning rates above 0, found {config.lrs}")
    return [
        {"lr": lr, "weight_decay": weight_decay}
        for lr, weight_decay in product(config.lrs, config.weight_decays)
    ]


def recipe_of(settings: Settings, config: Config) -> Recipe:
    """One point of the grid as a recipe."""
    lr, weight_decay = float(settings["lr"]), float(settings["weight_decay"])
    return Recipe(
        lr_backbone=lr,
        lr_head=lr,
        weight_decay=weight_decay / lr if config.weight_decay_over_lr else weight_decay,
        momentum=config.momentum,
        nesterov=config.nesterov,
        min_scale=config.min_scale,
        steps=config.steps,
        bn_momentum_by_steps=config.bn_momentum_by_steps,
    )
