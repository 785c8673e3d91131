"""Online encoder, projector and predictor, and the momentum target (MEC App. C)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from pretrain.config import ModelConfig
from pretrain.objective import at_least_float32


class Branch(nn.Module):
    """Encoder and projector: images ``(B, 3, H, W)`` to ``(B, D)``."""

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def forward(self, images: Tensor) -> Tensor:
        """Not yet of unit length."""
        return self.projector(self.encoder(images))  # type: ignore[no-any-return]


class MEC(nn.Module):
    """``encoder -> projector -> predictor`` online; ``encoder -> projector`` as momentum target.

    The target's parameters follow the online ones by an exponential moving average; its batch-norm
    buffers do not: it runs in train mode and normalises by the batch, like the authors' teacher.
    The online network normalises each view by itself, also like theirs. The target sees both views in
    one pass, hence normalises by the two together, which theirs, in two passes, does not.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder, feature_dim = build_encoder(config.arch)
        self.online = Branch(encoder, build_projector(feature_dim, config))
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = build_predictor(config) if config.predictor else nn.Identity()

    def forward(self, views: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Views ``(B, 3, H, W)``, two full-size ones first, to unit rows ``(B, D)`` in float32.

        Returns:
            p, the online embeddings of every view, and z, the target's of the first two, without gradient.
        """
        p = [self.embed(self.online.encoder(view)) for view in views]
        with torch.no_grad():
            z = self.unit_rows(self.target(torch.cat(list(views[:2]))))
        return p, list(z.chunk(2))

    def embed(self, features: Tensor) -> Tensor:
        """The encoder's features ``(B, F)`` to unit rows ``(B, D)`` by projector and predictor."""
        return self.unit_rows(self.predictor(self.online.projector(features)))

    @staticmethod
    def unit_rows(x: Tensor) -> Tensor:
        """Rows of length 1, in float32 whatever the autocast."""
        return F.normalize(at_least_float32(x), dim=1)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target <- momentum * target + (1 - momentum) * online, parameters only."""
        target: list[Tensor] = list(self.target.parameters())
        online: list[Tensor] = list(self.online.parameters())
        torch._foreach_lerp_(target, online, 1 - momentum)

    def backbone_state(self, branch: str) -> dict[str, Tensor]:
        """The encoder of ``online`` or ``target`` under torchvision's names, without its head."""
        encoder = (self.online if branch == "online" else self.target).encoder
        return {key: value.detach().clone() for key, value in encoder.state_dict().items()}


def build_encoder(arch: str) -> tuple[Any, int]:
    """A torchvision ResNet (last batch-norm of each block at zero) or a timm ViT, and its feature size.

    ``-cifar`` is the 3x3 stem of stride 1 without max pooling (MEC App. B), ``-w16`` has 16 channels
    where the ResNet-18 has 64: a size for CPUs.
    """
    if arch.startswith("vit_"):
        import timm  # two seconds that no ResNet needs

        # small crops are of another size, so the position embedding is resampled to the view's
        encoder = timm.create_model(arch, pretrained=False, num_classes=0, dynamic_img_size=True)
        return encoder, int(encoder.num_features)  # type: ignore[arg-type]
    name, _, stem = arch.partition("-")
    encoder = torchvision.models.get_model(name, weights=None, zero_init_residual=True)
    feature_dim: int = encoder.fc.in_features
    encoder.fc = nn.Identity()
    if stem.endswith("w16"):
        _narrow(encoder, 16)
        feature_dim = 128
    if stem:
        width = encoder.bn1.num_features
        encoder.conv1 = nn.Conv2d(3, width, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
        encoder.maxpool = nn.Identity()
    return encoder, feature_dim


def build_projector(feature_dim: int, config: ModelConfig) -> nn.Sequential:
    """``projector_layers`` linear layers with BN and ReLU between, a last BN without affine part."""
    layers: list[nn.Module] = []
    width = feature_dim
    for _ in range(config.projector_layers - 1):
        layers += [
            nn.Linear(width, config.projector_hidden_dim, bias=False),
            nn.BatchNorm1d(config.projector_hidden_dim),
            nn.ReLU(inplace=True),
        ]
        width = config.projector_hidden_dim
    layers += [nn.Linear(width, config.dim, bias=False), nn.BatchNorm1d(config.dim, affine=False)]
    return nn.Sequential(*layers)


def build_predictor(config: ModelConfig) -> nn.Sequential:
    """Two linear layers, BN and ReLU between, the narrow middle of SimSiam."""
    return nn.Sequential(
        nn.Linear(config.dim, config.predictor_hidden_dim, bias=False),
        nn.BatchNorm1d(config.predictor_hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(config.predictor_hidden_dim, config.dim),
    )


def _narrow(encoder: Any, width: int) -> None:
    """Give torchvision's ResNet-18 ``width`` instead of 64 channels, 8 x ``width`` at the end."""
    encoder.inplanes, encoder.bn1 = width, nn.BatchNorm2d(width)
    for i, stride in enumerate((1, 2, 2, 2)):
        layer = encoder._make_layer(BasicBlock, width * 2**i, blocks=2, stride=stride)
        for module in layer.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)
        setattr(encoder, f"layer{i + 1}", layer)
