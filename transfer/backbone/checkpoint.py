"""Read a checkpoint file as plain data: tensors by path, and nothing that the file asks to run."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transfer.backbone.arrays import Array
from transfer.backbone.containers import (
    LEGACY_MAGIC,
    Opaque,
    load_legacy,
    load_pickle,
    load_safetensors,
    load_zip,
    not_allowed,
)
from transfer.backbone.pickles import RefusedError

MAX_DEPTH = 32  # of nested containers


@dataclass(frozen=True)
class Checkpoint:
    """A file's content: leaves under the path of their containers, joined by ``/``."""

    path: Path
    kind: str  # how the file is packed, in words
    sha256: str
    tensors: dict[str, Tensor]
    values: dict[str, str | int | float] = field(default_factory=dict)
    containers: set[str] = field(default_factory=set)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of any container: PyTorch's (zip or older), a pickle of arrays, safetensors.

    Tensors of a zip or safetensors file stay on disk until they are used.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a regular file, not a checkpoint, truncated or damaged, or a pickle that
            names something outside :data:`~transfer.backbone.containers.ALLOWED`.
    """
    if not path.exists():
        broken = " (a symbolic link to nothing)" if path.is_symlink() else ""
        raise FileNotFoundError(f"{path}: no such checkpoint file{broken}")
    if not path.is_file():
        raise ValueError(f"{path}: expected a checkpoint file, found a {_file_type(path)}")
    with path.open("rb") as handle:
        head = handle.read(64)
    kind, load = _container(path, head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a pickle's protocol; what matters is refused here
            content = load(path)
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from error
    # A parser fed with damaged bytes may fail in any way; each means the same to the caller.
    except Exception as error:
        raise _refusal(path, kind, error) from error
    checkpoint = Checkpoint(path, kind, file_sha256(path), {})
    try:
        _flatten(content, "", 0, set(), checkpoint)
        _check_claims(checkpoint)
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from error
    if not checkpoint.tensors:
        raise ValueError(f"{path}: holds no tensors; it holds {_summary(content)}")
    return checkpoint


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _container(path: Path, head: bytes) -> tuple[str, Callable[[Path], Any]]:
    """How the file is packed, by its first bytes: names lie more often than bytes do."""
    if not head:
        raise ValueError(f"{path}: the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return "PyTorch zip", load_zip
    if head.startswith(LEGACY_MAGIC):
        return "PyTorch legacy", load_legacy
    if head.startswith(b"\x80"):
        return "pickle", load_pickle
    if len(head) > 8 and head[8:9] == b"{":
        return "safetensors", load_safetensors
    for start, what in {
        b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with `git lfs pull`",
        b"<": "a web page; the download link has probably expired",
        b"\x1f\x8b": "a gzip file; unpack it first",
        b"\x89HDF": "an HDF5 file of another framework",
        b"{": "JSON",
    }.items():
        if head.lstrip().lower().startswith(start.lower()):
            raise ValueError(f"{path}: not a checkpoint but {what}")
    raise ValueError(
        f"{path}: not a checkpoint; expected a PyTorch, pickle or safetensors file, found one that "
        f"begins with {head[:12]!r}"
    )


def _refusal(path: Path, kind: str, error: Exception) -> ValueError:
    if isinstance(error, pickle.UnpicklingError) and (
        named := re.search(r"GLOBAL ([\w.]+)", str(error))
        or re.search(r"function <\w+[\w\s]* ([\w.]+)", str(error))
    ):
        return ValueError(f"{path}: {not_allowed(named[1])}")
    reason = str(error).strip().split("\n")[0][:200]
    return ValueError(
        f"{path}: not a readable checkpoint, truncated or damaged ({kind}; {type(error).__name__}: {reason})"
    )


def _flatten(node: Any, path: str, depth: int, seen: set[int], into: Checkpoint) -> None:
    """Collect leaves. A container met twice is entered once, so references to references cost nothing."""
    if isinstance(node, Tensor):
        if path in into.tensors:
            raise RefusedError(f"two tensors are called {path}")
        into.tensors[path] = node
        return
    if isinstance(node, Array):
        if node.value is None:
            raise RefusedError(f"damaged: the array {path} has no content")
        node = node.value
    if isinstance(node, np.ndarray):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the array cannot be written to, and is not
            return _flatten(torch.from_numpy(node), path, depth, seen, into)
    if isinstance(node, (str, int, float)):
        into.values[path] = node
        return
    if not isinstance(node, (Opaque, list, tuple, dict)) or id(node) in seen:
        return
    if depth >= MAX_DEPTH:
        raise RefusedError(f"containers are nested more than {MAX_DEPTH} deep")
    seen.add(id(node))
    into.containers.add(f"{path}/")
    items: Iterable[tuple[Any, Any]]
    if isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:  # dict's own method: an OrderedDict out of a pickle may carry another under this name
        items = dict.items(vars(node) if isinstance(node, Opaque) else node)
    for key, value in items:
        _flatten(value, f"{path}/{key}" if path else str(key), depth + 1, seen, into)


def _check_claims(checkpoint: Checkpoint) -> None:
    """Refuse a tensor that is larger than its file: one number seen a billion times, or nothing at all."""
    size = checkpoint.path.stat().st_size
    for name, tensor in checkpoint.tensors.items():
        if tensor.layout == torch.strided and (claim := tensor.numel() * tensor.element_size()) > size:
            raise RefusedError(f"{name} claims to have {claim} bytes; the file has {size}")


def _summary(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dictionary with the keys {sorted(map(str, content))[:8]}"
    return f"a {type(content).__name__}"


def _file_type(path: Path) -> str:
    if path.is_dir():
        return "folder"
    return "device, pipe or socket"
