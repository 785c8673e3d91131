"""Class scores of the validation images -> the set's metrics, image by image where they are means.

Shapes: N images, C classes; scores ``(N, C)`` are logits, votes or decision values, higher is likelier.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transfer.data.folders import ImageSetConfig, ImageSplit
from transfer.report.items import Items, name_items
from transfer.report.rows import Measurement

KEPT = 5  # classes of each image in predictions.npz
ROWS_AT_ONCE = 4096  # sorted together: 16 MiB of float32 for 1,000 classes
SINGLE_LABEL = ("top1", "mean_per_class")  # the sets' own metrics; of multi-label sets it is map_voc07


def measure(
    scores: Tensor,
    val: ImageSplit,
    config: ImageSetConfig,
    out: Path,
    selection: str = "last",
    protocol: str | None = None,
) -> Iterator[Measurement]:
    """The set's metrics of scores ``(N, C)``, and ``out/predictions.npz`` (see :func:`write_predictions`).

    top1 and top5 with their items; mean_per_class where that is the set's metric; of a multi-label set
    map_voc07 alone. ``accuracy`` repeats the set's own metric where the configuration asks for it. A task
    with several protocols gives ``protocol``, which then also names the file: ``predictions-{protocol}.npz``.

    Raises:
        ValueError: scores that are not finite or of another shape than images x classes, or a metric
            that does not fit the labels.
    """
    if scores.shape != (len(val.names), len(val.classes)):
        raise ValueError(
            f"{val.split_dir}: expected scores {(len(val.names), len(val.classes))} of images and classes, "
            f"found {tuple(scores.shape)}"
        )
    check_metric(config.metric, val)
    check_finite(scores)
    path = out / ("predictions.npz" if protocol is None else f"predictions-{protocol}.npz")
    write_predictions(path, scores, val)
    name = protocol or config.protocol
    rows = [
        Measurement(
            config.dataset,
            config.val_split,
            name,
            "torch",
            metric,
            value,
            len(val.names),
            selection,
            items=items,
        )
        for metric, value, items in _metrics(scores, val, config.metric)
    ]
    yield from rows
    if config.accuracy:
        own = next(row for row in rows if row.metric == config.metric)
        yield replace(own, metric="accuracy", items=None)


def metric_names(config: ImageSetConfig) -> tuple[str, ...]:
    """The metrics of the rows that :func:`measure` gives, in its order."""
    own = () if config.metric == "top1" else (config.metric,)
    single = () if config.metric == "map_voc07" else ("top1", "top5")
    return (*single, *own, *(("accuracy",) if config.accuracy else ()))


def _metrics(scores: Tensor, val: ImageSplit, metric: str) -> Iterator[tuple[str, float, Items | None]]:
    """Metric, value in percent, and the items that it is the mean of, where it is one."""
    if val.targets is None:
        labels = torch.tensor(val.labels, device=scores.device)
        for name, k in (("top1", 1), ("top5", 5)):
            hits = top_k_hits(scores, labels, k).double()
            yield name, float(hits.mean() * 100.0), name_items(val.names, hits.tolist())
    if metric != "top1":
        yield metric, value_of(scores, val, metric), None


def value_of(scores: Tensor, split: ImageSplit, metric: str) -> float:
    """A set's own metric, in percent, of scores ``(N, C)`` of the split's images.

    Raises:
        ValueError: a metric that does not fit the labels, or scores that are not finite.
    """
    check_metric(metric, split)
    if split.targets is not None:
        return map_voc07(scores, split.targets.to(scores.device))
    labels = torch.tensor(split.labels, device=scores.device)
    if metric == "mean_per_class":
        return mean_per_class(scores, labels)
    return float(top_k_hits(scores, labels, 1).double().mean() * 100.0)


def check_metric(metric: str, split: ImageSplit) -> None:
    """Refuse a metric that the labels cannot give.

    Raises:
        ValueError: top1 or mean_per_class of a set with several labels an image, map_voc07 of another.
    """
    expected = SINGLE_LABEL if split.targets is None else ("map_voc07",)
    if metric not in expected:
        raise ValueError(f"metric: expected {' or '.join(expected)} for {split.split_dir}, found {metric!r}")


def check_finite(scores: Tensor) -> None:
    """Refuse scores that no comparison can order.

    Raises:
        ValueError: a score that is not finite.
    """
    if not torch.isfinite(scores).all():
        raise ValueError(
            "class scores hold NaN or infinity; the classifier diverged, lower its learning rate"
        )


def top_k_hits(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Which rows of ``scores`` ``(N, C)`` have their true class among the ``k`` highest: bool ``(N,)``.

    A class that only ties with the true one counts as ahead of it, so a model that gives every class
    the same score hits nothing rather than whatever the order of the classes would give.

    Raises:
        ValueError: a score that is not finite.
    """
    check_finite(scores)
    true = scores.gather(1, labels.view(-1, 1))
    num_ahead = (scores >= true).sum(1) - 1
    return num_ahead < k


def mean_per_class(scores: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy of each class's images, averaged over the classes, in percent.

    A class without an image in ``labels`` ``(N,)`` has no accuracy and is left out of the average.

    Raises:
        ValueError: a score that is not finite.
    """
    hits = top_k_hits(scores, labels, 1).double()
    counts = torch.bincount(labels, minlength=scores.shape[1])
    sums = torch.zeros(scores.shape[1], dtype=torch.float64, device=scores.device).index_add_(0, labels, hits)
    present = counts > 0
    return float((sums[present] / counts[present]).mean() * 100.0)


def map_voc07(scores: Tensor, targets: Tensor) -> float:
    """11-point mean average precision of VOC2007, in percent, of ``targets`` ``(N, C)``: 1, 0 or -1.

    As VOC's devkit 2007 computes it (VOCevalcls.m): per class, the highest precision at a recall of at least
    0, 0.1 ... 1, averaged over the eleven; images marked -1 (difficult) are no part of the class. Images with
    one score enter together, so their order decides nothing. A class without a positive image is left out.

    Raises:
        ValueError: a score that is not finite, another target than 1, 0 and -1, or no positive at all.
    """
    check_finite(scores)
    if targets.shape != scores.shape or not torch.isin(targets, targets.new_tensor([-1, 0, 1])).all():
        raise ValueError(
            f"targets: expected 1, 0 and -1 of shape {tuple(scores.shape)}, found shape "
            f"{tuple(targets.shape)} and values {sorted(set(targets.flatten().tolist()))[:8]}"
        )
    precisions = [
        _average_precision(class_scores[class_targets >= 0], class_targets[class_targets >= 0] == 1)
        for class_scores, class_targets in zip(scores.T, targets.T, strict=True)
        if (class_targets == 1).any()
    ]
    if not precisions:
        raise ValueError("targets: no class has a positive image")
    return 100.0 * sum(precisions) / len(precisions)


def _average_precision(scores: Tensor, positive: Tensor) -> float:
    """Of one class, in 0..1. Among equal scores the negatives come first: the highest precision of such a
    group is then its last, which is that of taking the group as a whole."""
    order = positive.to(torch.uint8).argsort(stable=True)
    order = order[scores[order].argsort(descending=True, stable=True)]
    true_positives = positive[order].cumsum(0)
    precision = true_positives.double() / torch.arange(1, len(order) + 1, device=scores.device)
    num_positive = int(true_positives[-1])
    # in whole numbers: 3 of 10 is a recall of 0.3, which 3 * 0.1 in floating point exceeds
    points = [precision[10 * true_positives >= tenth * num_positive].max() for tenth in range(11)]
    return float(torch.stack(points).mean())


def write_predictions(path: Path, scores: Tensor, val: ImageSplit) -> None:
    """Keep what was predicted, atomically and without pickle.

    Arrays: ``names`` ``(N,)``, ``classes`` ``(C,)``, ``labels`` ``(N,)`` or of a multi-label set ``(N, C)``,
    ``top_classes`` and ``top_scores`` ``(N, 5)``: the five highest, lower class number first among equals.
    """
    blocks = torch.split(scores, ROWS_AT_ONCE)
    top_classes = torch.cat(
        [rows.argsort(dim=1, descending=True, stable=True)[:, :KEPT].clone() for rows in blocks]
    )
    arrays = {
        "names": np.array(val.names),
        "classes": np.array(val.classes),
        "labels": np.array(val.labels) if val.targets is None else val.targets.to(torch.int8).cpu().numpy(),
        "top_classes": top_classes.to(torch.int32).cpu().numpy(),
        "top_scores": scores.gather(1, top_classes).float().cpu().numpy(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
