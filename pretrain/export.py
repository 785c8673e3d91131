"""The end of a run: ``backbone.safetensors``, which every consumer reads.

Tensors carry torchvision's names without head; the header says where they came from. This file
format is the only thing that pre-training and transfer share.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from pretrain import __version__
from pretrain.config import Config
from pretrain.views import MEAN, STD

LEFTOVER = re.compile(r"\.(checkpoint_.*\.pt|backbone\.safetensors|config\.json|metrics\.jsonl)\.\d+")


def write_backbone(path: Path, state: dict[str, Tensor], config: Config, checkpoint: Path) -> None:
    """Write the exported branch atomically; equal weights and header give equal bytes.

    Raises:
        ValueError: weights that are not finite; nothing is written.
    """
    broken = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"{path}: not written, {broken[0]} and {len(broken) - 1} more hold NaN or infinity")
    header = {
        "method": method_name(config),
        "arch": config.model.arch,
        "pretrain_data": config.data.name,
        "pretrain_epochs": str(config.optim.epochs),
        "branch": config.branch,
        "source_name": checkpoint.name,
        "source_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "tool_version": __version__,
        "pixel_order": "RGB",
        "pixel_mean": ",".join(map(str, MEAN)),
        "pixel_std": ",".join(map(str, STD)),
    }
    content = _sort_metadata(save({key: value.contiguous().cpu() for key, value in state.items()}, header))
    write_atomically(path, content)


def method_name(config: Config) -> str:
    """What rows and tables call the objective; other orders than the paper's 4 carry theirs."""
    objective = config.objective
    if objective.name == "mec" and objective.order != 4:
        return f"mec-order-{objective.order}" if objective.order else "mec-exact"
    return {"simsiam+mec": "simsiam-with-mec"}.get(objective.name, objective.name)


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name beside ``path``, flush to disk, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(*folders: Path) -> None:
    """Delete what a killed process was writing by :func:`write_atomically`; only for the folders' owner."""
    for folder in folders:
        for path in folder.glob(".*"):
            if LEFTOVER.fullmatch(path.name):
                path.unlink()


def _sort_metadata(content: bytes) -> bytes:
    """The library writes metadata in a random order; sorted, equal backbones are equal files."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
