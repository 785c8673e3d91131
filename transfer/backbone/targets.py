"""Formats out: the contract's tensors under the names that detectron2 and mmcv expect.

Renaming is a literal table of anchored rules; a key that no rule or two rules claim is an error.
Proving that the written file means the same network is :mod:`transfer.backbone.convert`'s job.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer.backbone.contract import Backbone

# Rule -> new name; None drops the tensor on purpose.
DETECTRON2: dict[str, str | None] = {
    r"conv1\.weight": "stem.conv1.weight",
    r"bn1\.(weight|bias|running_mean|running_var)": r"stem.conv1.norm.\1",
    r"layer1\.(\d+)\.conv([123])\.weight": r"res2.\1.conv\2.weight",
    r"layer2\.(\d+)\.conv([123])\.weight": r"res3.\1.conv\2.weight",
    r"layer3\.(\d+)\.conv([123])\.weight": r"res4.\1.conv\2.weight",
    r"layer4\.(\d+)\.conv([123])\.weight": r"res5.\1.conv\2.weight",
    r"layer1\.(\d+)\.bn([123])\.(weight|bias|running_mean|running_var)": r"res2.\1.conv\2.norm.\3",
    r"layer2\.(\d+)\.bn([123])\.(weight|bias|running_mean|running_var)": r"res3.\1.conv\2.norm.\3",
    r"layer3\.(\d+)\.bn([123])\.(weight|bias|running_mean|running_var)": r"res4.\1.conv\2.norm.\3",
    r"layer4\.(\d+)\.bn([123])\.(weight|bias|running_mean|running_var)": r"res5.\1.conv\2.norm.\3",
    r"layer1\.(\d+)\.downsample\.0\.weight": r"res2.\1.shortcut.weight",
    r"layer2\.(\d+)\.downsample\.0\.weight": r"res3.\1.shortcut.weight",
    r"layer3\.(\d+)\.downsample\.0\.weight": r"res4.\1.shortcut.weight",
    r"layer4\.(\d+)\.downsample\.0\.weight": r"res5.\1.shortcut.weight",
    r"layer1\.(\d+)\.downsample\.1\.(weight|bias|running_mean|running_var)": r"res2.\1.shortcut.norm.\2",
    r"layer2\.(\d+)\.downsample\.1\.(weight|bias|running_mean|running_var)": r"res3.\1.shortcut.norm.\2",
    r"layer3\.(\d+)\.downsample\.1\.(weight|bias|running_mean|running_var)": r"res4.\1.shortcut.norm.\2",
    r"layer4\.(\d+)\.downsample\.1\.(weight|bias|running_mean|running_var)": r"res5.\1.shortcut.norm.\2",
    r".+\.num_batches_tracked": None,  # detectron2's norms have no such buffer when frozen
}
MMCV: dict[str, str | None] = {r"(.+)": r"backbone.\1"}  # mmdet keeps torchvision's names


def rename(state: dict[str, Tensor], rules: dict[str, str | None]) -> dict[str, Tensor]:
    """Rename every key by the one rule that matches it in full.

    Raises:
        ValueError: a key matched by no rule or by several, or two keys with the same new name.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        matches = [(match, new) for rule, new in rules.items() if (match := re.fullmatch(rule, key))]
        if len(matches) != 1:
            raise ValueError(f"{key}: expected exactly one renaming rule to match, found {len(matches)}")
        match, template = matches[0]
        if template is None:
            continue
        new_key = match.expand(template)
        if new_key in renamed:
            raise ValueError(f"{key}: its new name {new_key} is already taken; a tensor was mapped twice")
        renamed[new_key] = tensor
    return renamed


def to_detectron2(state: dict[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The contract's tensors as detectron2's ResNet names them, as arrays."""
    return {
        key: np.ascontiguousarray(value.cpu().numpy()) for key, value in rename(state, DETECTRON2).items()
    }


def to_mmcv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The contract's tensors as mmcv's ``Pretrained(prefix='backbone.')`` reads them."""
    return rename(state, MMCV)


def write_detectron2(backbone: Backbone, path: Path) -> None:
    """Write detectron2's ``.pkl``. Not proven by itself; see :func:`transfer.backbone.convert.convert`."""
    content = {
        "model": to_detectron2(backbone.state),
        "__author__": "MEC Transfer",
        "matching_heuristics": True,  # lets detectron2 find res2..res5 by suffix in C4 and FPN models
        "provenance": provenance(backbone),
    }
    with path.open("wb") as handle:
        pickle.dump(content, handle)


def write_mmcv(backbone: Backbone, path: Path) -> None:
    """Write mmcv's ``.pth``. Not proven by itself; see :func:`transfer.backbone.convert.convert`."""
    torch.save({"state_dict": to_mmcv(backbone.state), "meta": provenance(backbone)}, path)


def provenance(backbone: Backbone) -> dict[str, str]:
    """Where a written file came from: the contract header and the contract file's digest."""
    return {**asdict(backbone.info), "backbone_sha256": backbone.sha256}
