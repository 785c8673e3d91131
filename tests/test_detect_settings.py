"""The resolved detectron2 configuration says what the contract and the task say, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from detect_scene import CHECKOUT, DETECTRON2, make_backbone, write_set
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from transfer.backbone.contract import BackboneInfo
from transfer.detect.sets import Registered, SetFiles, register
from transfer.detect.settings import Config, resolve

pytestmark = DETECTRON2
DETECTOR = CHECKOUT / "configs" / "detect" / "mask_rcnn_r18_fpn_mini.yaml"


def a_config(detectron2_path: Path = DETECTOR, **changes: Any) -> Config:
    values = {"dataset": "d", "protocol": "p", "iterations": 50, "learning_rate": 0.01, **changes}
    return Config(detectron2_path=str(detectron2_path), **values)


def an_info(**changes: str) -> BackboneInfo:
    return BackboneInfo("m", "resnet18", "none", "1", "", "s", "0" * 64, "0", **changes)


def a_split(name: str, classes: tuple[str, ...] = ("a", "b")) -> Registered:
    return Registered(name, name, 4, 8, classes)


def resolved(config: Config, info: BackboneInfo, val: Registered | None = None) -> Any:
    return resolve(config, info, Path("w.pkl"), a_split("train"), val or a_split("val"), Path("out"))


def test_pixels_and_network_follow_the_contract() -> None:
    cfg = resolved(a_config(), an_info())
    mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    assert mean == pytest.approx([123.675, 116.28, 103.53])  # ImageNet's, times 255
    assert std == pytest.approx([58.395, 57.12, 57.375])
    assert cfg.INPUT.FORMAT == "RGB"
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is False
    assert (cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS) == (18, 64)
    assert (cfg.MODEL.BACKBONE.FREEZE_AT, cfg.MODEL.RESNETS.NORM) == (0, "BN")
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2


def test_another_contract_gives_other_pixels() -> None:
    info = an_info(pixel_order="BGR", pixel_mean="0.5,0.4,0.3", pixel_std="1,0.2,0.1")
    cfg = resolved(a_config(), info)
    mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    assert mean == pytest.approx([127.5, 102.0, 76.5])
    assert std == pytest.approx([255.0, 51.0, 25.5])
    assert cfg.INPUT.FORMAT == "BGR"


def test_the_task_sets_schedule_and_sets() -> None:
    cfg = resolved(a_config(seed=3, images_per_batch=2, decay_steps=[40], warmup_iterations=7), an_info())
    solver = cfg.SOLVER
    assert (solver.MAX_ITER, solver.BASE_LR, solver.IMS_PER_BATCH) == (50, 0.01, 2)
    assert (solver.STEPS, solver.WARMUP_ITERS, cfg.SEED) == ((40,), 7, 3)
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("train",), ("val",))


@pytest.mark.parametrize(
    ("line", "key"),
    [("MODEL: {PIXEL_MEAN: [0, 0, 0]}", "MODEL.PIXEL_MEAN"), ("SOLVER: {MAX_ITER: 9}", "SOLVER.MAX_ITER")],
)
def test_a_detector_that_sets_what_is_not_its_own_is_refused(tmp_path: Path, line: str, key: str) -> None:
    path = tmp_path / "detector.yaml"
    path.write_text(f"{line}\nVERSION: 2\n")
    with pytest.raises(ValueError, match=f"remove {key}; "):
        resolved(a_config(path), an_info())


def test_unknown_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "detector.yaml"
    path.write_text("MODEL: {MASKS_ON: true}\nVERSION: 2\n")
    with pytest.raises(KeyError, match="MASKS_ON"):
        resolved(a_config(path), an_info())
    with pytest.raises(ConfigKeyError, match="iteration"):
        OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create({"iteration": 3}))


def test_sets_with_different_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"train has \('a', 'b'\), val has \('b', 'a'\)"):
        resolved(a_config(), an_info(), a_split("val", ("b", "a")))


def test_an_absent_detector_and_a_warmup_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "detector.yaml"
    path.write_text("VERSION: 2\n")
    with pytest.raises(FileNotFoundError, match="no such detectron2 configuration"):
        a_config(tmp_path / "absent.yaml")
    with pytest.raises(ValueError, match="below iterations 50"):
        a_config(path, warmup_iterations=50)


def test_a_set_is_counted_and_its_faults_are_named(tmp_path: Path) -> None:
    write_set(tmp_path, "train")
    images = SetFiles(str(tmp_path / "train.json"), str(tmp_path / "train"))
    found = register("scene", "train", images)
    assert (found.num_images, found.num_objects, found.classes) == (4, 8, ("bright", "dark"))
    assert register("scene", "train", images) == found
    (tmp_path / "train" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of the 4 images .* the first is 2\.png"):
        register("scene", "train", images)
    (tmp_path / "train.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="found nothing under"):
        register("scene", "train", images)
    with pytest.raises(FileNotFoundError, match="no such annotation file"):
        register("scene", "val", SetFiles(str(tmp_path / "val.json"), str(tmp_path)))


def test_the_small_stem_is_refused_before_training(tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path / "cifar.safetensors", "resnet18-cifar")
    with pytest.raises(ValueError, match="use the classification tasks"):
        resolved(a_config(), backbone.info)
