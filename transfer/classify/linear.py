"""Linear probe: linear classifiers on the frozen backbone's average-pooled features.

With ``augment`` each epoch sees new random crops, as published protocols do. Without it the features
of the evaluation crops are computed once and the classifiers train on those: minutes become seconds,
and the protocol id says so (``linear-cached-...``). Either way a grid of settings costs one pass over the
images (:mod:`transfer.classify.heads`), and what was chosen from it, and on which images, is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer.backbone.contract import Backbone
from transfer.classify.features import (
    FeatureBatches,
    assert_frozen,
    build_encoder,
    extract_features,
    layer_dims,
    predict_split,
)
from transfer.classify.heads import Heads, HeadSettings, head_losses, layers_used, select_layers
from transfer.classify.holdout import split_holdout
from transfer.classify.logistic import fit_logistic
from transfer.classify.loop import Classifier, build_optimiser, fit, lr_factors
from transfer.classify.scores import measure, value_of
from transfer.data.batches import train_batches
from transfer.data.folders import ImageSetConfig, ImageSplit, read_splits
from transfer.data.subsets import write_list
from transfer.ranks import World, choose_device, join
from transfer.report.rows import Measurement
from transfer.selection import SELECTION_NAME, choose, selection_of

Point = dict[str, float | str]  # of a grid: its columns in selection.csv
NORM_EPS = 1e-6  # as MEC's batch normalisation before the classifier has it


@dataclass
class Config(ImageSetConfig):
    """Linear protocol. The learning rate is that of ``base_lr``, times batch size / 256 with ``scale_lr``.

    ``lrs``, ``weight_decays`` and ``layers`` (``l2s`` and ``layers`` with ``lbfgs``) make a grid. Its head
    is chosen on ``holdout``, a share of each class's training images that no head was trained on, or on
    the reported images where ``choose_on`` says ``test``, and the rows then say ``best-test``.
    """

    augment: bool = True
    min_scale: float = 0.08  # smallest area of a random crop
    feature_norm: bool = True  # batch normalisation without parameters before the classifier
    optimiser: str = "lars"  # lars, sgd, or lbfgs: logistic regression on cached features
    base_lr: float = 0.03
    scale_lr: bool = True
    momentum: float = 0.9
    weight_decay: float = 0.0
    epochs: int = 100
    schedule: str = "cosine"  # cosine or step
    milestones: list[int] = field(default_factory=list)
    gamma: float = 0.1
    lrs: list[float] = field(default_factory=list)  # instead of base_lr
    weight_decays: list[float] = field(default_factory=list)  # instead of weight_decay
    layers: list[str] = field(default_factory=lambda: ["avgpool"])  # layer1 to layer4; avgpool+layer3: both
    l2s: list[float] = field(default_factory=list)  # of lbfgs, instead of all of the above
    holdout: float = 0.0
    holdout_seed: int = 0  # the same images for every seed and backbone
    choose_on: str = "holdout"  # holdout or test


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """The set's metrics of the validation images, after the last epoch and by the head that was chosen.

    Held-out images that chose it are named in ``out/holdout.txt``.

    Raises:
        ValueError: settings that contradict each other, a loss that is not finite for any head, or a
            backbone tensor that moved.
    """
    points = grid_points(config)
    selection = selection_of(len(points), config.choose_on, config.holdout > 0)
    world = join(choose_device(config.device))
    train, val = read_splits(config)
    splits = {"train": train, "val": val}
    if selection == "best-val":
        num_held = round(config.holdout * len(train))
        splits["train"], splits["held"] = split_holdout(train, num_held, config.holdout_seed)
        if world.first:
            write_list(out / "holdout.txt", splits["held"].names)
    learn = learn_logistic if config.optimiser == "lbfgs" else learn_heads
    learned = learn(backbone, config, points, splits, out, world)
    chosen = 0
    if selection != "last":
        judged = "held" if selection == "best-val" else "val"

        def score(index: int) -> float | None:
            scores = learned.scores(index, judged)
            return value_of(scores, splits[judged], config.metric) if scores.isfinite().all() else None

        path, num_images = out / SELECTION_NAME, len(splits[judged])
        chosen = choose(points, score, path, config.choose_on, config.metric, num_images, world)
    if world.first:
        yield from measure(learned.final_scores(chosen), val, config, out, selection)


def grid_points(config: Config) -> list[Point]:
    """Every combination of the lists that a configuration gives.

    Raises:
        ValueError: settings that the optimiser does not have, a share outside 0..1, or a point given twice.
    """
    if not 0.0 <= config.holdout < 1.0:
        raise ValueError(f"holdout: expected a share of the training images in 0..1, found {config.holdout}")
    axes: dict[str, Sequence[float | str]]
    if config.optimiser == "lbfgs":
        if config.augment or config.lrs or config.weight_decays or not config.l2s:
            raise ValueError(
                "optimiser lbfgs: expected augment: false, some l2s, no lrs and no weight_decays"
            )
        axes = {"layers": config.layers, "l2": config.l2s}
    elif config.l2s:
        raise ValueError(f"l2s: only optimiser lbfgs has them, found {config.optimiser!r}")
    else:
        lrs, weight_decays = config.lrs or [config.base_lr], config.weight_decays or [config.weight_decay]
        axes = {"layers": config.layers, "base_lr": lrs, "weight_decay": weight_decays}
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    if len({tuple(point.values()) for point in points}) < len(points):
        raise ValueError(f"a point of the grid is given twice: {axes}")
    return points


@dataclass(frozen=True)
class Learned:
    """What came of every point of a grid: class scores ``(N, C)``.

    Attributes:
        scores: by a point's number, of a split by its name.
        final_scores: by the number of the chosen point, of the validation images.
    """

    scores: Callable[[int, str], Tensor]
    final_scores: Callable[[int], Tensor]


def learn_heads(
    backbone: Backbone,
    config: Config,
    points: Sequence[Point],
    splits: Mapping[str, ImageSplit],
    out: Path,
    world: World,
) -> Learned:
    """One head for each point, trained by LARS or SGD in one pass over the images, or over their features."""
    device, layers = choose_device(config.device), layers_used(config.layers)
    scale = config.batch_size / 256 if config.scale_lr else 1.0
    settings = [
        HeadSettings(float(point["base_lr"]) * scale, float(point["weight_decay"]), str(point["layers"]))
        for point in points
    ]
    train = splits["train"]
    dims = layer_dims(backbone.info.arch, layers)
    heads = Heads(settings, dims, len(train.classes), config.feature_norm, config.seed).to(device)
    optimiser = build_optimiser(heads.groups(settings), config.optimiser, config.momentum, weight_decay=0.0)
    factors = lr_factors(config.schedule, config.epochs, config.milestones, config.gamma)
    train_on = partial(
        fit,
        optimiser=optimiser,
        factors=factors,
        device=device,
        world=world,
        checkpoint=out / "linear.pt",
        loss=head_losses,
    )
    if config.augment:
        encoder = build_encoder(backbone, device, layers)
        batches = train_batches(train, config, config.min_scale, world)
        train_on(Classifier(encoder, heads, frozen=True), batches, bf16=config.bf16)
        features = {
            name: predict_split(encoder, split, config, device, world)
            for name, split in splits.items()
            if name != "train"
        }
        assert_frozen(encoder.resnet, backbone.state)
    else:
        cached = extract_features(backbone, splits.values(), config, world, layers)
        features = {name: rows for name, (rows, _) in zip(splits, cached, strict=True)}
        rows, labels = cached[0]
        train_on(heads, FeatureBatches(rows, labels, config.batch_size, config.seed, world))
    return Learned(
        scores=lambda index, name: heads.scores(index, features[name]),
        final_scores=lambda index: heads.scores(index, features["val"]),
    )


def learn_logistic(
    backbone: Backbone,
    config: Config,
    points: Sequence[Point],
    splits: Mapping[str, ImageSplit],
    out: Path,
    world: World,
) -> Learned:
    """Logistic regression for each point; the chosen one is fitted anew, to the held-out images as well."""
    layers = layers_used(config.layers)
    dims = layer_dims(backbone.info.arch, layers)
    cached = extract_features(backbone, splits.values(), config, world, layers)
    data = dict(zip(splits, cached, strict=True))

    def fitted_scores(index: int, fitted: Sequence[str], name: str) -> Tensor:
        point = points[index]
        features = torch.cat([data[part][0] for part in fitted])
        labels = torch.cat([data[part][1] for part in fitted])
        inputs, judged = (
            select_layers(rows, dims, str(point["layers"])) for rows in (features, data[name][0])
        )
        if config.feature_norm:
            variance, mean = torch.var_mean(inputs, dim=0, correction=0)
            inputs, judged = ((rows - mean) * (variance + NORM_EPS).rsqrt() for rows in (inputs, judged))
        weight, bias = fit_logistic(inputs, labels, float(point["l2"]), len(splits["train"].classes))
        return F.linear(judged, weight, bias)

    everything = [name for name in splits if name != "val"]
    return Learned(
        scores=lambda index, name: fitted_scores(index, ["train"], name),
        final_scores=lambda index: fitted_scores(index, everything, "val"),
    )
