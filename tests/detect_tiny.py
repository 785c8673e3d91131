"""The smallest detector that trains: ResNet-18 FPN on a few noisy rectangles, for tests of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from detect_scene import make_backbone
from PIL import Image

from transfer.backbone.contract import BackboneInfo
from transfer.backbone.targets import write_detectron2
from transfer.detect.backbone import bind
from transfer.detect.sets import SetFiles, register
from transfer.ranks import World

NUM_IMAGES = 9  # one without objects, which training leaves out
SIDES = (64, 48)  # wide and high images, in turn


def write_images(root: Path, same_size: bool = False) -> Path:
    """``root/images`` and ``root/set.json``: noise with two rectangles an image, COCO instances."""
    (root / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for k in range(NUM_IMAGES):
        width, height = SIDES if same_size or k % 3 else SIDES[::-1]
        pixels = random.integers(60, 120, (height, width, 3), np.uint8)
        images.append({"id": k + 1, "file_name": f"{k}.png", "width": width, "height": height})
        for category in (1, 2) if k else ():
            side = 12 + 2 * (k % 4)
            x, y = (int(random.integers(0, extent - side)) for extent in (width, height))
            pixels[y : y + side, x : x + side] = 255 * (category - 1)
            box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0, "category_id": category}
            outline = [x, y, x + side, y, x + side, y + side, x, y + side]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": k + 1, "segmentation": [outline], **box}
            )
        Image.fromarray(pixels).save(root / "images" / f"{k}.png")
    categories = [{"id": 1, "name": "dark"}, {"id": 2, "name": "bright"}]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (root / "set.json").write_text(json.dumps(content))
    return root


def make_tiny(root: Path, same_size: bool = False) -> Path:
    """A folder with images and a converted backbone, from which :func:`tiny_cfg` makes configurations."""
    write_images(root, same_size)
    backbone = make_backbone(root / "backbone.safetensors", "resnet18")
    write_detectron2(backbone, root / "backbone.pkl")
    return root


def tiny_cfg(root: Path, out: Path, **settings: Any) -> Any:
    """A frozen configuration; ``settings`` with ``__`` for dots, for example ``SOLVER__MAX_ITER=3``."""
    from detectron2.config import get_cfg

    name = f"tiny-{root.name}"
    register(name, SetFiles(str(root / "set.json"), str(root / "images")))
    cfg = get_cfg()
    info = BackboneInfo("random", "resnet18", "none", "random", "", "made here", "0" * 64, "0")
    bind(cfg, info, root / "backbone.pkl")
    values: dict[str, Any] = {
        "DATASETS.TRAIN": (name,),
        "DATASETS.TEST": (name,),
        "OUTPUT_DIR": str(out),
        "SEED": 0,
        "MODEL.DEVICE": "cpu",
        "MODEL.MASK_ON": True,
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.NORM": "FrozenBN",
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.OUT_CHANNELS": 16,
        "MODEL.ANCHOR_GENERATOR.SIZES": [[8], [16], [32], [64]],
        "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5"],
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 32,
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 50,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 30,
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
        "MODEL.ROI_HEADS.NUM_CLASSES": 2,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 4,
        "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
        "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 7,
        "INPUT.MIN_SIZE_TRAIN": (48, 56, 64),
        "INPUT.MAX_SIZE_TRAIN": 96,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.BASE_LR": 0.002,
        "SOLVER.MAX_ITER": 6,
        "SOLVER.STEPS": (4,),
        "SOLVER.WARMUP_ITERS": 2,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "DATALOADER.NUM_WORKERS": 0,
        **{key.replace("__", "."): value for key, value in settings.items()},
    }
    cfg.merge_from_list([item for pair in values.items() for item in pair])
    cfg.freeze()
    return cfg


def train(world: World, root: Path, out: Path, accumulate: int = 1, **settings: Any) -> dict[str, Any]:
    """The trained model's tensors; on several processes, as ``ranks.run_ranks`` starts them."""
    from transfer.detect.trainer import fit

    model = fit(tiny_cfg(root, out, **settings), accumulate, World(world.rank, world.size))
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}
