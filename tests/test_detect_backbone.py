"""A converted backbone inside detectron2's own detectors is the same network, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detect_scene import DETECTRON2, make_backbone, rename_tensor

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
