"""The images of a split, cropped and resized to what a backbone sees.

Images leave this module as uint8 RGB tensors; what a backbone wants (pixel order, mean, standard
deviation) is applied where the backbone is known, in ``transfer.classify.features``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from transfer.data.folders import ImageSplit
from transfer.data.pixels import decode

Transform = Callable[[Image.Image], Any]


class Images(Dataset[tuple[Tensor, "int | Tensor"]]):
    """Images of a split as ``(uint8 RGB (3, H, W) after transform, label)``; targets where it has them.

    An index is an image's number, or ``(number, seed)``: then whatever the transform draws is a function
    of that seed, in whichever process and after whatever other draws.

    With ``cache`` each file is decoded once, when the object is made; the pixels are the same.
    """

    def __init__(self, split: ImageSplit, transform: Transform, cache: bool) -> None:
        self.split = split
        self.transform = transform
        self.pixels = split.pixels
        self.decoded: list[Image.Image] | None = None
        if cache and self.pixels is None:
            self.decoded = [decode(split.split_dir / name) for name in split.names]

    def __len__(self) -> int:
        return len(self.split.names)

    def __getitem__(self, index: int | tuple[int, int]) -> tuple[Tensor, int | Tensor]:
        number, seed = index if isinstance(index, tuple) else (index, None)
        image = self._open(number)
        if seed is None:
            transformed = self.transform(image)
        else:
            state = torch.get_rng_state()
            # Not torch.manual_seed: that also seeds the GPUs, or queues it until there is one.
            torch.default_generator.manual_seed(seed)
            transformed = self.transform(image)
            torch.set_rng_state(state)
        array = np.array(transformed)  # a copy: tensors must be writable
        label = self.split.labels[number] if self.split.targets is None else self.split.targets[number]
        return torch.from_numpy(array).permute(2, 0, 1), label

    def _open(self, number: int) -> Image.Image:
        if self.pixels is not None:
            return Image.fromarray(self.pixels[number])
        if self.decoded is not None:
            return self.decoded[number]
        return decode(self.split.split_dir / self.split.names[number])


def eval_transform(resize_size: int, image_size: int) -> Transform:
    """Resize the shorter side, then crop the centre: what every protocol here evaluates on."""
    return transforms.Compose(  # type: ignore[no-any-return]
        [transforms.Resize(resize_size), transforms.CenterCrop(image_size)]
    )


def train_transform(image_size: int, min_scale: float) -> Transform:
    """A random resized crop of ``min_scale``..1 of the area and a random horizontal flip."""
    return transforms.Compose(  # type: ignore[no-any-return]
        [transforms.RandomResizedCrop(image_size, scale=(min_scale, 1.0)), transforms.RandomHorizontalFlip()]
    )
