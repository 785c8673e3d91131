"""A detector's predictions on a COCO set, by detectron2's inference: numbers, files, several processes."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from detect_scene import DETECTRON2, NUM_IMAGES, OBJECTS, SIDE, write_set
from forkserver import PRELOAD
from ranks import run_ranks
from torch import nn

from transfer.detect.score import NUMBERS, evaluate
from transfer.detect.sets import Registered, SetFiles, register

pytestmark = DETECTRON2
PRELOAD += ["detectron2.evaluation", "detectron2.data"]
METRICS = [f"{part}_{end}" for part in ("box", "mask") for end in NUMBERS]
ABSENT = {f"{part}_ap_{size}" for part in ("box", "mask") for size in ("medium", "large")}  # all are small
Objects = list[tuple[int, int, int, int, int]]  # class, x, y, width, height
TRUTH: Objects = [(k, *OBJECTS[k][1:]) for k in (0, 1)]


class Fixed(nn.Module):
    """A detector that answers every image with the same objects, the first surest."""

    def __init__(self, objects: Objects) -> None:
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
        found.scores = 1 / torch.arange(1, len(boxes) + 1)
        found.pred_classes = torch.tensor([k for k, *_ in self.objects], dtype=torch.int64)
        return [{"instances": found} for _ in inputs]


@pytest.fixture
def scene(tmp_path: Path) -> Registered:
    write_set(tmp_path, "val")
    return register("scene", SetFiles(str(tmp_path / "val.json"), str(tmp_path / "val")))


def settings(masks: bool = True) -> Any:
    from detectron2.config import get_cfg

    cfg = get_cfg()
    cfg.MODEL.MASK_ON = masks
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


def score(
    objects: Objects, scene: Registered, out: Path, evaluator: str = "hotcoco", masks: bool = True
) -> dict[str, float | None]:
    return evaluate(Fixed(objects), settings(masks), scene, out, evaluator)


def all_of(value: float) -> dict[str, float | None]:
    """This value wherever the set has objects."""
    return {metric: None if metric in ABSENT else value for metric in METRICS}


def same(found: Mapping[str, float | None], expected: Mapping[str, float | None]) -> bool:
    return list(found) == list(expected) and all(
        found[name] == (None if value is None else pytest.approx(value)) for name, value in expected.items()
    )


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
def test_numbers_that_are_known(scene: Registered, tmp_path: Path, evaluator: str) -> None:
    """The truth; one of two classes, the mean of 100 and 0; nothing (detectron2: NaN); wrong places."""
    out = tmp_path / "out"
    assert same(score(TRUTH, scene, out, evaluator), all_of(100.0))
    assert same(score(TRUTH[:1], scene, out, evaluator), all_of((100.0 + 0.0) / 2))
    assert score([], scene, out, evaluator) == all_of(0.0)
    assert score([(0, 0, 60, 3, 3)], scene, out, evaluator) == all_of(0.0)
    assert not same(score(TRUTH, scene, out, evaluator), all_of(99.9))


def test_a_box_only_model_has_no_mask_metrics(scene: Registered, tmp_path: Path) -> None:
    found = score(TRUTH, scene, tmp_path / "out", masks=False)
    assert list(found) == METRICS[:6]
    with (tmp_path / "out" / "per_class.csv").open() as handle:
        assert next(csv.reader(handle))[4:] == ["box_ap", "box_ap50", "box_ap75"]


def test_the_numbers_and_predictions_are_those_of_detectron2s_evaluator(
    scene: Registered, tmp_path: Path
) -> None:
    from detectron2.data import build_detection_test_loader
    from detectron2.evaluation import COCOEvaluator, inference_on_dataset

    objects = [(0, 5, 7, 24, 20), (1, 30, 30, 20, 28), (1, 36, 30, 19, 25), (0, 1, 1, 9, 9)]
    found = score(objects, scene, tmp_path / "out", "pycocotools")
    evaluator = COCOEvaluator(
        scene.name, tasks=("bbox", "segm"), use_fast_impl=False, output_dir=str(tmp_path / "theirs")
    )
    loader = build_detection_test_loader(settings(), scene.name)
    theirs = inference_on_dataset(Fixed(objects), loader, evaluator)
    for part, task in (("box", "bbox"), ("mask", "segm")):
        for end, name in NUMBERS.items():
            mine, other = found[f"{part}_{end}"], theirs[task][name]
            assert (mine is None and other != other) or mine == pytest.approx(other, abs=1e-10)
    assert 0 < (found["box_ap"] or 0) < 100
    written = [
        json.loads((tmp_path / folder / "coco_instances_results.json").read_text())
        for folder in ("out", "theirs")
    ]
    assert written[0] == written[1]


def test_what_is_left_in_the_folder(scene: Registered, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score([*TRUTH, (1, 0, 0, 9, 9)], scene, out)
    assert sorted(path.name for path in out.iterdir()) == [
        *("coco_instances_results.json", "per_class.csv", "per_image.csv", "set.json")
    ]
    with (out / "per_image.csv").open() as handle:
        lines = list(csv.DictReader(handle))
    assert [(line["image_id"], line["file_name"]) for line in lines] == [
        (str(k), f"{k}.png") for k in range(1, NUM_IMAGES + 1)
    ]
    for line in lines:  # the wrong one is the least sure, so that AP is 100 all the same
        assert (line["objects"], line["predictions"]) == ("2", "3")
        for part in ("box", "mask"):
            numbers = [line[f"{part}_{end}"] for end in ("tp50", "tp75", "fp50", "fp75", "ap")]
            assert numbers == ["2", "2", "1", "1", "100"]
    with (out / "per_class.csv").open() as handle:
        bright, dark = csv.DictReader(handle)
    assert (bright["class"], bright["category_id"], bright["predictions"]) == ("bright", "3", str(NUM_IMAGES))
    assert (dark["class"], dark["category_id"], dark["predictions"]) == ("dark", "7", str(2 * NUM_IMAGES))
    assert {line[key] for line in (bright, dark) for key in ("box_ap", "mask_ap50")} == {"100"}
    assert json.loads((out / "set.json").read_text()) == {
        "name": "scene",
        "kind": "coco",
        "annotations_path": str((tmp_path / "val.json").resolve()),
        "images_dir": str((tmp_path / "val").resolve()),
        "voc_dir": "",
        "split": "",
        "classes": ["bright", "dark"],
    }


def test_a_class_that_the_set_has_not_is_refused(scene: Registered, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="predicted class 2, but the set has 2 classes"):
        score([(2, 1, 1, 9, 9)], scene, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_scored_is_refused_before_inference(
    scene: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("inference began")

    with monkeypatch.context() as patch:
        patch.setattr(Fixed, "forward", fail)
        with pytest.raises(ValueError, match="expected hotcoco or pycocotools, found 'fast'"):
            score(TRUTH, scene, tmp_path / "out", "fast")
        with pytest.raises(AssertionError, match="inference began"):
            score(TRUTH, scene, tmp_path / "out")
        patch.setitem(sys.modules, "hotcoco", None)
        with pytest.raises(ModuleNotFoundError, match=r"evaluator hotcoco: .*pip install hotcoco"):
            score(TRUTH, scene, tmp_path / "out")
    assert same(score(TRUTH, scene, tmp_path / "out"), all_of(100.0))
    content = json.loads((tmp_path / "val.json").read_text())
    content["annotations"][0]["id"] = 0
    (tmp_path / "val.json").write_text(json.dumps(content))
    monkeypatch.setattr(Fixed, "forward", fail)
    with pytest.raises(ValueError, match="expected ids from 1"):
        score(TRUTH, scene, tmp_path / "out")


def on_a_rank(world: Any, root: Path, out: Path) -> dict[str, float | None]:
    images = register("scene", SetFiles(str(root / "val.json"), str(root / "val")))
    return score([*TRUTH, (1, 0, 0, 9, 9)], images, out / str(world.rank))


def test_three_processes_predict_a_share_each_and_the_first_scores_all(tmp_path: Path) -> None:
    """Four images on three processes: shares of different size."""
    write_set(tmp_path, "val")
    [alone] = run_ranks(1, on_a_rank, tmp_path, tmp_path / "one")
    first, *others = run_ranks(3, on_a_rank, tmp_path, tmp_path / "three")
    assert first == alone
    assert same(first, all_of(100.0))
    assert others == [{}, {}]
    for name in ("coco_instances_results.json", "per_class.csv", "per_image.csv", "set.json"):
        assert (tmp_path / "three" / "0" / name).read_bytes() == (tmp_path / "one" / "0" / name).read_bytes()
    assert not (tmp_path / "three" / "1").exists()
