"""The appearance model: a frozen ResNet whose features of layer3 and layer4 keep the resolution of layer2.

UniTrack's (commit a83e782, ``model/resnet.py``): every convolution of layer3 and layer4 has stride 1 and no
dilation is added, so that both have stride 8. What layer4 is fed then is not what it was trained on; its
numbers carry that caveat.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from transfer.backbone.architecture import ARCHS
from transfer.backbone.contract import Backbone, build_resnet

STRIDE = 8
STAGE_OF = {3: 2, 4: 3}  # layer -> its place among an arch's channels


class AppearanceModel:
    """Features of layer3, layer4 or both from one pass; frozen, in eval mode, without gradient.

    Batch norms are folded into the convolutions before them, and tensors lie channels last: the same function
    to 1e-4 of the largest feature, and quicker. Threads may share one.

    Attributes:
        layers: which, 3 or 4, as asked for.
        channels: of each layer.
        radius: pixels, of each layer: a feature at ``i`` sees pixels ``8 i - radius`` to ``8 i + radius``.
        reach: features of :meth:`shallow` that one of :meth:`deep` sees to each side.
        device: where it runs.
    """

    def __init__(
        self,
        resnet: nn.Module,
        layers: Sequence[int],
        channels: dict[int, int],
        backbone: Backbone,
        device: torch.device,
    ) -> None:
        self.layers = tuple(layers)
        self.channels = channels
        self.radius = {layer: receptive_radius(resnet, layer) for layer in layers}
        self.reach = (max(self.radius.values()) - receptive_radius(resnet, 2)) // STRIDE
        self.device = device
        self._reverse = backbone.info.pixel_order == "BGR"
        self._mean = torch.tensor(backbone.info.mean(), device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(backbone.info.std(), device=device).view(1, 3, 1, 1)
        self._resnet = fold_norms(resnet).requires_grad_(False).eval()
        self._resnet.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, images: Tensor) -> Tensor:
        """RGB ``(B, 3, H, W)`` in 0..255 (uint8, or float where resampled) -> what the backbone takes.

        Float32 on the device, in the backbone's own pixel order, divided by 255 and normalised by its mean
        and deviation.
        """
        pixels = images.to(self.device).float() / 255.0
        if self._reverse:
            pixels = pixels.flip(1)
        return ((pixels - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()  # not inference mode: who updates a template in place needs plain tensors
    def __call__(self, pixels: Tensor, layers: Sequence[int] = ()) -> dict[int, Tensor]:
        """Prepared pixels ``(B, 3, H, W)`` -> by layer ``(B, C, ceil(H/8), ceil(W/8))`` float32.

        ``layers`` asks for some of the model's; what comes after the deepest of them is not computed.
        """
        return self.deep(self.shallow(pixels), layers)

    @torch.no_grad()
    def shallow(self, pixels: Tensor) -> Tensor:
        """Prepared pixels -> what layer2 gives, already at stride 8."""
        model = self._resnet
        x = model.maxpool(model.relu(model.bn1(model.conv1(pixels))))  # type: ignore[operator]
        return model.layer2(model.layer1(x))  # type: ignore[operator, no-any-return]

    @torch.no_grad()
    def deep(self, x: Tensor, layers: Sequence[int] = ()) -> dict[int, Tensor]:
        """What :meth:`shallow` gave, all of it or a part -> by layer the features at the same places."""
        wanted = tuple(layers) or self.layers
        features = {3: self._resnet.layer3(x)}  # type: ignore[operator]
        if 4 in wanted:
            features[4] = self._resnet.layer4(features[3])  # type: ignore[operator]
        return {layer: features[layer] for layer in wanted}


def build_appearance(backbone: Backbone, layers: Sequence[int], device: torch.device) -> AppearanceModel:
    """The backbone, loaded strictly, as an appearance model.

    Raises:
        ValueError: layers other than 3 and 4, none, or one twice; a stem for small images, with which the
            stride would not be 8.
    """
    if not layers or not set(layers) <= {3, 4} or len(set(layers)) != len(layers):
        raise ValueError(f"layers: expected 3, 4 or both, found {list(layers)}")
    arch = ARCHS[backbone.info.arch]
    if arch.cifar_stem:
        raise ValueError(
            f"{backbone.path}: expected a ResNet with stride 8 in layer2, found {backbone.info.arch}, whose "
            "stem keeps the resolution of small images; take a backbone that was trained on larger ones"
        )
    resnet = build_resnet(backbone)
    set_strides(resnet)
    channels = {layer: arch.channels[STAGE_OF[layer]] for layer in layers}
    return AppearanceModel(resnet, layers, channels, backbone, device)


def set_strides(resnet: nn.Module) -> None:
    """Give every convolution of layer3 and layer4 stride 1, in place; no dilation is added."""
    for stage in (resnet.layer3, resnet.layer4):
        assert isinstance(stage, nn.Module)
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)


def receptive_radius(resnet: nn.Module, layer: int) -> int:
    """How many pixels a feature of a layer sees to each side of ``8 i``; of a ResNet with strides set."""
    radius, jump = 0, 1
    for module in [resnet.conv1, resnet.maxpool, *_path(resnet, layer)]:
        kernel, stride = (_first(getattr(module, name)) for name in ("kernel_size", "stride"))
        radius += (kernel - 1) // 2 * jump
        jump *= stride
    return radius


def _path(resnet: nn.Module, layer: int) -> list[nn.Module]:
    """The convolutions of residual blocks up to a layer, without those of shortcuts, which see less."""
    stages = [getattr(resnet, f"layer{number}") for number in range(1, layer + 1)]
    names = ("conv1", "conv2", "conv3")
    return [
        getattr(block, name) for stage in stages for block in stage for name in names if hasattr(block, name)
    ]


def _first(value: int | tuple[int, int]) -> int:
    return value if isinstance(value, int) else value[0]


def fold_norms(model: nn.Module) -> nn.Module:
    """Fold every batch norm of a ResNet in eval mode into the convolution before it, in place."""
    for parent in list(model.modules()):
        children = dict(parent.named_children())
        pairs = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3)]
        if isinstance(parent, nn.Sequential) and len(children) == 2:  # the shortcut of a residual block
            pairs.append(("0", "1"))
        for conv_name, norm_name in pairs:
            conv, norm = children.get(conv_name), children.get(norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return model


def check_finite(features: Tensor, place: str) -> Tensor:
    """The features, where all of them are finite.

    Raises:
        ValueError: NaN or infinity; names the place.
    """
    if not torch.isfinite(features).all():
        raise ValueError(f"{place}: expected finite features, found NaN or infinity; check the backbone")
    return features
