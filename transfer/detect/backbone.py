"""The backbone inside detectron2's own models: settings it dictates, features, proof of arrival.

detectron2's defaults describe a Caffe2 ResNet (BGR pixels in 0..255, std 1, the stride in the
first 1x1 convolution, two frozen stages). A torchvision ResNet differs in every one of these, and
a model that is built with the wrong value trains without complaint. So these settings are derived
from the contract (:func:`bind`), and what the checkpoint loader only warns about is an error here
(:func:`check_arrival`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from transfer.backbone.architecture import ARCHS, STAGES
from transfer.backbone.checkpoint import read_checkpoint
from transfer.backbone.contract import BackboneInfo

# Keys that follow from the backbone; a detectron2 YAML that sets one is refused.
BOUND = (
    "MODEL.WEIGHTS",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.RESNETS.DEPTH",
    "MODEL.RESNETS.RES2_OUT_CHANNELS",
    "MODEL.RESNETS.NUM_GROUPS",
    "MODEL.RESNETS.WIDTH_PER_GROUP",
    "MODEL.RESNETS.STRIDE_IN_1X1",
    "INPUT.FORMAT",
)


def bind(cfg: Any, info: BackboneInfo, weights_path: Path) -> None:
    """Set :data:`BOUND` in a detectron2 configuration from the contract.

    Raises:
        ValueError: an arch that detectron2's ResNet cannot hold.
    """
    arch = ARCHS[info.arch]
    if arch.cifar_stem:
        raise ValueError(
            f"arch {info.arch!r} does not exist in detectron2: its stem is a 7x7 convolution of stride 2 "
            "with max pooling; use the classification tasks instead."
        )
    cfg.MODEL.WEIGHTS = str(weights_path)
    cfg.MODEL.PIXEL_MEAN = [255.0 * value for value in info.mean()]  # detectron2 feeds pixels in 0..255
    cfg.MODEL.PIXEL_STD = [255.0 * value for value in info.std()]
    cfg.MODEL.RESNETS.DEPTH = arch.depth
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = arch.channels[0]
    cfg.MODEL.RESNETS.NUM_GROUPS = arch.groups
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = arch.width
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = arch.stride_in_1x1
    cfg.INPUT.FORMAT = info.pixel_order


def models(target: str, info: BackboneInfo) -> tuple[str, ...]:
    """The detectors that a file is proven in. Detectron2's C4 head has bottleneck blocks only."""
    del target
    return ("fpn", "c4") if ARCHS[info.arch].bottleneck else ("fpn",)


def features(
    weights_path: Path, info: BackboneInfo, images: Tensor, architecture: str = "fpn"
) -> dict[str, Tensor]:
    """Stage features of a converted backbone inside detectron2's own detector.

    The detector comes from detectron2's ``build_model`` and the file goes through its
    ``DetectionCheckpointer``, name matching included, as in a user's training.

    Args:
        weights_path: the ``.pkl`` or ``.pth`` written for detectron2.
        info: the contract header that the file was made from.
        images: ``(B, 3, H, W)``, already normalised; H and W multiples of 32.
        architecture: ``fpn`` (res2 to res5 in the backbone) or ``c4`` (res5 in the box head, which
            detectron2 has for bottleneck ResNets only).

    Returns:
        ``res2`` to ``res5``, ``(B, C, H / stride, W / stride)`` for strides 4, 8, 16, 32, eval mode.

    Raises:
        ValueError: an arch or architecture that detectron2 lacks, or a tensor that did not arrive.
    """
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    model = build_model(_detector_settings(weights_path, info, architecture))
    with _quiet_loader():
        DetectionCheckpointer(model).load(str(weights_path))
    check_arrival(model, weights_path)
    model.eval()
    with torch.no_grad():
        if architecture == "fpn":
            found = dict(model.backbone.bottom_up(images))
        else:
            found = dict(model.backbone(images))
            found["res5"] = model.roi_heads.res5(found["res4"])
    return {stage: found[stage] for stage in STAGES}


def check_arrival(model: nn.Module, weights_path: Path) -> None:
    """Refuse a detector whose backbone is not, tensor by tensor and bit by bit, the file's.

    Args:
        model: detectron2's detector on any device, also inside DistributedDataParallel.
        weights_path: a file of :func:`~transfer.backbone.targets.write_detectron2`.

    Raises:
        ValueError: names every backbone tensor that kept its initial value, every tensor of the
            file that found no place, and every tensor that differs.
    """
    prefix = "model/"
    written = {
        key.removeprefix(prefix): tensor
        for key, tensor in read_checkpoint(weights_path).tensors.items()
        if key.startswith(prefix)
    }
    state = _backbone_state(model.module if isinstance(model, DistributedDataParallel) else model)
    faults = [f"  - {key}: not in the file, left at its initial value" for key in state if key not in written]
    faults += [f"  + {key}: in the file, no such tensor in the model" for key in written if key not in state]
    for key in state.keys() & written.keys():
        if not torch.equal(state[key].cpu(), written[key]):
            faults.append(f"  ! {key}: the model's values differ from the file's")
    if faults:
        shown = sorted(faults)[:12]
        more = f"\n  … and {len(faults) - 12} more" if len(faults) > 12 else ""
        raise ValueError(
            f"{weights_path}: expected all {len(state)} backbone tensors to arrive in detectron2's model; "
            f"{len(faults)} did not. Convert the checkpoint again.\n" + "\n".join(shown) + more
        )


@contextmanager
def _quiet_loader() -> Iterator[None]:
    """Hold back the loader's warnings about heads and counters that no backbone file has."""
    logger = logging.getLogger("fvcore.common.checkpoint")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _backbone_state(model: nn.Module) -> dict[str, Tensor]:
    """The ResNet's tensors in a detector under detectron2's ResNet names, wherever they lie in it."""
    state: dict[str, Tensor] = {}
    # FPN keeps the whole ResNet in bottom_up; C4 keeps the stem to res4 in backbone and res5 in roi_heads.
    fpn = hasattr(model.backbone, "bottom_up")
    prefixes = ("backbone.bottom_up.",) if fpn else ("backbone.", "roi_heads.res5.")
    for key, tensor in model.state_dict().items():
        for prefix in prefixes:
            if key.startswith(prefix) and not key.endswith(".num_batches_tracked"):
                name = key[len(prefix) :]
                state[f"res5.{name}" if prefix == "roi_heads.res5." else name] = tensor
    # The extra norm that some C4 heads put behind res5 (MoCo App. A.1) is new in every detector.
    return {key: tensor for key, tensor in state.items() if not key.startswith("res5.norm.")}


def _detector_settings(weights_path: Path, info: BackboneInfo, architecture: str) -> Any:
    """detectron2's own base configuration of a detector, holding this backbone."""
    from detectron2 import model_zoo

    bases = {"fpn": "Base-RCNN-FPN.yaml", "c4": "Base-RCNN-C4.yaml"}
    if architecture not in bases:
        raise ValueError(f"architecture {architecture!r} is none of {', '.join(bases)}")
    if architecture not in models("detectron2", info):
        raise ValueError(f"detectron2's C4 head has bottleneck blocks only; {info.arch} needs fpn")
    cfg = model_zoo.get_config(bases[architecture])
    bind(cfg, info, weights_path)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16  # 1024 by default; neck and heads take no part in a proof
    cfg.MODEL.FPN.OUT_CHANNELS = 16  # 256 by default
    if architecture == "c4":
        cfg.MODEL.RESNETS.OUT_FEATURES = list(STAGES[:3])  # the default is the last of them alone
    return cfg
