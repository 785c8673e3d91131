"""The backbones of a suite: those given, or the suite's own pre-training, with baselines beside."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from transfer.backbone.checkpoint import file_sha256
from transfer.backbone.contract import BackboneInfo, read_backbone
from transfer.backbone.load import import_checkpoint, write_random
from transfer.suite.claims import alone
from transfer.suite.plan import Candidate, Suite, header
from transfer.suite.progress import step
from transfer.suite.supervised import supervised_backbone, supervised_path

WAITING = "another runner prepares the backbones in this folder; waiting for it"


def prepare_backbones(suite: Suite, checkpoints: Sequence[Path], out: Path) -> list[Candidate]:
    """Contract files of all backbones to evaluate, made where they are not there yet.

    Of several runners in one folder the first makes them, and the others wait. Only the supervised baseline
    may be missing: it then says why.

    Raises:
        FileNotFoundError, ValueError: a checkpoint that cannot be used, or none and no recipe.
        RuntimeError: pre-training failed; its own message stands above.
    """
    _check_given(suite, checkpoints)
    with alone(out / "backbones", WAITING):
        if suite.bundled_data:
            from transfer.data.mini.build import build

            build(Path(suite.bundled_data))
        paths = [contract_file(path, out) for path in checkpoints] or [pretrain(Path(suite.pretrain), out)]
        candidates = [_there(path) for path in paths]
        archs = sorted({candidate.info.arch for candidate in candidates})
        if suite.supervised:
            candidates.append(_supervised(suite.supervised, archs[0], out, make=True))
        if suite.random:
            for arch in archs:
                write_random(random_path(arch, out), arch, seed=0)
                candidates.append(_there(random_path(arch, out)))
    return candidates


def expected_backbones(suite: Suite, checkpoints: Sequence[Path], out: Path) -> list[Candidate]:
    """The same backbones as far as they are there, and what is known of those that would be made.

    Raises:
        FileNotFoundError, ValueError, RuntimeError: as for :func:`prepare_backbones`.
    """
    _check_given(suite, checkpoints)
    candidates = [_expected(path, out) for path in checkpoints]
    if not checkpoints:
        path, info = expected_pretraining(Path(suite.pretrain), out)
        candidates.append(_there(path) if path.is_file() else Candidate(path, None, info))
    archs = sorted({candidate.info.arch for candidate in candidates})
    if suite.supervised:
        candidates.append(_supervised(suite.supervised, archs[0], out, make=False))
    if suite.random:
        for arch in archs:
            path = random_path(arch, out)
            there = path.is_file()
            candidates.append(_there(path) if there else Candidate(path, None, header("random", arch)))
    return candidates


def _check_given(suite: Suite, checkpoints: Sequence[Path]) -> None:
    if not checkpoints and not suite.pretrain:
        raise ValueError(f"suite {suite.name} has no pre-training of its own; give it --backbone")


def _there(path: Path) -> Candidate:
    backbone = read_backbone(path)
    return Candidate(path, backbone, backbone.info)


def import_given(checkpoints: Sequence[Path], out: Path) -> list[Path]:
    """Contract files of the checkpoints that were given: seconds of work, and refused before hours of it.

    Raises:
        FileNotFoundError, ValueError: a checkpoint that cannot be used.
    """
    with alone(out / "backbones", WAITING):
        return [contract_file(path, out) for path in checkpoints]


def _expected(checkpoint: Path, out: Path) -> Candidate:
    if checkpoint.suffix == ".safetensors":
        return _there(checkpoint)
    path = imported_path(checkpoint, out)
    if path.is_file():
        return _there(path)
    return Candidate(path, None, header(checkpoint.name, "unknown"))


def _supervised(value: str, arch: str, out: Path, *, make: bool) -> Candidate:
    if make:
        step(f"supervised baseline: {value}")
    try:
        path = (supervised_backbone if make else supervised_path)(value, out)
    except (FileNotFoundError, ValueError) as error:
        return Candidate(Path(value), None, header("supervised", arch), obstacle=str(error))
    return _there(path) if path.is_file() else Candidate(path, None, header("supervised", arch))


def random_path(arch: str, out: Path) -> Path:
    """Where a suite's random backbone lies."""
    return out / "backbones" / f"random-{arch}.safetensors"


def imported_path(checkpoint: Path, out: Path) -> Path:
    """Where the contract file of a checkpoint lies.

    Raises:
        FileNotFoundError: no such checkpoint.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no such checkpoint")
    return out / "backbones" / f"{checkpoint.name}-{file_sha256(checkpoint)[:8]}.safetensors"


def contract_file(path: Path, out: Path) -> Path:
    """The checkpoint itself when it is a contract file, else its import below ``out/backbones``."""
    if path.suffix == ".safetensors":
        return path
    imported = imported_path(path, out)
    import_checkpoint(path, imported)
    return imported


@functools.cache
def expected_pretraining(recipe: Path, out: Path) -> tuple[Path, BackboneInfo]:
    """Where a recipe's result lies or will lie, in a folder named by recipe and code; and its header.

    Pre-training is a program of its own; only its command line and its result are known here.

    Raises:
        RuntimeError: the recipe is refused; with the reason.
    """
    spec = importlib.util.find_spec("pretrain")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package pretrain is not importable; run from the checkout's root")
    resolve = [sys.executable, "-m", "pretrain", str(recipe), "--dry-run"]
    resolved = subprocess.run(resolve, check=False, capture_output=True)  # with what it is based on
    if resolved.returncode != 0:
        raise RuntimeError(resolved.stderr.decode().strip())
    digest = hashlib.sha256(resolved.stdout)
    for source in sorted(Path(spec.origin).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    arch = str(OmegaConf.select(OmegaConf.create(resolved.stdout.decode()), "model.arch", default="unknown"))
    return out / f"pretrain-{digest.hexdigest()[:8]}" / "backbone.safetensors", header("mec", arch)


def pretrain(recipe: Path, out: Path) -> Path:
    """Run a recipe, or find its result.

    Raises:
        RuntimeError: it failed; its own message stands above.
    """
    path, _ = expected_pretraining(recipe, out)
    command = [sys.executable, "-m", "pretrain", str(recipe), f"out={path.parent}"]
    step(f"pre-training: python {shlex.join(command[1:])}")
    if subprocess.run(command, check=False).returncode != 0:
        raise RuntimeError(f"pre-training by {recipe} failed; the same command resumes it")
    return path
