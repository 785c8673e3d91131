"""Faults of COCO's JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from transfer.detect.cases import Cases
from transfer.detect.faults_boxes import check_box
from transfer.detect.faults_images import Entry
from transfer.detect.sets import SetFiles, read_coco

IMAGE_FIELDS = ("id", "file_name", "width", "height")
FIELDS = ("id", "image_id", "category_id", "bbox")
TEST_FIELDS = (*FIELDS, "area", "iscrowd")  # pycocotools' evaluation reads them of every object
MIN_NUMBERS = 6  # of a polygon: 3 points
Json = dict[str, Any]


def check_coco(files: SetFiles, training: bool, cases: Cases) -> list[Entry]:
    """Add the cases of every annotation of a COCO set; its images."""
    content = read_coco(Path(files.annotations_path))
    images = _check_images(content["images"], cases)
    categories = _check_categories(content["categories"], cases)
    without_mask = []
    num_counting = 0
    ids: set[int] = set()
    for annotation in content["annotations"]:
        wrong = _wrong(annotation, FIELDS if training else TEST_FIELDS)
        if wrong:
            cases.add("annotation-fields", "annotation %s %s", annotation.get("id"), wrong)
            continue
        number, image_id, category = (annotation[key] for key in ("id", "image_id", "category_id"))
        if number in ids:
            cases.add("duplicate-id", "annotation %s", number)
        ids.add(number)
        image = images.get(image_id)
        if image is None:
            cases.add("unknown-image", "id %s of image id %s", number, image_id)
            continue
        where = f"id {number} of image {image['file_name']}"
        if number < 1 and not training:
            cases.add("annotation-id", "%s", where)
        if category not in categories:
            cases.add("unknown-category", "%s: category %s", where, category)
        x, y, width, height = annotation["bbox"]
        corners = (x, y, x + width, y + height)
        usable = check_box(corners, (image["width"], image["height"]), where, cases)
        if not annotation.get("segmentation"):
            without_mask.append(where)
        elif not _check_mask(annotation["segmentation"], image, where, cases):
            usable = False
        num_counting += usable and category in categories and not annotation.get("iscrowd", 0)
    if len(without_mask) < len(content["annotations"]):  # else a set of boxes
        for where in without_mask:
            cases.add("no-mask", "%s", where)
    if not content["images"]:
        cases.add("empty-set", "no image in %s", files.annotations_path)
    elif not num_counting:
        found = len(content["annotations"])
        cases.add(
            "empty-set", "no object in %s but crowds or unusable ones, %d", files.annotations_path, found
        )
    return [
        Entry(os.path.join(files.images_dir, image["file_name"]), (image["width"], image["height"]))
        for image in images.values()
    ]


def _check_images(entries: Sequence[Json], cases: Cases) -> dict[Any, Json]:
    """The usable entries by id."""
    images: dict[Any, Json] = {}
    names: set[str] = set()
    for entry in entries:
        lacking = [key for key in IMAGE_FIELDS if key not in entry]
        if lacking:
            cases.add("annotation-fields", "image %s lacks %s", entry.get("id"), ", ".join(lacking))
        elif type(entry["id"]) is not int or entry["id"] < 0:
            cases.add("annotation-fields", "image %s has %r as its id", entry["file_name"], entry["id"])
        elif not isinstance(entry["file_name"], str):
            cases.add("annotation-fields", "image %s has %r as its name", entry["id"], entry["file_name"])
        elif not all(_is_number(size) and size > 0 for size in (entry["width"], entry["height"])):
            cases.add(
                "annotation-fields", "image %s is of %s x %s", entry["id"], entry["width"], entry["height"]
            )
        elif entry["id"] in images or entry["file_name"] in names:
            cases.add("duplicate-id", "image %s (%s)", entry["id"], entry["file_name"])
        else:
            images[entry["id"]] = entry
            names.add(entry["file_name"])
    return images


def _check_categories(entries: Sequence[Json], cases: Cases) -> set[int]:
    ids = [entry["id"] for entry in entries]
    for before, number in pairwise(ids):  # they are sorted
        if number == before:
            cases.add("duplicate-id", "category %s", number)
    if len(set(ids)) == len(ids) and ids != list(range(1, len(ids) + 1)):
        cases.add("category-gaps", "%d categories of ids %d to %d", len(ids), ids[0], ids[-1])
    return set(ids)


def _wrong(annotation: Mapping[str, Any], needed: Sequence[str]) -> str:
    """What training or evaluation would stop at; "" where they would not."""
    for key in needed:
        if key not in annotation:
            return f"lacks {', '.join(key for key in needed if key not in annotation)}"
    if type(annotation["id"]) is not int or type(annotation["image_id"]) is not int:
        return f"has {annotation['id']!r} and {annotation['image_id']!r} as its id and its image's"
    if type(annotation["category_id"]) is not int:
        return f"has {annotation['category_id']!r} as its category"
    box = annotation["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return f"has {box!r} as its box"
    if "area" in needed and not _is_number(annotation["area"]):
        return f"has {annotation['area']!r} as its area"
    if annotation.get("iscrowd", 0) not in (0, 1):  # of text, pycocotools takes "0" for a crowd
        return f"has {annotation['iscrowd']!r} as its iscrowd"
    if annotation.get("ignore", 0):
        return "is to be ignored, which detectron2 refuses"
    return ""


def _check_mask(mask: Any, image: Json, where: str, cases: Cases) -> bool:
    """Whether detectron2 keeps the object."""
    if isinstance(mask, dict):
        size, expected = mask.get("size"), [image["height"], image["width"]]
        counts = mask.get("counts")
        if size != expected:
            cases.add("invalid-mask", "%s: run lengths of %s, not %s", where, size, expected)
        elif isinstance(counts, list):
            if not all(map(_is_number, counts)) or sum(counts) != expected[0] * expected[1]:
                cases.add("invalid-mask", "%s: run lengths that do not sum to its pixels", where)
        elif not isinstance(counts, str) or not counts:
            cases.add("invalid-mask", "%s: no run lengths", where)
        return True
    try:
        finite = all(math.isfinite(sum(polygon)) for polygon in mask)
        numbers = [len(polygon) for polygon in mask]
    except TypeError:
        cases.add("invalid-mask", "%s: neither polygons nor run lengths", where)
        return True
    if not finite:
        cases.add("invalid-mask", "%s: a number that is not finite", where)
    num_short = sum(number < MIN_NUMBERS or number % 2 for number in numbers)
    if num_short == len(numbers):
        cases.add("lost-object", "%s", where)
        return False
    if num_short:
        cases.add("short-polygon", "%s: %d of its %d", where, num_short, len(numbers))
    return True


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
