"""The three optimisers that recipes name."""

from __future__ import annotations

import torch
from torch import nn

from pretrain.config import OptimConfig


def make_optimizer(model: nn.Module, config: OptimConfig, fused: bool = True) -> torch.optim.Optimizer:
    """SGD, LARS or AdamW over the trained parameters; the loop sets the rate of every step.

    SGD decays every parameter, like the authors' code. LARS and AdamW leave biases and normalisation layers
    (everything with fewer than two dimensions) without decay, LARS also without its trust ratio, as in
    BYOL, SimCLR and MoCo v3. ``fused`` must be false beside a loss scale: torch's
    fused SGD makes its momentum of uninitialised memory when the scaler skips the first step.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.name == "sgd":
        return torch.optim.SGD(
            trained, lr=0.0, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused
        )
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    if config.name == "lars":
        from timm.optim.lars import Lars  # seconds that no other recipe needs

        lars: torch.optim.Optimizer = Lars(groups, lr=0.0, momentum=config.momentum)
        return lars
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.momentum, 0.999), fused=fused)
