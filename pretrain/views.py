"""Two-view augmentation: crops per image where it is decoded, everything else per batch.

Each image draws its own parameters, so the distributions are those of torchvision's per-image
transforms (the order of the four colour operations is drawn once per batch). Batch operations run
wherever the batch lies, CPU or GPU. Shapes: images ``(B, 3, H, W)``, float32 in 0..1 unless said.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from pretrain.config import ViewsConfig

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GRAY = (0.299, 0.587, 0.114)  # ITU-R 601 luma
BLUR_SIGMA = (0.1, 2.0)  # at 224 px; scaled with the view size


class TwoCrops:
    """One image ``(3, H, W)`` uint8 to two random resized crops ``(2, 3, S, S)`` uint8."""

    def __init__(self, config: ViewsConfig) -> None:
        self.crop = v2.RandomResizedCrop(
            config.size,
            scale=tuple(config.crop_scale),
            interpolation=InterpolationMode.BICUBIC if config.size >= 96 else InterpolationMode.BILINEAR,
            antialias=True,
        )

    def __call__(self, image: Tensor) -> Tensor:
        return torch.stack([self.crop(image), self.crop(image)])


def augment(crops: Tensor, config: ViewsConfig, view: int) -> Tensor:
    """Crops ``(B, 3, S, S)`` uint8 to normalised float32 views; ``view`` is 0 or 1."""
    x = crops.float() / 255
    x = torch.where(_draw(x, 0.5), x.flip(3), x)
    x = torch.where(_draw(x, config.jitter_p), color_jitter(x, *config.jitter), x)
    x = torch.where(_draw(x, config.gray_p), grayscale(x), x)
    if config.blur_p[view] > 0:
        x = torch.where(_draw(x, config.blur_p[view]), gaussian_blur(x), x)
    if config.solarize_p[view] > 0:
        x = torch.where(_draw(x, config.solarize_p[view]), torch.where(x >= 0.5, 1 - x, x), x)
    mean, std = (torch.tensor(c, device=x.device).view(1, 3, 1, 1) for c in (MEAN, STD))
    return (x - mean) / std


def color_jitter(x: Tensor, brightness: float, contrast: float, saturation: float, hue: float) -> Tensor:
    """Brightness, contrast, saturation and hue, each image with its own factors, in a random order."""
    factors = [_uniform(x, max(0.0, 1 - s), 1 + s) for s in (brightness, contrast, saturation)]
    shift = _uniform(x, -hue, hue)
    for operation in torch.randperm(4).tolist():
        if operation == 0:
            x = (x * factors[0]).clamp(0, 1)
        elif operation == 1:
            mean = grayscale(x).mean((1, 2, 3), keepdim=True)
            x = torch.lerp(mean, x, factors[1]).clamp(0, 1)
        elif operation == 2:
            x = torch.lerp(grayscale(x), x, factors[2]).clamp(0, 1)
        elif hue > 0:
            x = shift_hue(x, shift)
    return x


def grayscale(x: Tensor) -> Tensor:
    """Luma in all three channels."""
    weights = torch.tensor(GRAY, device=x.device).view(1, 3, 1, 1)
    return (x * weights).sum(1, keepdim=True).expand_as(x)


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue of HSV by ``shift`` turns, ``(B, 1, 1, 1)`` in -0.5..0.5."""
    value, argmax = x.max(1)
    chroma = value - x.min(1).values
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    r, g, b = x.unbind(1)
    hue = torch.stack([((g - b) / safe) % 6, (b - r) / safe + 2, (r - g) / safe + 4], 1)
    hue = hue.gather(1, argmax.unsqueeze(1)).squeeze(1) / 6  # in turns
    hue = (hue + shift.squeeze(1)) * 6
    offsets = torch.tensor([5.0, 3.0, 1.0], device=x.device).view(1, 3, 1, 1)
    k = (offsets + hue.unsqueeze(1)) % 6
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def gaussian_blur(x: Tensor) -> Tensor:
    """Blur each image with its own sigma, drawn from 0.1..2.0 pixels at 224 px and scaled with the size."""
    batch, channels, height, width = x.shape
    scale = width / 224
    radius = max(1, math.ceil(2.5 * BLUR_SIGMA[1] * scale))
    sigma = _uniform(x, *BLUR_SIGMA).view(batch, 1) * scale
    offsets = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(x, [radius] * 4, mode="reflect").reshape(1, batch * channels, height + 2 * radius, -1)
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=batch * channels)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=batch * channels)
    return flat.view(batch, channels, height, width)


def _uniform(x: Tensor, low: float, high: float) -> Tensor:
    return torch.empty(len(x), 1, 1, 1, device=x.device).uniform_(low, high)


def _draw(x: Tensor, probability: float) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, device=x.device) < probability
