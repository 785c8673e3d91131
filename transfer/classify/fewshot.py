"""Few-shot classification: logistic regression on the frozen features of a few training images of each class.

As Tian et al. 2020 (arXiv 2003.11539; their code's eval/meta_eval.py, commit 9337f9b) classify an episode:
features of unit length, scikit-learn's logistic regression at C = 1. Theirs are episodes of five classes;
here every class takes part and all validation images are asked.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from transfer.backbone.contract import Backbone
from transfer.classify.features import extract_features
from transfer.classify.logistic import fit_logistic
from transfer.classify.neighbours import normalise_
from transfer.classify.scores import check_metric, value_of
from transfer.data.folders import ImageSetConfig, read_splits
from transfer.data.subsets import images_per_class
from transfer.ranks import choose_device, join
from transfer.report.rows import Measurement

logger = logging.getLogger(__name__)


@dataclass
class Config(ImageSetConfig):
    """Few-shot protocol; ``protocol`` must be ``fewshot-{shots}`` or ``fewshot-{shots}-...``.

    Draw d of seed s is number s * draws + d: the same images for every backbone, others for another seed.
    """

    shots: int = 5  # labelled images of each class
    draws: int = 10
    l2: float | None = None  # none: 1 / number of labelled images, which is C = 1


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """The set's own metric, averaged over the draws, whose values go to ``out/draws.csv``.

    Raises:
        ValueError: a protocol id that contradicts the shots, no shot or draw, a metric or a set for which
            there is no such classifier, or a class with fewer training images than shots; names it.
    """
    if config.protocol.split("-")[:2] != ["fewshot", str(config.shots)]:
        name = f"fewshot-{config.shots}"
        raise ValueError(f"protocol: expected {name} or {name}-..., found {config.protocol!r}")
    if config.shots < 1 or config.draws < 1:
        raise ValueError(f"shots, draws: expected at least 1, found {config.shots} and {config.draws}")
    train, val = read_splits(config)
    if train.targets is not None:
        raise ValueError(f"{config.dataset}: shots of a class need one label an image; this set has several")
    check_metric(config.metric, val)
    numbers = range(config.seed * config.draws, (config.seed + 1) * config.draws)
    drawn = [images_per_class(train, config.shots, number) for number in numbers]
    kept = sorted(set().union(*drawn))
    device = choose_device(config.device)
    world = join(device)
    logger.info("%d draws of %d images of %d classes", len(drawn), config.shots, len(train.classes))
    (features, labels), (val_features, _) = extract_features(
        backbone, (train.select(kept), val), config, world
    )
    if not world.first:
        return
    for rows in (features, val_features):
        normalise_(rows)
    place = {index: row for row, index in enumerate(kept)}
    values = []
    for indices in drawn:
        shots = torch.tensor([place[index] for index in indices], device=features.device)
        l2 = 1.0 / len(indices) if config.l2 is None else config.l2
        # In float64: few images do not average the rounding of float32 products away.
        weight, bias = fit_logistic(features[shots].double(), labels[shots], l2, len(train.classes))
        scores = F.linear(val_features, weight.to(val_features.dtype), bias.to(val_features.dtype))
        values.append(value_of(scores, val, config.metric))
    _write_draws(out / "draws.csv", numbers, config.metric, values)
    mean = sum(values) / len(values)
    yield Measurement(
        config.dataset, config.val_split, config.protocol, "torch", config.metric, mean, len(val)
    )


def _write_draws(path: Path, numbers: Sequence[int], metric: str, values: Sequence[float]) -> None:
    """One line a draw, atomically: its number and its value in percent."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["draw", metric])
            writer.writerows((number, f"{value:.10g}") for number, value in zip(numbers, values, strict=True))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
