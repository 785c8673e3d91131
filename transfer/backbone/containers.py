"""The ways a checkpoint is packed: PyTorch's zip and its older format, a bare pickle of arrays, safetensors.

A pickle is a program. Here it may build containers, numbers, strings, arrays and tensors, plus the harmless
records of :data:`ALLOWED`, which become :class:`Opaque` and carry no behaviour. Everything else is refused by
name before it is looked up, and :func:`~transfer.backbone.pickles.survey` has gone through it before that.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import safe_open

from transfer.backbone.arrays import ARRAYS
from transfer.backbone.pickles import Frozen, Named, RefusedError, Survey, survey

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

    def __setstate__(self, state: object) -> None:
        pass


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

# What torch.save writes tensors with. torch.load would take more: a bytearray or a Tensor of any size, made
# of whatever lay in memory before.
TENSORS = re.compile(
    r"torch\.(cuda\.)?\w+Storage|torch\.storage\.(Typed|Untyped)Storage"
    r"|torch\.(u?int\d+|float\w+|bfloat16|complex\d+|bool|bits\w+|qu?int\w+|per_(tensor|channel)_\w+)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state|qtensor|sparse_tensor"
    r"|meta_tensor_no_storage)|torch\._tensor\._rebuild_from_type_v2|torch\.Tensor|torch\.nn\.parameter\.Parameter"
    r"|torch\.Size|torch\.device|torch\.serialization\._get_layout"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|complex)"
)
MAX_HEADER = 100_000_000  # bytes, of a safetensors file, as its own library has it
ITEM_SIZES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1}
ITEM_SIZES |= {"Byte": 1, "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8, "Untyped": 1}
ITEM_SIZES |= {"QInt8": 1, "QUInt8": 1, "QInt32": 4, "QUInt4x2": 1, "QUInt2x4": 1}  # bytes


def load_zip(path: Path) -> Any:
    """Content of a file of torch.save; its tensors stay on disk until they are used."""
    with zipfile.ZipFile(path) as archive:
        _check_entries(path, archive)
        pickles = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
        with archive.open(pickles[0]) as handle:
            found = survey(handle, pickles[0].file_size)
        check_names(found.names, lambda name: name in ALLOWED or TENSORS.fullmatch(name))
        root = pickles[0].filename.removesuffix("data.pkl")
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    for key, size in storage_sizes(found).items():
        if sizes.get(f"{root}data/{key}") != size:
            raise RefusedError(
                f"damaged: a tensor needs {size} bytes of the archive's entry {f'{root}data/{key}'!r}, "
                f"which has {sizes.get(f'{root}data/{key}', 'none')}"
            )
    return _torch_load(path, mmap=True)


def load_legacy(path: Path) -> Any:
    """Content of a file of torch.save before PyTorch 1.6: five pickles, then every storage."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        for _ in range(3):  # magic number, version, the machine it was written on
            check_names(survey(handle, size).names, lambda name: False)
        found = survey(handle, size)
        check_names(found.names, lambda name: name in ALLOWED or TENSORS.fullmatch(name))
        keys = _keys(handle, size)
        sizes = storage_sizes(found)
        if keys != sorted(sizes):
            raise RefusedError("damaged: the list of tensors in the file is not that of the tensors used")
        if handle.tell() + sum(8 + one for one in sizes.values()) != size:
            raise RefusedError("not a readable checkpoint, truncated or damaged: its tensors do not fill it")
    return _torch_load(path, mmap=False)


def load_pickle(path: Path) -> Any:
    """Content of a bare pickle of arrays, as detectron2's model zoo has them."""
    with path.open("rb") as handle:
        found = survey(handle, path.stat().st_size)
        if handle.read(1):
            raise RefusedError("damaged: bytes follow the pickle's end")
        check_names(found.names, _of_arrays)
        if found.persistent:
            raise RefusedError("refused: the pickle refers to data outside itself")
        handle.seek(0)
        return _Unpickler(handle, encoding="latin1").load()


def load_safetensors(path: Path) -> dict[str, Any]:
    """Tensors of a safetensors file, and its metadata."""
    check_header(path)
    with safe_open(path, framework="pt") as handle:
        tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - not a dict
        return {**tensors, "__metadata__": handle.metadata() or {}}


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header says one thing twice: readers differ in which they believe.

    Raises:
        RefusedError: names the key.
    """
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > MAX_HEADER:
            raise RefusedError(f"damaged: a header of {length} bytes is announced, {MAX_HEADER} are allowed")
        header = handle.read(length)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise RefusedError(f"refused: the header has {key!r} twice")
            seen[key] = value
        return seen

    json.loads(header, object_pairs_hook=unique)


def check_names(names: Iterable[str], allowed: Any) -> None:
    """Refuse a pickle by the classes and functions it names.

    Raises:
        RefusedError: names the first that is not allowed.
    """
    for name in sorted(names):
        if not allowed(name):
            raise RefusedError(not_allowed(name))


def not_allowed(name: str) -> str:
    """Why a pickle is refused that names this."""
    return (
        f"refused: the pickle names {name}, which is none of the plain records that checkpoints carry; "
        "nothing in it was executed. If it holds a whole model or objects, save its state_dict() instead"
    )


def storage_sizes(found: Survey) -> dict[str, int]:
    """Key -> bytes of what the tensors of a pickle of torch.save lie in.

    Raises:
        RefusedError: a reference that is none to a tensor's bytes, or a tensor made of none.
    """
    for function, arguments in found.calls:
        if function == Named("torch._tensor._rebuild_from_type_v2") and isinstance(arguments, Frozen):
            function = arguments.parts[0]
        if function == Named("torch.Tensor"):
            raise RefusedError("refused: a tensor is made without any values of the file")
    sizes: dict[str, int] = {}
    for one in found.persistent:
        parts = one.parts if isinstance(one, Frozen) else ()
        if len(parts) not in (5, 6) or parts[0] != "storage" or not isinstance(parts[1], Named):
            raise RefusedError("refused: the pickle refers to data outside itself")
        kind = parts[1].name.split(".")[-1].removesuffix("Storage")
        key, count = parts[2], parts[4]
        if kind not in ITEM_SIZES or not isinstance(key, str) or type(count) is not int or count < 0:
            raise RefusedError(f"damaged: no tensor can be of kind {kind!r} with {count} elements")
        if sizes.setdefault(key, count * ITEM_SIZES[kind]) != count * ITEM_SIZES[kind]:
            raise RefusedError(f"damaged: the tensor data {key!r} has two sizes")
    return sizes


class _Unpickler(pickle.Unpickler):
    """Builds arrays and plain containers; looks nothing up by the names in the file."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if not _of_arrays(full):
            raise RefusedError(not_allowed(full))
        return OrderedDict if full == "collections.OrderedDict" else ARRAYS.get(full) or ALLOWED[full]


def _of_arrays(name: str) -> bool:
    return name == "collections.OrderedDict" or name in ARRAYS or name in ALLOWED


def _keys(handle: IO[bytes], size: int) -> list[str]:
    """The sorted list of texts that a pickle is."""
    begin = handle.tell()
    check_names(survey(handle, size).names, lambda name: False)
    end = handle.tell()
    handle.seek(begin)
    keys = _Unpickler(handle).load()
    handle.seek(end)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise RefusedError("damaged: the list of tensors in the file is none")
    return sorted(keys)


def _check_entries(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that torch.save does not write, or whose checksums are wrong."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("constants.pkl") for name in names):
        raise RefusedError("a TorchScript program, not a checkpoint; save the model's state_dict() instead")
    if not any(name.endswith("data.pkl") for name in names):
        raise RefusedError(f"a zip archive, but not PyTorch's: it holds {', '.join(names[:3]) or 'nothing'}")
    if outside := [name for name in names if re.search(r"^/|^\w:|(^|[/\\])\.\.([/\\]|$)", name)]:
        raise RefusedError(f"refused: the archive has an entry outside itself, {outside[0]!r}")
    if len(set(names)) < len(names) or sum(name.endswith("data.pkl") for name in names) > 1:
        raise RefusedError("refused: the archive has an entry twice, and readers differ in which they take")
    if locked := [entry.filename for entry in entries if entry.flag_bits & 1]:
        raise RefusedError(f"refused: entry {locked[0]!r} is encrypted")
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


def _torch_load(path: Path, *, mmap: bool) -> Any:
    with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in ALLOWED.items()]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
