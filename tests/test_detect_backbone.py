"""A converted backbone inside detectron2's own detectors is the same network, or is refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from detect_scene import DETECTRON2, make_backbone, rename_tensor
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from transfer.backbone.architecture import STAGES, stage_features
from transfer.backbone.contract import Backbone, build_resnet
from transfer.backbone.targets import write_detectron2

pytestmark = DETECTRON2
IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("small") / "backbone.safetensors", "resnet18")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("large") / "backbone.safetensors", "resnet50")


def largest_difference(backbone: Backbone, weights_path: Path, architecture: str) -> dict[str, float]:
    """Largest absolute difference a stage, relative to that stage's largest feature."""
    from transfer.detect.backbone import features

    with torch.no_grad():
        expected = stage_features(build_resnet(backbone), IMAGES)
    found = features(weights_path, backbone.info, IMAGES, architecture)
    assert tuple(found) == STAGES
    return {s: float((found[s] - expected[s]).abs().max() / expected[s].abs().max()) for s in STAGES}


@pytest.mark.parametrize(("arch", "architecture"), [("small", "fpn"), ("large", "fpn"), ("large", "c4")])
def test_features_equal_torchvision(
    arch: str, architecture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    backbone: Backbone = request.getfixturevalue(arch)
    write_detectron2(backbone, tmp_path / "backbone.pkl")
    differences = largest_difference(backbone, tmp_path / "backbone.pkl", architecture)
    assert max(differences.values()) <= 1e-5, differences


def test_the_comparison_sees_the_stride_in_the_wrong_convolution(large: Backbone, tmp_path: Path) -> None:
    """detectron2's default stride placement loads every tensor and is another network from res3 on."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    from transfer.detect.backbone import _detector_settings, check_arrival

    write_detectron2(large, tmp_path / "backbone.pkl")
    cfg = _detector_settings(tmp_path / "backbone.pkl", large.info, "fpn")
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = True
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(str(tmp_path / "backbone.pkl"))
    check_arrival(model, tmp_path / "backbone.pkl")
    with torch.no_grad():
        found = model.backbone.bottom_up(IMAGES)
        expected = stage_features(build_resnet(large), IMAGES)
    torch.testing.assert_close(found["res2"], expected["res2"], rtol=1e-5, atol=1e-5)
    assert (found["res3"] - expected["res3"]).abs().max() > 0.1


def test_a_renamed_tensor_is_named(small: Backbone, tmp_path: Path) -> None:
    from transfer.detect.backbone import features

    weights_path = tmp_path / "backbone.pkl"
    write_detectron2(small, weights_path)
    rename_tensor(weights_path, "res3.0.conv1.weight", "res3.0.convolution.weight")
    with pytest.raises(ValueError, match=r"2 did not\. Convert the checkpoint again") as raised:
        features(weights_path, small.info, IMAGES)
    assert "- res3.0.conv1.weight: not in the file" in str(raised.value)
    assert "+ res3.0.convolution.weight: in the file, no such tensor" in str(raised.value)


def test_weights_of_another_run_are_named(small: Backbone, tmp_path: Path) -> None:
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    from transfer.detect.backbone import _detector_settings, check_arrival

    paths = [tmp_path / "first.pkl", tmp_path / "second.pkl"]
    write_detectron2(small, paths[0])
    write_detectron2(make_backbone(tmp_path / "b.safetensors", "resnet18", seed=1), paths[1])
    model = build_model(_detector_settings(paths[0], small.info, "fpn"))
    DetectionCheckpointer(model).load(str(paths[0]))
    check_arrival(model, paths[0])
    with pytest.raises(ValueError, match=r"! res2\.0\.conv1\.weight: the model's values differ"):
        check_arrival(model, paths[1])


def test_what_detectron2_cannot_hold_is_refused(small: Backbone, tmp_path: Path) -> None:
    from transfer.detect.backbone import features

    cifar = make_backbone(tmp_path / "cifar.safetensors", "resnet18-cifar")
    write_detectron2(cifar, tmp_path / "cifar.pkl")
    with pytest.raises(ValueError, match="7x7 convolution of stride 2"):
        features(tmp_path / "cifar.pkl", cifar.info, IMAGES)
    with pytest.raises(ValueError, match="bottleneck blocks only; resnet18 needs fpn"):
        features(tmp_path / "small.pkl", small.info, IMAGES, "c4")
    with pytest.raises(ValueError, match="'c5' is none of fpn, c4"):
        features(tmp_path / "small.pkl", small.info, IMAGES, "c5")


# What a protocol may ask for: detector, norm of the backbone, stages that are frozen, a norm behind res5.
DETECTORS = {
    "FPN with frozen norms": ("Base-RCNN-FPN.yaml", "FrozenBN", 2, "StandardROIHeads"),
    "FPN, two stages frozen": ("Base-RCNN-FPN.yaml", "BN", 2, "StandardROIHeads"),
    "C4 with frozen norms": ("Base-RCNN-C4.yaml", "FrozenBN", 2, "Res5ROIHeads"),
    "C4 of MoCo": ("Base-RCNN-C4.yaml", "naiveSyncBN", 0, "Res5ROIHeadsExtraNorm"),
    "C4 with SyncBN and its extra norm": ("Base-RCNN-C4.yaml", "SyncBN", 0, "Res5ROIHeadsExtraNorm"),
}


def loaded(weights_path: Path, backbone: Backbone, detector: str) -> Any:
    """The detector with the file in it, as a training has it before its first iteration."""
    from detectron2 import model_zoo
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    from transfer.detect.backbone import bind
    from transfer.detect.heads import register_heads

    register_heads()
    base, norm, freeze_at, heads = DETECTORS[detector]
    cfg = model_zoo.get_config(base)
    bind(cfg, backbone.info, weights_path)
    cfg.MODEL.DEVICE, cfg.MODEL.RESNETS.NORM, cfg.MODEL.BACKBONE.FREEZE_AT = "cpu", norm, freeze_at
    cfg.MODEL.ROI_HEADS.NAME = heads
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = cfg.MODEL.FPN.OUT_CHANNELS = 16
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(weights_path))
    return model


@pytest.fixture(scope="module", params=["resnet50", "resnet50-caffe"])
def bottleneck(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("bottleneck") / "backbone.safetensors", request.param)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_arrival_is_proven_in_every_detector(
    bottleneck: Backbone, tmp_path: Path, detector: str, suffix: str
) -> None:
    from transfer.detect.backbone import check_arrival

    weights_path = tmp_path / f"backbone{suffix}"
    write_detectron2(bottleneck, weights_path)
    model = loaded(weights_path, bottleneck, detector)
    assert hasattr(model.roi_heads, "res5") == detector.startswith("C4")
    assert ("roi_heads.res5.norm.weight" in model.state_dict()) == ("ExtraNorm" in DETECTORS[detector][3])
    check_arrival(model, weights_path)
    res5 = model.roi_heads.res5 if detector.startswith("C4") else model.backbone.bottom_up.res5
    with torch.no_grad():
        res5[2].conv3.norm.running_var[7] += 1e-5
    with pytest.raises(ValueError, match=r"1 did not(.|\n)*! res5\.2\.conv3\.norm\.running_var: the model's"):
        check_arrival(model, weights_path)


@pytest.mark.parametrize(
    "name", ["stem.conv1.weight", "res4.5.conv2.norm.running_var", "res5.0.shortcut.weight"]
)
def test_a_renamed_tensor_is_named_in_the_c4_of_moco(large: Backbone, tmp_path: Path, name: str) -> None:
    from transfer.detect.backbone import check_arrival

    weights_path = tmp_path / "backbone.pkl"
    write_detectron2(large, weights_path)
    rename_tensor(weights_path, name, f"{name}s")
    model = loaded(weights_path, large, "C4 of MoCo")
    with pytest.raises(ValueError, match="2 did not") as raised:
        check_arrival(model, weights_path)
    assert f"- {name}: not in the file" in str(raised.value)
    assert f"+ {name}s: in the file, no such tensor" in str(raised.value)


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_arrival_is_proven_through_a_wrapper(small: Backbone, tmp_path: Path, alone: None) -> None:
    from transfer.detect.backbone import check_arrival

    weights_path = tmp_path / "backbone.pkl"
    write_detectron2(small, weights_path)
    model: nn.Module = DistributedDataParallel(loaded(weights_path, small, "FPN with frozen norms"))
    check_arrival(model, weights_path)
    rename_tensor(weights_path, "res3.0.conv1.weight", "res3.0.convolution.weight")
    with pytest.raises(ValueError, match=r"- res3\.0\.conv1\.weight: not in the file"):
        check_arrival(model, weights_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_arrival_is_proven_on_a_gpu(small: Backbone, tmp_path: Path) -> None:
    from transfer.detect.backbone import check_arrival

    weights_path = tmp_path / "backbone.pkl"
    write_detectron2(small, weights_path)
    model = loaded(weights_path, small, "FPN, two stages frozen").cuda()
    check_arrival(model, weights_path)
    model.backbone.bottom_up.res2[0].conv1.weight.data[0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match=r"! res2\.0\.conv1\.weight"):
        check_arrival(model, weights_path)
