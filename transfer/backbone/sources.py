"""Formats in: any supported checkpoint becomes a :class:`~transfer.backbone.contract.Backbone`.

A layout is a literal entry in :data:`LAYOUTS`. Nothing from a file is executed: pickles are read
with ``weights_only=True``. Every tensor of a checkpoint must be accounted for, either as part of
the chosen branch or as something the layout is known to carry besides; otherwise it is refused.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transfer import __version__
from transfer.backbone.contract import (
    Backbone,
    BackboneInfo,
    check_state,
    empty_resnet,
    file_sha256,
    read_backbone,
    write_backbone,
)


@dataclass(frozen=True)
class Layout:
    """Where a checkpoint keeps its backbone.

    ``branches`` maps a branch name to the prefix of its tensors, the default branch first;
    ``beside`` lists the prefixes of tensors that are known not to belong to any backbone.
    """

    method: str
    branches: dict[str, str]
    beside: tuple[str, ...] = ()


LAYOUTS: dict[str, Layout] = {
    # The authors' main_pretrain.py saves DistributedDataParallel's state: online encoder,
    # momentum target ("teacher") and predictor; the projector is the encoder's fc.
    "mec": Layout(
        method="mec",
        branches={"online": "module.encoder.", "target": "module.teacher."},
        beside=("module.predictor.",),
    ),
    "torchvision": Layout(method="unknown", branches={"": ""}),
}
HEAD = "fc."  # below a branch's prefix: the projector or the classifier, never the backbone

BLOCKS_TO_DEPTH = {  # (blocks per stage, bottleneck) -> ResNet depth
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}


def load_source(path: Path, source: str | None = None, branch: str | None = None) -> Backbone:
    """Read a checkpoint of any known layout.

    Args:
        path: a contract file, a MEC checkpoint of the authors' code, or a torchvision state dict.
        source: a key of :data:`LAYOUTS`; detected from the keys when None.
        branch: which network of the checkpoint; the layout's first when None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, no known layout or several, an unknown branch, or tensors
            that are missing, unexpected, wrongly shaped, mapped twice or not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    if path.suffix == ".safetensors":
        if source is not None or branch is not None:
            raise ValueError(
                f"{path}: a backbone contract file has one layout and one branch; "
                "leave --source and --branch out"
            )
        return read_backbone(path)
    content = _load_pickle(path)
    tensors = _tensors(path, content)
    name = source or _detect(path, tensors)
    if name not in LAYOUTS:
        raise ValueError(f"source {name!r} is unknown; known: {', '.join(LAYOUTS)}")
    layout = LAYOUTS[name]
    chosen = next(iter(layout.branches)) if branch is None else branch
    if chosen not in layout.branches:
        raise ValueError(
            f"{path}: layout {name} has no branch {chosen!r}; it has "
            f"{', '.join(repr(b) for b in layout.branches)}"
        )
    try:
        state = extract(tensors, layout, chosen)
        arch = infer_arch(state)
        check_state(state, arch)
    except ValueError as error:
        raise ValueError(f"{path} (layout {name}, branch {chosen or 'only'}): {error}") from error
    epoch = content.get("epoch")
    sha256 = file_sha256(path)
    info = BackboneInfo(
        method=layout.method,
        arch=arch,
        pretrain_data="",
        pretrain_epochs=str(epoch) if isinstance(epoch, int) else "",
        branch=chosen,
        source_name=path.name,
        source_sha256=sha256,
        tool_version=__version__,
    )
    return Backbone(info, state, sha256, path)


def extract(tensors: dict[str, Tensor], layout: Layout, branch: str) -> dict[str, Tensor]:
    """The tensors of one branch under torchvision's names.

    Raises:
        ValueError: a tensor that neither the branch nor the layout accounts for, or no tensor at all.
    """
    prefix = layout.branches[branch]
    others = [p for b, p in layout.branches.items() if b != branch] + list(layout.beside)
    state: dict[str, Tensor] = {}
    unaccounted = []
    for key, tensor in tensors.items():
        if prefix and any(key.startswith(other) for other in others):
            continue
        if not key.startswith(prefix):
            unaccounted.append(key)
            continue
        name = key[len(prefix) :]
        if not name.startswith(HEAD):
            state[name] = tensor
    if unaccounted:
        raise ValueError(
            f"{len(unaccounted)} tensors belong to no known part of this layout, first {unaccounted[0]!r}"
        )
    if not state:
        raise ValueError(f"no backbone tensor found below the prefix {prefix!r}")
    return state


def infer_arch(state: dict[str, Tensor]) -> str:
    """The contract's arch name, read from the tensors' names and shapes.

    Raises:
        ValueError: not a ResNet, or one of a depth that is not supported.
    """
    blocks = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    depth = BLOCKS_TO_DEPTH.get((blocks, "layer1.0.conv3.weight" in state))  # type: ignore[arg-type]
    if depth is None:
        first = sorted(state)[0]
        raise ValueError(f"no supported ResNet has {blocks} blocks in its stages (first tensor {first!r})")
    stem = state.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and tuple(stem.shape[2:]) == (3, 3):
        return f"resnet{depth}-cifar"
    return f"resnet{depth}"


def write_random(path: Path, arch: str, seed: int) -> None:
    """Write a randomly initialised backbone: torchvision's own initialisation under ``seed``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = empty_resnet(arch).state_dict()
    info = BackboneInfo(
        method="random",
        arch=arch,
        pretrain_data="none",
        pretrain_epochs="random",
        branch="",
        source_name=f"torchvision initialisation, seed {seed}",
        source_sha256="",
        tool_version=__version__,
    )
    write_backbone(path, state, info)


def import_checkpoint(
    path: Path,
    out: Path,
    source: str | None = None,
    branch: str | None = None,
    *,
    method: str | None = None,
    pretrain_data: str | None = None,
    pretrain_epochs: str | None = None,
) -> Backbone:
    """Turn any supported checkpoint into a contract file; what the file does not say, the caller may."""
    backbone = load_source(path, source, branch)
    said = {"method": method, "pretrain_data": pretrain_data, "pretrain_epochs": pretrain_epochs}
    info = replace(backbone.info, **{key: value for key, value in said.items() if value is not None})
    write_backbone(out, backbone.state, info)
    return read_backbone(out)


def _load_pickle(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol; what matters is refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"{path}: refused: not a plain checkpoint of tensors and numbers; nothing in it was executed "
            f"({reason})"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a readable checkpoint, truncated or of another kind ({error})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a dictionary of tensors, found {type(content).__name__}")
    return content


def _tensors(path: Path, content: dict[str, Any]) -> dict[str, Tensor]:
    container = content.get("state_dict", content)
    if not isinstance(container, dict):
        raise ValueError(f"{path}: 'state_dict' is no dictionary but {type(container).__name__}")
    tensors = {key: value for key, value in container.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path}: holds no tensors; top-level keys: {sorted(map(str, content))[:8]}")
    return tensors


def _detect(path: Path, tensors: dict[str, Tensor]) -> str:
    found = [
        name
        for name, layout in LAYOUTS.items()
        if all(f"{prefix}conv1.weight" in tensors for prefix in layout.branches.values())
    ]
    if len(found) != 1:
        fits = f"it fits {', '.join(found)}; choose with --source" if found else "it fits none"
        raise ValueError(
            f"{path}: cannot tell the checkpoint's layout among {', '.join(LAYOUTS)}: {fits}. "
            f"First keys: {', '.join(sorted(tensors)[:4])}"
        )
    return found[0]
