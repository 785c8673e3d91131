"""The fixture of this project's own pre-training, made by its own code."""

from __future__ import annotations

from pathlib import Path

import torch
from layouts_parts import ONLINE, TARGET, WIDTH, Fixture, network

from pretrain.checkpoint import save_checkpoint
from pretrain.collective import World
from pretrain.config import Config, DataConfig, ModelConfig, OptimConfig
from pretrain.run import build


def pretrain(folder: Path, arch: str) -> Path:
    """A run after its third step. Only the heads were stepped: encoders have momentum of their own size."""
    config = Config(
        out=str(folder),
        data=DataConfig(name="noise", dir="images"),
        model=ModelConfig(
            arch=arch, projector_hidden_dim=WIDTH, dim=WIDTH, predictor_hidden_dim=4, sync_bn=False
        ),
        optim=OptimConfig(batch_size=8),
    )
    run = build(config, 24, torch.device("cpu"), World())
    run.model.online.encoder.load_state_dict(network(arch, ONLINE).state_dict())
    run.model.target.encoder.load_state_dict(network(arch, TARGET).state_dict())
    for head in (run.model.online.projector, run.model.predictor):
        for parameter in head.parameters():
            parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    run.step = 3
    return save_checkpoint(folder / "checkpoints", run.step, run.state(), config.keep)


FIXTURES = {
    "pretrain": Fixture(
        pretrain, {"online": ONLINE, "target": TARGET}, "pretrain/run.py and checkpoint.py of this project"
    ),
}
