"""The backbone inside mmdet: the same features as torchvision's, or a refusal that names the tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from transfer.backbone.architecture import ARCHS, STAGES, empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.backbone.targets import write_mmcv
from transfer.backbone.verify import compare_features, probe_images, reference_features
from transfer.track.mm.backbone import assert_loaded, features, image_norm, mmdet_resnet

pytestmark = [
    pytest.mark.filterwarnings("ignore:On January 1, 2023, MMCV will release:UserWarning"),  # on import
    pytest.mark.filterwarnings("ignore:.*MultiScaleDeformableAttention.*:ImportWarning"),  # on import
    pytest.mark.filterwarnings(
        "ignore:invalid escape sequence:DeprecationWarning"
    ),  # mmdet, first compilation
]


def make_backbone(arch: str = "resnet18") -> Backbone:
    """Random weights whose normalisation statistics could not be mistaken for fresh ones."""
    generator = torch.Generator().manual_seed(7)
    state = empty_resnet(arch).state_dict()
    for key, tensor in state.items():
        if key.endswith("num_batches_tracked"):
            tensor.fill_(1000)
        elif key.endswith("running_var") or (tensor.ndim == 1 and key.endswith("weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        else:
            scale = 0.1 if tensor.ndim == 1 else (2.0 / tensor[0].numel()) ** 0.5
            tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
    return Backbone(
        BackboneInfo("test", arch, "none", "random", "", "", "", "test"), state, "0" * 64, Path("none")
    )


@pytest.mark.mmtrack
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_features_are_torchvisions(arch: str, tmp_path: Path) -> None:
    backbone = make_backbone(arch)
    write_mmcv(backbone, tmp_path / "b.pth")
    images = probe_images()
    found = features(tmp_path / "b.pth", backbone.info, images)
    # raises beyond 1e-5
    errors = compare_features(reference_features(backbone.state, arch, images), found)
    assert [error.stage for error in errors] == list(STAGES)


@pytest.mark.mmtrack
def test_a_renamed_key_is_refused_by_name(tmp_path: Path) -> None:
    backbone = make_backbone()
    write_mmcv(backbone, tmp_path / "b.pth")
    content = torch.load(tmp_path / "b.pth", weights_only=True)
    state = content["state_dict"]
    state["backbone.layer3.0.conv1.wieght"] = state.pop("backbone.layer3.0.conv1.weight")
    torch.save(content, tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"2 tensors are wrong") as refusal:
        features(tmp_path / "b.pth", backbone.info, probe_images())
    assert "layer3.0.conv1.wieght is not in the model" in str(refusal.value)
    assert "layer3.0.conv1.weight got no value" in str(refusal.value)


@pytest.mark.mmtrack
def test_a_key_without_the_prefix_is_refused(tmp_path: Path) -> None:
    backbone = make_backbone()
    write_mmcv(backbone, tmp_path / "b.pth")
    content = torch.load(tmp_path / "b.pth", weights_only=True)
    content["state_dict"]["conv1.weight"] = content["state_dict"].pop("backbone.conv1.weight")
    torch.save(content, tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"found \['conv1.weight'\]"):
        features(tmp_path / "b.pth", backbone.info, probe_images())


def test_a_single_changed_value_is_found() -> None:
    backbone = make_backbone()
    model = empty_resnet("resnet18")
    model.load_state_dict(backbone.state)
    assert_loaded(model, backbone.state, "here")
    with torch.no_grad():
        model.layer4[1].bn2.running_mean[3] += 1e-6  # type: ignore[union-attr,index,operator]
    with pytest.raises(
        ValueError, match=r"(?s)^here: .* 1 tensors are wrong.*layer4\.1\.bn2\.running_mean differs"
    ):
        assert_loaded(model, backbone.state, "here")


def test_the_cifar_stem_is_refused_in_a_sentence() -> None:
    assert mmdet_resnet("resnet18") == {"type": "ResNet", "depth": 18}
    with pytest.raises(ValueError, match="7x7 stem"):
        mmdet_resnet("resnet18-cifar")


def test_groups_make_a_resnext_and_a_wide_network_is_refused() -> None:
    assert mmdet_resnet("resnext101_32x8d") == {
        "type": "ResNeXt",
        "depth": 101,
        "groups": 32,
        "base_width": 8,
    }
    with pytest.raises(ValueError, match="get wider only together with groups"):
        mmdet_resnet("wide_resnet50_2")


def test_channels_follow_the_block() -> None:
    assert ARCHS["resnet34"].channels == (64, 128, 256, 512)
    assert ARCHS["resnet50"].channels == (256, 512, 1024, 2048)


def test_pixels_are_scaled_to_255_and_ordered() -> None:
    info = BackboneInfo(
        "m", "resnet18", "d", "1", "", "", "", "t", pixel_mean="0.2,0.4,0.6", pixel_std="0.1,0.2,1"
    )
    norm = image_norm(info)
    assert norm["to_rgb"] is True
    assert norm["mean"] == pytest.approx([51.0, 102.0, 153.0])
    assert norm["std"] == pytest.approx([25.5, 51.0, 255.0])
    bgr = BackboneInfo("m", "resnet18", "d", "1", "", "", "", "t", pixel_order="BGR")
    assert image_norm(bgr)["to_rgb"] is False
    with pytest.raises(ValueError, match="'YUV'"):
        image_norm(BackboneInfo("m", "resnet18", "d", "1", "", "", "", "t", pixel_order="YUV"))
