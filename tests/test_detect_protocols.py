"""The published detection protocols: every setting of a resolved configuration against a table written from
the papers and their code, not from our files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from detect_scene import CHECKOUT, DETECTRON2
from torch import nn

from transfer.backbone.contract import BackboneInfo
from transfer.detect.sets import Registered, SetFiles
from transfer.detect.settings import Config, metric_names, protocol_of, resolve
from transfer.detect.yaml_values import read_values
from transfer.evaluate import load_config
from transfer.findings import Weights, refuse, sort_out
from transfer.report.protocols import DETECT, check_task
from transfer.report.rows import read_rows
from transfer.suite.plan import load_suite
from transfer.tasks import TASKS

pytestmark = DETECTRON2
FOLDER = CHECKOUT / "configs" / "detect"
YAMLS = FOLDER / "detectron2"
Table = dict[str, Any]
INFO = BackboneInfo("m", "resnet50", "none", "1", "", "s", "0" * 64, "0")
RUN = ("MODEL.WEIGHTS", "MODEL.DEVICE", "OUTPUT_DIR", "SEED", "DATALOADER.NUM_WORKERS")  # no protocol's

# What every one of them leaves to detectron2 and what a ResNet-50 of torchvision's makes of the pixels
# (MoCo's *_moco.yaml: RGB in 0..1, the stride in the 3x3).
COMMON: Table = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.KEYPOINT_ON": False,
    "MODEL.PIXEL_MEAN": [123.675, 116.280, 103.530],
    "MODEL.PIXEL_STD": [58.395, 57.120, 57.375],
    "INPUT.FORMAT": "RGB",
    "INPUT.RANDOM_FLIP": "horizontal",
    "INPUT.CROP.ENABLED": False,
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    "INPUT.MAX_SIZE_TRAIN": 1333,
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MAX_SIZE_TEST": 1333,
    "INPUT.MASK_FORMAT": "polygon",
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
    "MODEL.RESNETS.RES5_DILATION": 1,
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,
    "MODEL.RPN.POSITIVE_FRACTION": 0.5,
    "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.7],
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.RPN.LOSS_WEIGHT": 1.0,
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": 1.0,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 512,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_HEADS.NUM_CLASSES": 80,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.NORM": "",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": False,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_MASK_HEAD.NORM": "",
    "SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR",
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.BASE_LR": 0.02,
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.NESTEROV": False,
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.WEIGHT_DECAY_BIAS": None,
    "SOLVER.BIAS_LR_FACTOR": 1.0,
    "SOLVER.GAMMA": 0.1,
    "SOLVER.WARMUP_METHOD": "linear",
    "SOLVER.WARMUP_FACTOR": 1 / 1000,
    "SOLVER.WARMUP_ITERS": 1000,
    "SOLVER.CLIP_GRADIENTS.ENABLED": False,
    "SOLVER.AMP.ENABLED": False,
    "SOLVER.REFERENCE_WORLD_SIZE": 0,
    "DATALOADER.SAMPLER_TRAIN": "TrainingSampler",
    "DATALOADER.ASPECT_RATIO_GROUPING": True,
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": True,
    "TEST.DETECTIONS_PER_IMAGE": 100,
    "TEST.AUG.ENABLED": False,
    "TEST.PRECISE_BN.NUM_ITER": 200,
}
C4: Table = {  # detectron2's Base-RCNN-C4.yaml and its defaults
    **COMMON,
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res4"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32, 64, 128, 256, 512]],
    "MODEL.RPN.IN_FEATURES": ["res4"],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 12000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 0,
}
MOCO: Table = {  # detection/configs/Base-RCNN-C4-BN.yaml at 7397dfe
    **C4,
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.NORM": "naiveSyncBN",
    "TEST.PRECISE_BN.ENABLED": True,
}
COCO_SIZES = (640, 672, 704, 736, 768, 800)
COCO_SETS: Table = {
    "MODEL.MASK_ON": True,
    "INPUT.MIN_SIZE_TRAIN": COCO_SIZES,
    "DATASETS.TRAIN": ("coco_2017_train",),
    "DATASETS.TEST": ("coco_2017_val",),
}
ONE: Table = {"SOLVER.STEPS": (60_000, 80_000), "SOLVER.MAX_ITER": 90_000}  # detectron2's 1x
VOC0712: Table = {  # pascal_voc_R_50_C4_24k.yaml
    **MOCO,
    "MODEL.MASK_ON": False,
    "MODEL.ROI_HEADS.NUM_CLASSES": 20,
    "INPUT.MIN_SIZE_TRAIN": tuple(range(480, 801, 32)),
    "DATASETS.TRAIN": ("voc_2007_trainval", "voc_2012_trainval"),
    "DATASETS.TEST": ("voc_2007_test",),
    "SOLVER.STEPS": (18_000, 22_000),
    "SOLVER.MAX_ITER": 24_000,
    "SOLVER.WARMUP_ITERS": 100,
}
BARLOW_VOC: Table = {  # App. C.2
    **VOC0712,
    "MODEL.RESNETS.NORM": "SyncBN",
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.WARMUP_FACTOR": 0.333,
    "SOLVER.WARMUP_ITERS": 1000,
}
PUBLISHED: dict[str, Table] = {
    "coco_R_50_C4_1x": {**MOCO, **COCO_SETS, **ONE},
    "coco_R_50_C4_2x": {
        **MOCO,
        **COCO_SETS,
        "SOLVER.STEPS": (120_000, 160_000),
        "SOLVER.MAX_ITER": 180_000,
    },
    "coco_R_50_C4_1x_barlow": {**MOCO, **COCO_SETS, **ONE, "SOLVER.BASE_LR": 0.03},  # App. C.2
    "coco_R_50_C4_1x_supervised": {  # detectron2's mask_rcnn_R_50_C4_1x.yaml
        **C4,
        **COCO_SETS,
        **ONE,
        "MODEL.ROI_HEADS.NAME": "Res5ROIHeads",
        "MODEL.BACKBONE.FREEZE_AT": 2,
        "MODEL.RESNETS.NORM": "FrozenBN",
        "TEST.PRECISE_BN.ENABLED": False,
    },
    "coco_R_50_FPN_1x": {  # VICReg App. C.3 on detectron2's Base-RCNN-FPN.yaml; norms as MoCo sec. 4.2
        **COMMON,
        **COCO_SETS,
        **ONE,
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.RESNETS.NORM": "naiveSyncBN",
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.NORM": "naiveSyncBN",
        "MODEL.FPN.OUT_CHANNELS": 256,
        "MODEL.FPN.FUSE_TYPE": "sum",
        "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
        "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 1024,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": 256,
        "SOLVER.BASE_LR": 0.04,
        "SOLVER.WARMUP_ITERS": 50,
        "TEST.PRECISE_BN.ENABLED": True,
    },
    "pascal_voc_R_50_C4_24k": VOC0712,
    "pascal_voc_R_50_C4_9k": {  # MoCo Table 4's length; derived: 18/24 and 22/24 of it
        **VOC0712,
        "DATASETS.TRAIN": ("voc_2007_trainval",),
        "SOLVER.STEPS": (9000 * 18 // 24, 9000 * 22 // 24),
        "SOLVER.MAX_ITER": 9000,
    },
    "pascal_voc_R_50_C4_24k_barlow": BARLOW_VOC,
    "pascal_voc_R_50_C4_24k_vicreg": {**BARLOW_VOC, "MODEL.RPN.LOSS_WEIGHT": 0.2},  # App. C.3
}
RUNNABLE = {  # task configuration -> protocol, dataset, detectron2 YAML, whether a learning rate is searched
    "voc07_c4_9k_mec": ("mec-faster-rcnn-c4", "voc07", "pascal_voc_R_50_C4_9k", True),
    "voc07_c4_9k_simsiam": ("simsiam-faster-rcnn-c4", "voc07", "pascal_voc_R_50_C4_9k", True),
    "voc0712_c4_24k_mec": ("mec-faster-rcnn-c4-24k", "voc07+12", "pascal_voc_R_50_C4_24k", True),
    "voc0712_c4_24k_simsiam": ("simsiam-faster-rcnn-c4", "voc07+12", "pascal_voc_R_50_C4_24k", True),
    "voc0712_c4_24k_moco": ("moco-faster-rcnn-c4-24k", "voc07+12", "pascal_voc_R_50_C4_24k", False),
    "voc0712_c4_24k_barlow": (
        "barlow-faster-rcnn-c4-24k",
        "voc07+12",
        "pascal_voc_R_50_C4_24k_barlow",
        False,
    ),
    "voc0712_c4_24k_vicreg": (
        "vicreg-faster-rcnn-c4-24k",
        "voc07+12",
        "pascal_voc_R_50_C4_24k_vicreg",
        False,
    ),
    "coco_c4_1x_mec": ("mec-mask-rcnn-c4-1x", "coco2017", "coco_R_50_C4_1x", True),
    "coco_c4_1x_simsiam": ("simsiam-mask-rcnn-c4-1x", "coco2017", "coco_R_50_C4_1x", True),
    "coco_c4_1x_barlow": ("barlow-mask-rcnn-c4-1x", "coco2017", "coco_R_50_C4_1x_barlow", False),
    "coco_c4_2x_moco": ("moco-mask-rcnn-c4-2x", "coco2017", "coco_R_50_C4_2x", False),
    "coco_fpn_1x_vicreg": ("vicreg-mask-rcnn-fpn-1x", "coco2017", "coco_R_50_FPN_1x", False),
    "coco_c4_1x_detectron2": ("detectron2-mask-rcnn-c4-1x", "coco2017", "coco_R_50_C4_1x_supervised", False),
}
# Of published.csv, what cannot be run: BYOL's own, with a frozen backbone and 1.5M asynchronous steps.
NOT_RUN = {("voc07", "byol-faster-rcnn-c4-frozen"), ("coco2017", "unknown")}


def flat(node: Any, prefix: str = "") -> Table:
    """A detectron2 configuration by dotted name."""
    found: Table = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if hasattr(value, "items") else {f"{prefix}{key}": value}
    return found


@cache
def defaults() -> Table:
    from detectron2.config import get_cfg

    return flat(get_cfg())


def resolved(path: Path, classes: int, **options: Any) -> Any:
    """The configuration of a run on the YAML's own sets."""
    values = read_values(path)
    names = (*values["DATASETS.TRAIN"], *values["DATASETS.TEST"])
    kind = "voc" if classes == 20 else "coco"
    labels = tuple(map(str, range(classes)))
    sets = {name: Registered(name, kind, 1, 1, labels, SetFiles()) for name in names}
    config = Config(dataset="d", protocol="p", detectron2_path=str(path), device="cpu", options=options)
    return resolve(config, INFO, Path("w.pkl"), sets, Path("out"))


def deviations(cfg: Any, published: Table) -> Table:
    """Settings that are not the table's, and settings that are neither the table's nor detectron2's."""
    found = flat(cfg)
    wrong = {key: found[key] for key, value in published.items() if not same(found[key], value)}
    beside = found.keys() - published.keys() - set(RUN)
    return wrong | {key: found[key] for key in beside if not same(found[key], defaults()[key])}


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, rel=1e-6))
    return type(found) is type(expected) and bool(found == expected)


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 if value else type(value)(1)
    if isinstance(value, str):
        return value + "X"
    return [*value[:-1], other(value[-1])]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_yaml_is_the_published_protocol_key_by_key(name: str) -> None:
    published = PUBLISHED[name]
    cfg = resolved(YAMLS / f"{name}.yaml", published["MODEL.ROI_HEADS.NUM_CLASSES"])
    assert deviations(cfg, published) == {}
    assert set(read_values(YAMLS / f"{name}.yaml")) <= set(published), "a key that no source is given for"


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_key_that_is_changed_is_seen(name: str, tmp_path: Path) -> None:
    """In the table each key in turn; in the file each key that it and its bases set."""
    published, path = PUBLISHED[name], YAMLS / f"{name}.yaml"
    classes = published["MODEL.ROI_HEADS.NUM_CLASSES"]
    cfg = resolved(path, classes)
    for key, value in published.items():
        changed = 1e-4 if value is None else other(value)
        assert list(deviations(cfg, {**published, key: changed})) == [key]
    for key in set(defaults()) - set(published) - set(RUN):
        changed = cfg.clone()
        changed.defrost()
        node: Any = changed
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        setattr(node, last, "changed")
        assert list(deviations(changed, published)) == [key]
    for key, value in read_values(path).items():
        tree: Any = other(value)
        for part in reversed(key.split(".")):
            tree = {part: tree}
        mutant = tmp_path / "mutant.yaml"
        mutant.write_text(yaml.safe_dump({"_BASE_": str(path), **tree}))
        # Other classes than the sets', masks of VOC, and twice the last step, which is behind the end.
        masks_of_voc = key == "MODEL.MASK_ON" and classes == 20
        if key in ("MODEL.ROI_HEADS.NUM_CLASSES", "SOLVER.STEPS") or masks_of_voc:
            with pytest.raises(ValueError, match=key):
                resolved(mutant, classes)
        else:
            assert list(deviations(resolved(mutant, classes), published)) == [key]


def test_every_yaml_is_in_the_table_or_our_own() -> None:
    small = {"mask_rcnn_r18_fpn_mini", "mask_rcnn_fpn_coco200", "mask_rcnn_fpn_coco200_person"}
    ours = {*small, "Base-RCNN-C4-BN"}
    assert {path.stem for path in YAMLS.glob("*.yaml")} == {*PUBLISHED, *ours}


@pytest.mark.parametrize("path", sorted(YAMLS.glob("*.yaml")), ids=lambda path: path.stem)
def test_detectron2_itself_reads_every_yaml(path: Path) -> None:
    from detectron2.config import get_cfg
    from detectron2.modeling import ROI_HEADS_REGISTRY

    from transfer.detect.heads import register_heads

    cfg = get_cfg()
    cfg.merge_from_file(str(path), allow_unsafe=False)
    register_heads()
    register_heads()  # harmless
    assert cfg.MODEL.ROI_HEADS.NAME in ROI_HEADS_REGISTRY
    assert all(same(flat(cfg)[key], value) for key, value in read_values(path).items())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_task_configuration_loads_and_passes_the_lint(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transfer.detect.lint_yaml import find

    for name in ("MEC_TRANSFER_DATA", "DETECTRON2_DATASETS"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(CHECKOUT)
    config = load_config(TASKS["detect"], path)
    check_task("detect", config.protocol)
    assert protocol_of(config) == config.protocol, "a configuration of ours is a protocol without deviation"
    values = read_values(Path(config.detectron2_path))
    labels = tuple(map(str, range(values.get("MODEL.ROI_HEADS.NUM_CLASSES", 80))))
    kinds = {name: "voc" if files.voc_dir else "coco" for name, files in config.sets.items()}
    sets = {name: Registered(name, kinds[name], 1, 1, labels, config.sets[name]) for name in kinds}
    arch = "resnet50" if path.stem in RUNNABLE else "resnet18"
    info = BackboneInfo("m", arch, "none", "1", "", "s", "0" * 64, "0")
    cfg = resolve(config, info, Path("w.pkl"), sets, tmp_path)
    findings = find(cfg, Weights.at(Path("w.pkl"), info))
    refuse(findings, config.allow, str(path))
    if path.stem in RUNNABLE:
        warnings = {finding.name for finding in sort_out(findings, config.allow, str(path)).warnings}
        assert warnings == ({"extra-norm"} if path.stem == "coco_c4_1x_detectron2" else set())


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_task_configuration_is_of_its_protocol(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", "DIR")
    monkeypatch.chdir(CHECKOUT)
    config = load_config(TASKS["detect"], FOLDER / f"{name}.yaml")
    found = (config.protocol, config.dataset, Path(config.detectron2_path).stem, bool(config.learning_rates))
    assert found == RUNNABLE[name]
    assert (config.images_per_batch, config.accumulate, config.options) == (0, 1, {})
    assert config.split == ("val" if config.dataset == "coco2017" else "test")
    if config.learning_rates:  # the grid is ours; MoCo's rate is in it
        assert 0.02 in config.learning_rates
        assert config.choose_on == "holdout"
    assert bool(config.holdout_images) == bool(config.learning_rates)
    if config.dataset == "coco2017":
        assert len(metric_names(config)) == 12
        assert config.sets == {
            f"coco_2017_{split}": SetFiles(
                f"DIR/coco/annotations/instances_{split}2017.json", f"DIR/coco/{split}2017"
            )
            for split in ("train", "val")
        }
    else:
        assert metric_names(config) == ("box_ap", "box_ap50", "box_ap75")
        places = {
            set_name: (files.voc_dir, files.split, files.year) for set_name, files in config.sets.items()
        }
        both = {"voc_2012_trainval": ("DIR/VOC2012", "trainval", 2012)} if config.dataset != "voc07" else {}
        assert places == {
            "voc_2007_trainval": ("DIR/VOC2007", "trainval", 2007),
            "voc_2007_test": ("DIR/VOC2007", "test", 2007),
            **both,
        }


def test_whatever_is_published_can_be_run_but_what_cannot() -> None:
    rows = read_rows(CHECKOUT / "results" / "published.csv")
    published = {(row.dataset, row.protocol) for row in rows if row.task == "detect"}
    runnable = {(dataset, protocol) for protocol, dataset, _, _ in RUNNABLE.values()}
    assert published - runnable == NOT_RUN
    assert runnable - published == {("coco2017", "moco-mask-rcnn-c4-2x")}, "no number by the 2x schedule"
    ours = {"mask-rcnn-r18-fpn-mini", "mask-rcnn-fpn-coco200", "mask-rcnn-fpn-coco200-person"}
    assert {protocol for _, protocol in published | runnable} - {"unknown"} == set(DETECT) - ours


def test_the_suite_runs_every_published_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", "DIR")
    monkeypatch.chdir(CHECKOUT)
    lines = load_suite(CHECKOUT / "configs/suite/detection.yaml").tasks
    assert {Path(line.config).stem for line in lines} == set(RUNNABLE) - {"coco_c4_1x_detectron2"}


def an_input(num_classes: int, masks: bool) -> dict[str, Any]:
    """One image with two objects, as detectron2's mapper makes it."""
    from detectron2.structures import BitMasks, Boxes, Instances

    side = 64
    image = torch.randint(0, 255, (3, side, side), generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[4.0, 4.0, 36.0, 40.0], [20.0, 16.0, 60.0, 56.0]])
    instances = Instances((side, side), gt_boxes=Boxes(boxes), gt_classes=torch.tensor([0, num_classes - 1]))
    if masks:
        pixels = torch.zeros(2, side, side, dtype=torch.bool)
        pixels[0, 4:40, 4:36] = pixels[1, 16:56, 20:60] = True
        instances.gt_masks = BitMasks(pixels)
    return {"image": image, "instances": instances, "height": side, "width": side}


def a_model(name: str, classes: int, **heads: Any) -> nn.Module:
    """The YAML's own detector with few proposals."""
    from detectron2.modeling import build_model

    options = {
        "INPUT": {"MASK_FORMAT": "bitmask"},
        "MODEL": {
            "RPN": {"POST_NMS_TOPK_TRAIN": 8, "POST_NMS_TOPK_TEST": 4},
            "ROI_HEADS": {"BATCH_SIZE_PER_IMAGE": 8, **heads},
        },
    }
    torch.manual_seed(0)
    model: nn.Module = build_model(resolved(YAMLS / f"{name}.yaml", classes, **options))
    return model


@pytest.mark.parametrize(("name", "classes"), [("coco_R_50_C4_1x", 80), ("pascal_voc_R_50_C4_9k", 20)])
def test_the_extra_norm_trains_behind_res5(name: str, classes: int) -> None:
    from detectron2.layers import NaiveSyncBatchNorm
    from detectron2.utils.events import EventStorage

    model = a_model(name, classes)
    norm = model.roi_heads.res5.norm
    assert isinstance(norm, NaiveSyncBatchNorm), "it joins processes where there are several"
    assert norm is list(model.roi_heads.res5)[-1]
    assert (norm.num_features, len(model.roi_heads.res5)) == (2048, 4)
    before = norm.running_mean.clone()
    with EventStorage():
        losses = model([an_input(classes, masks=classes == 80)] * 2)
    assert ("loss_mask" in losses) == (classes == 80)
    sum(losses.values()).backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.abs().sum() > 0
    assert not torch.equal(norm.running_mean, before)
    stem = model.backbone.stem.conv1
    assert stem.weight.grad.abs().sum() > 0, "every layer is fine-tuned"
    assert isinstance(stem.norm, NaiveSyncBatchNorm)


def test_box_and_mask_predictors_read_the_extra_norm() -> None:
    model = a_model("coco_R_50_C4_1x", 80).eval()
    seen: dict[str, torch.Tensor] = {}
    norm, heads = model.roi_heads.res5.norm, model.roi_heads
    nn.init.zeros_(norm.weight)
    nn.init.ones_(norm.bias)
    heads.box_predictor.register_forward_pre_hook(lambda _, args: seen.update(box=args[0]))
    heads.mask_head.deconv.register_forward_pre_hook(lambda _, args: seen.update(mask=args[0]))
    nn.init.constant_(heads.box_predictor.cls_score.bias, 0.0)
    nn.init.constant_(heads.box_predictor.cls_score.bias[:1], 9.0)  # class 0: so that there are masks
    with torch.no_grad():
        model([an_input(80, masks=True)])
    assert torch.equal(seen["box"], torch.ones_like(seen["box"]))
    assert len(seen["mask"]) > 0
    assert torch.equal(seen["mask"], torch.ones_like(seen["mask"]))


def test_the_head_differs_from_detectron2s_by_mocos_four_tensors() -> None:
    """detection/train_net.py at 7397dfe: ``self.res5.add_module("norm", ...)``; so its detectors load."""
    ours = a_model("coco_R_50_C4_1x", 80).state_dict()
    plain = a_model("coco_R_50_C4_1x", 80, NAME="Res5ROIHeads").state_dict()
    names = {f"roi_heads.res5.norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert {key for key in ours if key not in plain and "num_batches" not in key} == names
    assert set(plain) < set(ours)


def test_a_head_without_a_norm_to_add_is_refused() -> None:
    from detectron2.modeling import build_model

    cfg = resolved(YAMLS / "coco_R_50_C4_1x.yaml", 80, MODEL={"RESNETS": {"NORM": ""}})
    with pytest.raises(ValueError, match=r"MODEL\.RESNETS\.NORM: Res5ROIHeadsExtraNorm needs one"):
        build_model(cfg)
