"""Proof of a conversion: the target framework's own model computes what torchvision computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfer.backbone.architecture import ARCHS, STAGES, empty_resnet, stage_features
from transfer.backbone.contract import BackboneInfo

TOLERANCE = 1e-5  # largest difference of a stage over the stage's largest magnitude, in float32


@dataclass(frozen=True)
class StageError:
    """How far a stage's features differ, and how large they are."""

    stage: str
    max_abs_difference: float
    max_abs_feature: float

    @property
    def relative(self) -> float:
        """Largest difference over the largest magnitude."""
        return self.max_abs_difference / self.max_abs_feature


def probe_images() -> Tensor:
    """The fixed input of every proof: ``(2, 3, 128, 160)`` normalised pixels, not square on purpose."""
    generator = torch.Generator().manual_seed(20221020)
    return torch.randn(2, 3, 128, 160, generator=generator)


def reference_features(
    state: Mapping[str, Tensor], arch: str, images: Tensor, *, sot: bool = False
) -> dict[str, Tensor]:
    """Stage features of torchvision's own ResNet carrying ``state``, which is shared, not copied.

    Args:
        state: the contract's tensors.
        arch: their arch.
        images: ``(B, 3, H, W)``.
        sot: give the network the strides, dilations and paddings of SiamRPN++ (:func:`make_sot`).
    """
    with torch.device("meta"):
        model = empty_resnet(arch)
    model.load_state_dict(state, strict=True, assign=True)
    model.eval()
    if sot:
        make_sot(model)
    with torch.inference_mode():
        return stage_features(model, images)


class ShiftedShortcut(nn.Module):
    """A 1x1 convolution of stride 2 that begins at pixel 1, the centre of the 3x3 window beside it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C', (H - 1) // 2, (W - 1) // 2)``."""
        return self.convolution(x[:, :, 1:-1, 1:-1])  # type: ignore[no-any-return]


def make_sot(model: nn.Module) -> None:
    """Change a torchvision ResNet in place to SiamRPN++'s geometry (Li et al. 2019, sec. 3.2).

    Stem and layer2's first block without padding, so its shortcut takes the window's centre; layer3 and
    layer4 with stride 1 and dilation 2 and 4, in their first block half of that.
    """
    network: Any = model
    network.conv1.padding = (0, 0)
    first = network.layer2[0]
    first.conv2.padding = (0, 0)
    first.downsample[0] = ShiftedShortcut(first.downsample[0])
    for layer, dilation in ((network.layer3, 2), (network.layer4, 4)):
        for index, block in enumerate(layer):
            rate = dilation if index else dilation // 2
            block.conv2.stride, block.conv2.padding, block.conv2.dilation = (1, 1), (rate, rate), (rate, rate)
            if index == 0:
                block.downsample[0].stride = (1, 1)


def compare_features(reference: dict[str, Tensor], found: dict[str, Tensor]) -> list[StageError]:
    """Compare res2..res5 and refuse any difference beyond :data:`TOLERANCE`.

    Raises:
        ValueError: a missing stage, another shape, features that cannot prove anything (constant or
            not finite), or a difference beyond the tolerance; names the stage and both figures.
    """
    errors = []
    for stage in STAGES:
        if stage not in found:
            raise ValueError(f"{stage}: the target model returned no such stage, only {sorted(found)}")
        a, b = reference[stage], found[stage]
        if a.shape != b.shape:
            raise ValueError(
                f"{stage}: expected features {tuple(a.shape)}, found {tuple(b.shape)}; the converted weights "
                "do not mean the same network"
            )
        if not torch.isfinite(a).all() or a.std() == 0:
            raise ValueError(
                f"{stage}: torchvision's features are constant or not finite; they prove nothing"
            )
        error = StageError(stage, float((a - b).abs().max()), float(a.abs().max()))
        if not error.relative <= TOLERANCE:  # also refuses NaN
            raise ValueError(
                f"{stage}: features differ by {error.relative:.3g} of their largest magnitude, "
                f"allowed {TOLERANCE:g}; the converted weights do not mean the same network"
            )
        errors.append(error)
    return errors


def models(target: str, info: BackboneInfo) -> tuple[str, ...]:
    """The models of torchvision and timm that a file is proven in: one each."""
    del info
    return (target,)


def features(weights_path: Path, info: BackboneInfo, images: Tensor, model: str) -> dict[str, Tensor]:
    """Stage features of torchvision's or timm's own model that loaded a written file strictly.

    Args:
        weights_path: ``.pth`` for torchvision, ``.safetensors`` for timm.
        info: the contract's header.
        images: ``(B, 3, H, W)`` normalised pixels.
        model: ``torchvision`` or ``timm``.

    Raises:
        ValueError: an arch that timm lacks, or tensors that are not exactly the model's.
    """
    build = {"torchvision": _torchvision_features, "timm": _timm_features}[model]
    try:
        with torch.inference_mode():
            return build(weights_path, info, images)
    except RuntimeError as error:  # of load_state_dict
        raise ValueError(f"{model}'s {info.arch} refused the file: {error}") from error


def _torchvision_features(weights_path: Path, info: BackboneInfo, images: Tensor) -> dict[str, Tensor]:
    from torchvision.models.feature_extraction import create_feature_extractor

    model = empty_resnet(info.arch)
    model.load_state_dict(torch.load(weights_path, map_location="cpu", weights_only=True), strict=True)
    layers = dict(zip(("layer1", "layer2", "layer3", "layer4"), STAGES, strict=True))
    found: dict[str, Tensor] = create_feature_extractor(model.eval(), layers)(images)
    return found


def _timm_features(weights_path: Path, info: BackboneInfo, images: Tensor) -> dict[str, Tensor]:
    import timm

    if ARCHS[info.arch].cifar_stem:
        raise ValueError(f"arch {info.arch!r} does not exist in timm: its stem is 7x7 with max pooling")
    model = timm.create_model(info.arch, pretrained=False, num_classes=0)
    timm.models.load_checkpoint(model, str(weights_path), strict=True)
    forward: Any = model.eval().forward_intermediates
    found = forward(images, intermediates_only=True)
    return dict(zip(STAGES, found[-len(STAGES) :], strict=True))
