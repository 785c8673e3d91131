"""The tasks refuse before they train what the lint calls an error; our own configurations pass."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from detect_scene import CHECKOUT, DETECTRON2, make_backbone, write_set
from lint_scene import an_info
from sot_scene import FRAMEWORK_WARNINGS, write_sequence

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone
from transfer.detect.sets import Registered, SetFiles
from transfer.evaluate import load_config
from transfer.findings import Weights, refuse
from transfer.tasks import TASKS

pytestmark = [*DETECTRON2, pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]
CONFIGS = CHECKOUT / "configs"


def a_backbone(arch: str = "resnet18") -> Backbone:
    torch.manual_seed(0)
    return Backbone(an_info(arch), dict(empty_resnet(arch).state_dict()), "0" * 64, Path("none"))


def detection(folder: Path, detector: str, **fields: Any) -> Any:
    from transfer.detect.task import Config

    write_set(folder, "train")
    (folder / "detector.yaml").write_text(detector)
    images = SetFiles(str(folder / "train.json"), str(folder / "train"))
    schedule = {"MAX_ITER": 1, "STEPS": [], "WARMUP_ITERS": 0, "IMS_PER_BATCH": 2}
    return Config(
        dataset="scene",
        protocol="test",
        detectron2_path=str(folder / "detector.yaml"),
        sets={"mini_train": images, "mini_val": images},
        options={"SOLVER": schedule, "MODEL": {"ROI_HEADS": {"NUM_CLASSES": 2}}},
        learning_rates=[0.0025],
        **fields,
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [("FREEZE_AT: 0", "frozen-stages"), ("    NORM: BN  # FrozenBN", "frozen-norm")],
)
def test_detection_refuses_before_training_and_passes_with_the_exception(
    line: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transfer.detect.task import run

    text = (
        (CONFIGS / "detect" / "detectron2" / "mask_rcnn_r18_fpn_mini.yaml").read_text().replace("128", "64")
    )
    assert line in text
    wrong = text.replace(line, line.replace("FREEZE_AT: 0", "FREEZE_AT: 2").replace(": BN ", ": FrozenBN "))
    backbone = make_backbone(tmp_path / "b.safetensors", "resnet18")
    config = detection(tmp_path, wrong)
    with pytest.raises(ValueError, match=rf"(?s)detector\.yaml: 1 settings contradict.*- {name}: MODEL"):
        list(run(backbone, config, tmp_path))
    assert not (tmp_path / "log.txt").exists()
    config.allow = [name]
    with caplog.at_level(logging.WARNING, logger="transfer.lint"):
        assert list(run(backbone, config, tmp_path))
    assert f"allowed: {name}" in caplog.text


@pytest.mark.usefixtures("trusted")
def test_mot_refuses_before_training_and_passes_with_the_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transfer.track.mm.mot import Config
    from transfer.track.mm.mot_model import resolve

    monkeypatch.chdir(CHECKOUT)
    recipe = Path("configs/track/mmtrack/deepsort_small.py").read_text()
    bases = {
        name: str(CHECKOUT / "configs/track/mmtrack" / name)
        for name in ("faster_rcnn_small.py", "frames_small.py")
    }
    for name, path in bases.items():
        recipe = recipe.replace(f'"{name}"', f'"{path}"')
    for old, new, name in (
        ("load_from = None", "load_from = 'other.pth'", "other-weights"),
        ('out_indices=(3,), style="pytorch"', 'out_indices=(3,), style="pytorch", deep_stem=True', "network"),
    ):
        text = recipe if old in recipe else recipe + old
        (tmp_path / "tracker.py").write_text(text.replace(old, new))
        wrong = Config(dataset="s", protocol="t", tracker=str(tmp_path / "tracker.py"))
        with pytest.raises(ValueError, match=rf"(?s)tracker\.py: 1 settings contradict.*- {name}: "):
            resolve(wrong, a_backbone(), tmp_path)
        wrong.allow = [name]
        resolve(wrong, a_backbone(), tmp_path)


@pytest.mark.usefixtures("trusted")
def test_sot_refuses_before_training_and_passes_with_the_exception(tmp_path: Path) -> None:
    from transfer.track.mm.sot import Config, run

    write_sequence(tmp_path, "A")
    text = (CONFIGS / "track" / "mmtrack" / "siamese_rpn_mini.py").read_text()
    (tmp_path / "recipe.py").write_text(text.replace("load_from = None", "load_from = 'other.pth'"))
    source = {"img_prefix": str(tmp_path), "ann_file": str(tmp_path / "list.txt")}
    data = {"train": source, "test": source, "samples_per_gpu": 2, "samples_per_epoch": 4}
    options = {"data": data, "total_epochs": 1}
    config = Config("scene", "test", "val", str(tmp_path / "recipe.py"), options)
    with pytest.raises(ValueError, match=r"(?s)1 settings contradict.*other-weights: load_from=other\.pth"):
        list(run(a_backbone(), config, tmp_path / "out"))
    config.allow = ["other-weights"]
    with pytest.raises(FileNotFoundError, match=r"other\.pth"):  # past the lint, mmtrack looks for the file
        list(run(a_backbone(), config, tmp_path / "out"))


@pytest.mark.parametrize("path", [CONFIGS / "detect" / name for name in ("mini.yaml", "coco200.yaml")])
def test_our_detection_configurations_pass(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transfer.detect.lint_yaml import find
    from transfer.detect.settings import resolve

    monkeypatch.setenv("MEC_TRANSFER_DATA", str(tmp_path))
    monkeypatch.chdir(CHECKOUT)
    config = load_config(TASKS["detect"], path)
    num_classes = {"mini": 10, "coco200": 80}[path.stem]
    labels = tuple(map(str, range(num_classes)))
    sets = {name: Registered(name, "coco", 1, 1, labels, files) for name, files in config.sets.items()}
    for arch in ("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"):
        cfg = resolve(config, an_info(arch), Path("w.pkl"), sets, tmp_path)
        refuse(find(cfg, Weights.at(Path("w.pkl"), an_info(arch))), config.allow, str(path))


@pytest.mark.parametrize("path", sorted((CONFIGS / "track").glob("sot_*.yaml")), ids=lambda path: path.stem)
def test_our_sot_configurations_pass(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transfer.track.mm.sot_config import resolve

    monkeypatch.setenv("MEC_TRANSFER_DATA", str(tmp_path))
    monkeypatch.chdir(CHECKOUT)
    config = load_config(TASKS["sot"], path)
    siamese = "r50" in config.mmtrack_config  # SOTResNet, which is a ResNet-50 only
    for arch in ("resnet50",) if siamese else ("resnet18", "resnet50", "resnext50_32x4d"):
        resolve(config, an_info(arch), Path("w.pth"), tmp_path)


@pytest.mark.parametrize("path", sorted((CONFIGS / "track").glob("mot_*.yaml")), ids=lambda path: path.stem)
def test_our_mot_configurations_pass(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transfer.track.mm.mot_crops import People
    from transfer.track.mm.mot_model import resolve

    monkeypatch.setenv("MEC_TRANSFER_DATA", str(tmp_path))
    monkeypatch.chdir(CHECKOUT)
    config = load_config(TASKS["mot"], path)
    for arch in ("resnet18", "resnet50", "resnext50_32x4d"):
        resolve(config, a_backbone(arch), tmp_path, People(tmp_path, 5) if config.reid else None)
