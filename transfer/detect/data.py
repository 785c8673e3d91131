"""COCO-format sets as detectron2 knows them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING


@dataclass
class Images:
    """One split: annotations in COCO's JSON (boxes, polygon or RLE masks) and the images' folder."""

    annotations_path: str = MISSING
    images_dir: str = MISSING


@dataclass(frozen=True)
class Registered:
    """A split in detectron2's catalogue."""

    name: str  # key in the catalogue
    split: str  # train or val
    num_images: int  # images in the JSON, with or without objects
    num_objects: int  # objects that count: no crowd regions
    classes: tuple[str, ...]  # in the order of their category ids


def register(dataset: str, split: str, images: Images) -> Registered:
    """Register a split under a name that its files determine, so that doing it twice is harmless.

    Raises:
        FileNotFoundError: no annotation file, no image folder, or an image that the annotations
            name and the folder lacks.
        ValueError: not COCO JSON, or no object in it.
    """
    from detectron2.data import DatasetCatalog
    from detectron2.data.datasets import register_coco_instances

    annotations_path, images_dir = Path(images.annotations_path), Path(images.images_dir)
    if not annotations_path.is_file():
        raise FileNotFoundError(f"{annotations_path}: no such annotation file ({dataset} {split})")
    if not images_dir.is_dir():
        raise FileNotFoundError(f"{images_dir}: no such image folder ({dataset} {split})")
    content = json.loads(annotations_path.read_text(encoding="utf-8"))
    lacking = [key for key in ("images", "annotations", "categories") if not content.get(key)]
    if lacking:
        raise ValueError(f"{annotations_path}: expected COCO instances, found nothing under {lacking}")
    absent = [
        image["file_name"] for image in content["images"] if not (images_dir / image["file_name"]).is_file()
    ]
    if absent:
        raise FileNotFoundError(
            f"{images_dir}: lacks {len(absent)} of the {len(content['images'])} images that "
            f"{annotations_path} names, the first is {absent[0]}"
        )
    num_objects = sum(not annotation.get("iscrowd", 0) for annotation in content["annotations"])
    if not num_objects:
        raise ValueError(
            f"{annotations_path}: every annotation is a crowd region; average precision is undefined"
        )
    place = f"{annotations_path.resolve()}\n{images_dir.resolve()}"
    name = f"{dataset}-{split}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
    if name not in DatasetCatalog:
        register_coco_instances(name, {}, str(annotations_path), str(images_dir))
    categories = sorted(content["categories"], key=lambda category: int(category["id"]))
    classes = tuple(str(category["name"]) for category in categories)
    return Registered(name, split, len(content["images"]), num_objects, classes)
