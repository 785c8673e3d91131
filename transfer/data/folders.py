"""Image folders: ``DATA_DIR/SPLIT/CLASS/*.png``, the layout of ImageNet and of every set here.

Data sets of another layout are read by torchvision's own classes (``transfer.data.many_shot``); both
become an :class:`ImageSplit`, and everything behind it is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import MISSING
from torch import Tensor
from torchvision import datasets

from transfer.data.archives import extract_once
from transfer.data.scan import check_files


@dataclass
class ImageSetConfig:
    """The fields every classification task shares: which images, at what size, and where to compute."""

    dataset: str = MISSING  # identity in rows: mini, cifar10, imagenet, mini-1pct, ...
    protocol: str = MISSING  # identity in rows; each task says which prefix it accepts
    seed: int = 0
    data_dir: str = MISSING  # holds one folder per split; for other layouts, torchvision's root
    layout: str = "folders"  # or a key of MANY_SHOT: torchvision's class of that set reads data_dir
    archive: str = ""  # a .tar.gz that is unpacked into data_dir when data_dir does not exist
    train_split: str = "train"
    val_split: str = "val"
    metric: str = "top1"  # the set's own: top1, mean_per_class or map_voc07
    accuracy: bool = False  # also give that metric as `accuracy`, as MEC's Table 8 does
    check_images: bool = True  # open every image's header before anything is computed
    resize_size: int = 256  # shorter side of an evaluated image, before the centre crop
    image_size: int = 224  # side of what the backbone sees
    batch_size: int = 256  # of all processes together
    cache_images: bool = False  # decode once and keep the pixels in memory: for small sets
    num_workers: int = 0  # of each process
    device: str = "auto"  # auto: cuda when there is one
    bf16: bool = False  # autocast to bfloat16


@dataclass(frozen=True)
class ImageSplit:
    """The images of one split, in a fixed order: ``names[i]`` is of class ``labels[i]``.

    A name is the path below ``split_dir``, except where ``pixels`` holds the decoded images. Where one
    image can show several classes ``targets`` says which, and ``labels`` only its first one.
    """

    split_dir: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    targets: Tensor | None = field(default=None, compare=False)  # (N, C): 1 shown, 0 not, -1 left out
    pixels: NDArray[np.uint8] | None = field(default=None, compare=False)  # (N, H, W, 3) RGB

    def __len__(self) -> int:
        return len(self.names)

    def select(self, indices: Sequence[int]) -> ImageSplit:
        """The same split, reduced to some of its images, in that order."""
        chosen = list(indices)
        return ImageSplit(
            self.split_dir,
            self.classes,
            tuple(self.names[i] for i in chosen),
            tuple(self.labels[i] for i in chosen),
            None if self.targets is None else self.targets[chosen],
            None if self.pixels is None else self.pixels[chosen],
        )


def read_splits(config: ImageSetConfig) -> tuple[ImageSplit, ImageSplit]:
    """The train and validation splits that a configuration names, unpacked first where needed.

    Raises:
        FileNotFoundError: no such folder or archive, or a class without images.
        ValueError: the two splits do not hold the same classes (the message names the difference) or share
            an image, a setting that the layout contradicts, or what :func:`check_files` refuses.
    """
    data_dir = Path(config.data_dir)
    if config.archive:
        extract_once(Path(config.archive), data_dir)
    if config.layout != "folders":
        from transfer.data.many_shot import read_many_shot  # imported here: it builds on this module

        train, val = read_many_shot(config)
    else:
        train = read_split(data_dir, config.train_split)
        val = read_split(data_dir, config.val_split)
        check_classes(train, val)
    _check_disjoint(train, val)
    if config.check_images:
        check_files(train, val)
    return train, val


def check_classes(train: ImageSplit, val: ImageSplit) -> None:
    """Raise ValueError, with the difference, unless two splits number the same classes."""
    if train.classes != val.classes:
        only_train = sorted(set(train.classes) - set(val.classes))
        only_val = sorted(set(val.classes) - set(train.classes))
        raise ValueError(
            f"{train.split_dir} and {val.split_dir} disagree on the classes; only in "
            f"{train.split_dir.name}/: {only_train[:8]}, only in {val.split_dir.name}/: {only_val[:8]}"
        )


def _check_disjoint(train: ImageSplit, val: ImageSplit) -> None:
    """By path only, which costs nothing; :func:`check_files` also sees through links."""
    if train.pixels is not None or train.split_dir.resolve() != val.split_dir.resolve():
        return
    shared = sorted(set(train.names) & set(val.names))
    if shared:
        raise ValueError(
            f"{len(shared)} images of {train.split_dir} are listed for training and for validation, such as "
            f"{shared[:3]}; a model may not be evaluated on what it was trained on"
        )


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
