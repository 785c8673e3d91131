"""Small checkpoints in the key names and container that the authors' code writes."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn


def with_statistics(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every batch norm non-trivial weights and statistics, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.fill_(1234)
    return model


def mec_state(arch: str = "resnet18") -> dict[str, Tensor]:
    """``module.encoder.*``, ``module.teacher.*`` and ``module.predictor.*``, projectors included."""
    state: dict[str, Tensor] = {}
    for seed, part in enumerate(("encoder", "teacher")):
        torch.manual_seed(seed)
        network = with_statistics(torchvision.models.get_model(arch, weights=None), seed)
        width = network.fc.in_features
        network.fc = nn.Sequential(
            nn.Linear(width, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16)
        )
        state |= {f"module.{part}.{key}": value for key, value in network.state_dict().items()}
    predictor = nn.Sequential(nn.Linear(16, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 16))
    return state | {f"module.predictor.{key}": value for key, value in predictor.state_dict().items()}


def write_mec_checkpoint(path: Path, arch: str = "resnet18", rename: tuple[str, str] | None = None) -> Path:
    """The authors' container: epoch, arch, state_dict, optimizer; ``rename`` replaces a key prefix."""
    state = mec_state(arch)
    if rename:
        state = {key.replace(*rename): value for key, value in state.items()}
    optimizer = {
        "state": {0: {"momentum_buffer": torch.zeros(3)}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
    torch.save({"epoch": 100, "arch": arch, "state_dict": state, "optimizer": optimizer}, path)
    return path
