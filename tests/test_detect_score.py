"""Zero is told from not-a-number, through detectron2's evaluator and COCO's official API."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from detect_scene import DETECTRON2, NUM_IMAGES, OBJECTS, SIDE, write_set
from torch import nn

from transfer.detect.score import METRICS, evaluate, percentages
from transfer.detect.sets import Registered, SetFiles, register

pytestmark = DETECTRON2
NOT_A_NUMBER = {task: dict.fromkeys(("AP", "AP50", "AP75"), math.nan) for task in ("bbox", "segm")}


class Fixed(nn.Module):
    """A detector that answers every image with the same objects, ``(class, x, y, width, height)``."""

    def __init__(self, objects: list[tuple[int, int, int, int, int]]) -> None:
        super().__init__()
        self.objects = objects

    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from detectron2.structures import Boxes, Instances

        boxes = torch.tensor([[x, y, x + w, y + h] for _, x, y, w, h in self.objects]).float().reshape(-1, 4)
        masks = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.bool)
        for mask, (_, x, y, w, h) in zip(masks, self.objects, strict=True):
            mask[y : y + h, x : x + w] = True
        found = Instances((SIDE, SIDE))
        found.pred_boxes, found.pred_masks = Boxes(boxes), masks
        found.scores = torch.ones(len(boxes))
        found.pred_classes = torch.tensor([k for k, *_ in self.objects], dtype=torch.int64)
        return [{"instances": found} for _ in inputs]


@pytest.fixture
def scene(tmp_path: Path) -> Registered:
    write_set(tmp_path, "val")
    return register("scene", "val", SetFiles(str(tmp_path / "val.json"), str(tmp_path / "val")))


def score(objects: list[tuple[int, int, int, int, int]], scene: Registered, out: Path) -> dict[str, float]:
    from detectron2.config import get_cfg

    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.DATALOADER.NUM_WORKERS = 0
    return evaluate(Fixed(objects), cfg, scene, out)


def test_the_truth_scores_100(scene: Registered, tmp_path: Path) -> None:
    truth = [(k, *OBJECTS[k][1:]) for k in (0, 1)]
    assert score(truth, scene, tmp_path / "out") == pytest.approx(dict.fromkeys(METRICS, 100.0))


def test_half_of_the_classes_scores_50(scene: Registered, tmp_path: Path) -> None:
    """The mean over two classes of 100 (found everywhere) and 0 (never predicted)."""
    found = score([(0, *OBJECTS[0][1:])], scene, tmp_path / "out")
    assert found == pytest.approx(dict.fromkeys(METRICS, (100.0 + 0.0) / 2))


def test_no_prediction_scores_0_where_detectron2_says_nan(scene: Registered, tmp_path: Path) -> None:
    from detectron2.data import build_detection_test_loader
    from detectron2.data.dataset_mapper import DatasetMapper
    from detectron2.evaluation import COCOEvaluator, inference_on_dataset

    evaluator = COCOEvaluator(scene.name, tasks=("bbox", "segm"), use_fast_impl=False)
    mapper = DatasetMapper(is_train=False, augmentations=[], image_format="RGB")
    records = [{"file_name": str(tmp_path / "val" / f"{k}.png"), "image_id": k} for k in (1, NUM_IMAGES)]
    loader = build_detection_test_loader(records, mapper=mapper)
    raw = inference_on_dataset(Fixed([]), loader, evaluator)
    assert math.isnan(raw["bbox"]["AP"])
    assert score([], scene, tmp_path / "out") == dict.fromkeys(METRICS, 0.0)


def test_wrong_predictions_score_0(scene: Registered, tmp_path: Path) -> None:
    assert score([(0, 0, 60, 3, 3)], scene, tmp_path / "out") == dict.fromkeys(METRICS, 0.0)


def test_every_other_nan_is_an_error() -> None:
    assert percentages(NOT_A_NUMBER, 0, 5) == dict.fromkeys(METRICS, 0.0)
    with pytest.raises(ValueError, match="NaN for 3 predictions against 5 objects"):
        percentages(NOT_A_NUMBER, 3, 5)
    with pytest.raises(ValueError, match="NaN for 0 predictions against 0 objects"):
        percentages(NOT_A_NUMBER, 0, 0)
    with pytest.raises(ValueError, match="gave no bbox/AP"):
        percentages({}, 0, 5)


def test_a_box_only_model_has_no_mask_metrics() -> None:
    assert set(percentages({"bbox": NOT_A_NUMBER["bbox"]}, 0, 5)) == {"box_ap", "box_ap50", "box_ap75"}
