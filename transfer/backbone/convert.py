"""Convert a checkpoint for a framework, prove it inside that framework, or write nothing."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from transfer.backbone.architecture import expected_shapes
from transfer.backbone.checkpoint import file_sha256
from transfer.backbone.contract import Backbone, BackboneInfo, Origin
from transfer.backbone.load import load_source
from transfer.backbone.naming import COUNTER
from transfer.backbone.targets import (
    provenance,
    write_detectron2,
    write_mmcv,
    write_sot,
    write_timm,
    write_torchvision,
)
from transfer.backbone.verify import TOLERANCE, StageError, compare_features, probe_images, reference_features


@dataclass(frozen=True)
class Target:
    """A framework: its files, our writer, and the module whose ``features`` is its own models.

    Attributes:
        suffixes: of the files it reads, the usual one first.
        write: our writer.
        adapter: module with ``models(target, info)``, the names of the models a file is proven in, and
            ``features(path, info, images, model)``, their stage features.
        needs: the package that must be installed for a proof.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Backbone, Path], None]
    adapter: str
    needs: str


TARGETS: dict[str, Target] = {
    "detectron2": Target((".pkl", ".pth"), write_detectron2, "transfer.detect.backbone", "detectron2"),
    "mmcv": Target((".pth",), write_mmcv, "transfer.track.mm.backbone", "mmdet"),
    "mmtrack-sot": Target((".pth",), write_sot, "transfer.track.mm.backbone", "mmtrack"),
    "torchvision": Target((".pth",), write_torchvision, "transfer.backbone.verify", "torchvision"),
    "timm": Target((".safetensors",), write_timm, "transfer.backbone.verify", "timm"),
}

Proof = dict[str, list[StageError]]  # model -> errors of res2 to res5; empty where nothing was verified


@dataclass(frozen=True)
class Conversion:
    """What was converted, and how it was proven."""

    info: BackboneInfo
    origin: Origin | None  # None where the checkpoint was a contract file
    proof: Proof


def convert(
    checkpoint: Path,
    out: Path,
    target_name: str,
    *,
    source: str | None = None,
    branch: str | None = None,
    ignore: Sequence[str] = (),
    verify: bool = True,
) -> Conversion:
    """Write ``out`` for a framework after comparing features stage by stage inside that framework.

    The file is written under a temporary name, loaded by the framework's own models, compared, and
    only then renamed; the proof is written beside it as ``<out>.json``.

    Args:
        checkpoint: any file that :func:`~transfer.backbone.load.load_source` reads.
        out: file to write, with one of the target's suffixes.
        target_name: a key of :data:`TARGETS`.
        source: as for ``load_source``, as are ``branch`` and ``ignore``.
        branch: which network of the checkpoint.
        ignore: prefixes of tensors that are no backbone.
        verify: compare features; may be left out only where the framework is not installed.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: the checkpoint is refused, the file would not mean the same network, or ``verify``
            is off although the framework is there; nothing is left behind.
        ImportError: the framework is not installed, so nothing can be proven.
    """
    target = TARGETS[target_name]
    if out.suffix not in target.suffixes:
        raise ValueError(
            f"{out}: {target_name} reads {' and '.join(target.suffixes)} files; name the output so"
        )
    if out.exists() and not out.is_file():
        raise ValueError(f"{out}: is a folder or a device; name a file")
    if out.exists() and checkpoint.exists() and out.samefile(checkpoint):
        raise ValueError(f"{out}: is the checkpoint itself; name another output")
    if not verify and importlib.util.find_spec(target.needs):
        raise ValueError(f"{target.needs} is installed, so the file can be proven; leave --no-verify out")
    backbone = load_source(checkpoint, source, branch, ignore)
    images, sot = probe_images(), target_name == "mmtrack-sot"
    made = _make_folder(out.parent)
    temporary = out.with_name(f".{os.getpid()}.{out.name}")
    report = out.with_name(out.name + ".json")
    temporary_report = report.with_name(f".{os.getpid()}.{report.name}")
    try:
        _write(target, backbone, temporary)
        reference = reference_features(backbone.state, backbone.info.arch, images, sot=sot) if verify else {}
        # From here on the tensors are the framework's: two copies of a large network are enough.
        backbone = replace(backbone, state={})
        gc.collect()  # PyTorch's unpickler leaves cycles that hold the tensors
        proof = _prove(temporary, backbone.info, target_name, images, reference) if verify else {}
        content = _report(backbone, temporary, target_name, proof)
        temporary_report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        temporary_report.replace(report)
        temporary.replace(out)
        made = []
    finally:
        temporary.unlink(missing_ok=True)
        temporary_report.unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()
    return Conversion(backbone.info, backbone.origin, proof)


def _write(target: Target, backbone: Backbone, path: Path) -> None:
    """Write a file; PyTorch's writer calls a full disk a RuntimeError."""
    try:
        target.write(backbone, path)
    except RuntimeError as error:
        raise OSError(f"{path.parent}: a file cannot be written here: {str(error).strip()[:200]}") from error


def _prove(
    written: Path, info: BackboneInfo, target_name: str, images: Tensor, reference: dict[str, Tensor]
) -> Proof:
    adapter = importlib.import_module(TARGETS[target_name].adapter)
    return {
        model: compare_features(reference, adapter.features(written, info, images, model))
        for model in adapter.models(target_name, info)
    }


def _report(backbone: Backbone, written: Path, target_name: str, proof: Proof) -> dict[str, object]:
    shapes = expected_shapes(backbone.info.arch)
    package = TARGETS[target_name].needs
    return {
        "status": "verified" if proof else "unverified",
        "target": target_name,
        "framework": f"{package} {_version(package)}",
        "sha256": file_sha256(written),
        "tensors": {
            "backbone": len(shapes),
            "of_which_step_counters": sum(key.endswith(COUNTER) for key in shapes),
            "beside": backbone.origin.num_beside if backbone.origin else 0,
        },
        "tolerance": TOLERANCE,
        "models": {
            model: {
                error.stage: {"relative": error.relative, "max_abs_difference": error.max_abs_difference}
                for error in errors
            }
            for model, errors in proof.items()
        },
        "provenance": provenance(backbone),
        "read": asdict(backbone.origin) if backbone.origin else None,
    }


def _version(package: str) -> str:
    if package == "detectron2":  # its distribution has another name
        module = importlib.import_module(package) if importlib.util.find_spec(package) else None
        return str(getattr(module, "__version__", "absent"))
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder; returns what was made, innermost first, to be removed if nothing is written."""
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return made
