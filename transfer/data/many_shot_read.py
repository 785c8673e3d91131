"""From torchvision's data sets to an ImageSplit, and the divisions that torchvision leaves to its users."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from transfer.data.folders import ImageSplit
from transfer.data.subsets import images_per_class

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
VOC_TARGETS = {"1": 1.0, "-1": 0.0, "0": -1.0}  # shown, not shown, shown but difficult: left out
CALTECH_TRAIN = 30  # images of each class
CALTECH_SEED = 0  # one division for all backbones and seeds, so that comparisons are paired


def to_split(dataset: Any, folder: Path) -> ImageSplit:
    """A data set of torchvision's with one class an image, in its order; names are paths below ``folder``.

    torchvision publishes neither paths nor labels of most of its classes without decoding every image, so
    this reads the attributes that its ``__getitem__`` reads, which have kept their names since 0.12.
    """
    if isinstance(dataset, datasets.CIFAR10):  # CIFAR-100 too
        pixels = np.ascontiguousarray(dataset.data)
        classes, labels = dataset.classes, dataset.targets
        names = [f"{classes[label]}/{index:05}" for index, label in enumerate(labels)]
        return ImageSplit(folder, tuple(classes), tuple(names), tuple(labels), None, pixels)
    paths, labels, classes = _files(dataset)
    names = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
    return ImageSplit(folder, tuple(classes), tuple(names), tuple(int(label) for label in labels))


def _files(dataset: Any) -> tuple[Sequence[Any], Sequence[int], Sequence[str]]:
    if isinstance(dataset, datasets.Caltech101):
        images = Path(dataset.root, "101_ObjectCategories")
        paths = [
            images / dataset.categories[label] / f"image_{number:04}.jpg"
            for number, label in zip(dataset.index, dataset.y, strict=True)
        ]
        return paths, dataset.y, dataset.categories
    if isinstance(dataset, datasets.StanfordCars):
        return (
            [path for path, _ in dataset._samples],
            [label for _, label in dataset._samples],
            dataset.classes,
        )
    paths = dataset._images if isinstance(dataset, datasets.OxfordIIITPet) else dataset._image_files
    return paths, dataset._labels, dataset.classes


def join_splits(parts: Sequence[ImageSplit]) -> ImageSplit:
    """Splits of one set, one after the other.

    Raises:
        ValueError: an image that two of them hold.
    """
    if len(parts) == 1:
        return parts[0]
    assert all(part.targets is None and part.pixels is None for part in parts)  # no such set is in parts
    names = tuple(name for part in parts for name in part.names)
    labels = tuple(label for part in parts for label in part.labels)
    if len(set(names)) != len(names):
        raise ValueError(f"{parts[0].split_dir}: its training and validation lists share images")
    return ImageSplit(parts[0].split_dir, parts[0].classes, names, labels)


def read_voc07(dataset: Any, folder: Path) -> ImageSplit:
    """Images of one split of PASCAL VOC 2007 and the classes that each shows.

    From ``ImageSets/Main/CLASS_SPLIT.txt``, the labels of the classification task: an image that shows a
    class only in objects marked difficult neither counts for nor against it.

    Raises:
        FileNotFoundError: a class without its file.
        ValueError: a file that lists other images than the split's own, or an image without a class.
    """
    names = [Path(os.path.relpath(path, folder)).as_posix() for path in dataset.images]
    numbers = [Path(name).stem for name in names]
    targets = torch.empty(len(names), len(VOC_CLASSES))
    for column, name in enumerate(VOC_CLASSES):
        path = folder / "ImageSets" / "Main" / f"{name}_{dataset.image_set}.txt"
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if [line[0] for line in lines] != numbers:
            raise ValueError(
                f"{path}: expected the {len(numbers)} images of {dataset.image_set}.txt, in order"
            )
        targets[:, column] = torch.tensor([VOC_TARGETS[line[1]] for line in lines])
    marked = targets != 0
    if not marked.any(1).all():
        unmarked = [names[i] for i in (~marked.any(1)).nonzero().flatten().tolist()]
        raise ValueError(f"{folder}: {len(unmarked)} images show no class, such as {unmarked[:3]}")
    shown = torch.where((targets == 1).any(1, keepdim=True), targets == 1, marked)
    labels = tuple(shown.int().argmax(1).tolist())  # argmax: the first of the largest
    return ImageSplit(folder, VOC_CLASSES, tuple(names), labels, targets)


def divide_sun397(split: ImageSplit) -> tuple[list[int], list[int]]:
    """Indices of the training and test images of the authors' first partition, in its order.

    Raises:
        FileNotFoundError: a partition file is missing.
        ValueError: it names an image that is not there.
    """
    index_of = {name: index for index, name in enumerate(split.names)}
    parts = []
    for file in ("Training_01.txt", "Testing_01.txt"):
        path = split.split_dir / file
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; put the authors' partition (Partitions.zip of SUN397) there"
            )
        names = [line.strip().lstrip("/") for line in path.read_text().splitlines() if line.strip()]
        unknown = [name for name in names if name not in index_of]
        if unknown:
            raise ValueError(
                f"{path}: {len(unknown)} of {len(names)} images are not there, such as {unknown[:3]}"
            )
        parts.append([index_of[name] for name in names])
    return parts[0], parts[1]


def divide_caltech101(split: ImageSplit) -> tuple[list[int], list[int]]:
    """Indices of 30 images of each class for training, and of all others for testing.

    Raises:
        ValueError: a class with fewer images.
    """
    train = images_per_class(split, CALTECH_TRAIN, CALTECH_SEED)
    chosen = set(train)
    return train, [index for index in range(len(split)) if index not in chosen]
