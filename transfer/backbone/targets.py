"""Formats out: the contract's tensors under the names and in the files that frameworks read.

Names come from :mod:`transfer.backbone.naming`. Proving that a written file means the same network
is :mod:`transfer.backbone.convert`'s job.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transfer.backbone.architecture import ARCHS
from transfer.backbone.contract import Backbone, write_backbone
from transfer.backbone.naming import COUNTER, DETECTRON2, MMCV, rename

AUTHOR = "MEC Transfer"  # detectron2 wants to know who wrote a file
SOT_SHORTCUTS = tuple(f"layer{stage}.0.downsample.0.weight" for stage in (2, 3, 4))  # 3x3 in mmtrack


def to_detectron2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The contract's tensors as detectron2's ResNet names them, without the norms' step counters.

    detectron2's frozen norms have no counter; :func:`write_detectron2` keeps them elsewhere in the file.
    """
    return rename({key: value for key, value in state.items() if not key.endswith(COUNTER)}, DETECTRON2)


def to_mmcv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The contract's tensors as mmcv's ``Pretrained(prefix='backbone.')`` reads them."""
    return rename(state, MMCV)


def to_sot(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The contract's tensors as mmtrack's SOTResNet holds them.

    Its shortcuts of layer2 to layer4 are 3x3 convolutions where torchvision has 1x1 (SiamRPN++, Li et
    al. 2019, sec. 3.2: no padding in the stem and in layer2). The 1x1 kernel goes into the centre of a
    zero 3x3 kernel. mmcv's loader would only log the shapes' mismatch and leave these three random.
    """
    grown = dict(state)
    for key in SOT_SHORTCUTS:
        weight = state[key]
        grown[key] = torch.zeros(*weight.shape[:2], 3, 3, dtype=weight.dtype)
        grown[key][:, :, 1:2, 1:2] = weight
    return to_mmcv(grown)


def from_sot(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`to_sot` under the contract's names; any other state is returned as it is.

    Raises:
        ValueError: a 3x3 shortcut that is not zero around its centre, so no 1x1 convolution equals it.
    """
    shrunk = dict(state)
    for key in SOT_SHORTCUTS:
        weight = state.get(key)
        if weight is None or tuple(weight.shape[2:]) != (3, 3):
            continue
        centre = weight[:, :, 1:2, 1:2]
        if weight.count_nonzero() != centre.count_nonzero():
            raise ValueError(
                f"{key}: a 3x3 shortcut of mmtrack's SOTResNet that was trained beyond its centre; "
                "no torchvision ResNet equals it"
            )
        shrunk[key] = centre.clone()
    return shrunk


def write_detectron2(backbone: Backbone, path: Path) -> None:
    """Write detectron2's file: arrays in a ``.pkl``, tensors in a ``.pth``; it reads both.

    Not proven by itself; see :func:`transfer.backbone.convert.convert`.
    """
    tensors = to_detectron2(backbone.state)
    content: dict[str, Any] = {
        "model": tensors,
        "__author__": AUTHOR,
        "matching_heuristics": True,  # lets detectron2 find res2..res5 by suffix in C4 and FPN models
        "provenance": provenance(backbone),
        COUNTER: {key: int(value) for key, value in backbone.state.items() if key.endswith(COUNTER)},
    }
    if path.suffix == ".pth":
        torch.save(content, path)
        return
    content["model"] = {key: np.ascontiguousarray(value.numpy()) for key, value in tensors.items()}
    with path.open("wb") as handle:
        pickle.dump(content, handle, protocol=4)


def write_mmcv(backbone: Backbone, path: Path) -> None:
    """Write mmcv's ``.pth``. Not proven by itself; see :func:`transfer.backbone.convert.convert`."""
    torch.save({"state_dict": to_mmcv(backbone.state), "meta": provenance(backbone)}, path)


def write_sot(backbone: Backbone, path: Path) -> None:
    """Write mmcv's ``.pth`` for mmtrack's SOTResNet. Not proven by itself.

    Raises:
        ValueError: an arch other than resnet50, the only one that SOTResNet has.
    """
    if backbone.info.arch != "resnet50":
        raise ValueError(f"mmtrack's SOTResNet is a resnet50 only, found {backbone.info.arch}")
    torch.save({"state_dict": to_sot(backbone.state), "meta": provenance(backbone)}, path)


def write_torchvision(backbone: Backbone, path: Path) -> None:
    """Write a bare state dict, which has no room for provenance. Not proven by itself.

    Raises:
        ValueError: a network with the stride in its 1x1 convolutions.
    """
    _refuse_stride(backbone.info.arch, "torchvision")
    torch.save({key: value.clone() for key, value in backbone.state.items()}, path)


def write_timm(backbone: Backbone, path: Path) -> None:
    """Write safetensors with the contract's header; timm has torchvision's names. Not proven by itself.

    Raises:
        ValueError: a network with the stride in its 1x1 convolutions.
    """
    _refuse_stride(backbone.info.arch, "timm")
    write_backbone(path, backbone.state, backbone.info)


def _refuse_stride(arch: str, target: str) -> None:
    if ARCHS[arch].stride_in_1x1:
        raise ValueError(
            f"{target} has no {arch}: its bottlenecks stride in the 3x3 convolution, so every tensor would "
            "load and the network would be another; convert for detectron2 or mmcv, or use the backbone file"
        )


def provenance(backbone: Backbone) -> dict[str, str]:
    """Where a written file came from: the contract header and the digest of the file it was read from."""
    return {**asdict(backbone.info), "backbone_sha256": backbone.sha256}
