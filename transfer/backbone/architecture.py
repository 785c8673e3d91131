"""The ResNets that a backbone can be, told from the shapes of its tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

STAGES = ("res2", "res3", "res4", "res5")  # outputs of layer1..layer4, strides 4, 8, 16, 32


@dataclass(frozen=True)
class Arch:
    """What tells one ResNet from another.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        blocks: residual blocks in each stage.
        groups: of the 3x3 convolution of a bottleneck (He et al. 2015: 1; Xie et al. 2017: 32 or 64).
        width: channels per group of that convolution in the first stage.
        builder: torchvision's function.
        base: channels of the stem; the stages have one, two, four and eight times as many, bottlenecks four
            times these. Below 64 only in ours: a network that two CPU cores can pre-train.
        cifar_stem: a 3x3 stem of stride 1 and no max pooling (MEC App. B) instead of 7x7, stride 2.
        stride_in_1x1: a bottleneck that halves the resolution does so in its first 1x1 convolution, as He et
            al. 2015 and their Caffe models have it, and not in the 3x3 as torchvision. Shapes do not tell.
    """

    depth: int
    blocks: tuple[int, int, int, int]
    builder: str
    groups: int = 1
    width: int = 64
    base: int = 64
    cifar_stem: bool = False
    stride_in_1x1: bool = False

    @property
    def bottleneck(self) -> bool:
        """Blocks of three convolutions (depth 50 and more) rather than two."""
        return self.depth >= 50

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of res2 to res5."""
        first = self.base * (4 if self.bottleneck else 1)
        return (first, 2 * first, 4 * first, 8 * first)


ARCHS: dict[str, Arch] = {
    "resnet18": Arch(18, (2, 2, 2, 2), "resnet18"),
    "resnet34": Arch(34, (3, 4, 6, 3), "resnet34"),
    "resnet50": Arch(50, (3, 4, 6, 3), "resnet50"),
    "resnet101": Arch(101, (3, 4, 23, 3), "resnet101"),
    "resnet152": Arch(152, (3, 8, 36, 3), "resnet152"),
    "resnext50_32x4d": Arch(50, (3, 4, 6, 3), "resnext50_32x4d", groups=32, width=4),
    "resnext101_32x8d": Arch(101, (3, 4, 23, 3), "resnext101_32x8d", groups=32, width=8),
    "resnext101_64x4d": Arch(101, (3, 4, 23, 3), "resnext101_64x4d", groups=64, width=4),
    "wide_resnet50_2": Arch(50, (3, 4, 6, 3), "wide_resnet50_2", width=128),
    "wide_resnet101_2": Arch(101, (3, 4, 23, 3), "wide_resnet101_2", width=128),
    "resnet18-cifar": Arch(18, (2, 2, 2, 2), "resnet18", cifar_stem=True),
    "resnet18-cifar-w16": Arch(18, (2, 2, 2, 2), "resnet18", width=16, base=16, cifar_stem=True),
    "resnet50-caffe": Arch(50, (3, 4, 6, 3), "resnet50", stride_in_1x1=True),
    "resnet101-caffe": Arch(101, (3, 4, 23, 3), "resnet101", stride_in_1x1=True),
}
FEATURE_DIMS = {name: arch.channels[-1] for name, arch in ARCHS.items()}


def empty_resnet(arch: str) -> nn.Module:
    """A torchvision ResNet without its classification head: ``(B, 3, H, W) -> (B, D)``.

    Raises:
        ValueError: an arch that is not in :data:`ARCHS`.
    """
    if arch not in ARCHS:
        raise ValueError(f"arch {arch!r} is unknown; known: {', '.join(ARCHS)}")
    shape = ARCHS[arch]
    model = getattr(torchvision.models, shape.builder)(weights=None)
    model.fc = nn.Identity()
    if shape.base != 64:
        _narrow(model, shape)
    if shape.cifar_stem:
        model.conv1 = nn.Conv2d(3, shape.base, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    if shape.stride_in_1x1:
        for layer in (model.layer2, model.layer3, model.layer4):
            layer[0].conv1.stride, layer[0].conv2.stride = layer[0].conv2.stride, layer[0].conv1.stride
    return model  # type: ignore[no-any-return]


def _narrow(model: torchvision.models.ResNet, arch: Arch) -> None:
    """Rebuild the stages of a ResNet with basic blocks for another number of stem channels.

    torchvision fixes that number at 64, so its own stage builder runs again, and its initialisation. The
    stem's convolution is left to the caller.
    """
    model.inplanes = arch.base
    model.bn1 = nn.BatchNorm2d(arch.base)
    for index, (channels, blocks) in enumerate(zip(arch.channels, arch.blocks, strict=True)):
        layer = model._make_layer(BasicBlock, channels, blocks, stride=1 if index == 0 else 2)
        for module in layer.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        setattr(model, f"layer{index + 1}", layer)


@lru_cache
def expected_shapes(arch: str) -> dict[str, tuple[int, ...]]:
    """The contract's tensors of an arch and their shapes."""
    with torch.device("meta"):
        return {key: tuple(tensor.shape) for key, tensor in empty_resnet(arch).state_dict().items()}


def stage_features(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Features after each stage of a torchvision ResNet, keyed by :data:`STAGES`."""
    x = model.maxpool(model.relu(model.bn1(model.conv1(images))))  # type: ignore[operator]
    features = {}
    for stage, layer in zip(STAGES, ("layer1", "layer2", "layer3", "layer4"), strict=True):
        x = getattr(model, layer)(x)
        features[stage] = x
    return features


def infer_arch(state: dict[str, Tensor]) -> str:
    """The arch whose tensors these are, read from their names and shapes alone.

    Of two that differ in the place of their stride only, it is torchvision's: see :func:`stride_in_1x1`.

    Raises:
        ValueError: not a ResNet, or one that is not in :data:`ARCHS`; says what was found.
    """
    blocks = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    stem, conv = state.get("conv1.weight"), state.get("layer1.0.conv2.weight")
    if stem is None or conv is None or stem.ndim != 4 or conv.ndim != 4 or 0 in conv.shape:
        raise ValueError(
            "no ResNet: expected the convolutions conv1.weight and layer1.0.conv2.weight, "
            f"found {', '.join(sorted(state)[:4]) or 'nothing'}"
        )
    bottleneck = "layer1.0.conv3.weight" in state
    width, groups = conv.shape[1], conv.shape[0] // conv.shape[1]
    for name, arch in ARCHS.items():
        if arch.stride_in_1x1:
            continue
        kernel = 3 if arch.cifar_stem else 7
        shape = (arch.blocks, arch.bottleneck, arch.width, arch.groups, arch.base, kernel)
        if (blocks, bottleneck, width, groups, stem.shape[0], stem.shape[2]) == shape:
            return name
    raise ValueError(
        f"no supported ResNet has {blocks} blocks of {'three' if bottleneck else 'two'} convolutions, "
        f"{groups} groups of {width} channels in the first stage and a stem of {tuple(stem.shape)}; "
        f"supported: {', '.join(ARCHS)}"
    )


def stride_in_1x1(arch: str) -> str:
    """The arch with the tensors of ``arch`` whose stride lies in the first 1x1 convolution.

    Raises:
        ValueError: none of :data:`ARCHS`.
    """
    for name, shape in ARCHS.items():
        if shape == replace(ARCHS[arch], stride_in_1x1=True):
            return name
    known = ", ".join(name for name, shape in ARCHS.items() if shape.stride_in_1x1)
    raise ValueError(f"{arch} with the stride in its 1x1 convolutions is not supported; supported: {known}")
