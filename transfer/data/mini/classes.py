"""The classification part: patches of ten photographs, ``classify/{train,val}/<class>/0000.png``.

A class is a photograph's texture; training patches come from its left half, validation patches
from its right half. What does not tell the class changes from image to image and is what
augmentation removes: place, scale, contrast and tint. So a backbone whose features follow colour
and brightness does badly here, and one that has learnt to ignore them does well.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer.data.mini.sprites import SPLITS, Pixels, draw, generator, half_photograph, save_png

CLASSES = {  # class -> photograph
    "brick": "brick",
    "coffee": "coffee",
    "coins": "coins",
    "fur": "chelsea",
    "grass": "grass",
    "gravel": "gravel",
    "moon": "moon",
    "motorcycle": "motorcycle_left",
    "page": "page",
    "tissue": "ihc",
}
NUM_PER_CLASS = {"train": 400, "val": 200}
SIZE = 64
SOURCE_HEIGHT = 384  # taller photographs are reduced to this, so that textures have similar scales
SIDES = (64, 96)  # of a patch, in source pixels
FIRST_KEY = 20  # of the generators; other parts of the set use others


def write_classes(root: Path) -> None:
    """Write ``root/classify`` as an ImageFolder of 64 px colour images."""
    for split in SPLITS:
        for label, (name, photograph) in enumerate(CLASSES.items()):
            folder = root / "classify" / split / name
            folder.mkdir(parents=True)
            rng = generator(FIRST_KEY + SPLITS.index(split), label)
            for i in range(NUM_PER_CLASS[split]):
                save_png(Image.fromarray(random_patch(rng, photograph, split)), folder / f"{i:04}.png")


def random_patch(rng: np.random.Generator, photograph: str, split: str) -> Pixels:
    """One patch ``(64, 64, 3)``: luminance in its own contrast, brightness and tint."""
    source = grey_half(photograph, split)
    side = draw(rng, *SIDES)
    x, y = draw(rng, 0, source.width - side), draw(rng, 0, source.height - side)
    patch = source.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    grey = np.array(patch, dtype=np.int64)
    deviation = grey - grey.sum() // grey.size
    spread = np.abs(deviation).sum() // grey.size + 3  # 3: flat patches are not blown up to noise
    contrast = draw(rng, 16, 40)
    base = _three(rng, 50, 205)
    gain = _three(rng, 50, 130)  # percent, of each channel
    pixels = base + deviation[:, :, None] * contrast * gain // (100 * spread)
    patch_pixels: Pixels = pixels.clip(0, 255).astype(np.uint8)
    return patch_pixels


@cache
def grey_half(photograph: str, split: str) -> Image.Image:
    """The split's half of a photograph in luminance, at most :data:`SOURCE_HEIGHT` tall."""
    half = half_photograph(photograph, split).convert("L")
    if half.height <= SOURCE_HEIGHT:
        return half
    width = half.width * SOURCE_HEIGHT // half.height
    return half.resize((width, SOURCE_HEIGHT), Image.Resampling.BOX)


def _three(rng: np.random.Generator, low: int, high: int) -> NDArray[np.int64]:
    return np.array([draw(rng, low, high) for _ in range(3)], dtype=np.int64)
