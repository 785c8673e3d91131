"""Frozen features of a backbone, and the forward passes that classification tasks share.

Shapes: B images of a batch, N images of a split, D features, C classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from transfer.backbone.architecture import ARCHS, stage_features
from transfer.backbone.contract import Backbone, BackboneInfo, build_resnet
from transfer.data.batches import batch_slices, epoch_order, eval_batches
from transfer.data.folders import ImageSetConfig, ImageSplit
from transfer.ranks import World, choose_device, gather_rows, sum_over_ranks

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0  # of progress
LAYERS = ("layer1", "layer2", "layer3", "layer4", "avgpool")  # avgpool, the usual one, averages layer4


class Batches(Protocol):
    """What is evaluated on: a known number of (inputs, labels), images or features."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class FeatureBatches:
    """Shuffled batches of features that are already computed: the frozen backbone ran once.

    The batches are those that ``train_batches`` would give: by seed and epoch, this rank's rows of each.
    """

    def __init__(
        self, features: Tensor, labels: Tensor, batch_size: int, seed: int, world: World | None = None
    ) -> None:
        self.features = features
        self.labels = labels
        self.slices = batch_slices(len(labels), batch_size)
        self.batch_sizes = [rows.stop - rows.start for rows in self.slices]
        self.seed = seed
        self.world = world or World()
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = epoch_order(len(self.labels), self.seed, self.epoch).to(self.labels.device)
        for rows, size in zip(self.slices, self.batch_sizes, strict=True):
            own = order[rows][self.world.share(size)]
            yield self.features[own], self.labels[own]


class Encoder(nn.Module):
    """uint8 RGB images ``(B, 3, H, W)`` -> average-pooled features ``(B, D)``, D as :func:`layer_dims` says.

    Feeds pixels as the backbone's header asks: its order, mean and standard deviation. Several ``layers``
    come from one forward pass and stand side by side, in the order given.

    Raises:
        ValueError: a pixel order that is neither RGB nor BGR, not three means and deviations, or an
            unknown layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, resnet: nn.Module, info: BackboneInfo, layers: Sequence[str] = ("avgpool",)) -> None:
        super().__init__()
        if info.pixel_order not in ("RGB", "BGR"):
            raise ValueError(f"pixel_order: expected RGB or BGR, found {info.pixel_order!r}")
        if len(info.mean()) != 3 or len(info.std()) != 3 or min(info.std()) <= 0.0:
            raise ValueError(f"expected 3 means and 3 positive deviations, found {info.mean()}, {info.std()}")
        layer_dims(info.arch, layers)
        self.resnet = resnet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.layers = tuple(layers)
        self.reverse = info.pixel_order == "BGR"
        self.register_buffer("mean", torch.tensor(info.mean()).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(info.std()).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.flip(1) if self.reverse else images).float() / 255.0
        normalised = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        if self.layers == ("avgpool",):
            return self.resnet(normalised)  # type: ignore[no-any-return]
        maps = dict(zip(LAYERS, stage_features(self.resnet, normalised).values(), strict=False))
        maps["avgpool"] = maps["layer4"]
        pooled = [self.resnet.avgpool(maps[layer]).flatten(1) for layer in self.layers]
        return torch.cat(pooled, dim=1)


def layer_dims(arch: str, layers: Sequence[str]) -> dict[str, int]:
    """How many features each layer has, averaged over its positions, in the order given.

    Raises:
        ValueError: a layer that is not in :data:`LAYERS`, or none.
    """
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown or not layers:
        raise ValueError(f"layers: expected some of {', '.join(LAYERS)}, found {unknown or 'none'}")
    channels = ARCHS[arch].channels
    dims = dict(zip(LAYERS, (*channels, channels[-1]), strict=True))
    return {layer: dims[layer] for layer in layers}


def build_encoder(backbone: Backbone, device: torch.device, layers: Sequence[str] = ("avgpool",)) -> Encoder:
    """The backbone on a device, in eval mode."""
    return Encoder(build_resnet(backbone), backbone.info, layers).to(device).eval()


def labels_of(split: ImageSplit) -> Tensor:
    """Labels ``(N,)`` of a split, or targets ``(N, C)`` of a multi-label one (1, 0, and -1: ignored)."""
    return torch.tensor(split.labels) if split.targets is None else split.targets


def extract_features(
    backbone: Backbone,
    splits: Iterable[ImageSplit],
    config: ImageSetConfig,
    world: World | None = None,
    layers: Sequence[str] = ("avgpool",),
) -> list[tuple[Tensor, Tensor]]:
    """Features ``(N, D)`` float32 and labels ``(N,)`` or targets ``(N, C)`` of each split.

    Each rank runs its share of the images; every rank returns all of them, on the device if all splits fit
    there.

    Raises:
        ValueError: a feature that is not finite, or a tensor of the backbone that moved.
    """
    device, world = choose_device(config.device), world or World()
    encoder = build_encoder(backbone, device, layers)
    results = []
    for split in splits:
        features = predict_split(encoder, split, config, device, world)
        if not torch.isfinite(features).all():
            raise ValueError(f"{backbone.path}: features of {split.split_dir} hold NaN or infinity")
        results.append((features, labels_of(split).to(features.device)))
    assert_frozen(encoder.resnet, backbone.state)
    if any(features.device.type == "cpu" for features, _ in results):  # as what is learnt there
        results = [(features.cpu(), labels.cpu()) for features, labels in results]
    return results


def predict_split(
    model: nn.Module, split: ImageSplit, config: ImageSetConfig, device: torch.device, world: World
) -> Tensor:
    """Outputs ``(N, ...)`` float32 of a model in eval mode for all images of a split, on every rank.

    Raises:
        ValueError: fewer images than ranks.
    """
    num_images = len(split.names)
    if num_images < world.size:
        raise ValueError(
            f"{split.split_dir}: {num_images} images cannot be shared by {world.size} processes; "
            "lower torchrun's --nproc-per-node"
        )
    outputs, _ = predict(model, eval_batches(split, config, world), device, config.bf16, world)
    return gather_rows(outputs, world, num_images)


@torch.no_grad()  # not inference mode: what is learnt on features needs tensors that autograd accepts
def predict(
    model: nn.Module,
    batches: Batches,
    device: torch.device,
    bf16: bool,
    world: World | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs ``(n, ...)`` float32 and labels ``(n, ...)`` of a model in eval mode over batches."""
    model.eval()
    outputs, labels, keep_on = [], [], device
    start = shown = time.monotonic()
    for number, (inputs, batch_labels) in enumerate(batches, 1):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            rows = model(inputs.to(device, non_blocking=True)).float()
        if number == 1:
            num_ranks = 1 if world is None else world.size
            keep_on = _place_for(rows.nbytes * len(batches) * num_ranks, device, world)
        outputs.append(rows.to(keep_on))
        labels.append(batch_labels.to(keep_on))
        now = time.monotonic()
        if (world is None or world.first) and now - shown > SECONDS_BETWEEN_LINES:
            shown = now
            eta_s = (now - start) / number * (len(batches) - number)
            logger.info("forward batch %d/%d  ETA %.0f s", number, len(batches), eta_s)
    return torch.cat(outputs), torch.cat(labels)


def _place_for(num_bytes: int, device: torch.device, world: World | None = None) -> torch.device:
    """The device, or the CPU where outputs of this size would crowd it; joining them takes it twice.

    One answer for all ranks: outputs on a GPU here and in memory there could not be gathered.
    """
    if device.type != "cuda":
        return device
    crowded = torch.tensor(float(4 * num_bytes > torch.cuda.mem_get_info(device.index)[0]))
    return torch.device("cpu") if sum_over_ranks(crowded, world or World()) > 0 else device


def assert_frozen(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Check that every parameter and buffer of ``model`` still equals ``state``, bit for bit.

    Raises:
        ValueError: names the tensors that moved.
    """
    now = model.state_dict()
    moved = [key for key in state if key not in now or not torch.equal(_bytes(now[key]), _bytes(state[key]))]
    moved += [key for key in now if key not in state]
    if moved:
        raise ValueError(
            f"the backbone must stay frozen, but {len(moved)} tensors moved, such as {moved[:5]}; "
            "is it in eval mode and without gradient?"
        )


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.cpu().flatten().contiguous().view(torch.uint8)
