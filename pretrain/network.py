"""Online encoder, projector and predictor, and the momentum target (MEC App. C)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from pretrain.config import ModelConfig


class MEC(nn.Module):
    """``encoder -> projector -> predictor`` online; ``encoder -> projector`` as momentum target.

    The target's parameters follow the online ones by an exponential moving average; its batch-norm
    buffers do not: it runs in train mode and normalises by the batch, like the authors' teacher.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder, feature_dim = build_encoder(config.arch)
        self.online = nn.Sequential(encoder, build_projector(feature_dim, config))
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = nn.Sequential(
            nn.Linear(config.dim, config.predictor_hidden_dim, bias=False),
            nn.BatchNorm1d(config.predictor_hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(config.predictor_hidden_dim, config.dim),
        )

    def forward(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Two views ``(B, 3, H, W)`` to unit rows p1, p2 (online) and z1, z2 (target), ``(B, D)`` float32."""
        p1, p2 = self.predictor(self.online(view1)), self.predictor(self.online(view2))
        with torch.no_grad():
            z1, z2 = self.target(view1), self.target(view2)
        p1, p2, z1, z2 = (F.normalize(x.float(), dim=1) for x in (p1, p2, z1, z2))
        return p1, p2, z1, z2

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """target <- momentum * target + (1 - momentum) * online, parameters only."""
        target: list[Tensor] = list(self.target.parameters())
        online: list[Tensor] = list(self.online.parameters())
        torch._foreach_lerp_(target, online, 1 - momentum)

    def backbone_state(self, branch: str) -> dict[str, Tensor]:
        """The encoder of ``online`` or ``target`` under torchvision's names, without its head."""
        encoder = (self.online if branch == "online" else self.target)[0]
        return {key: value.detach().clone() for key, value in encoder.state_dict().items()}


def build_encoder(arch: str) -> tuple[nn.Module, int]:
    """A torchvision ResNet without head, last batch-norm of each block at zero, and its feature size.

    ``resnet18-cifar`` has the 3x3 stem of stride 1 and no max pooling (MEC App. B).
    """
    cifar = arch.endswith("-cifar")
    encoder = torchvision.models.get_model(arch.removesuffix("-cifar"), weights=None, zero_init_residual=True)
    feature_dim = encoder.fc.in_features
    encoder.fc = nn.Identity()
    if cifar:
        encoder.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
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
