"""Digits as objects, photographs as backgrounds, and how one is painted on the other.

Everything here is integer arithmetic on 8-bit images, so that the same pixels come out on every
platform and with every version of NumPy and Pillow.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SPLITS = ("train", "val")
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# PNG only: two JPEG decoders may differ in the last bit.
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins",
    "grass", "gravel", "ihc", "moon", "motorcycle_left",
)  # fmt: skip
NUM_TRAIN_DIGITS = 1300  # the file is ordered by writer: a cut keeps most writers apart
OPAQUE = 128  # alpha from which a pixel belongs to the object


def generator(*key: int) -> np.random.Generator:
    """Random integers that depend on ``key`` alone. Only ``integers`` may be drawn from it."""
    return np.random.Generator(np.random.PCG64(list(key)))


def draw(rng: np.random.Generator, low: int, high: int) -> int:
    """A random integer in ``low..high``, both included."""
    return int(rng.integers(low, high + 1))


@dataclass(frozen=True)
class Glyph:
    """One handwritten digit: ``ink`` is ``(8, 8)`` in 0..255; ``index`` is its place in the source."""

    ink: Pixels
    label: int
    index: int


@cache
def glyphs(split: str, label: int) -> tuple[Glyph, ...]:
    """The digits of one class (0..9) that belong to a split.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI), as
    scikit-learn ships it.
    """
    start, stop = (0, NUM_TRAIN_DIGITS) if split == "train" else (NUM_TRAIN_DIGITS, None)
    rows = _digit_rows()
    return tuple(
        Glyph((row[:64].reshape(8, 8) * 255 // 16).astype(np.uint8), label, index)
        for index, row in list(enumerate(rows))[start:stop]
        if row[64] == label
    )


@cache
def _digit_rows() -> NDArray[np.int64]:
    path = package_file("sklearn", "datasets/data/digits.csv.gz")
    with gzip.open(path, "rt", encoding="ascii") as handle:
        return np.array([[int(float(cell)) for cell in line.split(",")] for line in handle], dtype=np.int64)


def package_file(package: str, relative: str) -> Path:
    """A data file inside an installed package, found without importing the package.

    Raises:
        FileNotFoundError: the package is absent or its wheel lacks the file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"{package} is not installed, and the bundled set is made from {relative} in it"
        )
    path = Path(spec.origin).parent / relative
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: this release of {package} lacks a file that the bundled set is made from; "
            "install the version that the lock names"
        )
    return path


@cache
def half_photograph(name: str, split: str) -> Image.Image:
    """The half of a photograph that belongs to a split (train left, val right), as RGB."""
    with Image.open(package_file("skimage", f"data/{name}.png")) as image:
        whole = image.convert("RGB")
    middle = whole.width // 2
    left, right = (0, middle) if split == "train" else (middle, whole.width)
    return whole.crop((left, 0, right, whole.height))


def random_background(rng: np.random.Generator, name: str, split: str, width: int, height: int) -> Pixels:
    """A random crop of a photograph's half that belongs to a split, resized to ``(height, width, 3)``."""
    photograph = half_photograph(name, split)
    # The largest crop of this aspect ratio, then 60 to 100 % of it.
    percent = draw(rng, 60, 100)
    if photograph.width * height <= photograph.height * width:
        crop_width = photograph.width * percent // 100
        crop_height = crop_width * height // width
    else:
        crop_height = photograph.height * percent // 100
        crop_width = crop_height * width // height
    x = draw(rng, 0, photograph.width - crop_width)
    y = draw(rng, 0, photograph.height - crop_height)
    crop = photograph.crop((x, y, x + crop_width, y + crop_height))
    return np.array(crop.resize((width, height), Image.Resampling.BILINEAR))


def luminance(colour: Sequence[int]) -> int:
    """Luminance of an RGB colour, 0..255 (ITU-R BT.601 weights in thousandths)."""
    red, green, blue = (int(channel) for channel in colour)
    return (299 * red + 587 * green + 114 * blue) // 1000


def random_colour(rng: np.random.Generator, ground: int) -> tuple[int, int, int]:
    """A colour, grey in two of five cases, whose luminance differs from ``ground`` by 70 or more."""
    grey = draw(rng, 0, 4) < 2
    while True:
        red, green, blue = draw(rng, 0, 255), draw(rng, 0, 255), draw(rng, 0, 255)
        colour = (red, red, red) if grey else (red, green, blue)
        if abs(luminance(colour) - ground) >= 70:
            return colour


@dataclass(frozen=True)
class Layer:
    """An object placed on a canvas: ``alpha`` is ``(height, width)`` of the canvas, 0..255.

    ``full_area`` counts the object's opaque pixels, those outside the canvas included.
    """

    alpha: Pixels
    colour: tuple[int, int, int]
    full_area: int

    @property
    def mask(self) -> Mask:
        """The object's pixels on the canvas, whether or not another object covers them."""
        return self.alpha >= OPAQUE


def stamp(glyph: Glyph, width: int, height: int) -> Pixels:
    """The digit as a smooth alpha image, ``(height, width)``; the strokes fill about 0.8 of its height."""
    framed = Image.fromarray(np.pad(glyph.ink, 1))  # the frame lets strokes fade out at the border
    smooth = np.array(framed.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int32)
    return np.clip((smooth - 84) * 3, 0, 255).astype(np.uint8)


def place(
    alpha: Pixels, colour: tuple[int, int, int], x: int, y: int, canvas_width: int, canvas_height: int
) -> Layer:
    """Put a stamp on an empty canvas with its top left corner at pixel ``(x, y)``, cut at the borders."""
    height, width = alpha.shape
    canvas = np.zeros((canvas_height, canvas_width), dtype=np.uint8)
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, canvas_width), min(y + height, canvas_height)
    if left < right and top < bottom:
        canvas[top:bottom, left:right] = alpha[top - y : bottom - y, left - x : right - x]
    return Layer(canvas, colour, int((alpha >= OPAQUE).sum()))


def owners_of(layers: Sequence[Layer], height: int, width: int) -> NDArray[np.int64]:
    """The owner of each pixel, ``(height, width)``: 0 for the background, ``k`` for ``layers[k - 1]``.

    Layers are ordered from back to front; an object owns the pixels where it is visible.
    """
    owners = np.zeros((height, width), dtype=np.int64)
    for number, layer in enumerate(layers, start=1):
        owners[layer.mask] = number
    return owners


def paint(background: Pixels, layers: Sequence[Layer]) -> Pixels:
    """Paint layers from back to front on a background ``(height, width, 3)``."""
    image = background.astype(np.int32)
    for layer in layers:
        alpha = layer.alpha[layer.alpha > 0].astype(np.int32)[:, None]
        pixels = image[layer.alpha > 0]
        colour = np.array(layer.colour, dtype=np.int32)
        image[layer.alpha > 0] = (pixels * (255 - alpha) + colour * alpha + 127) // 255
    return image.astype(np.uint8)


def save_png(image: Image.Image, path: Path) -> None:
    """Save losslessly and fast: at Pillow's default level two thirds of the build would be compression."""
    image.save(path, compress_level=1)
