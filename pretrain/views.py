"""Crops to views: flip, colour jitter, greyscale, blur, solarisation, normalisation.

Every parameter is drawn on the CPU for each image of the whole batch, as a function of a seed, and is
then applied wherever the crops lie. So a view depends on neither the device's random state nor
on how the batch is split over ranks. The distributions are those of torchvision's per-image transforms;
the order of the four colour operations is drawn once for each view of a batch.

Images are ``(B, 3, H, W)``; the operations work in place on float32 in 0..255.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import ViewsConfig

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GRAY = (0.299, 0.587, 0.114)  # ITU-R 601 luma
BLUR_SIGMA = (0.1, 2.0)  # pixels at 224 px; scaled with the view's size
BLUR_RADIUS = 11  # pixels at 224 px: the field's kernel of 23
CACHE = 2**19  # bytes of float32 images that a core works on at a time


@dataclass(frozen=True)
class Draws:
    """What happens to each image of a batch; every field but ``order`` is ``(B,)`` on the CPU."""

    flip: Tensor  # bool
    brightness: Tensor  # factor; 1 changes nothing
    contrast: Tensor  # factor
    saturation: Tensor  # factor
    hue: Tensor  # turns, -0.5..0.5
    gray: Tensor  # bool
    sigma: Tensor  # of the blur, pixels; 0: none
    solarize: Tensor  # bool
    order: tuple[int, ...]  # of brightness, contrast, saturation, hue

    def __getitem__(self, rows: slice | Tensor) -> Draws:
        """The draws of some of the images."""
        tensors = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "order"}
        return Draws(**tensors, order=self.order)


def mix(*parts: int) -> int:
    """A seed of 63 bits from integers, as unrelated as a hash for neighbouring ones."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def augment(
    crops: Sequence[Tensor], config: ViewsConfig, seed: int, rows: slice, batch_size: int
) -> list[Tensor]:
    """The views of this rank's rows of a batch: view 0, view 1, then the small ones.

    Args:
        crops: ``(B, 2, 3, S, S)`` uint8 and, where the recipe has small crops, ``(B, n, 3, s, s)``.
        seed: of this step; the same on every rank.
        rows: which rows of the batch the crops are.
        batch_size: rows of the whole batch.

    Returns:
        Normalised float32 ``(B, 3, H, W)`` each, channels last, on the crops' device. Small crops get
        the blur and the solarisation of view 0.
    """
    images = [part[:, i] for part in crops for i in range(part.shape[1])]
    return [
        apply(view, draw(config, view.shape[-1], i if i < 2 else 0, mix(seed, i), batch_size)[rows])
        for i, view in enumerate(images)
    ]


def draw(config: ViewsConfig, size: int, view: int, seed: int, batch_size: int) -> Draws:
    """Every image's parameters for one view of ``size`` pixels; ``view`` (0 or 1) picks the probabilities."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch_size, generator=generator)

    def happens(probability: float) -> Tensor:
        return torch.rand(batch_size, generator=generator) < probability

    jittered = happens(config.jitter_p)
    factors = [
        torch.where(jittered, uniform(max(0.0, 1 - strength), 1 + strength), 1.0)
        for strength in config.jitter[:3]
    ]
    hue = config.jitter[3]
    scale = size / 224
    return Draws(
        flip=happens(0.5),
        brightness=factors[0],
        contrast=factors[1],
        saturation=factors[2],
        hue=torch.where(jittered, uniform(-hue, hue), 0.0),
        gray=happens(config.gray_p),
        sigma=torch.where(happens(config.blur_p[view]), scale * uniform(*BLUR_SIGMA), 0.0),
        solarize=happens(config.solarize_p[view]),
        order=tuple(torch.randperm(4, generator=generator).tolist()),
    )


def apply(crops: Tensor, draws: Draws) -> Tensor:
    """Crops ``(B, 3, H, W)`` uint8 to normalised float32 views, channels last.

    On a GPU the whole batch goes through every operation that any image drew, with neutral parameters for
    the others. On a CPU a few images at a time go through just the operations that they drew,
    in the cache.
    """
    views = torch.empty(crops.shape, device=crops.device, memory_format=torch.channels_last)
    if crops.device.type != "cpu":
        return views.copy_(transform(crops.float(), draws))
    for rows in _alike(draws, max(1, CACHE // (4 * crops[0].numel()))):
        x = torch.empty(len(rows), *crops.shape[1:])
        for image, row in zip(x, rows.tolist(), strict=True):
            image.copy_(crops[row])
        for image, row in zip(transform(x, draws[rows]), rows.tolist(), strict=True):
            views[row].copy_(image)
    return views


def transform(x: Tensor, draws: Draws) -> Tensor:
    """Images ``(B, 3, H, W)`` in 0..255, which are overwritten, to normalised views in any memory format."""
    if draws.flip.any():
        x = _choose(draws.flip, x.flip(3), x)
    for operation in draws.order:
        if operation == 0 and (draws.brightness != 1).any():
            adjust_brightness(x, draws.brightness)
        elif operation == 1 and (draws.contrast != 1).any():
            adjust_contrast(x, draws.contrast)
        elif operation == 2 and (draws.saturation != 1).any():
            adjust_saturation(x, draws.saturation)
        elif operation == 3 and draws.hue.any():
            shift_hue(x, draws.hue)
    if draws.gray.all():
        x = luma(x)  # one channel until normalisation
    elif draws.gray.any():
        x = _choose(draws.gray, luma(x), x)
    if draws.sigma.any():
        x = (blur_by_shifts if x.device.type == "cpu" else blur_by_products)(x, draws.sigma)
    if draws.solarize.any():
        x = _choose(draws.solarize, torch.minimum(x, 255 - x), x)  # inverted from 128 up
    mean, std = (torch.tensor(c, device=x.device).view(1, 3, 1, 1) for c in (MEAN, STD))
    return (x / (255 * std)).sub_(mean / std)


def adjust_brightness(x: Tensor, factor: Tensor) -> None:
    """Scale by ``factor`` ``(B,)``, in place."""
    x.mul_(_column(factor, x)).clamp_(0, 255)


def adjust_contrast(x: Tensor, factor: Tensor) -> None:
    """Away from (above 1) or towards the mean luma, in place."""
    factor = _column(factor, x)
    mean = luma(x.mean((2, 3), keepdim=True))
    x.mul_(factor).add_(mean * (1 - factor)).clamp_(0, 255)


def adjust_saturation(x: Tensor, factor: Tensor) -> None:
    """Away from (above 1) or towards each pixel's luma, in place."""
    factor = _column(factor, x)
    gray = luma(x).mul_(1 - factor)
    x.mul_(factor).add_(gray).clamp_(0, 255)


def shift_hue(x: Tensor, shift: Tensor) -> None:
    """Rotate the hue of HSV by ``shift`` ``(B,)`` turns, -0.5..0.5, in place.

    In sixths of a turn from red, -3..3, the hue is +-(1 + (g + b - r - low) / chroma) with the sign of
    g - b: in each sextant one channel is low and one is low + chroma, and the usual case by
    case formula results. Each channel is then low + chroma * T(hue - peak), where T(v) =
    clamp(||v| - 3|, 1, 2) - 1 for v in -6..6 and the channels peak at 0, 2 and -2.
    """
    r, g, b = x[:, :1], x[:, 1:2], x[:, 2:]
    low = torch.minimum(r, g)
    torch.minimum(low, b, out=low)
    chroma = torch.maximum(r, g)
    torch.maximum(chroma, b, out=chroma).sub_(low)
    hue = (g + b).sub_(r).sub_(low)
    hue.div_(chroma.clamp_min(1e-3)).add_(1).copysign_(g - b)
    hue.add_(_column(6 * shift, x))
    hue.sub_((hue / 6).round_(), alpha=6)
    torch.sub(hue, torch.tensor([0.0, 2.0, -2.0], device=x.device).view(1, 3, 1, 1), out=x)
    x.abs_().sub_(3).abs_().clamp_(1, 2).mul_(chroma).add_(low.sub_(chroma))


def luma(x: Tensor) -> Tensor:
    """ITU-R 601 luma, ``(B, 1, H, W)``."""
    r, g, b = x[:, :1], x[:, 1:2], x[:, 2:]
    gray: Tensor = (r * GRAY[0]).add_(g, alpha=GRAY[1]).add_(b, alpha=GRAY[2])
    return gray


def blur_by_shifts(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with each image's ``sigma`` ``(B,)`` in pixels, 0 for none; for CPUs.

    Sums of shifted images, as many as three sigma need. Edges are reflected.
    """
    blurred = torch.empty_like(x)
    for image, s, result in zip(x, sigma.tolist(), blurred, strict=True):
        result.copy_(_blur_image(image, s) if s > 0 else image)
    return blurred


def blur_by_products(x: Tensor, sigma: Tensor) -> Tensor:
    """The same for GPUs: two products with a banded matrix for each image, kernel of 23 at 224 px."""
    size = x.shape[-1]
    radius = max(1, round(BLUR_RADIUS * size / 224))
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp_min(1e-3).unsqueeze(1)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(x.device)
    reflected = F.pad(torch.eye(size, device=x.device).unsqueeze(0), (radius, radius), mode="reflect")
    band = F.conv1d(reflected.transpose(0, 1), kernel.unsqueeze(1)).transpose(0, 1).unsqueeze(1)
    blurred: Tensor = band.transpose(2, 3) @ (x @ band)
    return blurred


def _blur_image(image: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(radius + 1)]
    total = 2 * sum(weights) - weights[0]
    padded = F.pad(image, [radius] * 4, mode="reflect")
    for step in (1, padded.shape[-1]):  # a pixel to the right, a pixel down
        # flat, so that a shift is a slice of contiguous memory; what wraps around ends in the padding
        source = padded.view(-1)
        padded = padded * (weights[0] / total)
        middle = padded.view(-1)[radius * step : len(source) - radius * step]
        for k in range(1, radius + 1):
            for start in ((radius - k) * step, (radius + k) * step):
                middle.add_(source[start : start + len(middle)], alpha=weights[k] / total)
    return padded[:, radius:-radius, radius:-radius]


def _choose(mask: Tensor, x: Tensor, otherwise: Tensor) -> Tensor:
    return x if mask.all() else torch.where(_column(mask, x), x, otherwise)


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x.device, non_blocking=True).view(-1, 1, 1, 1)


def _alike(draws: Draws, largest: int) -> list[Tensor]:
    """Rows in groups of at most ``largest`` whose images go through the same operations."""
    jittered = (draws.brightness != 1) | (draws.contrast != 1) | (draws.saturation != 1) | (draws.hue != 0)
    kind = torch.zeros(len(jittered), dtype=torch.int64)
    for happens in (draws.flip, jittered, draws.gray, draws.sigma > 0, draws.solarize):
        kind = 2 * kind + happens
    alike = [(kind == k).nonzero().flatten() for k in sorted(set(kind.tolist()))]
    return [rows[i : i + largest] for rows in alike for i in range(0, len(rows), largest)]
