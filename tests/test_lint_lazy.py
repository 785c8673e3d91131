"""detectron2's LazyConfig against weights, starting from its own model zoo."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest
from detect_scene import DETECTRON2
from lint_scene import findings_of, names, repaired, settings

from transfer.config_files import KINDS, read_config

pytestmark = DETECTRON2
CLEAN = """
from detectron2.model_zoo import get_config

cfg = get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_{head}_1x.py")
model, train, dataloader = cfg.model, cfg.train, cfg.dataloader
optimizer, lr_multiplier = cfg.optimizer, cfg.lr_multiplier
resnet = model.backbone if "{head}" == "C4" else model.backbone.bottom_up
stages = [resnet.stages] + ([model.roi_heads.res5] if "{head}" == "C4" else [])
model.input_format = dataloader.train.mapper.image_format = "RGB"
model.pixel_mean = [123.675, 116.28, 103.53]
model.pixel_std = [58.395, 57.12, 57.375]
resnet.freeze_at = 0
for part in [resnet.stem, *stages]:
    part.norm = "SyncBN"
for part in stages:
    part.stride_in_1x1 = False
train.init_checkpoint = "mec.pkl"
del cfg, part, resnet, stages
"""
MISTAKES = {
    "channel-order": "dataloader.train.mapper.image_format = 'BGR'",
    "pixel-mean": "model.pixel_mean = [103.53, 116.28, 123.675]",
    "pixel-std": "model.pixel_std = [1.0, 1.0, 1.0]",
    "stride-in-1x1": "model.roi_heads.res5.stride_in_1x1 = True",
    "frozen-stages": "model.backbone.freeze_at = 2",
    "frozen-norm": "model.backbone.stem.norm = 'FrozenBN'",
    "norm-type": "model.roi_heads.res5.norm = 'GN'",
    "depth": "model.backbone.stages.depth = 101",
    "groups": "model.backbone.stages.num_groups = 32",
    "pretrained-url": "train.init_checkpoint = 'https://host/r50.pkl'",
    "other-weights": "train.init_checkpoint = 'moco.pkl'",
    "no-weights": "train.init_checkpoint = ''",
    "learning-rate": "dataloader.train.total_batch_size = 8; train.max_iter = 180000; "
    "lr_multiplier.warmup_length = 1000 / 90000",
    "schedule": "train.max_iter = 50000",
}


def write(folder: Path, head: str = "C4", extra: str = "") -> Path:
    path = folder / "config.py"
    path.write_text(CLEAN.replace("{head}", head) + extra + "\n")
    return path


def test_a_corrected_zoo_configuration_lacks_only_the_extra_norm(tmp_path: Path) -> None:
    assert names(findings_of(write(tmp_path), "mec.pkl")) == ["extra-norm"]
    assert findings_of(write(tmp_path, "FPN"), "mec.pkl") == []


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_alone_is_found_by_name_and_fixed(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, extra=MISTAKES[name])
    assert names(findings_of(path, "mec.pkl")) == sorted([name, "extra-norm"])
    assert names(repaired(path, "mec.pkl", tmp_path / "fixed.yaml")) == ["extra-norm"]
    assert names(findings_of(tmp_path / "fixed.yaml", "mec.pkl")) == ["extra-norm"]


@pytest.mark.parametrize("head", ["C4", "FPN"])
def test_the_zoos_own_configuration_makes_every_mistake(head: str, tmp_path: Path) -> None:
    import detectron2

    path = Path(detectron2.__file__).parent / "model_zoo/configs/COCO-InstanceSegmentation"
    path = path / f"mask_rcnn_R_50_{head}_1x.py"
    found = findings_of(path, "mec.pkl")
    classic = {"channel-order", "pixel-mean", "pixel-std", "stride-in-1x1", "frozen-stages", "frozen-norm"}
    assert set(names(found)) - {"extra-norm"} == {*classic, "pretrained-url"}
    left = repaired(path, "mec.pkl", tmp_path / "fixed.yaml")
    assert names(left) == (["extra-norm"] if head == "C4" else [])


def test_the_fixed_configuration_can_be_instantiated(tmp_path: Path) -> None:
    from detectron2.config import LazyConfig, instantiate

    path = write(
        tmp_path, extra="; ".join(MISTAKES[name] for name in ("frozen-norm", "frozen-stages", "depth"))
    )
    repaired(path, "mec.pkl", tmp_path / "fixed.yaml")
    backbone = instantiate(LazyConfig.load(str(tmp_path / "fixed.yaml")).model.backbone)
    assert len(backbone.res4) == 6  # of a ResNet-50; 23 in the mistaken one
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert type(backbone.stem.conv1.norm).__name__ == "NaiveSyncBatchNorm"


def test_stages_listed_by_hand_are_compared_one_by_one(tmp_path: Path) -> None:
    stages = """
from detectron2.config import LazyCall as L
from detectron2.modeling.backbone import BottleneckBlock, ResNet

model.backbone.stages = [
    L(ResNet.make_stage)(
        block_class=BottleneckBlock, num_blocks=n, stride_per_block=[s] + [1] * (n - 1), in_channels=i,
        out_channels=o, bottleneck_channels=o // 2, num_groups=32, norm="BN",
    )
    for n, s, i, o in ((3, 1, 64, 256), (4, 2, 256, 512), (6, 2, 512, 1024))
]
model.roi_heads.res5.bottleneck_channels, model.roi_heads.res5.num_groups = 1024, 32
"""
    path = write(tmp_path, extra=stages)
    assert names(findings_of(path, "mec.pkl", "resnext50_32x4d")) == ["extra-norm"]
    found = settings(findings_of(path, "mec.pkl", "resnet50"))
    assert found["model.backbone.stages.1.bottleneck_channels"] == 256
    assert found["model.backbone.stages.2.num_groups"] == 32


def test_default_stages_have_one_width(tmp_path: Path) -> None:
    found = findings_of(write(tmp_path), "mec.pkl", "resnext50_32x4d")
    advice = [
        finding.advice for finding in found if finding.setting == "model.backbone.stages.bottleneck_channels"
    ]
    assert advice == ["make_default_stages has one width; list the stages as calls of ResNet.make_stage"]


def test_a_url_inside_a_wrapped_mmdet_model_is_found(tmp_path: Path) -> None:
    import detectron2

    path = Path(detectron2.__file__).parent / "model_zoo/configs/Misc/mmdet_mask_rcnn_R_50_FPN_1x.py"
    found = findings_of(path, "mec.pkl")
    assert names(found) == ["network", "no-weights", "pretrained-url"]
    assert settings(found)["model.detector.pretrained"] == "torchvision://resnet50"


def test_a_configuration_that_yaml_cannot_hold_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, extra="model.extra = lambda x: x")
    with pytest.raises(ValueError, match="cannot dump it as YAML"):
        repaired(path, "mec.pkl", tmp_path / "fixed.yaml")
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.py"]


@pytest.mark.usefixtures("trusted")
def test_a_file_that_raises_is_one_line_and_leaves_python_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text("import detectron2\nraise RuntimeError('by design')\n")
    importer = builtins.__import__
    with pytest.raises(ValueError, match=r"config\.py: cannot be read .*RuntimeError: by design"):
        read_config(KINDS["detectron2 LazyConfig"], path)
    assert builtins.__import__ is importer
