"""Image folders: ``DATA_DIR/SPLIT/CLASS/*.png``, the layout of ImageNet and of every set here.

Images leave this module as uint8 RGB tensors; what a backbone wants (pixel order, mean, standard
deviation) is applied where the backbone is known, in ``transfer.classify.features``.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from omegaconf import MISSING
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import datasets, transforms

from transfer.backbone.checkpoint import file_sha256

ARCHIVE_MARK = ".archive-sha256"  # in an unpacked folder: the digest of the archive it came from


@dataclass
class ImageSetConfig:
    """The fields every classification task shares: which images, at what size, and where to compute."""

    dataset: str = MISSING  # identity in rows: mini, cifar10, imagenet, mini-1pct, ...
    protocol: str = MISSING  # identity in rows; each task says which prefix it accepts
    seed: int = 0
    data_dir: str = MISSING  # holds one folder per split
    archive: str = ""  # a .tar.gz that is unpacked into data_dir when data_dir does not exist
    train_split: str = "train"
    val_split: str = "val"
    resize_size: int = 256  # shorter side of an evaluated image, before the centre crop
    image_size: int = 224  # side of what the backbone sees
    batch_size: int = 256
    cache_images: bool = False  # decode once and keep the pixels in memory: for small sets
    num_workers: int = 0
    device: str = "auto"  # auto: cuda when there is one
    bf16: bool = False  # autocast to bfloat16


@dataclass(frozen=True)
class ImageSplit:
    """The images of one split: ``names[i]`` is ``CLASS/FILE`` below ``split_dir``, of class ``labels[i]``."""

    split_dir: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]

    def select(self, indices: Sequence[int]) -> ImageSplit:
        """The same split, reduced to some of its images."""
        names = tuple(self.names[i] for i in indices)
        return ImageSplit(self.split_dir, self.classes, names, tuple(self.labels[i] for i in indices))


def read_splits(config: ImageSetConfig) -> tuple[ImageSplit, ImageSplit]:
    """The train and validation splits that a configuration names, unpacked first where needed.

    Raises:
        FileNotFoundError: no such folder or archive, or a class without images.
        ValueError: the two splits do not hold the same classes; the message names the difference.
    """
    data_dir = Path(config.data_dir)
    if config.archive:
        extract_once(Path(config.archive), data_dir)
    train = read_split(data_dir, config.train_split)
    val = read_split(data_dir, config.val_split)
    if train.classes != val.classes:
        only_train = sorted(set(train.classes) - set(val.classes))
        only_val = sorted(set(val.classes) - set(train.classes))
        raise ValueError(
            f"{data_dir}: {config.train_split}/ and {config.val_split}/ disagree on the classes; only in "
            f"{config.train_split}/: {only_train[:8]}, only in {config.val_split}/: {only_val[:8]}"
        )
    return train, val


def read_split(data_dir: Path, split: str) -> ImageSplit:
    """List one split; labels number the class folders in alphabetical order, as ImageFolder does.

    Raises:
        FileNotFoundError: no such folder, no class folders, or a class folder without images.
    """
    split_dir = data_dir / split
    if not split_dir.is_dir():
        beside = sorted(path.name for path in data_dir.iterdir()) if data_dir.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"{split_dir}: expected the folder of split {split!r}; {data_dir} holds: {beside}. Build or "
            "fetch the set first, or set data_dir, train_split and val_split."
        )
    try:
        folder = datasets.ImageFolder(str(split_dir))
    except FileNotFoundError as error:  # torchvision names the classes without images
        raise FileNotFoundError(
            f"{split_dir}: expected one folder of images for each class: {error}"
        ) from error
    names = tuple(Path(path).relative_to(split_dir).as_posix() for path, _ in folder.samples)
    return ImageSplit(split_dir, tuple(folder.classes), names, tuple(label for _, label in folder.samples))


class Images(Dataset[tuple[Tensor, int]]):
    """Images of a split as ``(uint8 RGB (3, H, W) after transform, label)``.

    With ``cache`` each file is decoded once, when the object is made; the pixels are the same.
    """

    def __init__(self, split: ImageSplit, transform: Callable[[Image.Image], Any], cache: bool) -> None:
        self.split = split
        self.transform = transform
        self.pixels = [np.asarray(self._decode(i)) for i in range(len(self))] if cache else None

    def __len__(self) -> int:
        return len(self.split.names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._decode(index) if self.pixels is None else Image.fromarray(self.pixels[index])
        array = np.array(self.transform(image))  # a copy: tensors must be writable
        return torch.from_numpy(array).permute(2, 0, 1), self.split.labels[index]

    def _decode(self, index: int) -> Image.Image:
        path = self.split.split_dir / self.split.names[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except OSError as error:
            raise ValueError(f"{path}: not a readable image ({error})") from error


def eval_transform(resize_size: int, image_size: int) -> Callable[[Image.Image], Any]:
    """Resize the shorter side, then crop the centre: what every protocol here evaluates on."""
    return transforms.Compose(  # type: ignore[no-any-return]
        [transforms.Resize(resize_size), transforms.CenterCrop(image_size)]
    )


def train_transform(image_size: int, min_scale: float) -> Callable[[Image.Image], Any]:
    """A random resized crop of ``min_scale``..1 of the area and a random horizontal flip."""
    return transforms.Compose(  # type: ignore[no-any-return]
        [transforms.RandomResizedCrop(image_size, scale=(min_scale, 1.0)), transforms.RandomHorizontalFlip()]
    )


def eval_batches(split: ImageSplit, config: ImageSetConfig) -> DataLoader[tuple[Tensor, int]]:
    """All images of a split in order, in evaluation form."""
    # Each image is read once, so a cache would only cost memory.
    images = Images(split, eval_transform(config.resize_size, config.image_size), cache=False)
    return DataLoader(images, config.batch_size, num_workers=config.num_workers)


def train_batches(
    split: ImageSplit, config: ImageSetConfig, min_scale: float
) -> DataLoader[tuple[Tensor, int]]:
    """Shuffled, augmented batches; a new order each time it is iterated, the same ones for a seed."""
    images = Images(split, train_transform(config.image_size, min_scale), config.cache_images)
    order = ShuffledBatches(len(images), config.batch_size, config.seed)
    return DataLoader(
        images,
        batch_sampler=order,
        num_workers=config.num_workers,
        persistent_workers=config.num_workers > 0,
    )


class ShuffledBatches(Sampler[list[int]]):
    """Every index once per epoch, in shuffled batches that never hold a single index.

    Batch normalisation in train mode has no variance to divide by when a batch holds one image with
    one position, so a last batch of one joins the batch before it.

    Raises:
        ValueError: fewer than two items, or a batch size below two.
    """

    def __init__(self, num_items: int, batch_size: int, seed: int) -> None:
        if num_items < 2 or batch_size < 2:
            raise ValueError(
                f"training needs at least 2 images and a batch size of at least 2 (batch normalisation), "
                f"found {num_items} images and a batch size of {batch_size}"
            )
        self.num_items = num_items
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        full, rest = divmod(self.num_items, self.batch_size)
        return full + (rest > 1)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.num_items, generator=self.generator).tolist()
        starts = list(range(0, len(self) * self.batch_size, self.batch_size))
        for start, end in zip(starts, [*starts[1:], self.num_items], strict=True):
            yield order[start:end]


def extract_once(archive: Path, target_dir: Path) -> None:
    """Unpack a ``.tar.gz`` into ``target_dir``, which is complete or absent; later calls return at once.

    Raises:
        FileNotFoundError: no such archive; it is read each time, to know that the folder came from it.
        ValueError: a member that is no plain file or folder, or that would land outside
            ``target_dir``; or a ``target_dir`` that was not unpacked from this archive.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"{archive}: no such archive; set archive, or archive='' and data_dir")
    digest = file_sha256(archive)
    if target_dir.exists():
        _check_unpacked(archive, digest, target_dir)
        return
    target_dir.parent.mkdir(parents=True, exist_ok=True)
    temporary = target_dir.with_name(f".{target_dir.name}.{os.getpid()}")
    try:
        temporary.mkdir()
        with tarfile.open(archive) as members:
            for member in members:
                _extract_member(members, member, temporary, archive)
        (temporary / ARCHIVE_MARK).write_text(digest + "\n")
        try:
            temporary.rename(target_dir)
        except OSError:  # another process was faster: what it made must be the same
            if not target_dir.exists():
                raise
            _check_unpacked(archive, digest, target_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_unpacked(archive: Path, digest: str, target_dir: Path) -> None:
    mark = target_dir / ARCHIVE_MARK
    found = mark.read_text().strip() if mark.is_file() else "no mark"
    if found != digest:
        raise ValueError(
            f"{target_dir}: exists, but was not unpacked from {archive} (expected {digest[:12]} in "
            f"{ARCHIVE_MARK}, found {found[:12]}); remove the folder, or set archive='' to use it as it is"
        )


def _extract_member(members: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise ValueError(f"{archive}: refused member {member.name!r}: only plain files and folders inside it")
    path = folder / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = members.extractfile(member)
    assert content is not None  # a plain file always has content
    with content, path.open("xb") as handle:
        shutil.copyfileobj(content, handle)
