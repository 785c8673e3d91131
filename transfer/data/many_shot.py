"""The eleven sets of MEC's Table 8, read where torchvision's own classes would have put them.

Which sets and metrics: BYOL (arXiv 2006.07733, appendix D), whose protocol MEC follows; it goes back to
Kornblith et al. (arXiv 1805.08974). Training images are all that a set gives for it, its own validation
images included: tasks hold out a part of them where they choose. Nothing is ever downloaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchvision import datasets

from transfer.data.folders import ImageSetConfig, ImageSplit
from transfer.data.many_shot_read import (
    divide_caltech101,
    divide_sun397,
    join_splits,
    read_voc07,
    to_split,
)

logger = logging.getLogger(__name__)
Keywords = Mapping[str, Any]
Divide = Callable[[ImageSplit], tuple[list[int], list[int]]]


@dataclass(frozen=True)
class ManyShotSet:
    """One set: torchvision's class for it, what to ask of that, and what papers say of it."""

    dataset: type[Any]
    folder: str  # below the root
    layout: str  # below that folder, in words for messages
    train: tuple[Keywords, ...]  # of the class; several are joined
    test: Keywords
    metric: str
    num_classes: int
    num_train: int
    num_test: int
    source: str  # of the split
    divide: Divide | None = None  # a set that torchvision does not split: indices for training, for testing


MANY_SHOT: dict[str, ManyShotSet] = {
    "food101": ManyShotSet(
        datasets.Food101,
        "food-101",
        "meta/train.json, meta/test.json, images/CLASS/*.jpg",
        ({"split": "train"},),
        {"split": "test"},
        "top1", 101, 75_750, 25_250,
        "meta/train.json and meta/test.json",
    ),
    "cifar10": ManyShotSet(
        datasets.CIFAR10,
        "cifar-10-batches-py",
        "data_batch_1 to data_batch_5, test_batch, batches.meta",
        ({"train": True},),
        {"train": False},
        "top1", 10, 50_000, 10_000,
        "the batches",
    ),
    "cifar100": ManyShotSet(
        datasets.CIFAR100,
        "cifar-100-python",
        "train, test, meta",
        ({"train": True},),
        {"train": False},
        "top1", 100, 50_000, 10_000,
        "the files train and test; fine labels",
    ),
    "sun397": ManyShotSet(
        datasets.SUN397,
        "SUN397",
        "ClassName.txt, LETTER/CLASS/sun_*.jpg and, from the authors' Partitions.zip, Training_01.txt and "
        "Testing_01.txt",
        ({},),
        {},
        "top1", 397, 19_850, 19_850,
        "the authors' partition 1 of 10",
        divide_sun397,
    ),
    "cars": ManyShotSet(
        datasets.StanfordCars,
        "stanford_cars",
        "devkit/cars_meta.mat, devkit/cars_train_annos.mat, cars_test_annos_withlabels.mat, "
        "cars_train/*.jpg, cars_test/*.jpg",
        ({"split": "train"},),
        {"split": "test"},
        "top1", 196, 8_144, 8_041,
        "the two annotation files",
    ),
    "aircraft": ManyShotSet(
        datasets.FGVCAircraft,
        "fgvc-aircraft-2013b",
        "data/variants.txt, data/images_variant_{trainval,test}.txt, data/images/*.jpg",
        ({"split": "trainval", "annotation_level": "variant"},),
        {"split": "test", "annotation_level": "variant"},
        "mean_per_class", 100, 6_667, 3_333,
        "images_variant_trainval.txt and images_variant_test.txt",
    ),
    "voc07-classification": ManyShotSet(
        datasets.VOCDetection,
        "VOCdevkit/VOC2007",
        "ImageSets/Main/{trainval,test}.txt, ImageSets/Main/CLASS_{trainval,test}.txt, JPEGImages/*.jpg",
        ({"year": "2007", "image_set": "trainval"},),
        {"year": "2007", "image_set": "test"},
        "map_voc07", 20, 5_011, 4_952,
        "ImageSets/Main",
    ),
    "dtd": ManyShotSet(
        datasets.DTD,
        "dtd/dtd",
        "labels/{train1,val1,test1}.txt, images/CLASS/*.jpg",
        ({"split": "train", "partition": 1}, {"split": "val", "partition": 1}),
        {"split": "test", "partition": 1},
        "top1", 47, 3_760, 1_880,
        "partition 1 of 10",
    ),
    "pets": ManyShotSet(
        datasets.OxfordIIITPet,
        "oxford-iiit-pet",
        "annotations/{trainval,test}.txt, images/*.jpg",
        ({"split": "trainval"},),
        {"split": "test"},
        "mean_per_class", 37, 3_680, 3_669,
        "annotations/trainval.txt and annotations/test.txt",
    ),
    "caltech101": ManyShotSet(
        datasets.Caltech101,
        "caltech101",
        "101_ObjectCategories/CLASS/image_*.jpg and 101_ObjectCategories/BACKGROUND_Google",
        ({},),
        {},
        "mean_per_class", 101, 3_030, 5_647,
        "drawn here, as there is no official one: 30 images of each class for training, the rest for "
        "testing; torchvision leaves the background out, so 101 classes, not the 102 of some papers",
        divide_caltech101,
    ),
    "flowers": ManyShotSet(
        datasets.Flowers102,
        "flowers-102",
        "imagelabels.mat, setid.mat, jpg/image_*.jpg",
        ({"split": "train"}, {"split": "val"}),
        {"split": "test"},
        "mean_per_class", 102, 2_040, 6_149,
        "setid.mat",
    ),
}  # fmt: skip


def read_many_shot(config: ImageSetConfig) -> tuple[ImageSplit, ImageSplit]:
    """Training and test images of the set that ``config.layout`` names, below ``config.data_dir``.

    Raises:
        FileNotFoundError: its folder is not there; the message says what belongs there.
        ValueError: an unknown layout, a split or metric that is not the set's, files that torchvision
            cannot read, or a class without an image.
    """
    if config.layout not in MANY_SHOT:
        raise ValueError(f"layout: expected folders or one of {list(MANY_SHOT)}, found {config.layout!r}")
    entry = MANY_SHOT[config.layout]
    asked = (config.train_split, config.val_split, config.metric)
    if asked != ("train", "test", entry.metric):
        raise ValueError(
            f"layout {config.layout}: expected train_split train, val_split test and metric {entry.metric}, "
            f"found {', '.join(asked)}"
        )
    train, test = read_set(config.layout, Path(config.data_dir))
    found = (len(train.classes), len(train), len(test))
    published = (entry.num_classes, entry.num_train, entry.num_test)
    if found != published:
        logger.warning(
            "%s: found %d classes, %d training and %d test images; published are %d, %d and %d",
            config.layout, *found, *published,
        )  # fmt: skip
    return train, test


def read_set(name: str, root: Path) -> tuple[ImageSplit, ImageSplit]:
    """Training and test images of a set of MANY_SHOT, however many there are.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_many_shot`.
    """
    entry = MANY_SHOT[name]
    folder = root / entry.folder
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; {name} expects there: {entry.layout}")
    try:
        parts = [_read(entry, root, keywords) for keywords in entry.train]
        test = _read(entry, root, entry.test) if entry.divide is None else parts[0]
    except Exception as error:  # whatever a foreign class says of files that are missing or damaged
        raise ValueError(
            f"{folder}: torchvision's {entry.dataset.__name__} cannot read it "
            f"({type(error).__name__}: {error}); expected there: {entry.layout}"
        ) from error
    if any(part.classes != test.classes for part in parts):
        raise ValueError(f"{folder}: the splits disagree on the classes; expected there: {entry.layout}")
    train = join_splits(parts)
    if entry.divide is not None:
        chosen, rest = entry.divide(train)
        train, test = train.select(chosen), train.select(rest)
    for split, part in ((train, "training"), (test, "test")):
        _check_classes(split, part)
    return train, test


def _read(entry: ManyShotSet, root: Path, keywords: Keywords) -> ImageSplit:
    dataset = entry.dataset(str(root), download=False, **keywords)
    folder = root / entry.folder
    if entry.dataset is datasets.VOCDetection:
        return read_voc07(dataset, folder)
    return to_split(dataset, folder)


def _check_classes(split: ImageSplit, part: str) -> None:
    if split.targets is None:
        present = set(split.labels)
    else:
        present = set((split.targets == 1).any(0).nonzero().flatten().tolist())
    unnamed = sorted(present - set(range(len(split.classes))))
    if unnamed:
        raise ValueError(f"{split.split_dir}: labels {unnamed[:3]} have no name among {len(split.classes)}")
    absent = [name for label, name in enumerate(split.classes) if label not in present]
    if absent:
        raise ValueError(
            f"{split.split_dir}: {len(absent)} of {len(split.classes)} classes have no {part} image, such as "
            f"{absent[:3]}"
        )
