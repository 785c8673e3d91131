"""A predictions folder and the set it is of, as they lie on the disk."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from transfer.detect.pictures.match import Box, Prediction, Truth

PREDICTIONS = "coco_instances_results.json"
SET = "set.json"
PER_IMAGE = "per_image.csv"
PREFIX = "predictions_"
ImageId = int | str


@dataclass(frozen=True)
class ImageFile:
    """``size`` is (width, height) in pixels as the annotations state it, None where they do not."""

    path: Path
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Scene:
    """A set with its truth and what was predicted on it, by image id in the set's order."""

    name: str
    classes: dict[int, str]  # by category id
    images: dict[ImageId, ImageFile]
    truths: dict[ImageId, list[Truth]]
    predictions: dict[ImageId, list[Prediction]]


def find_predictions(given: Path, split: str | None) -> Path:
    """The predictions folder: ``given`` itself, or the one of ``split`` (``val`` if None) in a run folder.

    Raises:
        FileNotFoundError: no such folder, or none with predictions in it.
        ValueError: ``given`` is the predictions folder of another split.
    """
    if not given.is_dir():
        raise FileNotFoundError(f"{given}: no such folder; expected a run of the task detect")
    if any((given / name).exists() for name in (PREDICTIONS, SET)):
        if split is not None and given.resolve().name != PREFIX + split:
            raise ValueError(
                f"{given}: --split {split} belongs to a run folder, this holds predictions itself"
            )
        return given
    folder = given / (PREFIX + (split or "val"))
    if folder.is_dir():
        return folder
    others = [path.name.removeprefix(PREFIX) for path in sorted(given.glob(PREFIX + "*")) if path.is_dir()]
    next_step = (
        "; next: --split " + " or --split ".join(others)
        if others
        else "; a run of the task detect leaves it when it has evaluated"
    )
    raise FileNotFoundError(f"{folder}: no such folder{next_step}")


def read_scene(folder: Path) -> Scene:
    """Everything about a predictions folder; no image is opened.

    Raises:
        FileNotFoundError: a file or folder that is named and not there.
        ValueError: a file that is malformed, or predictions that are of another set; the message gives the
            file and the entry.
    """
    about = _read_json(folder / SET, dict, "the task detect writes it beside its predictions")
    kind = about.get("kind")
    if kind not in ("coco", "voc"):
        raise ValueError(f"{folder / SET}: kind: expected coco or voc, found {kind!r}")
    classes = about.get("classes")
    if not (isinstance(classes, list) and classes and all(isinstance(name, str) for name in classes)):
        raise ValueError(f"{folder / SET}: classes: expected a list of names, found {classes!r:.80}")
    read = _read_coco if kind == "coco" else _read_voc
    names, images, truths = read(folder / SET, about, classes)
    path = folder / PREDICTIONS
    entries = _read_json(path, list, "the task detect leaves it when it has evaluated")
    predictions = _read_predictions(path, entries, names, images)
    return Scene(str(about.get("name", "")), names, images, truths, predictions)


def read_image_ap(folder: Path) -> dict[str, float]:
    """Box AP in percent of every image by itself, by its id as text; empty where the run left none.

    Raises:
        ValueError: a ``per_image.csv`` without these columns, or with other text than numbers in them.
    """
    path = folder / PER_IMAGE
    if not path.is_file():
        return {}
    found = {}
    # Not splitlines(), which also parts a name at characters that end no line of a CSV.
    reader = csv.DictReader(io.StringIO(_read_text(path)), strict=True)
    try:
        for row in reader:
            if row["box_ap"]:  # no object, no AP
                found[row["image_id"]] = _number(float(row["box_ap"]))
    except KeyError as error:
        raise ValueError(f"{path}: lacks the column {error}, found {reader.fieldnames}") from error
    except (csv.Error, TypeError, ValueError) as error:
        raise ValueError(f"{path}:{reader.line_num}: box_ap: {error}") from error
    return found


Content = tuple[dict[int, str], dict[ImageId, ImageFile], dict[ImageId, list[Truth]]]


def _read_coco(place: Path, about: dict[str, Any], classes: Sequence[str]) -> Content:
    path, images_dir = _named(place, about, "annotations_path"), _named(place, about, "images_dir")
    content = _read_json(path, dict, "the file has moved since the run; mend annotations_path in set.json")

    def category(entry: Any) -> tuple[int, str]:
        return _integer(entry["id"]), str(entry["name"])

    def image(entry: Any) -> tuple[ImageId, ImageFile]:
        size = (_integer(entry["width"]), _integer(entry["height"]))
        return _integer(entry["id"]), ImageFile(images_dir / str(entry["file_name"]), size)

    names = dict(sorted(_entries(path, content, "categories", category)))
    if list(names.values()) != list(classes):
        raise ValueError(
            f"{path}: its {len(names)} categories are not the {len(classes)} classes in {place}; the file is "
            "not the one that the run was evaluated on"
        )
    images = dict(_entries(path, content, "images", image))
    truths: dict[ImageId, list[Truth]] = {key: [] for key in images}

    def truth(entry: Any) -> tuple[ImageId, Truth]:
        crowd = bool(entry.get("iscrowd", 0))
        found = Truth(
            _known(entry["category_id"], names, "category_id"),
            _box(entry["bbox"]),
            crowd=crowd,
            mask=entry.get("segmentation") or None,
        )
        return _known(entry["image_id"], images, "image_id"), found

    for key, found in _entries(path, content, "annotations", truth):
        truths[key].append(found)
    return names, images, truths


def _read_voc(place: Path, about: dict[str, Any], classes: Sequence[str]) -> Content:
    """Boxes as detectron2 reads them: VOC counts pixels from 1 and includes the last one."""
    root, split = _named(place, about, "voc_dir"), str(about.get("split", ""))
    # An absolute path names a list elsewhere; joined to a folder it stays itself.
    listing = root / "ImageSets" / "Main" / f"{split}.txt"
    names = dict(enumerate(classes, start=1))
    numbers = {name: number for number, name in names.items()}
    ids = [words[0] for line in _read_text(listing).splitlines() if (words := line.split())]
    images: dict[ImageId, ImageFile] = {}
    truths: dict[ImageId, list[Truth]] = {}
    for name in ids:
        path = root / "Annotations" / f"{name}.xml"
        try:
            objects = ElementTree.fromstring(_read_text(path)).findall("object")
        except ElementTree.ParseError as error:
            raise ValueError(f"{path}: not XML: {error}") from error
        images[name] = ImageFile(root / "JPEGImages" / f"{name}.jpg", None)
        truths[name] = [_voc_object(path, k, node, numbers) for k, node in enumerate(objects)]
    return names, images, truths


def _voc_object(path: Path, index: int, node: ElementTree.Element, numbers: dict[str, int]) -> Truth:
    name = (node.findtext("name") or "").strip()
    if name not in numbers:
        raise ValueError(f"{path}: object {index}: class {name!r} is none of {', '.join(numbers)}")
    try:
        x0, y0, x1, y1 = (float(node.findtext(f"bndbox/{k}") or "") for k in ("xmin", "ymin", "xmax", "ymax"))
        box = _box([x0 - 1, y0 - 1, x1 - (x0 - 1), y1 - (y0 - 1)])
    except ValueError as error:
        raise ValueError(f"{path}: object {index}: bndbox: {error}") from error
    return Truth(numbers[name], box, difficult=(node.findtext("difficult") or "0").strip() == "1")


def _read_predictions(
    path: Path, entries: Any, names: dict[int, str], images: dict[ImageId, ImageFile]
) -> dict[ImageId, list[Prediction]]:
    def prediction(entry: Any) -> tuple[ImageId, Prediction]:
        score = _number(entry["score"])
        if not 0 <= score <= 1:
            raise ValueError(f"score: expected 0 to 1, found {score}")
        found = Prediction(
            _known(entry["category_id"], names, "category_id"),
            _box(entry["bbox"]),
            score,
            entry.get("segmentation") or None,
        )
        return _known(entry["image_id"], images, "image_id"), found

    predictions: dict[ImageId, list[Prediction]] = {key: [] for key in images}
    for key, found in _entries(path, {"predictions": entries}, "predictions", prediction):
        predictions[key].append(found)
    return predictions


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error}") from error


def _read_json(path: Path, kind: type, hint: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {hint}")
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path}: expected a JSON {kind.__name__}, found {type(content).__name__}")
    return content


def _named(place: Path, about: dict[str, Any], key: str) -> Path:
    value = about.get(key)
    if not (isinstance(value, str) and value):
        raise ValueError(f"{place}: {key}: expected a path, found {value!r}")
    if not Path(value).exists():
        raise FileNotFoundError(f"{place}: {key}: {value} is not there; the set has moved since the run?")
    return Path(value)


def _entries(path: Path, content: dict[str, Any], key: str, parse: Callable[[Any], Any]) -> list[Any]:
    """``parse`` of every entry of a list; what it cannot read is named by its place."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: {key}: expected a list, found {type(entries).__name__}")
    parsed = []
    for index, entry in enumerate(entries):
        try:
            parsed.append(parse(entry))
        except KeyError as error:
            raise ValueError(f"{path}: {key}[{index}]: lacks {error}") from error
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: {key}[{index}]: {error}") from error
    return parsed


def _known(value: Any, known: dict[Any, Any], name: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str) or value not in known:
        some = ", ".join(repr(key) for key in list(known)[:3])
        raise ValueError(f"{name} {value!r} does not belong to this set of {len(known)}: {some}, …")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected an integer, found {value!r:.80}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {value!r:.80}")
    return float(value)


def _box(value: Any) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"box: expected [x, y, width, height], found {value!r:.80}")
    x, y, width, height = map(_number, value)
    if width < 0 or height < 0:
        raise ValueError(f"box: expected a width and height of 0 or more, found {width} x {height}")
    return x, y, width, height
