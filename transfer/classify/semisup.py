"""Semi-supervised evaluation: fine-tune the whole network on a small part of the labels.

Backbone and classifier have their own learning rates; batch normalisation is in train mode, as in
the published protocols. Nothing is selected on the validation images: the last epoch is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from transfer.backbone.architecture import FEATURE_DIMS
from transfer.backbone.contract import Backbone
from transfer.classify.features import build_encoder, choose_device, predict
from transfer.classify.loop import Classifier, build_head, build_optimiser, fit, lr_factors, measure
from transfer.data.batches import eval_batches, train_batches
from transfer.data.folders import ImageSetConfig, ImageSplit, read_splits
from transfer.data.subsets import read_list, stratified_subset, write_list
from transfer.report.rows import Measurement

logger = logging.getLogger(__name__)


@dataclass
class Config(ImageSetConfig):
    """Fine-tuning protocol; ``protocol`` must start with ``semisup-ft``.

    The labels are either ``label_fraction`` of each class, drawn by ``subset_seed`` (the same for
    every backbone and every ``seed``, so that comparisons are paired), or the fixed ``subset_list``.
    With ``scale_lr`` both learning rates are multiplied by batch size / 256, the batch being no
    larger than the subset.
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


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """top1 and top5 of the validation images after the last epoch; the labels used go to ``out/labels.txt``.

    Raises:
        ValueError: a protocol id of another task, not exactly one of ``label_fraction`` and
            ``subset_list``, a list that does not fit, or a loss that is not finite.
    """
    if not config.protocol.startswith("semisup-ft"):
        raise ValueError(f"protocol: expected semisup-ft or semisup-ft-..., found {config.protocol!r}")
    torch.manual_seed(config.seed)
    train, val = read_splits(config)
    labelled = choose_labels(train, config)
    write_list(out / "labels.txt", labelled.names)
    device = choose_device(config.device)
    encoder = build_encoder(backbone, device)
    head = build_head(FEATURE_DIMS[backbone.info.arch], len(train.classes), config.feature_norm).to(device)
    scale = min(config.batch_size, len(labelled.names)) / 256 if config.scale_lr else 1.0
    groups = [
        {"params": list(encoder.parameters()), "lr": config.lr_backbone * scale},
        {"params": list(head.parameters()), "lr": config.lr_head * scale},
    ]
    optimiser = build_optimiser(groups, "sgd", config.momentum, config.weight_decay, config.nesterov)
    factors = lr_factors(config.schedule, config.epochs, config.milestones, config.gamma)
    model = Classifier(encoder, head, frozen=False)
    logger.info("fine-tuning on %d labelled images of %d classes", len(labelled.names), len(train.classes))
    fit(model, train_batches(labelled, config, config.min_scale), optimiser, factors, device, config.bf16)
    logits, labels = predict(model, eval_batches(val, config), device, config.bf16)
    yield from measure(logits, labels, val.names, config.dataset, config.val_split, config.protocol)


def choose_labels(train: ImageSplit, config: Config) -> ImageSplit:
    """The training images whose labels the run may see.

    Raises:
        ValueError: not exactly one of ``label_fraction`` and ``subset_list`` is given.
    """
    if (config.label_fraction is None) == (not config.subset_list):
        raise ValueError(
            f"expected exactly one of label_fraction and subset_list, found {config.label_fraction!r} and "
            f"{config.subset_list!r}"
        )
    if config.label_fraction is None:
        return train.select(read_list(Path(config.subset_list), train, config.subset_sha256))
    return train.select(stratified_subset(train, config.label_fraction, config.subset_seed))
