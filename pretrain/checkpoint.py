"""Checkpoints that survive: written whole or not at all, recognised when damaged, with one before.

A file is ``checkpoint_<step>-<digest>.pt``; the digest is the first eight hex digits of the content's sha256,
as torch.hub names its files. What is random in a run is a function of seed and step (loader.py,
views.py, run.py), so the step is the whole position: order of images, crops, augmentation, schedules.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import torch

from pretrain.export import write_atomically

NAME = re.compile(r"checkpoint_(?P<step>\d{8})-(?P<digest>[0-9a-f]{8})\.pt")


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write ``state`` as the checkpoint after ``step`` steps, then remove all but the ``keep`` newest.

    Raises:
        OSError: it could not be written, for one because the disk is full; the earlier ones are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"checkpoint_{step:08}-{_digest(content)}.pt"
    try:
        write_atomically(path, content)
    except OSError as error:
        kept = list_checkpoints(folder)
        raise OSError(
            f"{path}: checkpoint not written ({error.strerror or error}); "
            + (f"{kept[0].name} is kept" if kept else "there is none before it")
            + ". Free some space and give the same command again"
        ) from error
    for old in list_checkpoints(folder)[keep:]:
        old.unlink()
    return path


def load_newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, or nothing when there never was one.

    A damaged one is renamed to ``*.damaged`` with a warning, and the one before it is read.

    Raises:
        ValueError: there are checkpoints, but all are damaged.
    """
    paths = list_checkpoints(folder)
    for path in paths:
        content = path.read_bytes()
        match = NAME.fullmatch(path.name)
        assert match is not None
        if _digest(content) == match["digest"]:
            return path, torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        damaged = path.with_name(path.name + ".damaged")
        path.rename(damaged)
        print(
            f"pretrain: {path}: damaged, its content does not have the digest of its name; "
            f"set aside as {damaged.name}",
            file=sys.stderr,
        )
    if paths:
        raise ValueError(
            f"{folder}: all {len(paths)} checkpoints are damaged; remove the folder to start anew"
        )
    return None


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    paths = [path for path in folder.glob("checkpoint_*.pt") if NAME.fullmatch(path.name)]
    return sorted(paths, key=lambda path: path.name, reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
