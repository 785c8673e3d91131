"""Many linear classifiers on one pass of the backbone: learning rates, weight decays and layers side by side.

The backbone costs the time, so it runs once a batch and every head learns from what it gives. The heads share
no parameter; the sum of their losses gives each one its own gradient, and a head ends where it would have
ended alone. Shapes: B images of a batch, D features of all layers used, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer.classify.features import LAYERS
from transfer.classify.loop import cross_entropy_sum

ROWS_AT_ONCE = 8192  # scored together: 32 MiB of float32 for 1,000 classes


@dataclass(frozen=True)
class HeadSettings:
    """One head of a sweep; ``layers`` are names of :data:`LAYERS` joined by ``+``, concatenated."""

    lr: float  # what the optimiser starts with
    weight_decay: float
    layers: str = "avgpool"


class Heads(nn.Module):
    """Features ``(B, D)`` of the used layers, side by side -> one tensor of logits ``(B, C)`` for each head.

    Heads start as every published protocol starts them: weights N(0, 0.01), bias 0. The draw depends on
    ``seed`` and the head's layers alone, so not on how many there are. ``feature_norm`` puts batch
    normalisation without parameters before all of them (MEC's linear probe).
    """

    def __init__(
        self,
        settings: Sequence[HeadSettings],
        dims: Mapping[str, int],
        num_classes: int,
        feature_norm: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.names = [head.layers for head in settings]
        num_features = sum(dims.values())
        self.norm = nn.BatchNorm1d(num_features, eps=1e-6, affine=False) if feature_norm else nn.Identity()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for name in self.names:
            weight = torch.empty(num_classes, sum(dims[layer] for layer in name.split("+")))
            weight.normal_(std=0.01, generator=torch.Generator().manual_seed(seed))
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(num_classes)))

    def forward(self, features: Tensor) -> list[Tensor]:
        normed = self.norm(features)
        inputs = {name: select_layers(normed, self.dims, name) for name in set(self.names)}
        return [
            F.linear(inputs[name], weight, bias)
            for name, weight, bias in zip(self.names, self.weights, self.biases, strict=True)
        ]

    @torch.no_grad()
    def scores(self, index: int, features: Tensor) -> Tensor:
        """Logits ``(N, C)`` of one head for features ``(N, D)``, in eval mode."""
        self.eval()
        name, weight, bias = self.names[index], self.weights[index], self.biases[index]
        chunks = (rows.to(weight.device) for rows in torch.split(features, ROWS_AT_ONCE))
        return torch.cat(
            [F.linear(select_layers(self.norm(rows), self.dims, name), weight, bias) for rows in chunks]
        )

    def groups(self, settings: Sequence[HeadSettings]) -> list[dict[str, object]]:
        """One parameter group for each head, with its learning rate and weight decay."""
        return [
            {"params": [weight, bias], "lr": head.lr, "weight_decay": head.weight_decay}
            for head, weight, bias in zip(settings, self.weights, self.biases, strict=True)
        ]


def select_layers(features: Tensor, dims: Mapping[str, int], name: str) -> Tensor:
    """The columns of ``features`` ``(B, D)`` of a name such as ``avgpool+layer3``, in its order."""
    blocks = dict(zip(dims, torch.split(features, list(dims.values()), dim=1), strict=True))
    parts = [blocks[layer] for layer in name.split("+")]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def head_losses(outputs: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Each head's cross-entropy, summed over the images: ``(number of heads,)``."""
    return torch.stack([cross_entropy_sum(logits, labels) for logits in outputs])


def layers_used(names: Sequence[str]) -> tuple[str, ...]:
    """The layers that the names (``avgpool``, ``avgpool+layer3``) are made of, in the network's order.

    Raises:
        ValueError: no name, an unknown layer, or one that a name holds twice.
    """
    found = {layer for name in names for layer in name.split("+")}
    twice = [name for name in names if len(set(name.split("+"))) < len(name.split("+"))]
    if not names or found - set(LAYERS) or twice:
        raise ValueError(
            f"layers: expected names from {', '.join(LAYERS)}, or several different ones joined by +, "
            f"found {list(names)}"
        )
    return tuple(layer for layer in LAYERS if layer in found)
