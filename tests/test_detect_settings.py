"""The resolved detectron2 configuration says what YAML, contract and task say; nothing is settled twice."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from detect_scene import CHECKOUT, DETECTRON2, make_backbone
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from transfer.backbone.contract import BackboneInfo
from transfer.detect.backbone import BOUND
from transfer.detect.sets import Registered, SetFiles
from transfer.detect.settings import RUN_KEYS, TASK_KEYS, Config, metric_names, protocol_of, resolve
from transfer.detect.yaml_values import read_values

pytestmark = DETECTRON2
DETECTOR = CHECKOUT / "configs" / "detect" / "detectron2" / "mask_rcnn_r18_fpn_mini.yaml"
CLASSES = tuple(map(str, range(10)))
COCO, VOC = SetFiles("a.json", "images"), SetFiles(voc_dir="VOC2007", split="test")


def a_config(path: Path = DETECTOR, **changes: Any) -> Config:
    values = {"dataset": "d", "protocol": "p", "sets": {"mini_train": COCO, "mini_val": COCO}, **changes}
    return Config(detectron2_path=str(path), device="cpu", **values)


def an_info(**changes: str) -> BackboneInfo:
    return BackboneInfo("m", "resnet18", "none", "1", "", "s", "0" * 64, "0", **changes)


def a_set(name: str, classes: tuple[str, ...] = CLASSES, kind: str = "coco") -> Registered:
    return Registered(name, kind, 4, 8, classes, VOC if kind == "voc" else COCO)


def resolved(config: Config, info: BackboneInfo | None = None, *sets: Registered) -> Any:
    given = sets or (a_set("mini_train"), a_set("mini_val"))
    by_name = {found.name: found for found in given}
    return resolve(config, info or an_info(), Path("w.pkl"), by_name, Path("out"))


def write(folder: Path, lines: str, name: str = "detector.yaml") -> Path:
    """A detectron2 YAML over the bundled set's."""
    (folder / name).write_text(f"_BASE_: {DETECTOR}\n{lines}\n")
    return folder / name


def test_pixels_and_network_follow_the_contract() -> None:
    cfg = resolved(a_config())
    mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    assert mean == pytest.approx([123.675, 116.28, 103.53])  # ImageNet's, times 255
    assert std == pytest.approx([58.395, 57.12, 57.375])
    assert cfg.INPUT.FORMAT == "RGB"
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is False
    assert (cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS) == (18, 64)
    assert (cfg.MODEL.BACKBONE.FREEZE_AT, cfg.MODEL.RESNETS.NORM) == (0, "BN")


def test_another_contract_gives_other_pixels() -> None:
    info = an_info(pixel_order="BGR", pixel_mean="0.5,0.4,0.3", pixel_std="1,0.2,0.1")
    cfg = resolved(a_config(), info)
    mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    assert mean == pytest.approx([127.5, 102.0, 76.5])
    assert std == pytest.approx([255.0, 51.0, 25.5])
    assert cfg.INPUT.FORMAT == "BGR"


def test_schedule_and_sets_are_the_yamls() -> None:
    cfg = resolved(a_config())
    solver = cfg.SOLVER
    assert (solver.MAX_ITER, solver.BASE_LR, solver.IMS_PER_BATCH) == (300, 0.04, 4)
    assert (solver.STEPS, solver.WARMUP_ITERS, solver.CHECKPOINT_PERIOD) == ((260,), 20, 5000)
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("mini_train",), ("mini_val",))
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 10
    assert cfg.is_frozen()


def test_the_task_says_how_it_is_run_here() -> None:
    cfg = resolved(a_config(seed=3, num_workers=2, checkpoint_period=7, learning_rates=[0.5]))
    assert (cfg.SEED, cfg.OUTPUT_DIR, cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS) == (3, "out", "cpu", "w.pkl")
    assert (cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.BASE_LR) == (2, 7, 0.5)
    assert resolved(a_config(learning_rates=[0.1, 0.5])).SOLVER.BASE_LR == 0.04, "a search decides later"
    assert resolved(a_config(images_per_batch=2)).SOLVER.IMS_PER_BATCH == 4, "rescaling comes later"


def test_options_go_over_the_yaml() -> None:
    options = {"SOLVER": {"MAX_ITER": 50, "STEPS": [30, 40]}, "MODEL": {"MASK_ON": False}}
    cfg = resolved(a_config(options=options))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.MODEL.MASK_ON) == (50, (30, 40), False)
    assert cfg.SOLVER.WARMUP_ITERS == 20, "the neighbours stay"


@pytest.mark.parametrize("key", [*BOUND, *RUN_KEYS])
def test_what_is_decided_elsewhere_is_refused_in_yaml_and_options(tmp_path: Path, key: str) -> None:
    *parents, last = key.split(".")
    line = "".join(f"{parent}: {{" for parent in parents) + f"{last}: 1" + "}" * len(parents)
    with pytest.raises(ValueError, match=rf"detector\.yaml: remove {key}: {key} follows from "):
        a_config(write(tmp_path, line))
    with pytest.raises(ValueError, match=rf"options: remove {key}: {key} follows from "):
        a_config(options=OmegaConf.to_container(OmegaConf.from_dotlist([f"{key}=1"])))


@pytest.mark.parametrize("key", TASK_KEYS)
def test_what_the_task_has_a_place_for_is_refused_in_options_only(tmp_path: Path, key: str) -> None:
    section, last = key.split(".")
    a_config(write(tmp_path, f"{section}: {{{last}: 1}}"))
    with pytest.raises(ValueError, match=rf"options: remove {key}: {key} follows from {TASK_KEYS[key]}"):
        a_config(options={section: {last: 1}})


def test_a_base_that_sets_what_is_not_its_own_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "SEED: 1", "base.yaml")
    (tmp_path / "detector.yaml").write_text("_BASE_: base.yaml\n")
    with pytest.raises(ValueError, match=r"remove SEED: SEED follows from seed"):
        a_config(tmp_path / "detector.yaml")


def test_unknown_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"detector\.yaml: Non-existent config key: MODEL\.MASKS_ON"):
        resolved(a_config(write(tmp_path, "MODEL: {MASKS_ON: true}")))
    with pytest.raises(ValueError, match=r"^options: Non-existent config key: SOLVER\.ITERATIONS; .*nested"):
        resolved(a_config(options={"SOLVER": {"ITERATIONS": 3}}))
    with pytest.raises(ValueError, match=r"^options: Type mismatch .* SOLVER\.MAX_ITER"):
        resolved(a_config(options={"SOLVER": {"MAX_ITER": "many"}}))
    with pytest.raises(ConfigKeyError, match="iteration"):
        OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create({"iteration": 3}))


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ((a_set("mini_train"),), "exactly those of DATASETS in .*, mini_train, mini_val; found mini_train$"),
        ((a_set("mini_train"), a_set("mini_val"), a_set("more")), "found mini_train, mini_val, more"),
        ((a_set("mini_train"), a_set("val")), "found mini_train, val"),
        ((a_set("mini_train"), a_set("mini_val", CLASSES[::-1])), "classes differ: mini_train has 0, 1, .*"),
        (
            (a_set("mini_train", CLASSES[:3]), a_set("mini_val", CLASSES[:3])),
            r"NUM_CLASSES is 10, but mini_train has 3 classes: 0, 1, 2",
        ),
        (
            (a_set("mini_train", kind="voc"), a_set("mini_val", kind="voc")),
            r"MODEL\.MASK_ON: VOC's boxes have no masks",
        ),
    ],
)
def test_sets_that_do_not_fit_are_refused(sets: tuple[Registered, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolved(a_config(), None, *sets)


def test_two_training_sets_are_one_training_and_two_test_sets_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "DATASETS: {TRAIN: [mini_train, more]}")
    sets = (a_set("mini_train"), a_set("more"), a_set("mini_val"))
    assert resolved(a_config(path), None, *sets).DATASETS.TRAIN == ("mini_train", "more")
    path = write(tmp_path, "DATASETS: {TEST: [mini_val, more]}")
    with pytest.raises(ValueError, match="expected training sets and one test set"):
        resolved(a_config(path), None, *sets)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        ("MAX_ITER: 0", r"SOLVER\.MAX_ITER: expected at least 1, found 0"),
        ("WARMUP_ITERS: 300", r"WARMUP_ITERS: expected at least 0 and below MAX_ITER 300, found 300"),
        ("WARMUP_ITERS: -1", r"WARMUP_ITERS: expected at least 0"),
        ("STEPS: [300]", r"STEPS: expected rising iterations below MAX_ITER 300, found \[300\]"),
        ("STEPS: [200, 100]", r"STEPS: expected rising iterations"),
        ("REFERENCE_WORLD_SIZE: 8", r"REFERENCE_WORLD_SIZE: expected 0, found 8; detectron2 would rescale"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(tmp_path: Path, solver: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolved(a_config(write(tmp_path, f"SOLVER: {{{solver}}}")))


@pytest.mark.parametrize("test", ["AUG: {ENABLED: true}", "EXPECTED_RESULTS: [[bbox, AP, 38.5, 0.2]]"])
def test_what_only_detectron2s_own_script_does_is_refused(tmp_path: Path, test: str) -> None:
    with pytest.raises(ValueError, match=r"TEST\.(AUG\.ENABLED|EXPECTED_RESULTS): found .*; remove it"):
        resolved(a_config(write(tmp_path, f"TEST: {{{test}}}")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choose_on": "val"}, "choose_on: expected holdout or test, found 'val'"),
        ({"evaluator": "coco"}, "evaluator: expected hotcoco or pycocotools"),
        ({"accumulate": 0}, "accumulate: expected at least 1, found 0"),
        ({"images_per_batch": -1}, "images_per_batch: expected at least 0"),
        ({"holdout_images": -1}, "holdout_images: expected at least 0"),
        ({"checkpoint_period": -1}, "checkpoint_period: expected at least 0"),
        ({"num_workers": -1}, "num_workers: expected at least 0"),
        ({"learning_rates": [0.1, 0.0]}, r"learning_rates: expected positive numbers, found \[0\.1, 0\.0\]"),
        ({"learning_rates": [float("nan")]}, "learning_rates: expected positive"),
        ({"protocol": "p@batch4"}, "expected an id without @"),
        (
            {"images_per_batch": 8, "options": {"SOLVER": {"IMS_PER_BATCH": 8}}},
            "IMS_PER_BATCH beside images_per_batch: expected one of them",
        ),
    ],
)
def test_a_task_configuration_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        a_config(**changes)


def test_the_small_stem_is_refused_before_training(tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path / "cifar.safetensors", "resnet18-cifar")
    with pytest.raises(ValueError, match="use the classification tasks"):
        resolved(a_config(), backbone.info)


def test_a_yaml_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "detector.yaml"
    with pytest.raises(FileNotFoundError, match=r"detector\.yaml: no such detectron2 configuration"):
        a_config(path)
    path.write_text("_BASE_: absent.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"detector\.yaml, whose _BASE_ is .*absent\.yaml: no such"):
        a_config(path)
    path.write_text("_BASE_: detector.yaml\n")
    with pytest.raises(ValueError, match=r"a chain of _BASE_ that never ends"):
        a_config(path)
    for text, message in (
        ("MODEL: {MASK_ON: true}\n", "expected VERSION: 2"),
        ("VERSION: 1\n", "expected VERSION: 2"),
        ("- 1\n", "expected keys and values, found list"),
        ("A: [\n", "expected plain YAML"),
        ("A: !!python/object/apply:eval ['1']\nVERSION: 2\n", "expected plain YAML"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            a_config(path)


def test_a_yaml_is_read_as_detectron2_reads_it(tmp_path: Path) -> None:
    from detectron2.config import get_cfg

    write(tmp_path, "SOLVER: {STEPS: '(5, 7)', BASE_LR: 1e-3, WEIGHT_DECAY: 0.5}", "base.yaml")
    path = tmp_path / "detector.yaml"
    path.write_text("_BASE_: base.yaml\nSOLVER: {BASE_LR: 2e-3}\nMODEL: {MASK_ON: 'False'}\n")
    values = read_values(path)
    assert (values["SOLVER.STEPS"], values["SOLVER.BASE_LR"], values["MODEL.MASK_ON"]) == (
        [5, 7],
        2e-3,
        False,
    )
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    for key, value in values.items():
        node: Any = cfg
        for part in key.split("."):
            node = node[part]
        assert (list(node) if isinstance(node, tuple) else node) == value, key


def test_what_deviates_is_in_the_protocol() -> None:
    plain = a_config()
    assert protocol_of(plain) == "p"
    for same in (
        {"images_per_batch": 4},
        {"learning_rates": [0.04]},
        {"learning_rates": [0.01, 0.1]},  # searched: the protocol's matter
        {"options": {"SOLVER": {"MAX_ITER": 300, "STEPS": [260]}}},
        {"seed": 5, "num_workers": 3, "evaluator": "pycocotools", "checkpoint_period": 9},
    ):
        assert protocol_of(replace(plain, **same)) == "p", same
    assert protocol_of(replace(plain, images_per_batch=2, accumulate=2)) == "p@batch2,accumulate2"
    assert protocol_of(replace(plain, learning_rates=[0.05])) == "p@lr=0.05"
    options = {"SOLVER": {"STEPS": [30, 40], "MAX_ITER": 50}, "MODEL": {"MASK_ON": True}}
    assert protocol_of(replace(plain, options=options)) == "p@SOLVER.MAX_ITER=50,SOLVER.STEPS=[30;40]"
    assert protocol_of(replace(plain, learning_rates=[0.05]), 0.04) == "p@lr=0.04", "a point of a search"


def test_metrics_follow_masks_and_sets(tmp_path: Path) -> None:
    boxes = ("box_ap", "box_ap50", "box_ap75", "box_ap_small", "box_ap_medium", "box_ap_large")
    masks = tuple(name.replace("box", "mask") for name in boxes)
    assert metric_names(a_config()) == (*boxes, *masks)
    no_masks = {"MODEL": {"MASK_ON": False}}
    assert metric_names(a_config(options=no_masks)) == boxes
    assert metric_names(a_config(sets={"voc_2007_test": VOC}, options=no_masks)) == boxes[:3]
    (tmp_path / "defaults.yaml").write_text("VERSION: 2\n")
    assert metric_names(a_config(tmp_path / "defaults.yaml")) == boxes, "detectron2's default has no masks"


def test_protocol_and_metrics_need_no_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = [name for name in sys.modules if name.split(".")[0] in ("detectron2", "fvcore")]
    for name in {"detectron2", "fvcore", *loaded}:
        monkeypatch.setitem(sys.modules, name, None)  # importing it is an error
    config = a_config(options={"SOLVER": {"MAX_ITER": 50}})
    assert protocol_of(config) == "p@SOLVER.MAX_ITER=50"
    assert len(metric_names(config)) == 12
    with pytest.raises(ImportError):
        resolved(config)
