"""Semi-supervised evaluation: fine-tune the whole network on a small part of the labels.

Backbone and classifier have their own learning rates; batch normalisation is in train mode, as in
the published protocols, and its statistics are those of the whole batch however many processes share it.
The last epoch is reported. Rates and epochs can be chosen from a grid, on training images that are held
out: the validation images decide nothing unless ``choose_on: test`` asks for it, and the rows say so.

Training from scratch on the same labels is this task with a backbone of random weights
(``python -m transfer random``) and a recipe of its own.
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
from transfer.classify.holdout import draw_holdout, split_holdout
from transfer.classify.loop import lr_factors
from transfer.classify.scores import measure
from transfer.data.folders import ImageSetConfig, ImageSplit, read_splits
from transfer.data.subsets import read_list, stratified_subset, write_list
from transfer.ranks import choose_device, join
from transfer.report.rows import Measurement
from transfer.selection import Settings, selection_of

logger = logging.getLogger(__name__)


@dataclass
class Config(ImageSetConfig):
    """Fine-tuning protocol.

    The labels are either ``label_fraction`` of each class, drawn by ``subset_seed`` (the same for
    every backbone and every ``seed``, so that comparisons are paired), or the fixed ``subset_list``.
    With ``scale_lr`` both learning rates are multiplied by batch size / 256, the batch being no
    larger than the subset.

    A grid (``lrs`` for both rates alike, or ``lrs_backbone`` x ``lrs_head``; x ``epochs_grid``) takes the
    place of the single values. ``holdout_images`` training images choose among it, drawn by ``subset_seed``:
    ``unlabelled`` ones outside the subset, as BYOL does, or a part of the ``labelled`` ones, on all of
    which the chosen setting is then trained again.
    """

    label_fraction: float | None = None
    subset_seed: int = 0
    subset_list: str = ""
    subset_sha256: str = ""  # of the list, where it is a published one
    min_scale: float = 0.08  # smallest area of a random crop
    feature_norm: bool = False
    lr_backbone: float = 0.05
    lr_head: float = 0.05
    scale_lr: bool = True
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    epochs: int = 50
    schedule: str = "cosine"  # cosine or step
    milestones: list[int] = field(default_factory=list)
    gamma: float = 0.1
    lrs: list[float] = field(default_factory=list)
    lrs_backbone: list[float] = field(default_factory=list)
    lrs_head: list[float] = field(default_factory=list)
    epochs_grid: list[int] = field(default_factory=list)
    holdout_images: int = 0
    holdout_from: str = "unlabelled"  # or labelled
    choose_on: str = "holdout"  # or test


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """The validation images' metrics after the last epoch; the labels used go to ``out/labels.txt``.

    Raises:
        ValueError: not exactly one of ``label_fraction`` and ``subset_list``, a list that does not fit, a
            grid with nothing to choose on, or a loss that is not finite.
    """
    points = grid(config)
    selection = selection_of(len(points), config.choose_on, config.holdout_images > 0)
    world = join(choose_device(config.device))
    train, val = read_splits(config)
    chosen = choose_labels(train, config)
    labelled = train.select(chosen)
    choice = (labelled, val, "test")
    if selection == "best-val":
        choice = (*hold_out(train, chosen, labelled, config), "holdout")
    if world.first:
        write_list(out / "labels.txt", labelled.names)
        if selection == "best-val":
            write_list(out / "holdout.txt", choice[1].names)
    logger.info("fine-tuning on %d labelled images of %d classes", len(labelled), len(train.classes))

    def tune(settings: Settings, images: ImageSplit, scored: ImageSplit, checkpoint: Path) -> Tensor:
        recipe = recipe_of(settings, config, len(images))
        return score_after_tuning(backbone, images, scored, recipe, config, world, checkpoint)

    scores = tune_and_choose(points, tune, labelled, val, choice, config, out, world)
    if world.first:
        yield from measure(scores, val, config, out, selection)


def choose_labels(train: ImageSplit, config: Config) -> list[int]:
    """Indices of the training images whose labels the run may see.

    Raises:
        ValueError: not exactly one of ``label_fraction`` and ``subset_list`` is given.
    """
    if (config.label_fraction is None) == (not config.subset_list):
        raise ValueError(
            f"expected exactly one of label_fraction and subset_list, found {config.label_fraction!r} and "
            f"{config.subset_list!r}"
        )
    if config.label_fraction is None:
        return read_list(Path(config.subset_list), train, config.subset_sha256)
    return stratified_subset(train, config.label_fraction, config.subset_seed)


def hold_out(
    train: ImageSplit, chosen: list[int], labelled: ImageSplit, config: Config
) -> tuple[ImageSplit, ImageSplit]:
    """The labelled images to train on while choosing, and the held-out ones that choose.

    Raises:
        ValueError: an unknown ``holdout_from``, or too few images to hold out.
    """
    if config.holdout_from == "labelled":
        return split_holdout(labelled, config.holdout_images, config.subset_seed)
    if config.holdout_from != "unlabelled":
        raise ValueError(f"holdout_from: expected unlabelled or labelled, found {config.holdout_from!r}")
    others = sorted(set(range(len(train))) - set(chosen))
    return labelled, train.select(draw_holdout(train, others, config.holdout_images, config.subset_seed))


def grid(config: Config) -> list[Settings]:
    """The settings to choose among, one where no list is given; both learning rates before batch scaling.

    Raises:
        ValueError: both kinds of lists of learning rates, or a schedule that does not fit all epochs.
    """
    if config.lrs and (config.lrs_backbone or config.lrs_head):
        raise ValueError("expected either lrs (both rates alike) or lrs_backbone and lrs_head, found both")
    rates = [(lr, lr) for lr in config.lrs] or list(
        product(config.lrs_backbone or [config.lr_backbone], config.lrs_head or [config.lr_head])
    )
    all_epochs = config.epochs_grid or [config.epochs]
    for epochs in all_epochs:  # before the work, not after a part of it
        lr_factors(config.schedule, epochs, config.milestones, config.gamma)
    return [
        {"lr_backbone": lr_backbone, "lr_head": lr_head, "epochs": epochs}
        for (lr_backbone, lr_head), epochs in product(rates, all_epochs)
    ]


def recipe_of(settings: Settings, config: Config, num_images: int) -> Recipe:
    """One point of the grid as a recipe for ``num_images`` labelled images."""
    scale = min(config.batch_size, num_images) / 256 if config.scale_lr else 1.0
    return Recipe(
        lr_backbone=float(settings["lr_backbone"]) * scale,
        lr_head=float(settings["lr_head"]) * scale,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        nesterov=config.nesterov,
        min_scale=config.min_scale,
        factors=lr_factors(config.schedule, int(settings["epochs"]), config.milestones, config.gamma),
        feature_norm=config.feature_norm,
    )
