"""A detector's predictions on a set, and average precision as rows want it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from transfer.detect import coco_score
from transfer.detect.coco_score import ClassScore, check_truth, find_evaluator
from transfer.detect.per_image import (
    AT_50,
    AT_75,
    COCO_RECALLS,
    ImageScores,
    match_coco,
    score_images,
    write_table,
)
from transfer.detect.sets import Registered, read_coco, read_names
from transfer.detect.voc_score import RECALLS, quiet_divisions, score_voc
from transfer.writing import write_text

RESULTS_NAME = "coco_instances_results.json"  # detectron2's name for it
PARTS = {"bbox": "box", "segm": "mask"}  # COCOeval's task -> how the rows' metrics begin
NUMBERS = {  # how they end -> COCOeval's number
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "APs",
    "ap_medium": "APm",
    "ap_large": "APl",
}
VOC_NUMBERS = {"box_ap": "AP", "box_ap50": "AP50", "box_ap75": "AP75"}  # detectron2's names
CLOSE = 1e-6  # percent

logger = logging.getLogger(__name__)
Prediction = dict[str, Any]  # of COCO's result format


def evaluate(
    model: nn.Module, cfg: Any, images: Registered, folder: Path, evaluator: str
) -> dict[str, float | None]:
    """Box and, for a model with masks, mask AP of a detector on one set, in percent, by row metric.

    Every process must call this; each predicts on a share of the images. None is a number that the set has
    no object for; where there are objects and no predictions, AP is 0. ``folder`` receives the predictions
    in COCO's result format (``coco_instances_results.json``; of a VOC set the image's id is its name and the
    category's id the class's place plus 1), ``per_image.csv``, ``per_class.csv`` and ``set.json``.

    Args:
        model: a detectron2 detector; left in the mode it was in.
        cfg: its detectron2 configuration.
        images: the set to evaluate.
        folder: made where it is missing.
        evaluator: hotcoco or pycocotools, for a COCO set.

    Returns:
        The numbers on the first process, {} on the others.

    Raises:
        ValueError: an unknown evaluator, annotations or predictions that cannot be scored.
        ModuleNotFoundError: the evaluator is not installed.
    """
    from detectron2.data import build_detection_test_loader
    from detectron2.evaluation import PascalVOCDetectionEvaluator, inference_on_dataset
    from detectron2.utils import comm

    if images.kind == "coco":  # what is wrong from the start is not found out after hours of inference
        find_evaluator(evaluator)
        truth = read_coco(Path(images.files.annotations_path))
        check_truth(truth)
        ids = [category["id"] for category in truth["categories"]]
    else:
        ids = list(range(1, 1 + len(images.classes)))
    collector = _make_collector(ids, exact_boxes=images.kind == "voc")
    both = [collector] if images.kind == "coco" else [PascalVOCDetectionEvaluator(images.name), collector]
    with quiet_divisions():
        results = inference_on_dataset(model, build_detection_test_loader(cfg, images.name), both)
    if not comm.is_main_process():
        return {}
    predictions: list[Prediction] = results["predictions"]
    write_text(folder / RESULTS_NAME, json.dumps(predictions))
    about = {"name": images.name, "kind": images.kind, **_absolute(images), "classes": images.classes}
    write_text(folder / "set.json", json.dumps(about, indent=2) + "\n")
    if images.kind == "coco":
        tasks = ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
        return score_coco(truth, predictions, tasks, evaluator, folder)
    return score_pascal(images, predictions, results["bbox"], folder)


def _absolute(images: Registered) -> dict[str, str]:
    """Where the set lies, for those who look at the predictions later and elsewhere."""
    files = asdict(images.files)
    split = files["split"] if images.kind == "voc" else ""
    paths = {name: files[name] for name in ("annotations_path", "images_dir", "voc_dir")}
    return {name: str(Path(path).resolve()) if path else "" for name, path in paths.items()} | {
        "split": split
    }


def _make_collector(category_ids: Sequence[int], exact_boxes: bool) -> Any:
    """An evaluator of detectron2 that gathers predictions from all processes, in COCO's result format.

    Its own COCOEvaluator reads the annotations in every process, keeps masks a second time on disk and
    leaves half a file where it is cut short. ``exact_boxes`` keeps of width and height as many digits as it
    takes to have the other corner back, which detectron2's single precision does not.
    """
    from detectron2.evaluation import DatasetEvaluator
    from detectron2.evaluation.coco_evaluation import instances_to_coco_json
    from detectron2.utils import comm

    class Collector(DatasetEvaluator):  # type: ignore[misc]  # detectron2 is untyped
        """Keeps what a detector says."""

        def reset(self) -> None:
            self.found: list[Prediction] = []

        def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
            for image, output in zip(inputs, outputs, strict=True):
                instances = output["instances"].to("cpu")
                found = instances_to_coco_json(instances, image["image_id"])
                if exact_boxes:
                    corners = instances.pred_boxes.tensor.double().tolist()
                    for entry, (left, top, right, bottom) in zip(found, corners, strict=True):
                        entry["bbox"] = [left, top, right - left, bottom - top]
                for entry in found:
                    entry["category_id"] = self.id_of(entry["category_id"])
                self.found += found

        def id_of(self, label: int) -> int:
            if not 0 <= label < len(category_ids):
                raise ValueError(
                    f"the detector predicted class {label}, but the set has {len(category_ids)} classes; "
                    "MODEL.ROI_HEADS.NUM_CLASSES must be that"
                )
            return category_ids[label]

        def evaluate(self) -> dict[str, list[Prediction]] | None:
            shares = comm.gather(self.found, dst=0)
            if not comm.is_main_process():
                return None
            return {"predictions": [entry for share in shares for entry in share]}

    return Collector()


def score_coco(
    truth: coco_score.Truth,
    predictions: Sequence[Prediction],
    tasks: Sequence[str],
    evaluator: str,
    folder: Path,
) -> dict[str, float | None]:
    """Row metrics in percent, and the two tables in ``folder``."""
    numbers: dict[str, float | None] = {}
    classes: dict[str, list[ClassScore]] = {}
    scores: dict[str, ImageScores] = {}
    objects = np.zeros((0, 0), np.int64)
    for task in tasks:
        score = coco_score.score(truth, predictions, task, evaluator)
        part = PARTS[task]
        numbers |= {f"{part}_{end}": score.statistics[name] for end, name in NUMBERS.items()}
        classes[part] = [score.per_class[category["id"]] for category in truth["categories"]]
        matches = match_coco(truth, predictions, task)
        scores[part], objects = score_images(matches, COCO_RECALLS), matches.objects
    _write_classes(
        folder,
        [(category["name"], category["id"]) for category in truth["categories"]],
        objects,
        predictions,
        classes,
    )
    names = [(image["id"], image["file_name"]) for image in truth["images"]]
    _write_images(folder, names, objects, predictions, scores)
    return numbers


def score_pascal(
    images: Registered, predictions: Sequence[Prediction], results: Mapping[str, float], folder: Path
) -> dict[str, float | None]:
    """Row metrics in percent, and the two tables in ``folder``.

    The numbers are those of detectron2's evaluator, which means over all classes. It gives a class without
    objects 0 or NaN, so where there is one, the mean is over the others, and a warning says so.

    Args:
        images: a VOC set.
        predictions: as written to ``folder``.
        results: AP, AP50 and AP75 as detectron2's evaluator gave them.
        folder: for the tables.

    Raises:
        ValueError: no class has objects, or our numbers of the classes are not detectron2's.
    """
    found = score_voc(images.files, images.classes, predictions)
    counts = found.matches.objects.sum(axis=0)
    absent = [name for name, count in zip(images.classes, counts, strict=True) if not count]
    if len(absent) == len(images.classes):
        raise ValueError(f"{images.name}: no class has an object that counts; average precision is undefined")
    present = found.ap[counts > 0]
    own = {"AP": present.mean(), "AP50": present[:, AT_50].mean(), "AP75": present[:, AT_75].mean()}
    if absent:
        logger.warning(
            "%s: AP is the mean over %d of %d classes, without those that have no object that counts: %s",
            *(images.name, len(present), len(images.classes), ", ".join(absent)),
        )
    else:
        apart = {name: float(results[name]) for name in own if not abs(results[name] - own[name]) < CLOSE}
        if apart:
            raise ValueError(
                f"{images.name}: the classes' AP average to {own}, detectron2's evaluator gives {apart}; the "
                f"predictions are in {folder / RESULTS_NAME}"
            )
        own = {name: results[name] for name in own}
    classes = [
        ClassScore(*(None if np.isnan(x) else float(x) for x in (row.mean(), row[AT_50], row[AT_75])))
        for row in found.ap
    ]
    named = [(name, k + 1) for k, name in enumerate(images.classes)]
    _write_classes(folder, named, found.matches.objects, predictions, {"box": classes})
    names = [(name, f"{name}.jpg") for name in read_names(images.files)]
    scores = score_images(found.matches, RECALLS[images.files.year])
    _write_images(folder, names, found.matches.objects, predictions, {"box": scores})
    return {metric: float(own[name]) for metric, name in VOC_NUMBERS.items()}


def _write_classes(
    folder: Path,
    classes: Sequence[tuple[str, int]],
    objects: np.ndarray[Any, np.dtype[np.int64]],
    predictions: Sequence[Prediction],
    scores: Mapping[str, Sequence[ClassScore]],
) -> None:
    """``per_class.csv``: AP in percent; empty for a class without objects that count."""
    header = ["class", "category_id", "objects", "predictions"]
    header += [f"{part}_{end}" for part in scores for end in ("ap", "ap50", "ap75")]
    counts = _count(predictions, "category_id")
    rows = [
        [name, key, objects[:, k].sum(), counts.get(key, 0)]
        + [value for part in scores.values() for value in (part[k].ap, part[k].ap50, part[k].ap75)]
        for k, (name, key) in enumerate(classes)
    ]
    write_table(folder / "per_class.csv", header, rows)


def _write_images(
    folder: Path,
    images: Sequence[tuple[Any, str]],
    objects: np.ndarray[Any, np.dtype[np.int64]],
    predictions: Sequence[Prediction],
    scores: Mapping[str, ImageScores],
) -> None:
    """``per_image.csv``: objects that count, predictions of any score, true and false positives, AP alone."""
    header = ["image_id", "file_name", "objects", "predictions"]
    header += [f"{part}_{end}" for part in scores for end in ("tp50", "tp75", "fp50", "fp75", "ap")]
    counts = _count(predictions, "image_id")
    rows = [
        [key, name, objects[i].sum(), counts.get(key, 0)]
        + [
            value
            for part in scores.values()
            for value in (
                *(part.hits_50[i], part.hits_75[i], part.wrong_50[i], part.wrong_75[i]),
                float(part.ap[i]),
            )
        ]
        for i, (key, name) in enumerate(images)
    ]
    write_table(folder / "per_image.csv", header, rows)


def _count(predictions: Sequence[Prediction], key: str) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for entry in predictions:
        counts[entry[key]] = counts.get(entry[key], 0) + 1
    return counts
