"""Tiny sets in the real layouts of MEC's Table 8, whose images tell their class by their brightness.

A pixel is twice the label, so that whoever reads a pixel knows which class the image must have.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


def write_image(path: Path, label: int) -> None:
    """A plain grey image of 16 px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (2 * label,) * 3).save(path, quality=100)


def label_of(image: Image.Image) -> int:
    """The class that the pixels tell; JPEG keeps plain grey."""
    return int(np.asarray(image)[0, 0, 0]) // 2


def _food101(root: Path) -> None:
    for number, split in enumerate(("train", "test")):
        listed = {
            name: [f"{name}/{split}{i}" for i in range(3 - number)]
            for name in ("waffles", "apple_pie", "ramen")
        }
        for name, files in listed.items():
            for file in files:
                label = sorted(listed).index(name)
                write_image(root / "food-101" / "images" / f"{file}.jpg", label)
        meta = root / "food-101" / "meta" / f"{split}.json"
        meta.parent.mkdir(parents=True, exist_ok=True)
        meta.write_text(json.dumps(listed))


def _cifar(folder: Path, files: dict[str, int], labels: int, key: str, meta: tuple[str, str]) -> None:
    folder.mkdir(parents=True)
    for file, repeats in files.items():
        targets = list(range(labels)) * repeats
        data = np.zeros((len(targets), 3, 32, 32), dtype=np.uint8)
        data[:, 0] = 2 * np.array(targets, dtype=np.uint8)[:, None, None]
        (folder / file).write_bytes(pickle.dumps({"data": data.reshape(len(targets), -1), key: targets}))
    names = [f"class{label:03}" for label in range(labels)]
    (folder / meta[0]).write_bytes(pickle.dumps({meta[1]: names}))


def _cifar10(root: Path) -> None:
    files = dict.fromkeys([f"data_batch_{i}" for i in range(1, 6)], 1) | {"test_batch": 2}
    _cifar(root / "cifar-10-batches-py", files, 10, "labels", ("batches.meta", "label_names"))


def _cifar100(root: Path) -> None:
    _cifar(
        root / "cifar-100-python", {"train": 2, "test": 1}, 100, "fine_labels", ("meta", "fine_label_names")
    )


def _sun397(root: Path) -> None:
    folder = root / "SUN397"
    classes = ("/a/abbey", "/a/apartment_building/outdoor", "/z/zoo")
    parts: dict[str, list[str]] = {"Training_01.txt": [], "Testing_01.txt": []}
    for label, name in enumerate(classes):
        for i in range(5):  # the fifth is in neither part, as most of the real set's images are
            file = f"{name}/sun_{label}{i}.jpg"
            write_image(folder / file[1:], label)
            if i < 4:
                parts["Training_01.txt" if i % 2 else "Testing_01.txt"].append(file)
    (folder / "ClassName.txt").write_text("".join(f"{name}\n" for name in classes))
    for file, names in parts.items():
        (folder / file).write_text("".join(f"{name}\n" for name in names))


def _cars(root: Path) -> None:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    kind = [("class", "u1"), ("fname", "O")]
    files = {"train": folder / "devkit" / "cars_train_annos.mat"}
    files["test"] = folder / "cars_test_annos_withlabels.mat"
    for split, path in files.items():
        labels = [2, 0, 1, 0, 1, 2] if split == "train" else [1, 0, 2]
        rows = np.array([(label + 1, f"{i:05}.jpg") for i, label in enumerate(labels, 1)], dtype=kind)
        savemat(path, {"annotations": rows})
        for i, label in enumerate(labels, 1):
            write_image(folder / f"cars_{split}" / f"{i:05}.jpg", label)
    names = np.array(["AM General Hummer", "Acura RL", "Acura TL"], dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})


def _aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    variants = ("707-320", "727-200", "A340-300 with space")
    for split, count in (("trainval", 3), ("test", 1)):
        lines = []
        for label, name in enumerate(variants):
            for i in range(count):
                number = f"{label}{i}{count}"
                write_image(data / "images" / f"{number}.jpg", label)
                lines.append(f"{number} {name}\n")
        (data / f"images_variant_{split}.txt").write_text("".join(reversed(lines)))
    (data / "variants.txt").write_text("".join(f"{name}\n" for name in variants))


def voc_objects(number: int) -> list[tuple[str, bool]]:
    """Class and difficulty of the objects of fake image ``number``, 0 to 24."""
    objects = [(VOC_CLASSES[number % 20], False)]
    if number % 3 == 0:
        objects.append((VOC_CLASSES[(number + 7) % 20], True))
    if number % 4 == 0:
        objects += [("person", True), ("person", False)]
    if number == 24:  # nothing but difficult objects
        objects = [("dog", True), ("cow", True)]
    return objects


def _voc07(root: Path) -> None:
    folder = root / "VOCdevkit" / "VOC2007"
    main = folder / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for split, first in (("trainval", 0), ("test", 100)):
        ids = [f"{first + i:06}" for i in range(25)]
        (main / f"{split}.txt").write_text("".join(f"{number}\n" for number in ids))
        for name in VOC_CLASSES:
            lines = []
            for i, number in enumerate(ids):
                difficult = [hard for shown, hard in voc_objects(i) if shown == name]
                mark = "-1" if not difficult else " 0" if all(difficult) else " 1"
                lines.append(f"{number} {mark}\n")
            (main / f"{name}_{split}.txt").write_text("".join(lines))
        for i, number in enumerate(ids):
            objects = "".join(
                f"<object><name>{name}</name><difficult>{int(hard)}</difficult></object>"
                for name, hard in voc_objects(i)
            )
            (folder / "Annotations" / f"{number}.xml").write_text(f"<annotation>{objects}</annotation>")
            label = min(VOC_CLASSES.index(name) for name, hard in voc_objects(i) if not hard or i == 24)
            write_image(folder / "JPEGImages" / f"{number}.jpg", label)


def _dtd(root: Path) -> None:
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for split in ("train", "val", "test"):
        names = [f"{name}/{name}_{split}{i}.jpg" for name in ("banded", "dotted", "woven") for i in range(2)]
        (folder / "labels" / f"{split}1.txt").write_text("".join(f"{name}\n" for name in names))
        for i, name in enumerate(names):
            write_image(folder / "images" / name, i // 2)


def _pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    breeds = ("Abyssinian", "american_bulldog", "Persian")
    for split, count in (("trainval", 3), ("test", 2)):
        lines = []
        for label, breed in enumerate(breeds):
            for i in range(count):
                number = f"{breed}_{split == 'test':d}{i}"
                write_image(folder / "images" / f"{number}.jpg", label)
                lines.append(f"{number} {label + 1} 1 1\n")
        path = folder / "annotations" / f"{split}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines))


def _caltech101(root: Path) -> None:
    folder = root / "caltech101" / "101_ObjectCategories"
    for label, (name, count) in enumerate((("accordion", 31), ("yin_yang", 34))):
        for i in range(1, count + 1):
            write_image(folder / name / f"image_{i:04}.jpg", label)
    write_image(folder / "BACKGROUND_Google" / "image_0001.jpg", 99)


def _flowers(root: Path) -> None:
    folder = root / "flowers-102"
    labels = np.array([1 + (7 * i) % 102 for i in range(408)])  # 4 images of each of 102 classes
    for i, label in enumerate(labels.tolist(), 1):
        write_image(folder / "jpg" / f"image_{i:05}.jpg", label - 1)
    savemat(folder / "imagelabels.mat", {"labels": labels})
    numbers = np.arange(1, 409)
    savemat(folder / "setid.mat", {"trnid": numbers[:102], "valid": numbers[102:204], "tstid": numbers[204:]})


WRITERS: dict[str, Callable[[Path], None]] = {
    "food101": _food101,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "sun397": _sun397,
    "cars": _cars,
    "aircraft": _aircraft,
    "voc07-classification": _voc07,
    "dtd": _dtd,
    "pets": _pets,
    "caltech101": _caltech101,
    "flowers": _flowers,
}


def write_set(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a tiny set below ``root`` and let torchvision accept digests that are not the real ones."""
    WRITERS[name](root)
    classes: dict[str, Any] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
    if name in classes:
        kind = classes[name]
        folder = root / kind.base_folder
        for attribute in ("train_list", "test_list"):
            files = [[file, _md5(folder / file)] for file, _ in getattr(kind, attribute)]
            monkeypatch.setattr(kind, attribute, files)
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": _md5(folder / kind.meta["filename"])})
    if name == "flowers":
        files = {
            key: (file, digest if key == "image" else _md5(root / "flowers-102" / file))
            for key, (file, digest) in datasets.Flowers102._file_dict.items()
        }
        monkeypatch.setattr(datasets.Flowers102, "_file_dict", files)
    return root


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()
