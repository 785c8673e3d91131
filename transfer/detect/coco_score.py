"""Average precision by COCO's rules, from two implementations that agree to the last bit.

``pycocotools`` is COCO's own; ``hotcoco`` is a fast one that the tests hold against it. Both get the same
objects and the same code reads their answers.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVALUATORS = ("hotcoco", "pycocotools")
TASKS = {"bbox": "bbox", "segm": "segmentation"}  # COCOeval's task -> what a prediction needs for it
# In COCOeval's order: average precision, then average recall with at most 1, 10 and 100 predictions an image
STATISTICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

Truth = Mapping[str, Sequence[Mapping[str, Any]]]  # images, annotations and categories of COCO's JSON
Predictions = Sequence[Mapping[str, Any]]  # COCO's result format


@dataclass(frozen=True)
class ClassScore:
    """Average precision of one class in percent; None where no object of it counts."""

    ap: float | None
    ap50: float | None
    ap75: float | None


@dataclass(frozen=True)
class Score:
    """One task's numbers."""

    statistics: dict[str, float | None]  # by STATISTICS, percent; None: no object in that range of areas
    per_class: dict[int, ClassScore]  # by category id


def score(truth: Truth, predictions: Predictions, task: str, evaluator: str) -> Score:
    """Score predictions by COCO's rules.

    Without a single prediction, recall is 0 at every precision, so AP is 0 by definition. A number has no
    value (None) only where the set has no object that it is about, crowd regions not counted. Objects are
    small, medium or large by the area that their annotation states, predictions by that of their box or mask.

    Args:
        truth: ``images``, ``annotations`` and ``categories`` of COCO's JSON.
        predictions: in COCO's result format, in the order in which equal scores are ranked.
        task: bbox or segm.
        evaluator: hotcoco or pycocotools.

    Raises:
        ValueError: an unknown evaluator or task, predictions that do not belong to the set, annotation
            ids that COCO's own implementation cannot tell from "nothing found".
        ModuleNotFoundError: the evaluator is not installed.
    """
    make_set, make_evaluation = find_evaluator(evaluator)
    if task not in TASKS:
        raise ValueError(f"task: expected {' or '.join(TASKS)}, found {task!r}")
    check_truth(truth)
    check_predictions(truth, predictions, task)
    # Copies, because COCOeval writes into what it gets; and of a prediction only what the task needs, for
    # where a mask has a box beside it, COCO takes the box's area.
    names = ("image_id", "category_id", "score", TASKS[task])
    rows = [{name: entry[name] for name in names} for entry in predictions]
    with redirect_stdout(io.StringIO()):
        objects = _make(make_set, truth, [dict(entry) for entry in truth["annotations"]])
        found = objects.loadRes(rows) if rows else _make(make_set, truth, [])  # it cannot load nothing
        evaluation = make_evaluation(objects, found, task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    statistics = (_percent(float(value)) for value in evaluation.stats)
    # (thresholds, recalls, classes, ranges of areas, most predictions); all areas and 100 predictions
    precision = np.asarray(evaluation.eval["precision"], float)[:, :, :, 0, -1]
    per_class = {
        category_id: ClassScore(*(_mean(precision[rows, :, k]) for rows in ([*range(10)], [0], [5])))
        for k, category_id in enumerate(sorted(category["id"] for category in truth["categories"]))
    }
    return Score(dict(zip(STATISTICS, statistics, strict=True)), per_class)


def find_evaluator(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The evaluator's classes COCO and COCOeval.

    Raises:
        ValueError: an unknown evaluator.
        ModuleNotFoundError: it is not installed.
    """
    if name not in EVALUATORS:
        raise ValueError(f"evaluator: expected {' or '.join(EVALUATORS)}, found {name!r}")
    modules = ("hotcoco", "hotcoco") if name == "hotcoco" else ("pycocotools.coco", "pycocotools.cocoeval")
    try:
        first, second = map(import_module, modules)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"evaluator {name}: the package {name} cannot be imported ({error}); install it with "
            f"'pip install {name}' or 'bash tools/setup.sh', or choose the other evaluator yourself"
        ) from error
    return first.COCO, second.COCOeval


def _make(make_set: Callable[..., Any], truth: Truth, annotations: Sequence[Mapping[str, Any]]) -> Any:
    made = make_set()
    made.dataset = {
        "images": list(truth["images"]),
        "categories": list(truth["categories"]),
        "annotations": annotations,
    }
    made.createIndex()
    return made


def check_truth(truth: Truth) -> None:
    """Refuse annotations that pycocotools would misread.

    It marks with 0 what found no partner, so that an object with the id 0 counts as never found.

    Raises:
        ValueError: an id below 1, or one that two annotations share.
    """
    ids = Counter(entry["id"] for entry in truth["annotations"])
    wrong = [key for key, count in ids.items() if count > 1 or key < 1]
    if wrong:
        raise ValueError(
            f"annotations: expected ids from 1, each once, found {len(wrong)} others, the first {wrong[0]} "
            f"({ids[wrong[0]]} times); COCO's evaluation takes 0 for 'not found', so number them anew"
        )


def check_predictions(truth: Truth, predictions: Predictions, task: str) -> None:
    """Refuse predictions that are not of this set, or no numbers.

    Raises:
        ValueError: names the first wrong prediction and what is wrong with it.
    """
    image_ids = {image["id"] for image in truth["images"]}
    category_ids = {category["id"] for category in truth["categories"]}
    for k, entry in enumerate(predictions):
        fault = ""
        lacking = [name for name in ("image_id", "category_id", "score", TASKS[task]) if name not in entry]
        if lacking:
            fault = f"has no {', '.join(lacking)}"
        elif entry["image_id"] not in image_ids:
            fault = f"is on image {entry['image_id']!r}, which the set has not"
        elif entry["category_id"] not in category_ids:
            fault = f"is of category {entry['category_id']!r}, which the set has not"
        elif not math.isfinite(entry["score"]):
            fault = f"has the score {entry['score']}"
        elif task == "bbox" and not (len(entry["bbox"]) == 4 and all(map(math.isfinite, entry["bbox"]))):
            fault = f"has the box {entry['bbox']}"
        elif task == "segm" and not isinstance(entry["segmentation"], dict):
            fault = "has a mask that is not run-length encoded"
        if fault:
            raise ValueError(f"prediction {k} of {len(predictions)} {fault}; it does not belong to this set")


def _percent(value: float) -> float | None:
    """In percent; COCOeval says -1 where there is nothing to average."""
    return None if value < 0 else 100.0 * value


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Of a class, whose precisions are -1 everywhere where it has no objects."""
    counted = precision[precision > -1]
    return 100.0 * float(counted.mean()) if counted.size else None
