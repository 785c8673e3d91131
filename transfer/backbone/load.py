"""Any supported checkpoint becomes a :class:`~transfer.backbone.contract.Backbone`, or is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from transfer import __version__
from transfer.backbone.architecture import ARCHS, empty_resnet, expected_shapes, infer_arch, stride_in_1x1
from transfer.backbone.checkpoint import Checkpoint, read_checkpoint
from transfer.backbone.contract import (
    REQUIRED,
    Backbone,
    BackboneInfo,
    Origin,
    check_info,
    check_state,
    read_backbone,
    write_backbone,
)
from transfer.backbone.layout_fit import choose, extract, first_keys, unwrap
from transfer.backbone.naming import COUNTER, DETECTRON2
from transfer.backbone.sources import LAYOUTS
from transfer.backbone.targets import from_sot

# Of a file on its way back; its source is the file itself.
INHERITED = (
    "method",
    "pretrain_data",
    "pretrain_epochs",
    "branch",
    "pixel_order",
    "pixel_mean",
    "pixel_std",
)


def load_source(
    path: Path, source: str | None = None, branch: str | None = None, ignore: Sequence[str] = ()
) -> Backbone:
    """Read a checkpoint of any known layout, or a contract file.

    Args:
        path: the file.
        source: a key of :data:`~transfer.backbone.sources.LAYOUTS`; detected when None.
        branch: which network of the checkpoint; the layout's first when None.
        ignore: prefixes of tensors that the layout does not know and that are no backbone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, no layout that fits or several, an unknown or absent branch,
            weights that were never trained, or tensors that are missing, unexpected, wrongly
            shaped, mapped twice or not finite.
    """
    if is_contract(path):
        if source is not None or branch is not None or ignore:
            raise ValueError(
                f"{path}: a backbone contract file has one layout and one branch; "
                "leave --source, --branch and --ignore out"
            )
        return read_backbone(path)
    checkpoint = read_checkpoint(path)
    tensors = unwrap(checkpoint.tensors)
    for prefix in ignore:
        if not any(key.startswith(prefix) for key in tensors):
            raise ValueError(f"{path}: --ignore {prefix} names no tensor; first keys: {first_keys(tensors)}")
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(prefix)}
    check_unfolded(path, tensors)
    fit = choose(path, tensors, [*checkpoint.values, *checkpoint.containers], source, branch)
    layout = LAYOUTS[fit.name]
    chosen = branch if branch is not None else next(iter(layout.branches))
    where = f"{path} (layout {fit.name}, branch {chosen or 'only'})"
    if chosen not in fit.branches:
        raise ValueError(
            f"{where}: no tensor of this branch in the file; it has {', '.join(map(repr, fit.branches))}, "
            "choose with --branch"
        )
    try:
        taken = extract(tensors, layout, fit.container, chosen)
        state, changes = normalise(from_sot(taken))
        arch = infer_arch(state)
        arch = stride_in_1x1(arch) if layout.stride_in_1x1 else find_claim(checkpoint, arch)
        if not any(key.endswith(COUNTER) for key in state):
            counters, note = find_counters(checkpoint, arch)
            state, changes = state | counters, changes + note
        check_state(state, arch)
        check_trained(state)
        if ARCHS[arch].cifar_stem and not layout.cifar_stem:
            raise ValueError(
                f"{fit.name} pads its 3x3 stem by 2 pixels; {arch} pads by 1, so equal weights compute other "
                "features. There is no arch for it here"
            )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    epoch = checkpoint.values.get(layout.epoch[0])
    info = BackboneInfo(
        method=layout.method,
        arch=arch,
        pretrain_data="",
        pretrain_epochs=str(epoch + layout.epoch[1]) if type(epoch) is int else "",
        branch=chosen,
        source_name=path.name,
        source_sha256=checkpoint.sha256,
        tool_version=__version__,
        layout=fit.name,
        **layout.pixels,
    )
    provenance = find_provenance(checkpoint)
    info = replace(info, **provenance)
    if layout.names is DETECTRON2 and ARCHS[arch].bottleneck and not provenance:
        changes += ("where bottlenecks stride is not in the file, taken as torchvision's: in the 3x3",)
    try:
        check_info(info)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    origin = Origin(
        container=f"{checkpoint.kind}, {fit.container.rstrip('/') or 'top level'}",
        other_branches=tuple(name for name in fit.branches if name != chosen),
        num_beside=len(checkpoint.tensors) - len(taken),
        ignored=tuple(ignore),
        changes=changes,
    )
    ordered = {key: state[key] for key in expected_shapes(arch)}
    return Backbone(info, ordered, checkpoint.sha256, path, origin)


def is_contract(path: Path) -> bool:
    """Whether a file is one of ours, told by its header."""
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as handle:
            return (handle.metadata() or {}).keys() >= REQUIRED
    except (SafetensorError, OSError):
        return False


def normalise(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Plain float32 weights and int64 counters, and what had to be changed.

    Raises:
        ValueError: a sparse, quantised or complex tensor, or one of another number type.
    """
    narrow = 0
    plain = {}
    for key, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ValueError(f"{key}: expected a plain tensor, found {tensor.layout}, {tensor.dtype}")
        if key.endswith(COUNTER):
            if tensor.is_floating_point() or tensor.is_complex():
                raise ValueError(f"{key}: expected an integer, found {tensor.dtype}")
            plain[key] = tensor.long()
            continue
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ValueError(f"{key}: expected float32 weights, found {tensor.dtype}")
        narrow += tensor.dtype != torch.float32
        plain[key] = tensor.detach().resolve_neg().float()
    return plain, (f"{narrow} half-precision tensors widened to float32",) if narrow else ()


def find_counters(checkpoint: Checkpoint, arch: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The norms' step counters of a file whose tensors have none: those kept beside them, or zeros."""
    names = [key for key in expected_shapes(arch) if key.endswith(COUNTER)]
    kept = [checkpoint.values.get(f"{COUNTER}/{key}") for key in names]
    if all(type(count) is int for count in kept):
        if strange := [count for count in kept if not 0 <= int(count or 0) < 2**63]:
            raise ValueError(f"a batch norm's step counter cannot be {strange[0]}")
        return {key: torch.tensor(count) for key, count in zip(names, kept, strict=True)}, ()
    zeros = {key: torch.zeros((), dtype=torch.int64) for key in names}
    return zeros, ("batch norms' step counters are not in the file, set to 0",)


def find_provenance(checkpoint: Checkpoint) -> dict[str, str]:
    """What a file that we converted says about its weights: who trained them, on what, for which pixels."""
    for root in ("provenance/", "meta/"):
        said = {name: checkpoint.values.get(root + name) for name in INHERITED}
        if all(isinstance(value, str) for value in said.values()):
            return {name: str(value) for name, value in said.items()}
    return {}


def check_trained(state: dict[str, Tensor]) -> None:
    """Refuse weights whose batch norms never saw an image.

    Raises:
        ValueError: every running mean is zero and every step counter too.
    """
    seen = [key for key, tensor in state.items() if key.endswith(("running_mean", COUNTER)) and tensor.any()]
    if not seen:
        raise ValueError(
            "the weights are an initialisation: every batch norm's running mean is zero and none has "
            "counted a step. Take a checkpoint of a trained network; `python -m transfer random` writes a "
            "random baseline"
        )


def check_unfolded(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse Detectron's own files, whose norms were folded into a scale and a shift each.

    Such a network computes the same as long as its norms are frozen, and something else once they train;
    detectron2 re-converted the ImageNet models for that reason (its checkpoint/catalog.py).

    Raises:
        ValueError: says which file to take instead.
    """
    if folded := next((key for key in tensors if key.endswith("res_conv1_bn_s")), ""):
        raise ValueError(
            f"{path}: batch norms without statistics: expected {folded[:-1]}gamma, beta, running_mean and "
            f"running_var, found {folded}. This is a file of Detectron, whose norms cannot be trained; take "
            "detectron2's own, detectron2://ImageNetPretrained/MSRA/R-50.pkl"
        )


def find_claim(checkpoint: Checkpoint, arch: str) -> str:
    """The arch that a file calls its network, where its tensors have the same shapes, else ``arch``.

    Raises:
        ValueError: they have not; names both.
    """
    for path in ("arch", "args/arch", "provenance/arch", "meta/arch"):
        claim = checkpoint.values.get(path)
        if claim not in ARCHS or claim == arch:
            continue
        if expected_shapes(str(claim)) == expected_shapes(arch):
            return str(claim)
        if not ARCHS[arch].cifar_stem:
            raise ValueError(f"the file says {path} {claim!r}, the shapes of its tensors say {arch!r}")
    return arch


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
    ignore: Sequence[str] = (),
    method: str | None = None,
    pretrain_data: str | None = None,
    pretrain_epochs: str | None = None,
) -> Backbone:
    """Turn any supported checkpoint into a contract file; what the file does not say, the caller may."""
    backbone = load_source(path, source, branch, ignore)
    said = {"method": method, "pretrain_data": pretrain_data, "pretrain_epochs": pretrain_epochs}
    info = replace(backbone.info, **{key: value for key, value in said.items() if value is not None})
    write_backbone(out, backbone.state, info)
    return read_backbone(out)
