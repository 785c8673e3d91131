"""Image sets as detectron2 knows them: COCO's JSON beside a folder of images, or a PASCAL VOC folder.

What is looked at here is what a set cannot be registered without; ``transfer/detect/faults.py`` looks at
every annotation and image.
"""

from __future__ import annotations

import gc
import json
import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

VOC_CLASSES = (  # in detectron2's order, which is the alphabet's
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC_YEARS = (2007, 2012)  # detectron2's evaluator: 11 points for 2007, the area under the curve for 2012


@dataclass
class SetFiles:
    """Where a set lies: ``annotations_path``, ``images_dir`` (COCO) or ``voc_dir``, ``split`` (VOC)."""

    annotations_path: str = ""  # COCO's JSON: boxes, polygon or RLE masks
    images_dir: str = ""
    voc_dir: str = ""  # holds Annotations, ImageSets and JPEGImages
    split: str = ""  # ImageSets/Main/<split>.txt, or an absolute path without its .txt
    year: int = 2007


@dataclass(frozen=True)
class Registered:
    """A set in detectron2's catalogues."""

    name: str  # key in the catalogues
    kind: str  # coco or voc
    num_images: int  # with or without objects
    num_objects: int  # objects that count: no crowd regions (COCO), none that are difficult (VOC)
    classes: tuple[str, ...]  # in the order of the detector's outputs: by category id, or detectron2's
    files: SetFiles


def register(name: str, files: SetFiles) -> Registered:
    """Put a set into detectron2's catalogues under exactly this name, in the place of what is there.

    detectron2 fills its catalogues with the names of the public sets, below a folder of its own;
    a configuration that names one of them means the files that are given here.

    Raises:
        FileNotFoundError: no annotation file, no folder of images, no list, or not a VOC folder.
        ValueError: neither or both kinds of files, or an annotation file that is not COCO's JSON.
    """
    if kind_of(name, files) == "coco":
        return _register_coco(name, files)
    return _register_voc(name, files)


def kind_of(name: str, files: SetFiles) -> str:
    """``coco`` or ``voc``.

    Raises:
        ValueError: files of neither kind, of both, or of half a kind.
    """
    given = [
        field for field in ("annotations_path", "images_dir", "voc_dir", "split") if getattr(files, field)
    ]
    if given == ["annotations_path", "images_dir"]:
        return "coco"
    if given != ["voc_dir", "split"]:
        raise ValueError(
            f"sets.{name}: expected annotations_path and images_dir (COCO) or voc_dir and split (VOC), "
            f"found {' and '.join(given) or 'none of them'}"
        )
    if files.year not in VOC_YEARS:
        raise ValueError(f"sets.{name}.year: expected one of {VOC_YEARS}, found {files.year}")
    return "voc"


def read_coco(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The JSON of a COCO set: ``images``, ``annotations`` and ``categories``, each a list of objects.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or not these lists, or a category without a name and an id from 0.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file")
    collecting = gc.isenabled()
    gc.disable()  # it would go through millions of new lists again and again: half of the time
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # also UnicodeDecodeError
        raise ValueError(f"{path}: expected COCO's JSON, found {error}") from error
    finally:
        if collecting:
            gc.enable()
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{path}: expected COCO instances, found no list of objects under {key!r}")
    categories = content["categories"]
    lacking = [
        entry
        for entry in categories
        if type(entry.get("id")) is not int or entry["id"] < 0 or "name" not in entry
    ]
    if lacking or not categories:
        raise ValueError(
            f"{path}: expected categories with a name and an id from 0, found {lacking[:1] or 'none'}"
        )
    categories.sort(key=lambda category: category["id"])
    return content  # type: ignore[no-any-return]


def list_path(files: SetFiles) -> Path:
    """The list of a VOC set: one name a line, without .jpg."""
    return Path(os.path.join(files.voc_dir, "ImageSets", "Main", f"{files.split}.txt"))


def read_names(files: SetFiles) -> list[str]:
    """The names in the list of a VOC set, in its order.

    Raises:
        FileNotFoundError: no such list.
        ValueError: a line of more than one word, such as those of the lists of single classes.
    """
    path = list_path(files)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of images")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for words in lines:
        if len(words) != 1:
            raise ValueError(f"{path}: expected the name of one image a line, found {' '.join(words)!r}")
    return [name for [name] in lines]


def _register_coco(name: str, files: SetFiles) -> Registered:
    from detectron2.data.datasets import register_coco_instances

    content = read_coco(Path(files.annotations_path))
    if not Path(files.images_dir).is_dir():
        raise FileNotFoundError(f"{files.images_dir}: no such folder of images (sets.{name})")
    _forget(name)
    register_coco_instances(name, {}, files.annotations_path, files.images_dir)
    num_objects = sum(not annotation.get("iscrowd", 0) for annotation in content["annotations"])
    classes = tuple(str(category["name"]) for category in content["categories"])
    return Registered(name, "coco", len(content["images"]), num_objects, classes, files)


def _register_voc(name: str, files: SetFiles) -> Registered:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    for folder in ("Annotations", "JPEGImages"):
        if not Path(files.voc_dir, folder).is_dir():
            raise FileNotFoundError(f"{Path(files.voc_dir, folder)}: no such folder (sets.{name})")
    names = read_names(files)
    _forget(name)
    DatasetCatalog.register(name, lambda: _load_voc(files))
    MetadataCatalog.get(name).set(
        thing_classes=list(VOC_CLASSES),
        dirname=files.voc_dir,
        year=files.year,
        split=files.split,
        evaluator_type="pascal_voc",
    )
    num_objects = sum(_count_objects(Path(files.voc_dir, "Annotations", f"{image}.xml")) for image in names)
    return Registered(name, "voc", len(names), num_objects, VOC_CLASSES, files)


def _forget(name: str) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    if name in MetadataCatalog:  # its values, once set, cannot be set to others
        MetadataCatalog.remove(name)


def _load_voc(files: SetFiles) -> list[dict[str, Any]]:
    """detectron2's own reading, also of a list of one image, over whose names it could not iterate."""
    from detectron2.data.datasets import load_voc_instances

    names, classes = read_names(files), list(VOC_CLASSES)
    if len(names) != 1:
        return load_voc_instances(files.voc_dir, files.split, classes)  # type: ignore[no-any-return]
    with TemporaryDirectory() as folder:
        Path(folder, "twice.txt").write_text(f"{names[0]}\n" * 2, encoding="utf-8")
        return load_voc_instances(files.voc_dir, os.path.join(folder, "twice"), classes)[:1]  # type: ignore[no-any-return]


def _count_objects(path: Path) -> int:
    """Objects that are not difficult; none in a file that cannot be read, which is a fault of its own."""
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except (OSError, ElementTree.ParseError):
        return 0
    return sum((entry.findtext("difficult") or "0").strip() != "1" for entry in objects)
