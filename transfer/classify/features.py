"""Frozen features of a backbone, and the checks and scores that classification tasks share.

Shapes: B images of a batch, N images of a split, D features, C classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from transfer.backbone.contract import Backbone, BackboneInfo, build_resnet
from transfer.data.folders import ImageSetConfig, ImageSplit, eval_batches

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0  # of progress


class Batches(Protocol):
    """What is trained and evaluated on: a known number of (inputs, labels), images or features."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Encoder(nn.Module):
    """uint8 RGB images ``(B, 3, H, W)`` -> average-pooled features ``(B, D)``, D as FEATURE_DIMS says.

    Feeds pixels as the backbone's header asks: its order, mean and standard deviation.

    Raises:
        ValueError: a pixel order that is neither RGB nor BGR, or not three means and deviations.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, resnet: nn.Module, info: BackboneInfo) -> None:
        super().__init__()
        if info.pixel_order not in ("RGB", "BGR"):
            raise ValueError(f"pixel_order: expected RGB or BGR, found {info.pixel_order!r}")
        if len(info.mean()) != 3 or len(info.std()) != 3 or min(info.std()) <= 0.0:
            raise ValueError(f"expected 3 means and 3 positive deviations, found {info.mean()}, {info.std()}")
        self.resnet = resnet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.reverse = info.pixel_order == "BGR"
        self.register_buffer("mean", torch.tensor(info.mean()).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(info.std()).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.flip(1) if self.reverse else images).float() / 255.0
        normalised = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.resnet(normalised)  # type: ignore[no-any-return]


def build_encoder(backbone: Backbone, device: torch.device) -> Encoder:
    """The backbone on a device, in eval mode."""
    return Encoder(build_resnet(backbone), backbone.info).to(device).eval()


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU when there is one; any other name is torch's."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def extract_features(
    backbone: Backbone, splits: Iterable[ImageSplit], config: ImageSetConfig
) -> list[tuple[Tensor, Tensor]]:
    """Features ``(N, D)`` float32 and labels ``(N,)`` of each split, on the device, backbone frozen.

    Raises:
        ValueError: a feature that is not finite, or a tensor of the backbone that moved.
    """
    device = choose_device(config.device)
    encoder = build_encoder(backbone, device)
    results = []
    for split in splits:
        features, labels = predict(encoder, eval_batches(split, config), device, config.bf16)
        if not torch.isfinite(features).all():
            raise ValueError(f"{backbone.path}: features of {split.split_dir} hold NaN or infinity")
        results.append((features, labels))
    assert_frozen(encoder.resnet, backbone.state)
    return results


@torch.inference_mode()
def predict(model: nn.Module, batches: Batches, device: torch.device, bf16: bool) -> tuple[Tensor, Tensor]:
    """Outputs ``(N, ...)`` float32 and labels ``(N,)`` of a model in eval mode over all batches."""
    model.eval()
    outputs, labels = [], []
    start = shown = time.monotonic()
    for number, (inputs, batch_labels) in enumerate(batches, 1):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs.append(model(inputs.to(device)).float())
        labels.append(batch_labels.to(device))
        now = time.monotonic()
        if now - shown > SECONDS_BETWEEN_LINES:
            shown = now
            eta_s = (now - start) / number * (len(batches) - number)
            logger.info("forward batch %d/%d  ETA %.0f s", number, len(batches), eta_s)
    return torch.cat(outputs), torch.cat(labels)


def assert_frozen(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Check that every parameter and buffer of ``model`` still equals ``state``, bit for bit.

    Raises:
        ValueError: names the tensors that moved.
    """
    now = model.state_dict()
    moved = [key for key in state if key not in now or not torch.equal(now[key].cpu(), state[key].cpu())]
    moved += [key for key in now if key not in state]
    if moved:
        raise ValueError(
            f"the backbone must stay frozen, but {len(moved)} tensors moved, such as {moved[:5]}; "
            "is it in eval mode and without gradient?"
        )


def top_k_hits(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Which rows of ``scores`` ``(N, C)`` have their true class among the ``k`` highest: bool ``(N,)``.

    A class that only ties with the true one counts as ahead of it, so a model that gives every class
    the same score hits nothing rather than whatever the order of the classes would give.

    Raises:
        ValueError: a score that is not finite.
    """
    if not torch.isfinite(scores).all():
        raise ValueError(
            "class scores hold NaN or infinity; the classifier diverged, lower its learning rate"
        )
    true = scores.gather(1, labels.view(-1, 1))
    num_ahead = (scores >= true).sum(1) - 1
    return num_ahead < k
