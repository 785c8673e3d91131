#!/usr/bin/env python3
"""Average precision: hotcoco against pycocotools, time and the twelve numbers.

The set is made up and of val2017's size: --images of 640 x 480 pixels, 80 classes, 7 objects and 28
detections an image on average, one object in a hundred a crowd region. Detections are the objects, moved and
resized a little, and boxes elsewhere; scores have three decimals, so many are equal. Masks are polygons of 12
to 40 corners; those of the detections are compressed RLE, as detectors give them.

Two times for each side, the best of --repeats, sides in turns: *evaluation* is evaluate, accumulate and
summarize of ground truth and detections that are loaded; *end to end* begins with two JSON files. Both sides
get the same files and run in this process. Each is given as wall time and as the processor's, all threads
together, which says more where other programs share the cores; the ratios asked for are those of wall time.

Exit status 1 where a number differs by more than 1e-12, or the evaluation is less than --require-boxes or
--require-masks times as fast.

    python benchmarks/detection_ap.py
    python benchmarks/detection_ap.py --images 500 --repeats 1     # seconds
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import hardware

Generator = np.random.Generator
WIDTH, HEIGHT, NUM_CLASSES = 640, 480, 80
OBJECTS, DETECTIONS = 7, 28  # an image, on average
SIDES = ("pycocotools", "hotcoco")


def make_outline(box: np.ndarray, rng: Generator) -> list[float]:
    """A closed polygon around the middle of a box, ``[x1, y1, x2, y2, …]`` in pixels."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(12, 41)))
    radii = rng.uniform(0.7, 1.0, len(angles)) / 2
    x, y, width, height = box
    corners = np.stack(
        [x + width * (0.5 + radii * np.cos(angles)), y + height * (0.5 + radii * np.sin(angles))], 1
    )
    outline: list[float] = corners.clip(0, [WIDTH, HEIGHT]).round(2).ravel().tolist()
    return outline


def make_box(rng: Generator) -> np.ndarray:
    """``x, y, width, height`` in pixels, its sides between 8 and 400 pixels and mostly small."""
    sides = np.exp(rng.uniform(np.log(8), np.log(400), 2))
    corner = rng.uniform(0, 1, 2) * np.maximum([WIDTH, HEIGHT] - sides, 0)
    return np.concatenate([corner, np.minimum(sides, [WIDTH, HEIGHT])]).round(2)


def make_set(num_images: int, rng: Generator) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth in COCO's format, and detections in its result format, both with boxes and masks."""
    from pycocotools import mask as masks

    images = [
        {"id": i, "width": WIDTH, "height": HEIGHT, "file_name": f"{i}.jpg"} for i in range(1, num_images + 1)
    ]
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []

    def detect(image_id: int, category_id: int, box: np.ndarray, outline: list[float], score: float) -> None:
        (run_lengths,) = masks.frPyObjects([outline], HEIGHT, WIDTH)
        segmentation = {"size": run_lengths["size"], "counts": run_lengths["counts"].decode()}
        detections.append(
            {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": box.tolist(),
                "score": round(score, 3),
                "segmentation": segmentation,
            }
        )

    for image in images:
        present = rng.integers(1, NUM_CLASSES + 1, 3)
        for _ in range(rng.poisson(OBJECTS)):
            box, category_id = make_box(rng), int(rng.choice(present))
            outline = make_outline(box, rng)
            run_lengths = masks.frPyObjects([outline], HEIGHT, WIDTH)
            is_crowd = rng.random() < 0.01
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": category_id,
                    "bbox": box.tolist(),
                    "area": float(masks.area(run_lengths)[0]),
                    "iscrowd": int(is_crowd),
                    "segmentation": {
                        "size": [HEIGHT, WIDTH],
                        "counts": run_lengths[0]["counts"].decode(),
                    }
                    if is_crowd
                    else [outline],
                }
            )
            for _ in range(rng.poisson(DETECTIONS / OBJECTS / 2)):
                scale = rng.uniform(0, 0.15)
                moved = box + rng.normal(0, scale, 4) * box[[2, 3, 2, 3]]
                moved[2:] = moved[2:].clip(1)
                points = np.array(outline).reshape(-1, 2)
                points = (points - box[:2]) / box[2:] * moved[2:] + moved[:2]
                named = category_id if rng.random() < 0.9 else int(rng.integers(1, NUM_CLASSES + 1))
                shape = points.clip(0, [WIDTH, HEIGHT]).ravel().tolist()
                detect(image["id"], named, moved.round(2), shape, float(rng.beta(4, 2)))
        for _ in range(rng.poisson(DETECTIONS / 2)):
            box, named = make_box(rng), int(rng.integers(1, NUM_CLASSES + 1))
            detect(image["id"], named, box, make_outline(box, rng), float(rng.beta(1, 5)))
    categories = [{"id": k, "name": f"class {k}"} for k in range(1, NUM_CLASSES + 1)]
    return {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }, detections


def find_side(side: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """COCO and COCOeval."""
    if side == "hotcoco":
        import hotcoco

        return hotcoco.COCO, hotcoco.COCOeval
    from pycocotools import coco, cocoeval

    return coco.COCO, cocoeval.COCOeval


def clocks() -> np.ndarray:
    """Wall and processor time, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def run(
    side: str, truth_path: Path, detections_path: Path, task: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The twelve numbers, all precisions, and the times: evaluation, end to end, each as :func:`clocks`."""
    make_coco, make_evaluation = find_side(side)
    with contextlib.redirect_stdout(io.StringIO()):
        start = clocks()
        truth = make_coco(str(truth_path))
        found = truth.loadRes(str(detections_path))
        loaded = clocks()
        evaluation = make_evaluation(truth, found, task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        end = clocks()
    precisions = np.asarray(evaluation.eval["precision"])
    return np.asarray(evaluation.stats), precisions, np.stack([end - loaded, end - start])


def compare(task: str, truth_path: Path, detections_path: Path, repeats: int) -> tuple[float, float]:
    """Print one task's table; the ratio of the evaluations' wall times and the greatest difference."""
    times: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
    numbers: dict[str, np.ndarray] = {}
    precisions: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for side in SIDES:
            numbers[side], precisions[side], taken = run(side, truth_path, detections_path, task)
            times[side].append(taken)
    best = {side: np.min(times[side], axis=0) for side in SIDES}
    ratios = best["pycocotools"] / best["hotcoco"]
    gap = float(np.abs(numbers["pycocotools"] - numbers["hotcoco"]).max())
    all_gap = float(np.abs(precisions["pycocotools"] - precisions["hotcoco"]).max())
    print(f"{task}: AP {100 * numbers['hotcoco'][0]:.4f}")
    for k, what in enumerate(("evaluation", "end to end")):
        for j, clock in enumerate(("wall", "processor")):
            runs = (", ".join(f"{taken[k, j]:.3f}" for taken in times[side]) for side in SIDES)
            print(
                f"  {what:10} {clock:9}  pycocotools {best['pycocotools'][k, j]:8.3f} s, hotcoco "
                f"{best['hotcoco'][k, j]:7.3f} s, {ratios[k, j]:6.1f} x (runs {' against '.join(runs)})"
            )
    size = precisions["hotcoco"].size
    print(f"  greatest difference of the twelve numbers {gap:.1e}, of {size} precisions {all_gap:.1e}")
    return float(ratios[0, 0]), max(gap, all_gap)


def main() -> int:
    """Print the tables; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--require-boxes", type=float, default=0.0, help="smallest ratio")
    parser.add_argument("--require-masks", type=float, default=0.0, help="smallest ratio")
    arguments = parser.parse_args()
    print(hardware())
    truth, detections = make_set(arguments.images, np.random.default_rng(arguments.seed))
    print(
        f"{len(truth['images'])} images, {NUM_CLASSES} classes, {len(truth['annotations'])} objects, "
        f"{len(detections)} detections"
    )
    with tempfile.TemporaryDirectory() as folder:
        truth_path = Path(folder, "truth.json")
        truth_path.write_text(json.dumps(truth))
        boxes_path, masks_path = Path(folder, "boxes.json"), Path(folder, "masks.json")
        for path, left_out in ((boxes_path, "segmentation"), (masks_path, "bbox")):
            rows = [{key: value for key, value in row.items() if key != left_out} for row in detections]
            path.write_text(json.dumps(rows))
        boxes = compare("bbox", truth_path, boxes_path, arguments.repeats)
        masks = compare("segm", truth_path, masks_path, arguments.repeats)
    failed = max(boxes[1], masks[1]) > 1e-12
    failed |= boxes[0] < arguments.require_boxes or masks[0] < arguments.require_masks
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
