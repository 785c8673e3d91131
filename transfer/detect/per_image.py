"""Which predictions are right, image by image: the tables beside the numbers of a set.

Matching is done here once more, by COCO's rules and by PASCAL VOC's, because no evaluator gives it away
cheaply; the tests hold it against pycocotools and detectron2.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer.writing import write_text

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the intersection over union, as COCOeval has them
AT_50, AT_75 = 0, 5  # their places in THRESHOLDS
COCO_RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is read off, as COCOeval has them
MAX_PREDICTIONS = 100  # of a class on an image, by COCO

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """N predictions on I images against objects of K classes, at T thresholds.

    The predictions are ordered by image, then class, then falling score; equal scores stay in the order
    that the evaluation gives them.
    """

    images: Ints  # (N,) places of images in the set
    classes: Ints  # (N,) places of classes
    hits: Bools  # (N, T) an object found that none before has found
    ignored: Bools  # (N, T) counts neither for nor against: it found a crowd region or a difficult object
    objects: Ints  # (I, K) objects that count


def average_precision(
    groups: Ints, hits: Bools, ignored: Bools, num_objects: Ints, recalls: Floats | None
) -> Floats:
    """Mean over ``recalls`` of the best precision at that recall or a higher one, for each group.

    With None for ``recalls``, the mean over all recalls between 0 and 1: the area under that curve.

    Args:
        groups: (N,) group of each prediction, rising; within a group by falling score.
        hits: (N, T).
        ignored: (N, T).
        num_objects: (G,) objects of each group.
        recalls: (R,) rising, in 0..1; or None.

    Returns:
        (G, T), in 0..1; NaN for a group without objects.
    """
    num_groups = len(num_objects)
    result = np.zeros((num_groups, hits.shape[1]))
    start = np.searchsorted(groups, groups)  # of each prediction, where its group begins
    for t in range(hits.shape[1]):
        found = _since(start, hits[:, t])
        wrong = _since(start, ~hits[:, t] & ~ignored[:, t])
        precision = found / np.maximum(found + wrong, 1)
        # The best from here to the end of the group: later groups are lowered below all of this one.
        lowered = precision - 2.0 * groups
        best = np.maximum.accumulate(lowered[::-1])[::-1] + 2.0 * groups
        at = np.flatnonzero(hits[:, t])  # recall rises here, and nowhere else
        total = num_objects[groups[at]]
        if recalls is None:
            share = 1 / total
        else:
            reached = np.searchsorted(recalls, found[at] / total, side="right")
            before = np.searchsorted(recalls, (found[at] - 1) / total, side="right")
            before[found[at] == 1] = 0  # recall 0 is reached with the first
            share = (reached - before) / len(recalls)
        result[:, t] = np.bincount(groups[at], best[at] * share, minlength=num_groups)
    result[num_objects == 0] = np.nan
    return result


def _since(start: Ints, flags: Bools) -> Ints:
    """How many flags are set from the beginning of the group up to and with each place."""
    total = np.concatenate([[0], np.cumsum(flags)]).astype(np.int64)
    counts: Ints = total[1:] - total[start]
    return counts


def match_coco(truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], task: str) -> Matches:
    """COCO's matching, over objects of all sizes.

    A prediction, in the order of falling score, takes the free object of its class that it overlaps most;
    where it overlaps none enough, a crowd region, of which any number of predictions may have a part.

    Args:
        truth: ``images``, ``annotations`` and ``categories`` of COCO's JSON.
        predictions: in COCO's result format.
        task: bbox or segm.
    """
    places = {image["id"]: i for i, image in enumerate(truth["images"])}
    names = {category["id"]: k for k, category in enumerate(truth["categories"])}
    objects: list[list[Mapping[str, Any]]] = [[] for _ in places]
    for annotation in truth["annotations"]:
        objects[places[annotation["image_id"]]].append(annotation)
    found: list[list[Mapping[str, Any]]] = [[] for _ in places]
    for prediction in predictions:
        found[places[prediction["image_id"]]].append(prediction)
    counts = np.zeros((len(places), len(names)), np.int64)
    empty = np.zeros((0, len(THRESHOLDS)), np.bool_)
    classes, hits, ignored = [np.zeros(0, np.int64)], [empty], [empty]
    for i, image in enumerate(truth["images"]):
        known = np.array([names[entry["category_id"]] for entry in objects[i]], np.int64)
        crowd = np.array([bool(entry.get("iscrowd", 0)) for entry in objects[i]], np.bool_)
        np.add.at(counts[i], known[~crowd], 1)
        named = np.array([names[entry["category_id"]] for entry in found[i]], np.int64)
        order = _by_class_and_score(named, np.array([entry["score"] for entry in found[i]]))
        named = named[order]
        overlaps = np.where(
            named[:, None] == known[None],
            _overlaps([found[i][j] for j in order], objects[i], image, task),
            -1.0,
        )
        classes.append(named)
        for part, some in zip((hits, ignored), _assign(overlaps, crowd), strict=True):
            part.append(some)
    sizes = [len(part) for part in classes[1:]]
    return Matches(
        np.repeat(np.arange(len(places)), sizes),
        np.concatenate(classes),
        np.concatenate(hits),
        np.concatenate(ignored),
        counts,
    )


def _by_class_and_score(classes: Ints, scores: Floats) -> Ints:
    """The order of an image's predictions, without those that are too many of their class."""
    order = np.lexsort((-scores, classes))  # equal ones as they came
    place = np.arange(len(order)) - np.searchsorted(classes[order], classes[order])
    kept: Ints = order[place < MAX_PREDICTIONS]
    return kept


def _overlaps(
    found: Sequence[Mapping[str, Any]],
    objects: Sequence[Mapping[str, Any]],
    image: Mapping[str, Any],
    task: str,
) -> Floats:
    """Intersection over union, (found, objects); over the prediction's own area for a crowd region."""
    from pycocotools import mask

    if not found or not objects:
        return np.zeros((len(found), len(objects)))
    crowd = [int(entry.get("iscrowd", 0)) for entry in objects]
    if task == "bbox":
        sides = [np.array([entry["bbox"] for entry in entries], float) for entries in (found, objects)]
        return np.asarray(mask.iou(*sides, crowd))
    size = (image["height"], image["width"])
    regions = [[_run_lengths(entry["segmentation"], *size) for entry in side] for side in (found, objects)]
    return np.asarray(mask.iou(*regions, crowd))


def _run_lengths(segmentation: Any, height: int, width: int) -> Any:
    """A mask as pycocotools compresses it, from polygons or either kind of run lengths."""
    from pycocotools import mask

    if isinstance(segmentation, list):
        return mask.merge(mask.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return mask.frPyObjects(segmentation, height, width)
    return segmentation


def _assign(overlaps: Floats, crowd: Bools) -> tuple[Bools, Bools]:
    """Hits and ignored, (N, T) each, of one image's predictions in their order; other classes overlap -1."""
    hits = np.zeros((len(overlaps), len(THRESHOLDS)), np.bool_)
    ignored = np.zeros_like(hits)
    if not overlaps.size:
        return hits, ignored
    taken = np.zeros((len(THRESHOLDS), len(crowd)), np.bool_)
    every = np.arange(len(THRESHOLDS))
    for j in np.flatnonzero(overlaps.max(axis=1) >= THRESHOLDS[0]):
        enough = overlaps[j] >= THRESHOLDS[:, None]  # (T, objects)
        free = enough & ~taken & ~crowd
        # Of objects that overlap equally, COCO's loop ends with the last.
        best = overlaps.shape[1] - 1 - np.argmax(np.where(free, overlaps[j], -1.0)[:, ::-1], axis=1)
        hits[j] = free.any(axis=1)
        taken[every[hits[j]], best[hits[j]]] = True
        ignored[j] = ~hits[j] & (enough & crowd).any(axis=1)
    return hits, ignored


@dataclass(frozen=True)
class ImageScores:
    """What each of I images contributes, of one task."""

    hits_50: Ints  # (I,) true positives at an intersection over union of .50
    hits_75: Ints
    wrong_50: Ints  # false positives at .50
    wrong_75: Ints
    ap: Floats  # (I,) in percent, of the image alone; NaN without objects


def score_images(matches: Matches, recalls: Floats | None) -> ImageScores:
    """Counts and average precision of every image by itself: the mean over thresholds and its classes."""
    num_images, num_classes = matches.objects.shape
    wrong = ~matches.hits & ~matches.ignored

    def count(flags: Bools) -> Ints:
        return np.bincount(matches.images[flags], minlength=num_images).astype(np.int64)

    # A group is a class of an image, where it has predictions or objects.
    predicted = matches.images * num_classes + matches.classes
    groups = np.union1d(predicted, np.flatnonzero(matches.objects.ravel()))
    present = matches.objects.ravel()[groups]
    place = np.searchsorted(groups, predicted)
    values = average_precision(place, matches.hits, matches.ignored, present, recalls).mean(axis=1)
    counted = present > 0
    total = np.bincount(groups[counted] // num_classes, values[counted], minlength=num_images)
    classes = (matches.objects > 0).sum(axis=1)
    ap = np.full(num_images, np.nan)
    np.divide(100.0 * total, classes, out=ap, where=classes > 0)
    hits = matches.hits
    return ImageScores(
        count(hits[:, AT_50]), count(hits[:, AT_75]), count(wrong[:, AT_50]), count(wrong[:, AT_75]), ap
    )


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV, complete or not at all; None and NaN are empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_to_text(value) for value in row] for row in rows)
    write_text(path, text.getvalue())


def _to_text(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
