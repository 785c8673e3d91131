"""What the fine-tuning tests share: small settings on the digits of ``classify_images``."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo, read_backbone, write_backbone
from transfer.classify import finetune, semisup
from transfer.data.folders import ImageSplit

SMALL: dict[str, object] = {
    "resize_size": 32,
    "image_size": 32,
    "batch_size": 16,
    "cache_images": True,
    "min_scale": 0.8,
    "device": "cpu",
}


def semisup_config(data_dir: Path, **changes: object) -> semisup.Config:
    settings: dict[str, object] = {
        "dataset": "digits-10pct",
        "protocol": "semisup-ft",
        "data_dir": str(data_dir),
        "label_fraction": 1.0,
        "lr_backbone": 0.005,
        "lr_head": 0.02,
        "scale_lr": False,
        "epochs": 8,
        **SMALL,
        **changes,
    }
    return semisup.Config(**settings)  # type: ignore[arg-type]


def finetune_config(data_dir: Path, **changes: object) -> finetune.Config:
    settings: dict[str, object] = {
        "dataset": "digits",
        "protocol": "finetune-byol",
        "data_dir": str(data_dir),
        "steps": 12,
        "lrs": [0.05],
        **SMALL,
        **changes,
    }
    return finetune.Config(**settings)  # type: ignore[arg-type]


def narrow_backbone(folder: Path) -> Backbone:
    """Random weights that cost half of a ResNet-18's, whose maps are 4 x 4 at the end and not 1 x 1.

    With one position an image batch normalisation divides by the deviation of 16 numbers, and a few steps
    make what was a rounding a different network.
    """
    torch.manual_seed(0)
    model = empty_resnet("resnet18-cifar-w16").train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(16, 3, 32, 32))
    info = BackboneInfo("random", "resnet18-cifar-w16", "none", "random", "", "none", "", "0")
    path = folder / "backbone.safetensors"
    write_backbone(path, model.state_dict(), info)
    return read_backbone(path)


def read_selection(out: Path) -> list[dict[str, str]]:
    with (out / "selection.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def with_targets(split: ImageSplit) -> ImageSplit:
    """Digits as a set with several labels: what each image shows is its digit and the next one."""
    labels = torch.tensor(split.labels)
    targets = torch.zeros(len(split), len(split.classes))
    targets[torch.arange(len(split)), labels] = 1.0
    targets[torch.arange(len(split)), (labels + 1) % len(split.classes)] = 1.0
    return ImageSplit(split.split_dir, split.classes, split.names, split.labels, targets)
