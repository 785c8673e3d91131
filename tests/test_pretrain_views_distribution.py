"""Our views are distributed like those of torchvision's transforms.

The reference works on float tensors: Pillow rounds down after each operation, which darkens by a grey level.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor

from benchmarks.augment import collect, compare, own_side
from pretrain.config import ViewsConfig
from pretrain.views import MEAN, STD

SAME = 4.0  # standard errors; 13 statistics of normal noise exceed it in one of 1,200 comparisons
DIFFERENT = 5.0
ROUNDS = 400  # of three photographs


@cache
def photographs() -> list[Tensor]:
    arrays = (data.astronaut(), data.chelsea(), data.coffee())
    return [pil_to_tensor(Image.fromarray(a).resize((160, 120), Image.Resampling.BICUBIC)) for a in arrays]


@cache
def usual(size: int, view: int) -> dict[str, Tensor]:
    """Statistics of torchvision's views, drawn image by image."""
    config = ViewsConfig(size=size)
    kernel, sigma = 2 * max(1, round(11 * size / 224)) + 1, (0.1 * size / 224, 2.0 * size / 224)
    pipeline = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                size,
                (0.2, 1.0),
                interpolation=InterpolationMode.BICUBIC if size >= 96 else InterpolationMode.BILINEAR,
                antialias=True,
            ),
            transforms.ConvertImageDtype(torch.float32),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            transforms.RandomGrayscale(0.2),
            transforms.RandomApply([transforms.GaussianBlur(kernel, sigma)], config.blur_p[view]),
            transforms.RandomSolarize(0.5, config.solarize_p[view]),
            transforms.Normalize(MEAN, STD),
        ]
    )
    torch.manual_seed(0)
    return collect(lambda i: torch.stack([pipeline(image) for image in photographs()]), ROUNDS)


def apart(config: ViewsConfig, view: int) -> dict[str, float]:
    """How many standard errors each statistic of our views is from the usual one."""
    own = collect(own_side(photographs(), config, view), ROUNDS)
    return {name: abs(errors) for name, _, _, errors in compare(usual(config.size, view), own)}


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("size", [64, pytest.param(224, marks=pytest.mark.slow)])
def test_views_are_distributed_like_the_usual_pipelines(size: int, view: int) -> None:
    distances = apart(ViewsConfig(size=size), view)
    assert max(distances.values()) < SAME, distances


@pytest.mark.parametrize(
    ("view", "change", "statistic"),
    [
        (0, {"jitter": (0.8, 0.8, 0.4, 0.2)}, "fraction dark"),
        (0, {"gray_p": 0.4}, "fraction gray"),
        (0, {"blur_p": (0.0, 0.0)}, "sharpness"),
        (0, {"crop_scale": (0.5, 1.0)}, "sharpness"),
        (1, {"solarize_p": (0.0, 0.4)}, "fraction dark"),
    ],
)
def test_another_distribution_is_told_apart(view: int, change: dict[str, object], statistic: str) -> None:
    distances = apart(replace(ViewsConfig(size=64), **change), view)  # type: ignore[arg-type]
    assert distances[statistic] > DIFFERENT, distances
