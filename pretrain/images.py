"""The images a run trains on: decoded, and cropped where they are decoded.

Every draw is a function of the sample's seed, so the pixels depend on neither the number of workers
nor the number of ranks. JPEG files are decoded at the smallest scale (1/2, 1/4, 1/8) at which every
crop still has a pixel for each of its view. Greyscale, palette, CMYK and 16-bit images become RGB.
EXIF orientation is ignored, as the field's training pipelines do.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pretrain.config import Config, DataConfig, ViewsConfig
from pretrain.shards import SUFFIXES, Names, Shards

ARCHIVE_MARK = ".archive-sha256"  # in an unpacked folder; the transfer tasks look for the same mark
ASPECT = (3 / 4, 4 / 3)  # of a crop, width over height
BICUBIC_FROM = 96  # px; smaller views are bilinear


@dataclass(frozen=True)
class Sample:
    """One image of one epoch: its index in the data set, and what its crops are drawn from."""

    index: int
    seed: int


class Box(NamedTuple):
    """A crop in pixels."""

    left: int
    top: int
    width: int
    height: int


class Source(Protocol):
    """Encoded images by index, and the order in which an epoch reads them."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What messages call the image."""
        ...

    def read(self, index: int) -> bytes:
        """The encoded image."""
        ...

    def order(self, seed: int) -> Tensor:
        """A permutation ``(N,)`` that is a function of ``seed``."""
        ...


class Folder:
    """All images below a folder, at any depth, in sorted order.

    Raises:
        FileNotFoundError: the folder holds no image.
    """

    def __init__(self, root: Path) -> None:
        self._paths = Names([str(path) for path in find_images(root)])

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        """The image's path."""
        return self._paths[index]

    def read(self, index: int) -> bytes:
        """The file's content."""
        return Path(self._paths[index]).read_bytes()

    def order(self, seed: int) -> Tensor:
        """A permutation ``(N,)`` int64 of all images."""
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))


class UnlabelledImages(Dataset[tuple[Tensor, ...]]):
    """Random crops of images, indexed by :class:`Sample`.

    An item is ``(2, 3, S, S)`` uint8 and, where the recipe has small crops, ``(small_crops, 3, s, s)``.

    Raises:
        ValueError: an image that cannot be read or decoded; names it.
    """

    def __init__(self, source: Source, views: ViewsConfig, in_memory: bool = False) -> None:
        self.source = source
        self.views = views
        self.decoded: list[Tensor] | None = None
        if in_memory:
            self.decoded = []
            for index in range(len(source)):
                with self._opened(index) as image:
                    self.decoded.append(_pixels(image))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, sample: Sample) -> tuple[Tensor, ...]:
        if self.decoded is not None:
            image = self.decoded[sample.index]
            boxes = draw_boxes(image.shape[2], image.shape[1], self.views, sample.seed)
        else:
            with self._opened(sample.index) as opened:  # only the header is read yet
                boxes = draw_boxes(*opened.size, self.views, sample.seed)
                image, boxes = decode_scaled(opened, boxes, self.views)
        large = torch.stack([crop(image, box, self.views.size) for box in boxes[:2]])
        if not self.views.small_crops:
            return (large,)
        return large, torch.stack([crop(image, box, self.views.small_size) for box in boxes[2:]])

    @contextmanager
    def _opened(self, index: int) -> Iterator[Image.Image]:
        content = self.source.read(index)  # its failures are the disk's or the network's, not the image's
        with _naming(self.source.name(index)), Image.open(io.BytesIO(content)) as image:
            yield image


def open_images(config: Config) -> UnlabelledImages:
    """The data set of a recipe: ``data.shards``, or the folder ``data.dir``, extracted first if need be.

    Raises:
        FileNotFoundError: no such folder, archive or shard, or no image in the folder.
        ValueError: a damaged shard; with ``data.in_memory`` also a damaged image.
    """
    source: Source = Shards(config.data.shards) if config.data.shards else Folder(prepare(config.data))
    return UnlabelledImages(source, config.views, config.data.in_memory)


def find_images(root: Path) -> list[Path]:
    """All images below a folder, at any depth, sorted.

    Raises:
        FileNotFoundError: there is none.
    """
    paths = [
        Path(folder, file)
        for folder, _, files in os.walk(root, followlinks=True)
        for file in files
        if file.lower().endswith(SUFFIXES)
    ]
    if not paths:
        raise FileNotFoundError(f"{root}: no images ({', '.join(SUFFIXES)}) below this folder")
    return sorted(paths)


def decode(path: Path) -> Tensor:
    """A whole image, RGB ``(3, H, W)`` uint8.

    Raises:
        ValueError: it cannot be read or decoded; names the file.
    """
    with _naming(str(path)), Image.open(path) as image:
        return _pixels(image)


def draw_boxes(width: int, height: int, views: ViewsConfig, seed: int) -> list[Box]:
    """The crops of one image: two for the views, then those of the small crops.

    Distributed like torchvision's ``RandomResizedCrop``: area uniform in ``crop_scale`` (or
    ``small_scale``) of the image's, logarithm of the aspect ratio uniform between 3/4 and 4/3,
    position uniform; ten attempts to fit, then the largest central crop of an allowed aspect.
    """
    uniform = random.Random(seed).random  # the one method whose sequence Python keeps between versions
    scales = [views.crop_scale] * 2 + [views.small_scale] * views.small_crops
    return [_draw_box(width, height, scale, uniform) for scale in scales]


def crop(image: Tensor, box: Box, size: int) -> Tensor:
    """The box of an image ``(3, H, W)`` uint8, resized to ``(3, size, size)`` with antialiasing."""
    left, top, width, height = box
    return F.interpolate(
        image[None, :, top : top + height, left : left + width],
        (size, size),
        mode="bicubic" if size >= BICUBIC_FROM else "bilinear",
        align_corners=False,
        antialias=True,
    )[0]


def decode_scaled(image: Image.Image, boxes: list[Box], views: ViewsConfig) -> tuple[Tensor, list[Box]]:
    """Decode an opened image as small as its crops allow; the image, and the boxes in its pixels.

    libjpeg can leave out the high frequencies and so give 1/2, 1/4 or 1/8 of the size at a fraction
    of the cost. Other formats are decoded in full. The boxes are rounded to the smaller image's
    pixels, which moves an edge by at most half a pixel of the view.
    """
    sizes = [views.size] * 2 + [views.small_size] * views.small_crops
    largest = min(min(box.width, box.height) / size for box, size in zip(boxes, sizes, strict=True))
    width, height = image.size
    wanted = max(1, int(largest))
    drafted = image.draft(None, (max(1, width // wanted), max(1, height // wanted)))
    scale = round(width / drafted[1][2]) if drafted else 1
    if scale > 1:
        boxes = [_divided(box, scale) for box in boxes]
    return _pixels(image), boxes


def prepare(config: DataConfig) -> Path:
    """The image folder; extracts ``archive`` first when the folder is not there yet.

    Raises:
        FileNotFoundError: neither folder nor archive.
    """
    root = Path(config.dir)
    if root.is_dir():
        return root
    archive = Path(config.archive)
    if not config.archive or not archive.is_file():
        raise FileNotFoundError(f"{root}: no such folder of images, and no archive to make it from")
    if not hasattr(tarfile, "data_filter"):
        raise ValueError(
            f"{archive}: safe extraction needs Python 3.10.12 or newer; extract it by hand to {root}"
        )
    if root.parent.exists():
        raise FileNotFoundError(
            f"{root}: no such folder, but {root.parent} exists; remove it to extract {archive}"
        )
    root.parent.parent.mkdir(parents=True, exist_ok=True)
    partial = root.parent.with_name(f".{root.parent.name}.{os.getpid()}")
    try:
        with tarfile.open(archive) as handle:
            handle.extractall(partial, filter="data")  # refuses paths and links that leave the folder
        (partial / ARCHIVE_MARK).write_text(hashlib.sha256(archive.read_bytes()).hexdigest() + "\n")
        partial.rename(root.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not root.is_dir():
        raise FileNotFoundError(f"{archive}: extracted, but it holds no {root.name}/ for {root}")
    return root


def _pixels(image: Image.Image) -> Tensor:
    """RGB ``(3, H, W)`` uint8 in the memory of ``(H, W, 3)``: Pillow's, and the one torch crops fastest."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    if image.mode == "P":  # palettes may hold transparency, which only RGBA can take over
        image = image.convert("RGBA")
    if image.mode != "RGB":  # converting RGB to RGB would copy it
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # damaged files make Pillow raise far more types than OSError
        raise ValueError(f"{name}: cannot be decoded as an image ({error}); replace or remove it") from error


def _draw_box(width: int, height: int, scale: tuple[float, float], uniform: Callable[[], float]) -> Box:
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])
    for _ in range(10):
        area = width * height * (scale[0] + (scale[1] - scale[0]) * uniform())
        aspect = math.exp(low + (high - low) * uniform())
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(uniform() * (width - w + 1)), int(uniform() * (height - h + 1)), w, h)
    w = min(width, round(height * ASPECT[1]))
    h = min(height, round(width / ASPECT[0]))
    return Box((width - w) // 2, (height - h) // 2, w, h)


def _divided(box: Box, scale: int) -> Box:
    left, top = round(box.left / scale), round(box.top / scale)
    right, bottom = round((box.left + box.width) / scale), round((box.top + box.height) / scale)
    return Box(left, top, right - left, bottom - top)
