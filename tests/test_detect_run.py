"""The whole task on a few small images: rows, repeatability, and no training from lost weights."""

from __future__ import annotations

import csv
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from detect_scene import CHECKOUT, DETECTRON2, NUM_IMAGES, make_backbone, rename_tensor, write_set
from voc_scene import write_voc

from transfer.backbone.contract import Backbone
from transfer.backbone.targets import write_detectron2
from transfer.detect.faults import find_faults
from transfer.detect.search import UNDEFINED
from transfer.detect.sets import SetFiles, register
from transfer.detect.settings import metric_names
from transfer.detect.task import Config, measure, run
from transfer.findings import ERROR

pytestmark = DETECTRON2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets, ``train`` and ``val``, and a detector for them that trains for two iterations."""
    folder = tmp_path_factory.mktemp("detect")
    for split in ("train", "val"):
        write_set(folder, split)
    detector = CHECKOUT / "configs" / "detect" / "detectron2" / "mask_rcnn_r18_fpn_mini.yaml"
    settings = {
        "DATASETS": {"TRAIN": ["train"], "TEST": ["val"]},
        "INPUT": {"MIN_SIZE_TRAIN": [64], "MAX_SIZE_TRAIN": 64, "MIN_SIZE_TEST": 64, "MAX_SIZE_TEST": 64},
        "MODEL": {"ROI_HEADS": {"NUM_CLASSES": 2}},
        "SOLVER": {"IMS_PER_BATCH": 2, "BASE_LR": 0.001, "MAX_ITER": 2, "STEPS": [], "WARMUP_ITERS": 0},
        "VERSION": 2,
    }
    (folder / "detector.yaml").write_text(yaml.dump({"_BASE_": str(detector), **settings}))
    return folder


@pytest.fixture(scope="module")
def backbone(root: Path) -> Backbone:
    return make_backbone(root / "backbone.safetensors", "resnet18")


def a_config(root: Path, **changes: Any) -> Config:
    values = {
        "dataset": "scene",
        "protocol": "two-iterations",
        "detectron2_path": str(root / "detector.yaml"),
        "sets": {name: SetFiles(str(root / f"{name}.json"), str(root / name)) for name in ("train", "val")},
        "evaluate_train": True,
    }
    return Config(**{**values, **changes})


def trained(out: Path) -> dict[str, bytes]:
    import torch

    state = torch.load(out / "model_final.pth", weights_only=False)["model"]
    return {key: tensor.numpy().tobytes() for key, tensor in state.items()}


def test_a_run_measures_both_splits_and_repeats_itself(
    root: Path, backbone: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = [tmp_path / "first", tmp_path / "second"]
    for out in outs:
        out.mkdir()
    first, second = [list(run(backbone, a_config(root), out)) for out in outs]
    metrics = metric_names(a_config(root))
    assert [(m.split, m.metric) for m in first] == [(s, m) for s in ("val", "train") for m in metrics]
    assert {(m.n, m.backend, m.protocol, m.selection) for m in first} == {
        (NUM_IMAGES, "detectron2, hotcoco", "two-iterations", "last")
    }
    for m in first:  # no rectangle has 32 x 32 pixels or more
        absent = m.metric.endswith(("medium", "large"))
        assert (m.status, m.value) == (UNDEFINED, None) if absent else m.status == "ok"
        assert absent or (m.value is not None and 0 <= m.value <= 100)
    assert second == first
    assert trained(outs[0]) == trained(outs[1])
    log = (outs[0] / "log.txt").read_text()
    assert "iter: 1  total_loss:" in log
    assert log.count("Starting training") == 1, "the second run wrote into the first one's log"
    assert "total_loss:" in capsys.readouterr().out


def test_training_changes_every_stage(root: Path, backbone: Backbone, tmp_path: Path) -> None:
    """Nothing is frozen: FREEZE_AT 0 reaches the model, and so does the norm that is trained."""
    list(run(backbone, a_config(root), tmp_path))
    before = pickle.loads((tmp_path / "backbone.pkl").read_bytes())["model"]
    after = trained(tmp_path)
    kept = [key for key in before if before[key].tobytes() == after[f"backbone.bottom_up.{key}"]]
    assert kept == []


def test_a_lost_tensor_stops_the_run_before_the_first_iteration(
    root: Path, backbone: Backbone, tmp_path: Path
) -> None:
    weights_path = tmp_path / "backbone.pkl"
    write_detectron2(backbone, weights_path)
    rename_tensor(weights_path, "res4.1.conv2.norm.running_var", "res4.1.conv2.norm.variance")
    with pytest.raises(ValueError, match=r"res4\.1\.conv2\.norm\.running_var: not in the file"):
        list(measure(weights_path, backbone.info, a_config(root), tmp_path))
    assert not list(tmp_path.glob("model_*.pth"))
    assert not (tmp_path / "metrics.json").exists()
    rename_tensor(weights_path, "res4.1.conv2.norm.variance", "res4.1.conv2.norm.running_var")
    found = list(measure(weights_path, backbone.info, a_config(root), tmp_path))
    assert all(m.value is None or math.isfinite(m.value) for m in found)
    assert (tmp_path / "metrics.json").exists()


def test_another_batch_rescales_the_schedule_and_is_another_protocol(
    root: Path, backbone: Backbone, tmp_path: Path
) -> None:
    config = a_config(root, images_per_batch=1, evaluate_train=False, checkpoint_period=3)
    found = list(run(backbone, config, tmp_path))
    assert {m.protocol for m in found} == {"two-iterations@batch1"}
    with (tmp_path / "rescale.csv").open() as handle:
        changes = {line["setting"]: (line["before"], line["after"]) for line in csv.DictReader(handle)}
    assert changes["SOLVER.MAX_ITER"] == ("2", "4")
    assert changes["SOLVER.BASE_LR"] == ("0.001", "0.0005")
    settings = yaml.safe_load((tmp_path / "detectron2.yaml").read_text())["SOLVER"]
    assert settings["CHECKPOINT_PERIOD"] == 3
    assert "SOLVER.CHECKPOINT_PERIOD" not in changes  # it stayed as the task has it
    assert (settings["MAX_ITER"], settings["BASE_LR"], settings["IMS_PER_BATCH"]) == (4, 0.0005, 1)
    iterations = [
        json.loads(line)["iteration"] for line in (tmp_path / "metrics.json").read_text().splitlines()
    ]
    assert iterations[-1] == 3


@pytest.mark.parametrize("choose_on", ["holdout", "test"])
def test_a_searched_learning_rate_is_the_one_that_trains(
    root: Path, backbone: Backbone, tmp_path: Path, choose_on: str
) -> None:
    """The rate of 1e30 diverges: it is recorded as that, and the other one trains."""
    held = {"holdout_images": 2} if choose_on == "holdout" else {}
    config = a_config(root, learning_rates=[1e30, 0.002], choose_on=choose_on, **held)
    found = list(run(backbone, config, tmp_path))
    searched = [m for m in found if "@lr=" in m.protocol]
    rows = [m for m in found if m not in searched]
    assert {m.protocol for m in searched} == {"two-iterations@lr=1e+30", "two-iterations@lr=0.002"}
    assert {m.split for m in searched} == {"holdout" if choose_on == "holdout" else "val"}
    assert all(m.status.startswith("not-run: diverged") for m in searched if "1e+30" in m.protocol)
    assert {(m.protocol, m.selection) for m in rows} == {
        ("two-iterations", "best-val" if choose_on == "holdout" else "best-test")
    }
    settings = yaml.safe_load((tmp_path / "detectron2.yaml").read_text())
    assert settings["SOLVER"]["BASE_LR"] == 0.002
    assert tuple(settings["DATASETS"]["TRAIN"]) == ("train",)
    with (tmp_path / "selection.csv").open() as handle:
        assert [line["status"] for line in csv.DictReader(handle)] == ["diverged", "ok"]


def test_data_and_settings_that_are_at_fault_stop_before_training(
    root: Path, backbone: Backbone, tmp_path: Path
) -> None:
    content = json.loads((root / "train.json").read_text())
    content["annotations"][0]["segmentation"] = [[1, 1, 9, 9]]
    content["annotations"][3]["bbox"] = [70, 70, 9, 9]
    (tmp_path / "bad.json").write_text(json.dumps(content))
    files = {"train": SetFiles(str(tmp_path / "bad.json"), str(root / "train"))}
    config = a_config(root, sets={**a_config(root).sets, **files})
    with pytest.raises(ValueError, match=r"2 settings contradict|polygon") as caught:
        list(run(backbone, config, tmp_path / "out"))
    assert "bad.json" in str(caught.value) or "sets.train" in str(caught.value)
    assert not list((tmp_path / "out").glob("model_*.pth"))
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_images_to_choose_a_learning_rate_on_are_checked_as_those_of_a_test(
    root: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """Training needs no areas; evaluation does, and would stop after the first rate's training."""
    content = json.loads((root / "train.json").read_text())
    del content["annotations"][0]["area"]
    (tmp_path / "bad.json").write_text(json.dumps(content))
    files = SetFiles(str(tmp_path / "bad.json"), str(root / "train"))
    faults = find_faults(register("bad", files), training=True, check_images=True)
    assert [fault for fault in faults if fault.level == ERROR] == []
    config = a_config(root, sets={**a_config(root).sets, "train": files}, evaluate_train=False)
    searched = replace(config, learning_rates=[0.001, 0.002], holdout_images=2)
    with pytest.raises(ValueError, match=r"sets\.train.* lacks area"):
        list(run(backbone, searched, tmp_path / "out"))
    assert not (tmp_path / "out" / "search").exists()


def test_voc_gives_boxes_by_its_own_metric(root: Path, backbone: Backbone, tmp_path: Path) -> None:
    files = write_voc(tmp_path, 2007, {"trainval": 3, "test": 2}, every_class=True)
    names = {"trainval": "voc_2007_trainval", "test": "voc_2007_test"}
    options = {
        "DATASETS": {"TRAIN": [names["trainval"]], "TEST": [names["test"]]},
        "MODEL": {"MASK_ON": False, "ROI_HEADS": {"NUM_CLASSES": 20}},
    }
    config = a_config(
        root,
        sets={name: SetFiles(**files[split]) for split, name in names.items()},
        options=options,
        split="test",
        evaluate_train=False,
    )
    found = list(run(backbone, config, tmp_path / "out"))
    assert [m.metric for m in found] == ["box_ap", "box_ap50", "box_ap75"]
    assert {(m.split, m.backend, m.n) for m in found} == {("test", "detectron2", 2)}
    assert all(m.value is not None for m in found)
