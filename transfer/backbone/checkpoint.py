"""Read a checkpoint file as plain data: tensors by path, and nothing that the file asks to run.

A pickle is a program. Here it may build containers, numbers, strings, arrays and tensors, plus
the harmless records of :data:`ALLOWED`, which become :class:`Opaque` and carry no behaviour.
Everything else is refused by name before it is looked up.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from transfer.backbone.arrays import ARRAYS, Array

MAX_DEPTH = 32  # of nested containers
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before PyTorch 1.6


class Opaque:
    """Stands for a record whose class is not loaded: keeps its fields, does nothing."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(key): value for key, value in state.items()})


class PlainDict:
    """Stands for a subclass of dict; making one gives a dict."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


# What published checkpoints carry besides tensors, and what it becomes. Nothing is imported by these names.
ALLOWED: dict[str, type] = {
    "argparse.Namespace": Opaque,  # DINO, timm
    "numpy.core.multiarray.scalar": Opaque,  # learning rates and losses computed by numpy
    "numpy._core.multiarray.scalar": Opaque,
    "numpy.core.multiarray._reconstruct": Opaque,
    "numpy._core.multiarray._reconstruct": Opaque,
    "numpy.ndarray": Opaque,
    "numpy.dtype": Opaque,
    "numpy.dtypes.Float64DType": Opaque,
    "numpy.dtypes.Float32DType": Opaque,
    "numpy.dtypes.Int64DType": Opaque,
    "pathlib.PosixPath": Opaque,
    "pathlib._local.PosixPath": Opaque,
    "datetime.datetime": Opaque,
    "datetime.timedelta": Opaque,
    "mmengine.logging.history_buffer.HistoryBuffer": Opaque,  # mmpretrain
    "__main__.exclude_bias_and_norm": Opaque,  # Barlow Twins and VICReg keep it in the optimizer
    "omegaconf.dictconfig.DictConfig": Opaque,  # Lightning's hyper-parameters
    "omegaconf.listconfig.ListConfig": Opaque,
    "omegaconf.base.ContainerMetadata": Opaque,
    "omegaconf.base.Metadata": Opaque,
    "omegaconf.nodes.AnyNode": Opaque,
    "typing.Any": Opaque,
    "collections.defaultdict": PlainDict,
    "builtins.dict": Opaque,  # a defaultdict's factory
    "builtins.list": Opaque,
    "builtins.int": Opaque,
    "builtins.float": Opaque,
}


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
            names something outside :data:`ALLOWED`.
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


class RefusedError(Exception):
    """Readable, but not acceptable; the message says why."""


def _container(path: Path, head: bytes) -> tuple[str, Callable[[Path], Any]]:
    """How the file is packed, by its first bytes: names lie more often than bytes do."""
    if not head:
        raise ValueError(f"{path}: the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return "PyTorch zip", _load_zip
    if head.startswith(LEGACY_MAGIC):
        return "PyTorch legacy", _load_legacy
    if head.startswith(b"\x80"):
        return "pickle", _load_pickle
    if len(head) > 8 and head[8:9] == b"{":
        return "safetensors", _load_safetensors
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


def _load_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any(name.endswith("constants.pkl") for name in names):
            raise RefusedError(
                "a TorchScript program, not a checkpoint; save the model's state_dict() instead"
            )
        if not any(name.endswith("data.pkl") for name in names):
            raise RefusedError(
                f"a zip archive, but not PyTorch's: it holds {', '.join(names[:3]) or 'nothing'}"
            )
        if outside := [name for name in names if name.startswith("/") or ".." in name.split("/")]:
            raise RefusedError(f"refused: the archive has an entry outside itself, {outside[0]!r}")
        compressed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
        if compressed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise RefusedError(
                "refused: the archive would unpack to more than the file holds; PyTorch never compresses, so "
                f"this is none of its files (entry {(compressed or names)[0]!r})"
            )
        if damaged := archive.testzip():
            raise RefusedError(
                f"damaged: the checksum of entry {damaged!r} is wrong. Copy or download the file again "
                "(if it was saved with set_crc32_options(False), save it once more without)"
            )
    return _torch_load(path, mmap=True)


def _load_legacy(path: Path) -> Any:
    return _torch_load(path, mmap=False)


def _torch_load(path: Path, *, mmap: bool) -> Any:
    with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in ALLOWED.items()]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _load_pickle(path: Path) -> Any:
    with path.open("rb") as handle:
        content = _Unpickler(handle, encoding="latin1").load()
        if handle.read(1):
            raise RefusedError("damaged: bytes follow the pickle's end")
    return content


def _load_safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as handle:
        tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - not a dict
        return {**tensors, "__metadata__": handle.metadata() or {}}


class _Unpickler(pickle.Unpickler):
    """Builds arrays and plain containers; looks nothing up by the names in the file."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return OrderedDict
        if full in ARRAYS:
            return ARRAYS[full]
        if full in ALLOWED:
            return ALLOWED[full]
        raise RefusedError(_not_allowed(full))

    def persistent_load(self, pid: object) -> Any:
        raise RefusedError("refused: the pickle refers to data outside itself")


def _not_allowed(name: str) -> str:
    return (
        f"refused: the pickle names {name}, which is none of the plain records that checkpoints carry; "
        "nothing in it was executed. If it holds a whole model or objects, save its state_dict() instead"
    )


def _refusal(path: Path, kind: str, error: Exception) -> ValueError:
    if isinstance(error, pickle.UnpicklingError) and (
        named := re.search(r"GLOBAL ([\w.]+)", str(error))
        or re.search(r"function <\w+[\w\s]* ([\w.]+)", str(error))
    ):
        return ValueError(f"{path}: {_not_allowed(named[1])}")
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
        node = node.value
    if isinstance(node, np.ndarray):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the array cannot be written to, and is not
            return _flatten(torch.from_numpy(node), path, depth, seen, into)
    if isinstance(node, (str, int, float)):
        into.values[path] = node
        return
    if isinstance(node, Opaque):
        node = vars(node)
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    if not isinstance(node, dict) or id(node) in seen:
        return
    if depth >= MAX_DEPTH:
        raise RefusedError(f"containers are nested more than {MAX_DEPTH} deep")
    seen.add(id(node))
    into.containers.add(f"{path}/")
    for key, value in node.items():
        _flatten(value, f"{path}/{key}" if path else str(key), depth + 1, seen, into)


def _summary(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dictionary with the keys {sorted(map(str, content))[:8]}"
    return f"a {type(content).__name__}"


def _file_type(path: Path) -> str:
    if path.is_dir():
        return "folder"
    return "device, pipe or socket"
