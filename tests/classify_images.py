"""What the classification tests share: a small image folder of real digits, a backbone file, settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo, read_backbone, write_backbone
from transfer.classify import linear

SETTINGS = """
dataset: digits
data_dir: {data_dir}
resize_size: 32
image_size: 32
batch_size: 16
device: cpu
"""  # of a configuration file, to which a test adds its task's own


def write_digits(data_dir: Path, num_train: int, num_val: int, num_classes: int = 10) -> Path:
    """``num_train`` + ``num_val`` handwritten digits of each class as 32 px grey PNG files."""
    images, targets = load_digits(return_X_y=True)
    for label in range(num_classes):
        members = images[targets == label][: num_train + num_val].reshape(-1, 8, 8)
        for number, pixels in enumerate(members):
            split = "train" if number < num_train else "val"
            folder = data_dir / split / f"digit{label}"
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(np.uint8(pixels * 15)).resize((32, 32), Image.Resampling.BILINEAR)
            picture.save(folder / f"digit{label}_{number}.png")
    return data_dir


def make_backbone(folder: Path, pixel_order: str = "RGB") -> Backbone:
    """A randomly initialised ResNet-18 whose batch statistics are not the trivial ones."""
    torch.manual_seed(0)
    model = empty_resnet("resnet18").train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(16, 3, 32, 32))
    info = BackboneInfo("random", "resnet18", "none", "random", "", "none", "", "0", pixel_order=pixel_order)
    path = folder / "backbone.safetensors"
    write_backbone(path, model.state_dict(), info)
    return read_backbone(path)


def linear_config(data_dir: Path, **changes: object) -> linear.Config:
    """A linear probe on cached features of the digits by SGD, with changes."""
    settings: dict[str, object] = {
        "dataset": "digits",
        "protocol": "linear-cached-sgd",
        "data_dir": str(data_dir),
        "resize_size": 32,
        "image_size": 32,
        "batch_size": 32,
        "augment": False,
        "optimiser": "sgd",
        "base_lr": 0.5,
        "epochs": 30,
        "device": "cpu",
        **changes,
    }
    return linear.Config(**settings)  # type: ignore[arg-type]
