"""A search that trains: detectron2 on what remains, judged on what was held out, one point diverging."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from detect_scene import CHECKOUT, DETECTRON2, make_backbone, write_set

from transfer.backbone.targets import write_detectron2
from transfer.detect.holdout import hold_out
from transfer.detect.score import evaluate
from transfer.detect.search import Scores, search
from transfer.detect.sets import SetFiles, register
from transfer.detect.settings import Config, resolve
from transfer.detect.trainer import fit

pytestmark = DETECTRON2
DETECTOR = CHECKOUT / "configs" / "detect" / "detectron2" / "mask_rcnn_r18_fpn_mini.yaml"
DIVERGING = 1e30


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A set of four images, one of them held out; two iterations for each of two rates, without clipping."""
    write_set(tmp_path, "train")
    whole = SetFiles(annotations_path=str(tmp_path / "train.json"), images_dir=str(tmp_path / "train"))
    rest, held = hold_out(whole, 1, 0, tmp_path / "out" / "holdout")
    short = {"IMS_PER_BATCH": 2, "MAX_ITER": 2, "STEPS": [], "WARMUP_ITERS": 0}
    return Config(
        dataset="d",
        protocol="p",
        detectron2_path=str(DETECTOR),
        sets={"rest": rest, "held": held},
        learning_rates=[0.01, DIVERGING],
        holdout_images=1,
        device="cpu",
        options={
            "MODEL": {"ROI_HEADS": {"NUM_CLASSES": 2}},
            "DATASETS": {"TRAIN": ["rest"], "TEST": ["held"]},
            "SOLVER": {**short, "CLIP_GRADIENTS": {"ENABLED": False}},
        },
    )


def test_detectors_are_trained_judged_and_removed_and_no_point_is_trained_twice(
    config: Config, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    backbone = make_backbone(tmp_path / "b.safetensors", "resnet18")
    write_detectron2(backbone, tmp_path / "w.pkl")
    sets = {name: register(name, files) for name, files in config.sets.items()}
    assert (sets["rest"].num_images, sets["held"].num_images) == (3, 1)
    trained = []

    def score(rate: float, folder: Path) -> Scores | None:
        trained.append(rate)
        point = replace(config, learning_rates=[rate])
        cfg = resolve(point, backbone.info, tmp_path / "w.pkl", sets, folder)
        try:
            model = fit(cfg)
        except FloatingPointError:
            return None
        assert (folder / "model_final.pth").exists()
        return evaluate(model, cfg, sets["held"], folder / "predictions", "pycocotools")

    found = search(config, out, score, sets["held"].num_images, "detectron2")
    assert (found.rate, found.selection, trained) == (0.01, "best-val", [0.01, DIVERGING])
    with (out / "selection.csv").open(newline="") as handle:
        first, second = csv.DictReader(handle)
    assert (second["value"], second["status"], second["chosen"]) == ("", "diverged", "no")
    assert 0.0 <= float(first["value"]) <= 100.0
    [measured] = [
        m for m in found.measurements if m.protocol.startswith("p@lr=0.01,") and m.metric == "box_ap"
    ]
    assert (measured.value, measured.split, measured.n) == (float(first["value"]), "holdout", 1)
    [image] = json.loads((out / "holdout" / "holdout.json").read_text())["images"]
    predictions = out / "search" / "lr-0.01" / "predictions" / "coco_instances_results.json"
    assert {entry["image_id"] for entry in json.loads(predictions.read_text())} <= {image["id"]}
    assert list((out / "search").glob("*/*.pth")) == []
    assert search(config, out, score, sets["held"].num_images, "detectron2") == found
    assert trained == [0.01, DIVERGING]
