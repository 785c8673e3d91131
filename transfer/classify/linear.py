"""Linear probe: a linear classifier on the frozen backbone's average-pooled features.

With ``augment`` each epoch sees new random crops, as published protocols do. Without it the features
of the evaluation crops are computed once and the classifier trains on those: minutes become seconds,
and the protocol id says so (``linear-cached-...``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from transfer.backbone.architecture import FEATURE_DIMS
from transfer.backbone.contract import Backbone
from transfer.classify.features import (
    assert_frozen,
    build_encoder,
    choose_device,
    extract_features,
    predict,
)
from transfer.classify.loop import (
    Classifier,
    FeatureBatches,
    build_head,
    build_optimiser,
    fit,
    lr_factors,
    measure,
)
from transfer.data.batches import eval_batches, train_batches
from transfer.data.folders import ImageSetConfig, read_splits
from transfer.report.rows import Measurement


@dataclass
class Config(ImageSetConfig):
    """Linear protocol; ``protocol`` must start with ``linear-{optimiser}``, or ``linear-cached-{optimiser}``
    without ``augment``. The learning rate is ``base_lr * batch_size / 256``, cosine to 0 per epoch.
    """

    augment: bool = True
    min_scale: float = 0.08  # smallest area of a random crop
    feature_norm: bool = True  # batch normalisation without parameters before the classifier
    optimiser: str = "lars"  # lars or sgd
    base_lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 0.0
    epochs: int = 100


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """top1 and top5 of the validation images after the last epoch.

    Raises:
        ValueError: a protocol id that contradicts the settings, a loss that is not finite, or a
            backbone tensor that moved.
    """
    expected = f"linear-{'' if config.augment else 'cached-'}{config.optimiser}"
    if not config.protocol.startswith(expected):
        raise ValueError(f"protocol: expected {expected} or {expected}-..., found {config.protocol!r}")
    torch.manual_seed(config.seed)
    train, val = read_splits(config)
    device = choose_device(config.device)
    head = build_head(FEATURE_DIMS[backbone.info.arch], len(train.classes), config.feature_norm).to(device)
    group = {"params": list(head.parameters()), "lr": config.base_lr * config.batch_size / 256}
    optimiser = build_optimiser([group], config.optimiser, config.momentum, config.weight_decay)
    factors = lr_factors("cosine", config.epochs)
    if config.augment:
        encoder = build_encoder(backbone, device)
        model = Classifier(encoder, head, frozen=True)
        fit(model, train_batches(train, config, config.min_scale), optimiser, factors, device, config.bf16)
        logits, labels = predict(model, eval_batches(val, config), device, config.bf16)
        assert_frozen(encoder.resnet, backbone.state)
    else:
        (features, train_labels), (val_features, labels) = extract_features(backbone, (train, val), config)
        cached = FeatureBatches(features, train_labels, config.batch_size, config.seed)
        fit(head, cached, optimiser, factors, device)
        logits, labels = predict(head, [(val_features, labels)], device, bf16=False)
    yield from measure(logits, labels, val.names, config.dataset, config.val_split, config.protocol)
