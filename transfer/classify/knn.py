"""Weighted k-nearest-neighbour classification on frozen features: nothing is trained.

As in Wu et al. 2018 (arXiv 1805.01978, section 3.4) and DINO: cosine similarity, each of the k
nearest training images votes for its class with weight exp(similarity / temperature).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer.backbone.contract import Backbone
from transfer.classify.features import extract_features
from transfer.classify.loop import measure
from transfer.data.folders import ImageSetConfig, read_splits
from transfer.report.rows import Measurement

MAX_SIMILARITIES = 1 << 26  # held at once: 256 MiB of float32


@dataclass
class Config(ImageSetConfig):
    """kNN protocol; ``protocol`` must be ``knn-k{k}``."""

    k: int = 20
    temperature: float = 0.07


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """top1 and top5 of the validation images, voted by the training images.

    Raises:
        ValueError: a protocol id that contradicts k, or what :func:`vote` refuses.
    """
    if config.protocol != f"knn-k{config.k}":
        raise ValueError(f"protocol: expected knn-k{config.k} with k={config.k}, found {config.protocol!r}")
    train, val = read_splits(config)
    (train_features, train_labels), (val_features, val_labels) = extract_features(
        backbone, (train, val), config
    )
    votes = vote(train_features, train_labels, val_features, len(train.classes), config.k, config.temperature)
    yield from measure(votes, val_labels, val.names, config.dataset, config.val_split, config.protocol)


@torch.inference_mode()
def vote(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    num_classes: int,
    k: int,
    temperature: float,
) -> Tensor:
    """Votes ``(M, C)`` for validation features ``(M, D)`` from training features ``(N, D)``; exact.

    Weights are divided by the largest one a pair can have, exp(1 / temperature), which changes no
    order and cannot overflow.

    Raises:
        ValueError: k below 1 or above N, or a temperature that is not positive.
    """
    num_train = len(train_features)
    if not 1 <= k <= num_train:
        raise ValueError(f"k: expected 1..{num_train}, the number of training images, found {k}")
    if temperature <= 0.0:
        raise ValueError(f"temperature: expected a positive number, found {temperature}")
    bank = F.normalize(train_features, dim=1).T
    queries = F.normalize(val_features, dim=1)
    votes = []
    for chunk in torch.split(queries, max(1, MAX_SIMILARITIES // num_train)):
        similarities, neighbours = (chunk @ bank).topk(k, dim=1)
        weights = ((similarities - 1.0) / temperature).exp()
        empty = weights.new_zeros(len(chunk), num_classes)
        votes.append(empty.scatter_add_(1, train_labels[neighbours], weights))
    return torch.cat(votes)
