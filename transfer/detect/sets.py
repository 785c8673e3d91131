"""Sets of images with boxes, and masks where there are any, as detectron2 knows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SetFiles:
    """Where a set lies: COCO's JSON and its images' folder, or a VOC folder and one of its lists."""

    annotations_path: str = ""
    images_dir: str = ""
    voc_dir: str = ""  # holds Annotations, ImageSets and JPEGImages
    split: str = ""  # of VOC: trainval, test; a list in ImageSets/Main
    year: int = 2007  # of VOC


@dataclass(frozen=True)
class Registered:
    """A set in detectron2's catalogue."""

    name: str  # key in the catalogue
    kind: str  # coco or voc
    num_images: int  # with or without objects
    num_objects: int  # objects that count: no crowd regions
    classes: tuple[str, ...]
    files: SetFiles
