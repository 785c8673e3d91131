"""The appearance model: torchvision's ResNet with stride 8 up to layer4, and nothing else changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from transfer.backbone.architecture import empty_resnet, stage_features
from transfer.backbone.contract import Backbone, BackboneInfo, build_resnet
from transfer.track.frozen.appearance import (
    build_appearance,
    check_finite,
    fold_norms,
    receptive_radius,
    set_strides,
)

CPU = torch.device("cpu")


def make_backbone(arch: str = "resnet18", **info: str) -> Backbone:
    """Random weights whose batch norms are as odd as trained ones."""
    torch.manual_seed(0)
    model = empty_resnet(arch)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    header = BackboneInfo("random", arch, "none", "random", "", "", "", "")
    return Backbone(replace(header, **info), model.state_dict(), "0" * 64, Path("random"))


def plain_features(backbone: Backbone, pixels: Tensor) -> dict[int, Tensor]:
    """torchvision's modules as they are, but for the strides."""
    model = build_resnet(backbone)
    for stage in (model.layer3, model.layer4):
        for module in stage.modules():  # type: ignore[union-attr]
            if isinstance(module, nn.Conv2d):
                assert module.dilation == (1, 1)
                module.stride = (1, 1)
    with torch.no_grad():
        features = stage_features(model, pixels)
    return {3: features["res4"], 4: features["res5"]}


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "resnet50-caffe"])
def test_features_are_those_of_the_plain_network(arch: str) -> None:
    backbone = make_backbone(arch)
    model = build_appearance(backbone, [3, 4], CPU)
    images = torch.randint(0, 256, (2, 3, 44, 61), dtype=torch.uint8)
    pixels = model.prepare(images)
    found, expected = model(pixels), plain_features(backbone, pixels)
    for layer in (3, 4):
        assert found[layer].shape == (2, model.channels[layer], 6, 8)
        assert (found[layer] - expected[layer]).abs().max() < 1e-4 * expected[layer].abs().max()
        assert not found[layer].requires_grad
        assert torch.equal(model(pixels, (layer,))[layer], found[layer])


def test_norms_that_are_not_folded_rightly_would_be_seen() -> None:
    backbone = make_backbone()
    pixels = torch.randn(1, 3, 32, 32)
    moved = {
        key: tensor + 0.1 if key.endswith("layer3.0.bn1.running_mean") else tensor
        for key, tensor in backbone.state.items()
    }
    features = build_appearance(replace(backbone, state=moved), [3], CPU)(pixels)[3]
    expected = plain_features(backbone, pixels)[3]
    assert (features - expected).abs().max() > 1e-3 * expected.abs().max()


def test_no_norm_is_left() -> None:
    model = fold_norms(build_resnet(make_backbone("resnet50")))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_one_layer_alone() -> None:
    model = build_appearance(make_backbone(), [4], CPU)
    assert model.layers == (4,)
    assert list(model(torch.randn(1, 3, 24, 24))) == [4]


def test_pixels_are_fed_as_the_header_says() -> None:
    image = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    rgb = build_appearance(make_backbone(), [3], CPU).prepare(image)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(rgb.flatten(), (torch.tensor([10.0, 20.0, 30.0]) / 255 - mean) / std)
    caffe = make_backbone(pixel_order="BGR", pixel_mean="0.4,0.5,0.6", pixel_std="1,1,1")
    bgr = build_appearance(caffe, [3], CPU).prepare(image)
    expected = torch.tensor([30.0, 20.0, 10.0]) / 255 - torch.tensor([0.4, 0.5, 0.6])
    torch.testing.assert_close(bgr.flatten(), expected)


def test_a_stem_for_small_images_is_refused() -> None:
    with pytest.raises(ValueError, match="resnet18-cifar-w16, whose stem keeps the resolution"):
        build_appearance(make_backbone("resnet18-cifar-w16"), [3], CPU)


@pytest.mark.parametrize("layers", [[], [2], [3, 3]])
def test_layers_that_cannot_be(layers: list[int]) -> None:
    with pytest.raises(ValueError, match="layers: expected 3, 4 or both"):
        build_appearance(make_backbone(), layers, CPU)


def test_a_state_that_lacks_a_tensor_is_refused() -> None:
    backbone = make_backbone()
    state = {key: tensor for key, tensor in backbone.state.items() if key != "layer4.1.bn2.weight"}
    with pytest.raises(RuntimeError, match=r"layer4\.1\.bn2\.weight"):
        build_appearance(replace(backbone, state=state), [3], CPU)


@pytest.mark.parametrize(("arch", "layer"), [("resnet18", 3), ("resnet18", 4), ("resnet50", 3)])
def test_a_feature_sees_exactly_its_radius(arch: str, layer: int) -> None:
    """With positive weights nothing cancels and no ReLU is idle: the gradient reaches as far as it can."""
    model = empty_resnet(arch).eval()
    set_strides(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().clamp_(min=1e-3)
    radius = receptive_radius(model, layer)
    cell = radius // 8 + 1
    pixels = torch.rand(1, 3, 16 * cell + 1, 16 * cell + 1, dtype=torch.float64, requires_grad=True)
    features = stage_features(model.double(), pixels)[f"res{layer + 1}"]
    features[0, :, cell, cell].sum().backward()  # type: ignore[no-untyped-call]
    assert pixels.grad is not None
    # Of a pooling window only the largest pixel counts, so that the outermost ones may be off by one.
    rows = pixels.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    reach = max(8 * cell - int(rows.min()), int(rows.max()) - 8 * cell)
    assert radius - 2 <= reach <= radius


def test_features_that_are_not_finite() -> None:
    assert check_finite(torch.ones(2), "here").shape == (2,)
    with pytest.raises(ValueError, match="video a, frame 3: expected finite features"):
        check_finite(torch.tensor([1.0, float("nan")]), "video a, frame 3")
