"""The backbones of a suite: those given, or the suite's own pre-training, and random ones beside."""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from transfer.backbone.checkpoint import file_sha256
from transfer.backbone.contract import Backbone, read_backbone
from transfer.backbone.load import import_checkpoint, write_random
from transfer.suite.plan import Suite


def prepare_backbones(suite: Suite, checkpoints: Sequence[Path], out: Path) -> list[Backbone]:
    """Contract files of all backbones to evaluate, made where they are not there yet.

    Raises:
        FileNotFoundError, ValueError: a checkpoint that cannot be used, or none and no recipe.
        RuntimeError: pre-training failed; its own message stands above.
    """
    if suite.bundled_data:
        from transfer.data.mini.build import build

        build(Path(suite.bundled_data))
    if not checkpoints and not suite.pretrain:
        raise ValueError(f"suite {suite.name} has no pre-training of its own; give it --backbone")
    paths = [contract_file(path, out) for path in checkpoints] or [pretrain(Path(suite.pretrain), out)]
    backbones = [read_backbone(path) for path in paths]
    if suite.random:
        for arch in sorted({backbone.info.arch for backbone in backbones}):
            path = out / "backbones" / f"random-{arch}.safetensors"
            write_random(path, arch, seed=0)
            backbones.append(read_backbone(path))
    return backbones


def contract_file(path: Path, out: Path) -> Path:
    """The checkpoint itself when it is a contract file, else its import below ``out/backbones``."""
    if path.suffix == ".safetensors":
        return path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    imported = out / "backbones" / f"{path.name}-{file_sha256(path)[:8]}.safetensors"
    import_checkpoint(path, imported)
    return imported


def pretrain(recipe: Path, out: Path) -> Path:
    """Run a recipe, or find its result: the run folder's name carries recipe and code.

    Pre-training is a program of its own; only its command line and its result are known here.
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
    run_dir = out / f"pretrain-{digest.hexdigest()[:8]}"
    command = [sys.executable, "-m", "pretrain", str(recipe), f"out={run_dir}"]
    print(f"pre-training: python {shlex.join(command[1:])}", flush=True)
    if subprocess.run(command, check=False).returncode != 0:
        raise RuntimeError(f"pre-training by {recipe} failed; the same command resumes it")
    return run_dir / "backbone.safetensors"
