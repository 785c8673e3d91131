"""Average precision by PASCAL VOC's rules, class by class: what detectron2's evaluator keeps to itself.

Boxes are 1-based there and hold the pixels of both ends, so that a side is ``max - min + 1`` long. A
prediction goes to the object that it overlaps most, whether or not another one has found it before, and must
overlap it by more than the threshold; difficult objects count neither for nor against. 2007's metric reads
precision off at 11 recalls, 2012's takes the area under the curve.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfer.detect.per_image import Bools, Floats, Ints, Matches, average_precision
from transfer.detect.sets import SetFiles, read_names

THRESHOLDS = np.array([percent / 100.0 for percent in range(50, 100, 5)])  # as detectron2 makes them
RECALLS = {2007: np.arange(0.0, 1.1, 0.1), 2012: None}  # by year; None: the area under the curve


@dataclass(frozen=True)
class VocScore:
    """What one set's predictions score."""

    ap: Floats  # (K, T) of each class at each threshold, in percent; NaN for a class without objects
    matches: Matches


def score_voc(files: SetFiles, classes: Sequence[str], predictions: Sequence[Mapping[str, Any]]) -> VocScore:
    """Average precision of each class, and which predictions are right.

    Args:
        files: the set.
        classes: names in the order of the detector's outputs.
        predictions: in COCO's result format, ``image_id`` the name of an image, ``category_id`` a place in
            ``classes`` plus 1, in the order in which detectron2 saw them.

    Raises:
        ValueError: a prediction on an image that the list has not, or of no class.
    """
    from detectron2.evaluation.pascal_voc_evaluation import parse_rec

    names = read_names(files)
    place = {name: i for i, name in enumerate(names)}
    folder = os.path.join(files.voc_dir, "Annotations")
    objects = [parse_rec(os.path.join(folder, f"{name}.xml")) for name in names]
    by_class: list[list[Mapping[str, Any]]] = [[] for _ in classes]
    for k, entry in enumerate(predictions):
        if entry["image_id"] not in place or not 1 <= entry["category_id"] <= len(classes):
            raise ValueError(
                f"prediction {k} of {len(predictions)}: expected one of the {len(names)} images and "
                f"{len(classes)} classes of {files.split}, found image {entry['image_id']!r}, category "
                f"{entry['category_id']!r}"
            )
        by_class[entry["category_id"] - 1].append(entry)
    recalls, aps, parts = RECALLS[files.year], [], []
    counts = np.zeros((len(names), len(classes)), np.int64)
    for c, label in enumerate(classes):
        boxes, difficult = [], []
        for i, found in enumerate(objects):
            here = [entry for entry in found if entry["name"] == label]
            boxes.append(np.array([entry["bbox"] for entry in here], float).reshape(-1, 4))
            difficult.append(np.array([entry["difficult"] for entry in here], bool))
            counts[i, c] = (~difficult[i]).sum()
        images, hits, ignored = _match(by_class[c], place, boxes, difficult)
        total = counts[:, c].sum(keepdims=True)
        aps.append(100.0 * average_precision(np.zeros(len(images), np.int64), hits, ignored, total, recalls))
        parts.append((images, np.full(len(images), c), hits, ignored))
    images, labels, hits, ignored = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((labels, images))  # within an image and class as they were, by falling score
    matches = Matches(images[order], labels[order], hits[order], ignored[order], counts)
    return VocScore(np.concatenate(aps), matches)


def _match(
    predictions: Sequence[Mapping[str, Any]],
    place: Mapping[str, int],
    boxes: Sequence[Floats],
    difficult: Sequence[Bools],
) -> tuple[Ints, Bools, Bools]:
    """Of one class: images, hits and what is ignored, by falling score."""
    # detectron2 hands its evaluation a text with three decimals of a score and one of a coordinate, and
    # sorts with an algorithm that may swap equal scores: the same text and the same call, the same order.
    scores = np.array([float(f"{entry['score']:.3f}") for entry in predictions])
    order = np.argsort(-scores)
    images = np.array([place[entry["image_id"]] for entry in predictions], np.int64)[order]
    sides = np.array([_to_voc(entry["bbox"]) for entry in predictions]).reshape(-1, 4)[order]
    first = np.cumsum([0, *map(len, boxes)])  # of each image, the number of its first object
    best = np.full(len(images), -np.inf)
    found = np.zeros(len(images), np.int64)
    by_image = np.argsort(images, kind="stable")
    for part in np.split(by_image, np.flatnonzero(np.diff(images[by_image])) + 1) if len(images) else []:
        image = images[part[0]]
        if len(boxes[image]):
            overlaps = _overlaps(sides[part], boxes[image])
            best[part], found[part] = overlaps.max(axis=1), first[image] + overlaps.argmax(axis=1)
    is_difficult = np.concatenate([*difficult, np.zeros(1, bool)])[found]
    enough = best[:, None] > THRESHOLDS
    ignored = enough & is_difficult[:, None]
    hits = np.zeros_like(enough)
    for t in range(len(THRESHOLDS)):
        candidates = np.flatnonzero(enough[:, t] & ~is_difficult)
        _, earliest = np.unique(found[candidates], return_index=True)
        hits[candidates[earliest], t] = True
    return images, hits, ignored


def _to_voc(box: Sequence[float]) -> list[float]:
    """``x, y, width, height`` as ``xmin, ymin, xmax, ymax`` in VOC's pixels, with one decimal."""
    x, y, width, height = box
    ends = (np.float32(x) + np.float32(1), np.float32(y) + np.float32(1), x + width, y + height)
    return [float(f"{np.float32(end):.1f}") for end in ends]


def _overlaps(found: Floats, objects: Floats) -> Floats:
    """Intersection over union, (found, objects), of boxes whose ends are pixels of theirs."""
    low = np.maximum(found[:, None, :2], objects[None, :, :2])
    high = np.minimum(found[:, None, 2:], objects[None, :, 2:])
    shared = np.maximum(high - low + 1.0, 0.0).prod(axis=2)
    areas = [
        (boxes[:, 2] - boxes[:, 0] + 1.0) * (boxes[:, 3] - boxes[:, 1] + 1.0) for boxes in (found, objects)
    ]
    result: Floats = shared / (areas[0][:, None] + areas[1][None] - shared)
    return result


@contextmanager
def quiet_divisions() -> Iterator[None]:
    """detectron2's evaluator divides by the number of a class's objects, which may be none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        yield
