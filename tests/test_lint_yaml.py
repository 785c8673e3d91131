"""Detectron2's YAML against weights: MoCo's configuration is clean, each classic mistake has a name."""

from __future__ import annotations

from pathlib import Path

import pytest
from detect_scene import DETECTRON2
from lint_scene import findings_of, names, repaired, settings, write_moco

from transfer.findings import NAMES, WARNING

pytestmark = DETECTRON2
# What detectron2's defaults do to a torchvision-style backbone, one at a time.
MISTAKES = {
    "channel-order": "INPUT: {FORMAT: BGR}",
    "pixel-std": "MODEL: {PIXEL_STD: [1.0, 1.0, 1.0]}",
    "stride-in-1x1": "MODEL: {RESNETS: {STRIDE_IN_1X1: True}}",
    "frozen-stages": "MODEL: {BACKBONE: {FREEZE_AT: 2}}",
    "frozen-norm": "MODEL: {RESNETS: {NORM: FrozenBN}}",
}
ALL = """
INPUT: {FORMAT: BGR}
MODEL:
  PIXEL_STD: [1.0, 1.0, 1.0]
  RESNETS: {STRIDE_IN_1X1: True, NORM: FrozenBN}
  BACKBONE: {FREEZE_AT: 2}
"""


def test_mocos_configuration_is_clean(tmp_path: Path) -> None:
    assert findings_of(write_moco(tmp_path), "mec.pkl") == []


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_alone_is_found_by_name_and_fixed(name: str, tmp_path: Path) -> None:
    path = write_moco(tmp_path / "in", MISTAKES[name])
    assert names(findings_of(path, "mec.pkl")) == [name]
    assert repaired(path, "mec.pkl", tmp_path / "fixed.yaml") == []
    assert findings_of(tmp_path / "fixed.yaml", "mec.pkl") == []


def test_all_mistakes_together_are_found_and_fixed(tmp_path: Path) -> None:
    path = write_moco(tmp_path / "in", ALL)
    assert names(findings_of(path, "mec.pkl")) == sorted(MISTAKES)
    assert repaired(path, "mec.pkl", tmp_path / "fixed.yaml") == []


def test_the_fixed_file_keeps_its_bases_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = write_moco(tmp_path / "in", ALL + "DATALOADER: {NUM_WORKERS: 3}\n")
    repaired(path, "mec.pkl", tmp_path / "deep" / "er" / "fixed.yaml")
    text = (tmp_path / "deep" / "er" / "fixed.yaml").read_text()
    assert "_BASE_: ../../in/pascal_voc_R_50_C4_24k_moco.yaml" in text
    assert "NUM_WORKERS: 3" in text
    assert "MAX_ITER" not in text  # the base's
    assert [entry.name for entry in (tmp_path / "deep" / "er").iterdir()] == ["fixed.yaml"]


def test_a_base_behind_a_link_is_still_found(tmp_path: Path) -> None:
    write_moco(tmp_path / "real" / "in", ALL)
    (tmp_path / "in").symlink_to(tmp_path / "real" / "in")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "a" / "b")
    assert repaired(tmp_path / "in" / "mine.yaml", "mec.pkl", tmp_path / "out" / "fixed.yaml") == []


def test_a_yaml_that_calls_python_is_written_without_the_call(tmp_path: Path) -> None:
    path = write_moco(
        tmp_path, "MODEL: {ANCHOR_GENERATOR: {SIZES: !!python/object/apply:eval ['[[2**5, 2**6]]']}}"
    )
    with path.open("a") as handle:
        handle.write("INPUT: {FORMAT: BGR}\n")
    assert repaired(path, "mec.pkl", tmp_path / "fixed.yaml") == []
    assert "python" not in (tmp_path / "fixed.yaml").read_text()


def test_an_allowed_mistake_stays_in_the_fixed_file(tmp_path: Path) -> None:
    path = write_moco(tmp_path, ALL)
    left = repaired(path, "mec.pkl", tmp_path / "fixed.yaml", allow=["frozen-stages"])
    assert names(left) == ["frozen-stages"]


def test_detectron2s_defaults_make_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "defaults.yaml"
    path.write_text("VERSION: 2\n")
    found = findings_of(path, "mec.pkl")
    errors = {finding.name for finding in found if finding.level != WARNING}
    assert errors == {*MISTAKES, "pixel-mean", "no-weights"}
    warnings = {finding.name for finding in found if finding.level == WARNING}
    assert warnings == {"extra-norm", "learning-rate"}
    left = repaired(path, "mec.pkl", tmp_path / "fixed.yaml")
    assert names(left) == ["extra-norm"], "its head takes code that detectron2 lacks"
    assert "transfer/detect/heads.py" in left[0].advice
    assert "PRECISE_BN" in (tmp_path / "fixed.yaml").read_text(), "norms that train want precise statistics"


def test_bgr_weights_want_bgr(tmp_path: Path) -> None:
    path = write_moco(tmp_path)
    header = {"pixel_order": "BGR", "pixel_mean": "0.406,0.456,0.485", "pixel_std": "0.225,0.224,0.229"}
    found = findings_of(path, "mec.pkl", **header)
    assert names(found) == ["channel-order", "pixel-mean", "pixel-std"]
    assert found[0].expected == "BGR"


def test_the_stride_of_a_basic_block_is_no_choice(tmp_path: Path) -> None:
    fpn = "MODEL: {BACKBONE: {NAME: build_resnet_fpn_backbone}, ROI_HEADS: {NAME: StandardROIHeads}, "
    path = write_moco(tmp_path, fpn + "RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, STRIDE_IN_1X1: True}}")
    assert findings_of(path, "mec.pkl", "resnet18") == []


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("resnet101", {"MODEL.RESNETS.DEPTH": 50}),
        ("resnext50_32x4d", {"MODEL.RESNETS.NUM_GROUPS": 1, "MODEL.RESNETS.WIDTH_PER_GROUP": 64}),
        ("wide_resnet50_2", {"MODEL.RESNETS.WIDTH_PER_GROUP": 64}),
        ("resnet18", {"MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm"}),  # the head has bottlenecks only
        ("resnet18-cifar", {"MODEL.BACKBONE.NAME": "build_resnet_backbone"}),
    ],
)
def test_another_network_is_named(arch: str, expected: dict[str, object], tmp_path: Path) -> None:
    found = findings_of(write_moco(tmp_path), "mec.pkl", arch)
    assert settings(found) == expected


def test_a_norm_that_is_no_batch_norm_is_named(tmp_path: Path) -> None:
    path = write_moco(tmp_path, "MODEL: {RESNETS: {NORM: GN}}")
    assert names(findings_of(path, "mec.pkl")) == ["norm-type"]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "pretrained-url"),
        ("https://host/moco.pkl", "pretrained-url"),
        ("moco.pkl", "other-weights"),
        ("''", "no-weights"),
    ],
)
def test_weights_from_elsewhere_are_named(value: str, name: str, tmp_path: Path) -> None:
    path = write_moco(tmp_path, f"MODEL: {{WEIGHTS: {value}}}")
    assert names(findings_of(path, "mec.pkl")) == [name]
    assert repaired(path, "mec.pkl", tmp_path / "fixed.yaml") == []


def test_the_head_and_the_statistics_of_the_published_protocol_are_warnings(tmp_path: Path) -> None:
    path = write_moco(
        tmp_path, "MODEL: {ROI_HEADS: {NAME: Res5ROIHeads}}\nTEST: {PRECISE_BN: {ENABLED: False}}"
    )
    assert names(findings_of(path, "mec.pkl")) == ["extra-norm", "precise-bn"]
    assert {NAMES[name].level for name in ("extra-norm", "precise-bn")} == {WARNING}
    fpn = "MODEL: {BACKBONE: {NAME: build_resnet_fpn_backbone}, ROI_HEADS: {NAME: StandardROIHeads}}"
    assert findings_of(write_moco(tmp_path, fpn), "mec.pkl") == [], "only a C4 head has the norm"


def test_half_the_batch_wants_half_the_rate_and_twice_the_length(tmp_path: Path) -> None:
    """The recipe of moco issue 11: IMS_PER_BATCH 8, BASE_LR 0.01, iterations doubled."""
    half = (
        "SOLVER: {IMS_PER_BATCH: 8, BASE_LR: 0.01, MAX_ITER: 48000, STEPS: [36000, 44000], WARMUP_ITERS: 200}"
    )
    assert findings_of(write_moco(tmp_path, half), "mec.pkl") == []
    found = findings_of(write_moco(tmp_path, "SOLVER: {IMS_PER_BATCH: 8}"), "mec.pkl")
    assert {finding.setting: finding.expected for finding in found} == {
        "SOLVER.BASE_LR": 0.02 / 2,
        "SOLVER.MAX_ITER": 24000 * 2,
        "SOLVER.STEPS": (18000 * 2, 22000 * 2),
        "SOLVER.WARMUP_ITERS": 100 * 2,
    }
    assert repaired(tmp_path / "mine.yaml", "mec.pkl", tmp_path / "fixed.yaml") == []


@pytest.mark.parametrize(("length", "steps"), [(90_000, (60_000, 80_000)), (180_000, (120_000, 160_000))])
def test_coco_is_trained_1x_or_2x(length: int, steps: tuple[int, int], tmp_path: Path) -> None:
    coco = "DATASETS: {{TRAIN: [coco_2017_train]}}\nSOLVER: {{MAX_ITER: {0}, STEPS: {1}, WARMUP_ITERS: 1000}}"
    assert findings_of(write_moco(tmp_path, coco.format(length, list(steps))), "mec.pkl") == []
    found = findings_of(write_moco(tmp_path, coco.format(length * 3 // 2, list(steps))), "mec.pkl")
    assert names(found) == ["schedule"]


PUBLISHED_RATES = {  # Barlow Twins App. C.2, VICReg App. C.3
    "VOC, Barlow Twins and VICReg": (
        "DATASETS: {TRAIN: [voc_2007_trainval, voc_2012_trainval]}\n"
        "SOLVER: {MAX_ITER: 24000, STEPS: [18000, 22000], BASE_LR: 0.1, WARMUP_ITERS: 1000}"
    ),
    "COCO, Barlow Twins": (
        "DATASETS: {TRAIN: [coco_2017_train]}\n"
        "SOLVER: {MAX_ITER: 90000, STEPS: [60000, 80000], BASE_LR: 0.03, WARMUP_ITERS: 1000}"
    ),
    "COCO, VICReg": (
        "DATASETS: {TRAIN: [coco_2017_train]}\n"
        "SOLVER: {MAX_ITER: 90000, STEPS: [60000, 80000], BASE_LR: 0.04, WARMUP_ITERS: 50}"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED_RATES)
def test_another_published_rate_is_no_departure(name: str, tmp_path: Path) -> None:
    published = PUBLISHED_RATES[name]
    assert findings_of(write_moco(tmp_path, published), "mec.pkl") == []
    before, _, after = published.partition("WARMUP_ITERS: ")
    other_warmup = f"{before}WARMUP_ITERS: 9{after}"  # then nobody's: compared with MoCo's schedule
    found = findings_of(write_moco(tmp_path, other_warmup), "mec.pkl")
    assert names(found) == ["learning-rate", "schedule"]
    assert found[0].expected == 0.02


def test_voc_2007_alone_is_trained_for_9000_iterations(tmp_path: Path) -> None:
    voc07 = "DATASETS: {TRAIN: [voc_2007_trainval]}\nSOLVER: {MAX_ITER: 9000, STEPS: [6750, 8250]}"
    assert findings_of(write_moco(tmp_path, voc07), "mec.pkl") == []
    found = findings_of(write_moco(tmp_path, voc07.replace("9000", "24000")), "mec.pkl")
    assert settings(found) == {"SOLVER.MAX_ITER": 24000}


def test_a_file_of_the_first_version_is_written_in_full(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("MODEL: {WEIGHT: old.pkl}\n")  # this key's name in detectron2's first version
    assert names(repaired(path, "mec.pkl", tmp_path / "fixed.yaml")) == ["extra-norm"]
    assert "VERSION: 2" in (tmp_path / "fixed.yaml").read_text()
