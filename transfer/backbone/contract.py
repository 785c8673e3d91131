"""The contract: ``backbone.safetensors``, the one file where producers and consumers meet.

The tensors carry torchvision's ResNet key names: no prefix, no classification head. The header
says where they came from (:class:`BackboneInfo`). Every task reads a backbone through
:func:`read_backbone` and builds it through :func:`build_resnet`; nothing else in the project
loads weights.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from transfer.backbone.architecture import empty_resnet, expected_shapes
from transfer.backbone.checkpoint import file_sha256
from transfer.backbone.containers import check_header
from transfer.backbone.naming import COUNTER
from transfer.backbone.pickles import RefusedError


@dataclass(frozen=True)
class BackboneInfo:
    """The header: who trained the weights, on what, and how pixels must be fed to them."""

    method: str  # mec, random, moco-v2, ...
    arch: str  # a key of ARCHS
    pretrain_data: str
    pretrain_epochs: str  # text, "" where the source does not say
    branch: str  # online, target, or "" where the source has only one
    source_name: str
    source_sha256: str
    tool_version: str
    pixel_order: str = "RGB"
    pixel_mean: str = "0.485,0.456,0.406"  # for pixels in 0..1
    pixel_std: str = "0.229,0.224,0.225"
    layout: str = ""  # a key of sources.LAYOUTS, "" where no checkpoint was converted

    def mean(self) -> tuple[float, ...]:
        """Per-channel mean for pixels in 0..1, in ``pixel_order``."""
        return tuple(float(x) for x in self.pixel_mean.split(","))

    def std(self) -> tuple[float, ...]:
        """Per-channel standard deviation for pixels in 0..1, in ``pixel_order``."""
        return tuple(float(x) for x in self.pixel_std.split(","))


@dataclass(frozen=True)
class Origin:
    """How a checkpoint was read, for the reader of a conversion's report."""

    container: str  # how the file is packed, and where in it the backbone lay
    other_branches: tuple[str, ...]  # that could have been taken instead
    num_beside: int  # tensors of the file that are no part of the branch
    ignored: tuple[str, ...]  # prefixes that the user declared to be no backbone
    changes: tuple[str, ...]  # what is not as in the file: counters set to 0, half precision widened


@dataclass(frozen=True)
class Backbone:
    """A backbone read from a contract file, or from a checkpoint on its way into one."""

    info: BackboneInfo
    state: dict[str, Tensor]
    sha256: str  # of the file
    path: Path
    origin: Origin | None = None  # None for a contract file


REQUIRED = {f.name for f in fields(BackboneInfo)} - {"layout"}  # of a contract file's header


def build_resnet(backbone: Backbone) -> nn.Module:
    """The backbone as a torchvision ResNet in eval mode, loaded strictly: ``(B, 3, H, W) -> (B, D)``."""
    model = empty_resnet(backbone.info.arch)
    model.load_state_dict(backbone.state, strict=True)
    return model.eval()


def check_state(state: dict[str, Tensor], arch: str) -> None:
    """Refuse a state that is not exactly the backbone of ``arch``.

    Raises:
        ValueError: names every missing, unexpected, wrongly shaped or typed, or non-finite tensor.
    """
    expected = expected_shapes(arch)
    missing = [f"  - missing {key} {expected[key]}" for key in expected if key not in state]
    unexpected = [f"  + unexpected {key} {tuple(state[key].shape)}" for key in state if key not in expected]
    wrong = []
    for key, tensor in state.items():
        if key in expected and tuple(tensor.shape) != expected[key]:
            wrong.append(f"  ! {key}: expected shape {expected[key]}, found {tuple(tensor.shape)}")
        elif tensor.dtype != (dtype := torch.int64 if key.endswith(COUNTER) else torch.float32):
            wrong.append(f"  ! {key}: expected {dtype}, found {tensor.dtype}")
        elif not torch.isfinite(tensor).all():
            wrong.append(f"  ! {key}: holds NaN or infinity")
    if missing or unexpected or wrong:
        num_shown = 6  # of each kind
        shown = [line for kind in (missing, unexpected, wrong) for line in kind[:num_shown]]
        num_more = sum(max(0, len(kind) - num_shown) for kind in (missing, unexpected, wrong))
        more = f"\n  … and {num_more} more" if num_more else ""
        raise ValueError(f"not the backbone of a {arch}:\n" + "\n".join(shown) + more)


def check_info(info: BackboneInfo) -> None:
    """Refuse a header that no backbone can have.

    Raises:
        ValueError: names the field, and what it holds.
    """
    for field, value in asdict(info).items():
        if not value.isprintable() and field != "source_name":  # a file's name may be anything
            raise ValueError(f"header: expected printable text as {field}, found {value!r}")
    if info.pixel_order not in ("RGB", "BGR"):
        raise ValueError(f"header: expected pixel_order RGB or BGR, found {info.pixel_order!r}")
    for field, least in (("pixel_mean", -math.inf), ("pixel_std", 0.0)):
        text = getattr(info, field)
        try:
            values = [float(value) for value in text.split(",")]
        except ValueError:
            values = []
        if len(values) != 3 or not all(math.isfinite(value) and value > least for value in values):
            raise ValueError(f"header: expected three numbers as {field}, found {text!r}")


def write_backbone(path: Path, state: dict[str, Tensor], info: BackboneInfo) -> None:
    """Write a contract file atomically, after :func:`check_state`."""
    check_state(state, info.arch)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {key: value for key, value in asdict(info).items() if value or key != "layout"}
    head, data = sort_header(save(_separate(state), header))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as handle:
            handle.write(head)
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _separate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of which no two share memory, as safetensors wants them; only those that do are copied."""
    separate, seen = {}, set()
    for key, value in state.items():
        value = value.contiguous().cpu()
        pointer = value.untyped_storage().data_ptr()
        separate[key] = value.clone() if pointer in seen else value
        seen.add(pointer)
    return separate


def sort_header(content: bytes) -> tuple[bytes, memoryview]:
    """The same safetensors file with its metadata in sorted order: the header and what follows it.

    The library writes the metadata in a random order; sorted, equal backbones are equal files and
    the digest in every row identifies what it says.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data to 8 bytes
    return len(text).to_bytes(8, "little") + text, memoryview(content)[8 + size :]


def read_backbone(path: Path) -> Backbone:
    """Read a contract file strictly.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, a header that is not the contract's, or tensors that
            are not exactly the backbone the header names.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such backbone file")
    try:
        check_header(path)
        with safe_open(path, framework="pt") as handle:
            header = handle.metadata() or {}
            state = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, RefusedError, ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if lacking := REQUIRED - header.keys():
        raise ValueError(
            f"{path}: the header lacks {sorted(lacking)}; this is not a backbone contract "
            "file. Turn other checkpoints into one with `python -m transfer import`."
        )
    info = BackboneInfo(**{f.name: header[f.name] for f in fields(BackboneInfo) if f.name in header})
    try:
        check_info(info)
        check_state(state, info.arch)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Backbone(info, state, file_sha256(path), path)
