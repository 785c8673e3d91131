"""Average precision by COCO's official API, as rows want it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from transfer.detect.sets import Registered

METRICS: dict[str, tuple[str, str]] = {  # row's metric -> detectron2's task and name
    "box_ap": ("bbox", "AP"),
    "box_ap50": ("bbox", "AP50"),
    "box_ap75": ("bbox", "AP75"),
    "mask_ap": ("segm", "AP"),
    "mask_ap50": ("segm", "AP50"),
    "mask_ap75": ("segm", "AP75"),
}


def evaluate(model: nn.Module, cfg: Any, images: Registered, out: Path) -> dict[str, float]:
    """Box and, for a model with masks, mask AP of a detector on one split, in percent.

    The predictions stay in ``out/coco_instances_results.json``, COCO's result format.

    Args:
        model: a detectron2 detector; left in the mode it was in.
        cfg: its detectron2 configuration.
        images: the split to evaluate.
        out: folder for the predictions.
    """
    from detectron2.data import build_detection_test_loader
    from detectron2.evaluation import COCOEvaluator, inference_on_dataset

    tasks = ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
    # The fast evaluator is unofficial, and absent where detectron2's compiled part does not load.
    evaluator = COCOEvaluator(images.name, tasks=tasks, output_dir=str(out), use_fast_impl=False)
    results = inference_on_dataset(model, build_detection_test_loader(cfg, images.name), evaluator)
    num_predictions = len(json.loads((out / "coco_instances_results.json").read_text(encoding="utf-8")))
    return percentages(results, num_predictions, images.num_objects)


def percentages(
    results: Mapping[str, Mapping[str, float]], num_predictions: int, num_objects: int
) -> dict[str, float]:
    """detectron2's results by row metric, in percent.

    detectron2 says NaN in two cases that differ. With objects and without a single prediction the
    recall is 0 at every precision, so AP is 0 by definition. Every other NaN is a metric that has
    no value.

    Args:
        results: ``{"bbox": {"AP": …}, "segm": …}`` as COCOEvaluator returns it.
        num_predictions: boxes predicted on the split, of any score.
        num_objects: annotated objects on the split, crowd regions excluded.

    Raises:
        ValueError: a metric that is NaN although there are predictions, or without any object; a
            task that detectron2 did not evaluate.
    """
    scores = {}
    for metric, (task, name) in METRICS.items():
        if task not in results and task == "segm":
            continue  # a box-only model
        if name not in results.get(task, {}):
            raise ValueError(f"{metric}: detectron2 gave no {task}/{name}; it gave {sorted(results)}")
        value = float(results[task][name])
        if math.isnan(value):
            if num_predictions or not num_objects:
                raise ValueError(
                    f"{metric}: detectron2 gave NaN for {num_predictions} predictions against {num_objects} "
                    "objects; look for categories or image ids that do not belong together"
                )
            value = 0.0
        scores[metric] = value
    return scores
