"""COCO sets and predictions on them, without a detector: objects moved, missed and made up."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Truth = dict[str, list[dict[str, Any]]]
Predictions = list[dict[str, Any]]
NEEDS = {"bbox": "bbox", "segm": "segmentation"}


def encode(outline: list[list[float]], image: dict[str, Any]) -> dict[str, Any]:
    """Compressed run lengths of polygons, as detectors' masks are written."""
    merged = mask.merge(mask.frPyObjects(outline, image["height"], image["width"]))
    return {"size": merged["size"], "counts": merged["counts"].decode()}


def make_crowd(x: float, y: float, width: float, height: float, image: dict[str, Any]) -> dict[str, Any]:
    """Run lengths as COCO writes them for crowd regions: numbers, by columns, zeros first."""
    pixels = np.zeros((image["width"], image["height"]), np.int8)  # transposed: columns lie together
    pixels[int(x) : int(x + width), int(y) : int(y + height)] = 1
    flat = np.concatenate([[0], pixels.ravel(), [2]])
    ends = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], ends])).tolist()
    return {"size": [image["height"], image["width"]], "counts": [int(count) for count in counts]}


def rectangle(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def make_set(seed: int, num_images: int = 12, num_classes: int = 5, crowds: float = 0.15) -> Truth:
    """Images in no order of their ids, some without objects; gaps between category ids; one class absent."""
    rng = np.random.default_rng(seed)
    ids = (rng.permutation(500)[:num_images] + 1).tolist()
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 150} for i in ids]
    keys = sorted((rng.permutation(90)[:num_classes] + 1).tolist())
    categories = [{"id": key, "name": f"class {key}"} for key in keys]
    annotations: list[dict[str, Any]] = []
    for image in images:
        for _ in range(rng.integers(0, 6)):
            width, height = rng.choice([10.0, 50.0, 120.0], 2) * rng.uniform(0.5, 1.2, 2)
            x, y = rng.uniform(0, 200 - width), rng.uniform(0, 150 - height)
            crowd = bool(rng.random() < crowds)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.choice(keys[:-1])),
                    "bbox": [x, y, width, height],
                    "area": width * height * rng.uniform(0.5, 1.0),
                    "iscrowd": int(crowd),
                    "segmentation": make_crowd(x, y, width, height, image)
                    if crowd
                    else rectangle(x, y, width, height),
                }
            )
    return {"images": images, "annotations": annotations, "categories": categories}


def jitter(truth: Truth, seed: int, decimals: int = 1, made_up: int = 1) -> Predictions:
    """Predictions in COCO's result format: none or some for each object, moved and resized, some of another
    class; false positives; nothing on some images; scores of so many decimals, so that many are equal."""
    rng = np.random.default_rng(seed)
    images = {image["id"]: image for image in truth["images"]}
    keys = [category["id"] for category in truth["categories"]]
    silent = {key for key in images if rng.random() < 0.15}
    found: Predictions = []

    def add(image_id: int, category_id: int, box: np.ndarray, outline: list[list[float]]) -> None:
        if image_id not in silent:
            score = round(float(rng.random()), decimals)
            x, y, width, height = box.tolist()
            segmentation = encode(outline, images[image_id])
            found.append(
                {
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": [x, y, width, height],
                    "score": score,
                    "segmentation": segmentation,
                }
            )

    for annotation in truth["annotations"]:
        box = np.array(annotation["bbox"], float)
        for _ in range(rng.integers(0, 4)):
            scale, shift = rng.normal(1, 0.08, 2), rng.normal(0, 0.08, 2) * box[2:]
            moved = np.concatenate([box[:2] + shift, np.maximum(box[2:] * scale, 1)])
            outline = annotation["segmentation"]
            if isinstance(outline, dict):
                outline = rectangle(*box)
            points = [np.array(part).reshape(-1, 2) for part in outline]
            points = [(part - box[:2]) * scale + box[:2] + shift for part in points]
            key = annotation["category_id"] if rng.random() < 0.85 else int(rng.choice(keys))
            add(annotation["image_id"], key, moved, [part.ravel().tolist() for part in points])
    for image in truth["images"]:
        for _ in range(rng.poisson(made_up)):
            sides = rng.uniform(5, 100, 2)
            corner = rng.uniform(0, 1, 2) * np.maximum(
                [image["width"] - sides[0], image["height"] - sides[1]], 1
            )
            add(
                image["id"],
                int(rng.choice(keys)),
                np.concatenate([corner, sides]),
                rectangle(*corner, *sides),
            )
    rng.shuffle(found)  # type: ignore[arg-type]
    return found


def reference(truth: Truth, predictions: Predictions, task: str, image_ids: list[int] | None = None) -> Any:
    """pycocotools called as its demo calls it; COCOeval after ``summarize``."""
    rows = [
        {key: copy.deepcopy(entry[key]) for key in ("image_id", "category_id", "score", NEEDS[task])}
        for entry in predictions
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO()
        objects.dataset = copy.deepcopy(truth)
        objects.createIndex()
        evaluation = COCOeval(objects, objects.loadRes(rows), task)
        if image_ids is not None:
            evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
