"""A recipe on 24 noise images, for tests of whole pre-training runs."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.transforms.v2.functional import to_pil_image


def write_recipe(folder: Path, epochs: int = 2, **keys: str) -> Path:
    """``folder/recipe.yaml`` and its images; 3 steps an epoch; further keys are appended as lines of YAML."""
    generator = torch.Generator().manual_seed(0)
    for i in range(24):
        path = folder / "images" / f"class{i % 2}" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(torch.randint(0, 256, (3, 40, 40), generator=generator, dtype=torch.uint8)).save(path)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"""
out: {folder}/run
data: {{name: noise, dir: {folder}/images, in_memory: true}}
views: {{size: 32}}
model: {{arch: resnet18-cifar-w16, projector_hidden_dim: 32, dim: 32, predictor_hidden_dim: 16}}
objective: {{eps_d_sq: 0.5}}
optim: {{epochs: {epochs}, batch_size: 8, base_lr: 0.1}}
device: cpu
log_every: 1
"""
        + "".join(f"{key}: {value}\n" for key, value in keys.items())
    )
    return recipe
