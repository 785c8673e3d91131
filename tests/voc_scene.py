"""A PASCAL VOC folder of rectangles, for the detection tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from transfer.detect.sets import VOC_CLASSES

SIDE = 64  # height and width of an image, pixels
# One bright and one dark rectangle an image: (class, xmin, ymin, xmax, ymax), 1-based, ends included
OBJECTS = [("cat", 5, 7, 28, 26), ("dog", 37, 31, 56, 58)]
BRIGHTNESS = {"cat": 220, "dog": 20}
# One small rectangle of each class of VOC, for the first image of a split that is to have all of them
EVERY_CLASS = [
    (label, 12 * (k % 5) + 2, 12 * (k // 5) + 2, 12 * (k % 5) + 11, 12 * (k // 5) + 11)
    for k, label in enumerate(VOC_CLASSES)
]


def write_voc(
    root: Path, year: int, splits: Mapping[str, int], every_class: bool = False
) -> dict[str, dict[str, object]]:
    """``root/VOC<year>`` with so many images a split; ``splits`` may be ``{"trainval": 4, "test": 2}``.

    ``every_class``: the first image of each split has an object of each of the 20 classes.

    Returns:
        For each split the fields of a ``SetFiles``: ``SetFiles(**write_voc(...)["trainval"])``.
    """
    folder = root / f"VOC{year}"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    number = 0
    for split, num_images in splits.items():
        names = [f"{number + k:06d}" for k in range(1, num_images + 1)]
        number += num_images
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            write_voc_image(folder, name, EVERY_CLASS if every_class and name == names[0] else OBJECTS)
    return {split: {"voc_dir": str(folder), "split": split, "year": year} for split in splits}


def write_voc_image(folder: Path, name: str, objects: list[tuple[str, int, int, int, int]] = OBJECTS) -> None:
    """One image and its XML; a class that has no brightness of its own is grey."""
    pixels = np.full((SIDE, SIDE, 3), 100 + 5 * (int(name[-3:]) % 8), np.uint8)
    parts = []
    for label, xmin, ymin, xmax, ymax in objects:
        pixels[ymin - 1 : ymax, xmin - 1 : xmax] = BRIGHTNESS.get(label, 160)
        parts.append(
            f"<object><name>{label}</name><pose>Frontal</pose><truncated>0</truncated>"
            f"<difficult>0</difficult><bndbox><xmin>{xmin}</xmin>"
            f"<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        )
    Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
    (folder / "Annotations" / f"{name}.xml").write_text(
        f"<annotation><filename>{name}.jpg</filename><size><width>{SIDE}</width><height>{SIDE}</height>"
        f"<depth>3</depth></size>{''.join(parts)}</annotation>\n"
    )
