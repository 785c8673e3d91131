"""The one training loop of linear probe and fine-tuning.

The two differ in what is given to it: the parameter groups, and whether the backbone is frozen.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer.classify.features import SECONDS_BETWEEN_LINES, Batches, Encoder, top_k_hits
from transfer.data.folders import ShuffledBatches
from transfer.report.items import name_items
from transfer.report.rows import Measurement

logger = logging.getLogger(__name__)


class Classifier(nn.Module):
    """An encoder and a head: images ``(B, 3, H, W)`` -> logits ``(B, C)``.

    ``frozen`` keeps the encoder in eval mode and out of the graph, so neither its parameters nor its
    batch statistics move.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, frozen: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.frozen = frozen

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.encoder(images)
        # In bf16 logits would have 8 significant bits: classes would tie, and a tie counts as an error.
        with torch.autocast(images.device.type, enabled=False):
            return self.head(features.float())  # type: ignore[no-any-return]


class FeatureBatches:
    """Shuffled batches of features that are already computed: the frozen backbone ran once."""

    def __init__(self, features: Tensor, labels: Tensor, batch_size: int, seed: int) -> None:
        self.features = features
        self.labels = labels
        self.order = ShuffledBatches(len(labels), batch_size, seed)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in self.order:
            yield self.features[indices], self.labels[indices]


def build_head(num_features: int, num_classes: int, feature_norm: bool) -> nn.Sequential:
    """A linear classifier: weights N(0, 0.01), bias 0, as every published protocol starts it.

    ``feature_norm`` puts batch normalisation without parameters before it (MEC's linear probe).
    """
    linear = nn.Linear(num_features, num_classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    norm = [nn.BatchNorm1d(num_features, eps=1e-6, affine=False)] if feature_norm else []
    return nn.Sequential(*norm, linear)


def build_optimiser(
    groups: Sequence[dict[str, Any]], name: str, momentum: float, weight_decay: float, nesterov: bool = False
) -> torch.optim.Optimizer:
    """``sgd`` or ``lars`` over parameter groups that carry their own ``lr``.

    Raises:
        ValueError: another name.
    """
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    if name == "lars":
        from timm.optim.lars import Lars  # imported here: it costs a second that SGD need not pay

        # always_adapt: without it timm's LARS is plain SGD wherever the weight decay is 0, as it is here.
        return Lars(
            groups, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, always_adapt=True
        )
    raise ValueError(f"optimiser: expected sgd or lars, found {name!r}")


def lr_factors(schedule: str, epochs: int, milestones: Sequence[int] = (), gamma: float = 0.1) -> list[float]:
    """One factor on the learning rate for each epoch.

    ``cosine`` falls from 1 towards 0 (epoch e of E: (1 + cos(pi e / E)) / 2); ``step`` multiplies by
    ``gamma`` at each milestone.

    Raises:
        ValueError: another schedule, no epoch, or a milestone that is never reached.
    """
    if epochs < 1:
        raise ValueError(f"epochs: expected at least 1, found {epochs}")
    if schedule == "cosine":
        return [(1.0 + math.cos(math.pi * epoch / epochs)) / 2.0 for epoch in range(epochs)]
    if schedule == "step":
        if not milestones or not all(0 < milestone < epochs for milestone in milestones):
            raise ValueError(f"milestones: expected epochs in 1..{epochs - 1}, found {list(milestones)}")
        return [gamma ** sum(epoch >= milestone for milestone in milestones) for epoch in range(epochs)]
    raise ValueError(f"schedule: expected cosine or step, found {schedule!r}")


def fit(
    model: nn.Module,
    batches: Batches,
    optimiser: torch.optim.Optimizer,
    factors: Sequence[float],
    device: torch.device,
    bf16: bool = False,
) -> float:
    """Train with cross-entropy, one pass over ``batches`` per factor; returns the last epoch's mean loss.

    Raises:
        ValueError: a loss that is not finite.
    """
    base_lrs = [group["lr"] for group in optimiser.param_groups]
    num_steps, step = len(factors) * len(batches), 0
    model.train()
    start = shown = time.monotonic()
    mean_loss = math.nan
    for epoch, factor in enumerate(factors, 1):
        for group, base_lr in zip(optimiser.param_groups, base_lrs, strict=True):
            group["lr"] = base_lr * factor
        total, num_images = torch.zeros((), device=device), 0
        for inputs, labels in batches:
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(model(inputs.to(device)), labels.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach() * len(labels)  # read once an epoch: a read waits for the GPU
            num_images += len(labels)
            step += 1
            now = time.monotonic()
            if now - shown > SECONDS_BETWEEN_LINES or step == num_steps:
                shown = now
                eta_s = (now - start) / step * (num_steps - step)
                logger.info(
                    "epoch %d/%d  iteration %d/%d  loss %.4f  ETA %.0f s",
                    epoch, len(factors), step, num_steps, loss.item(), eta_s,
                )  # fmt: skip
        mean_loss = float(total) / num_images
        if not math.isfinite(mean_loss):
            raise ValueError(
                f"the loss is {mean_loss} in epoch {epoch} at learning rates {base_lrs}: lower them"
            )
    return mean_loss


def measure(
    scores: Tensor, labels: Tensor, names: Sequence[str], dataset: str, split: str, protocol: str
) -> Iterator[Measurement]:
    """top1 and top5 of class scores ``(N, C)`` of N named images, of the last epoch; top1 image by image."""
    for metric, k in (("top1", 1), ("top5", 5)):
        hits = top_k_hits(scores, labels, k)
        value = float(hits.double().mean() * 100.0)
        items = name_items(names, hits.double().tolist()) if metric == "top1" else None
        yield Measurement(dataset, split, protocol, "torch", metric, value, len(labels), items=items)
