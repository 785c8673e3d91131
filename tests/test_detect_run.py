"""The whole task on a few small images: rows, repeatability, and no training from lost weights."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
from detect_scene import CHECKOUT, DETECTRON2, NUM_IMAGES, make_backbone, rename_tensor, write_set

from transfer.backbone.contract import Backbone
from transfer.backbone.targets import write_detectron2
from transfer.detect.score import METRICS
from transfer.detect.sets import SetFiles
from transfer.detect.task import Config, measure, run

pytestmark = DETECTRON2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detect")
    for split in ("train", "val"):
        write_set(folder, split)
    detector = (CHECKOUT / "configs" / "detect" / "mask_rcnn_r18_fpn_mini.yaml").read_text()
    assert "MIN_SIZE_TEST: 128" in detector
    (folder / "detector.yaml").write_text(detector.replace("128", "64"))
    return folder


@pytest.fixture(scope="module")
def backbone(root: Path) -> Backbone:
    return make_backbone(root / "backbone.safetensors", "resnet18")


def a_config(root: Path) -> Config:
    return Config(
        dataset="scene",
        protocol="two iterations",
        detectron2_path=str(root / "detector.yaml"),
        train=SetFiles(str(root / "train.json"), str(root / "train")),
        val=SetFiles(str(root / "val.json"), str(root / "val")),
        evaluate_train=True,
        iterations=2,
        images_per_batch=2,
        learning_rate=0.001,
        warmup_iterations=0,
    )


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
    assert [(m.split, m.metric) for m in first] == [(s, m) for s in ("val", "train") for m in METRICS]
    assert all(m.n == NUM_IMAGES and m.status == "ok" and m.backend == "detectron2" for m in first)
    assert all(m.value is not None and 0 <= m.value <= 100 for m in first)
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
    assert "Starting training" not in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / "metrics.json").exists()
    rename_tensor(weights_path, "res4.1.conv2.norm.variance", "res4.1.conv2.norm.running_var")
    found = list(measure(weights_path, backbone.info, a_config(root), tmp_path))
    assert all(m.value is not None and math.isfinite(m.value) for m in found)
