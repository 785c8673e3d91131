"""A COCO set of rectangles and backbones with non-trivial norms, for the detection tests."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo, read_backbone, write_backbone

DETECTRON2 = [
    pytest.mark.detectron2,
    # detectron2 finds its model zoo by pkg_resources, scripts small functions at import, calls
    # meshgrid as in torch 1, gives torch read-only arrays and logs by Logger.warn.
    pytest.mark.filterwarnings("ignore:pkg_resources is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning"),
]
CHECKOUT = Path(__file__).parent.parent
NUM_IMAGES, SIDE = 4, 64
# One bright and one dark rectangle an image: (category id, x, y, width, height)
OBJECTS = [(3, 4, 6, 24, 20), (7, 36, 30, 20, 28)]


def write_set(root: Path, split: str) -> None:
    """``root/<split>/<k>.png`` and ``root/<split>.json``: COCO instances with polygon masks."""
    (root / split).mkdir(parents=True)
    images, annotations = [], []
    for k in range(1, NUM_IMAGES + 1):
        pixels = np.full((SIDE, SIDE, 3), 100 + 5 * k, np.uint8)
        for category, x, y, width, height in OBJECTS:
            pixels[y : y + height, x : x + width] = 30 * category
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k,
                    "category_id": category,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
                }
            )
        Image.fromarray(pixels).save(root / split / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": SIDE, "height": SIDE})
    categories = [{"id": 3, "name": "bright"}, {"id": 7, "name": "dark"}]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (root / f"{split}.json").write_text(json.dumps(content))


def make_backbone(path: Path, arch: str, seed: int = 0, **header: str) -> Backbone:
    """A random backbone whose batch norms change what passes, so that a lost one shows."""
    torch.manual_seed(seed)
    model = empty_resnet(arch)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    info = BackboneInfo("random", arch, "none", "random", "", "made here", "0" * 64, "0", **header)
    write_backbone(path, model.state_dict(), info)
    return read_backbone(path)


def rename_tensor(weights_path: Path, old: str, new: str) -> None:
    """Rename one tensor in a detectron2 weights file."""
    content: dict[str, Any] = pickle.loads(weights_path.read_bytes())
    content["model"][new] = content["model"].pop(old)
    weights_path.write_bytes(pickle.dumps(content))
