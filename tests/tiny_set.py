"""Twelve images in two classes that any backbone tells apart, and kNN configurations for them."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.transforms.v2.functional import to_pil_image


def write_tiny_set(root: Path) -> Path:
    """ImageFolder of 3 bright and 3 dark images a split."""
    generator = torch.Generator().manual_seed(0)
    for split in ("train", "val"):
        for name, level in (("bright", 150), ("dark", 0)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                image = torch.randint(0, 60, (3, 32, 32), generator=generator, dtype=torch.uint8)
                to_pil_image(image + level).save(folder / f"{i}.png")
    return root


def write_knn_config(path: Path, data_dir: Path, k: int, temperature: float = 0.07) -> Path:
    """A kNN configuration; at a temperature that is not positive it cannot work."""
    path.write_text(
        f"dataset: tiny\nprotocol: knn-k{k}\ndata_dir: {data_dir}\nresize_size: 32\nimage_size: 32\nk: {k}\n"
        f"temperature: {temperature}\n"
    )
    return path
