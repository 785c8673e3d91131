"""Weighted k-nearest-neighbour classification on frozen features: nothing is trained.

As in Wu et al. 2018 (arXiv 1805.01978, section 3.4) and DINO: cosine similarity, each of the k
nearest training images votes for its class with weight exp(similarity / temperature).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from transfer.backbone.contract import Backbone
from transfer.classify.features import extract_features
from transfer.classify.neighbours import nearest, normalise_
from transfer.classify.scores import measure, metric_names
from transfer.data.folders import ImageSetConfig, read_splits
from transfer.ranks import choose_device, gather_rows, join
from transfer.report.rows import Measurement

logger = logging.getLogger(__name__)


@dataclass
class Config(ImageSetConfig):
    """kNN protocols: rows ``{protocol}-k10``, ``{protocol}-k20`` ... of one search; with ``k`` only that.

    ``protocol`` is ``knn`` or ``knn-...``; with ``k`` it is the row's own and ends in ``-k{k}``.
    """

    ks: list[int] = field(default_factory=lambda: [10, 20, 100, 200])
    k: int | None = None
    temperature: float = 0.07

    @property
    def numbers(self) -> list[int]:
        """The numbers of neighbours, as asked for."""
        return self.ks if self.k is None else [self.k]

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of the rows, one a number."""
        return tuple(f"{self.protocol}-k{k}" for k in self.ks) if self.k is None else (self.protocol,)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """The set's metrics for each k, voted by the training images; the ranks share the validation images.

    A k above the number of training images gives rows that say so.

    Raises:
        ValueError: no k, one below 1 or twice, a temperature that is not positive, a protocol id that
            contradicts k, a set with several labels an image, or a feature that is not finite.
    """
    check_config(config)
    train, val = read_splits(config)
    if train.targets is not None:
        raise ValueError(f"{config.dataset}: kNN votes need one label an image; this set has several")
    num_train = len(train)
    possible = [k for k in config.numbers if k <= num_train]
    if possible:
        device = choose_device(config.device)
        world = join(device)
        (bank, labels), (queries, _) = extract_features(backbone, (train, val), config, world)
        share = normalise_(queries[world.share(len(val))].to(device))
        found = nearest(normalise_(bank), share, max(possible))
        similarities, neighbours = (gather_rows(part, world, len(val)).cpu() for part in found)
        if not world.first:
            return
        labels = labels.cpu()[neighbours]
    for k, protocol in zip(config.numbers, config.protocols, strict=True):
        if k in possible:
            votes = vote(similarities[:, :k], labels[:, :k], len(train.classes), config.temperature)
            yield from measure(votes, val, config, out, protocol=protocol)
            continue
        status = f"not-run: k = {k}, but there are {num_train} training images"
        logger.warning("%s: %s", protocol, status)
        for metric in metric_names(config):
            yield Measurement(
                config.dataset, config.val_split, protocol, "torch", metric, None, None, status=status
            )


def check_config(config: Config) -> None:
    """Refuse what no search could do.

    Raises:
        ValueError: see :func:`run`.
    """
    numbers = config.numbers
    if not numbers or min(numbers) < 1 or len(set(numbers)) != len(numbers):
        raise ValueError(f"ks: expected different numbers of at least 1, found {numbers}")
    if config.temperature <= 0.0:
        raise ValueError(f"temperature: expected a positive number, found {config.temperature}")
    named, last = config.protocol.split("-"), f"k{config.k}"
    if named[0] != "knn" or (config.k is not None and named[-1] != last):
        expected = (
            "knn or knn-... (its rows add -k10 ...)" if config.k is None else f"knn-{last} or knn-...-{last}"
        )
        raise ValueError(f"protocol: expected {expected}, found {config.protocol!r}")


def vote(similarities: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    """Votes ``(M, C)`` float64 from the similarities ``(M, k)`` and labels ``(M, k)`` of the neighbours.

    Weights are divided by the largest one a pair can have, exp(1 / temperature), which changes no
    order and cannot overflow.
    """
    weights = ((similarities.double() - 1.0) / temperature).exp()
    return weights.new_zeros(len(labels), num_classes).scatter_add_(1, labels, weights)
