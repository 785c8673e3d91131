"""Checkpoints of a detector's training in detectron2's format, of which one is always whole.

``model_0004999.pth`` holds what detectron2's trainer keeps after iteration 4999 (from 0): ``model``,
``trainer`` (optimiser, learning rates, scalars that the log smooths) and ``iteration``; and ``training``, the
digest of what it is a checkpoint of. ``model_final.pth`` holds the model after the last iteration and no
optimiser. ``last_checkpoint`` names the newest, as detectron2's own tools expect it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

logger = logging.getLogger("detectron2")  # beside detectron2's own lines in the log
FINAL = "model_final"
TAG = "last_checkpoint"
NUM_KEPT = 2  # the newest, and one to fall back on
# Settings that change nothing of what is trained.
MACHINE_SETTINGS = (
    *("OUTPUT_DIR", "MODEL.DEVICE", "MODEL.WEIGHTS", "DATALOADER.NUM_WORKERS", "SOLVER.CHECKPOINT_PERIOD"),
    *("DATASETS.TEST", "TEST.EVAL_PERIOD", "VIS_PERIOD"),
)


def training_digest(cfg: Any, accumulate: int) -> str:
    """What decides a training: the backbone's bytes, the settings, the number of passes."""
    plain = cfg.clone()
    plain.defrost()
    for key in MACHINE_SETTINGS:
        *parents, name = key.split(".")
        node = plain
        for parent in parents:
            node = node[parent]
        del node[name]
    digest = hashlib.sha256(Path(cfg.MODEL.WEIGHTS).read_bytes())
    digest.update(f"{accumulate}\n{plain.dump()}".encode())
    return digest.hexdigest()


def build_checkpointer(model: nn.Module, folder: Path, training: str, trainer: Any) -> Any:
    """detectron2's checkpointer, whose files are there when they are whole; the first process writes.

    A save that fails leaves the earlier ones as they are.
    """
    from detectron2.checkpoint import DetectionCheckpointer

    class Checkpointer(DetectionCheckpointer):  # type: ignore[misc]  # detectron2 is untyped
        """Writes to another name first, and keeps :data:`NUM_KEPT`."""

        def save(self, name: str, **extra: Any) -> None:
            if not self.save_to_disk:
                return
            state = {"model": self.model.state_dict(), "training": training, **extra}
            if name != FINAL:
                state["trainer"] = trainer.state_dict()
            path = folder / f"{name}.pth"
            logger.info("Saving checkpoint to %s", path)
            write_checkpoint(path, state)
            _write(folder / TAG, path.name.encode())
            for old in _periodic(folder)[NUM_KEPT:]:
                old.unlink()

    return Checkpointer(model, str(folder))


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: it could not be written, a full disk for example.
    """
    content = io.BytesIO()  # torch's writer turns a full disk into an error of another kind
    torch.save(state, content)
    try:
        _write(path, content.getbuffer())
    except OSError as error:
        kept = [old.name for old in _periodic(path.parent)]
        remedy = f"{' and '.join(kept)} are as they were" if kept else "there is none before it"
        raise OSError(
            error.errno,
            f"{path}: a checkpoint of {len(content.getbuffer()) / 1e6:.0f} MB could not be written "
            f"({error.strerror}); {remedy}. Make room and run the same command again",
        ) from error


def read_newest(folder: Path, training: str) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, with tensors on the CPU; None where there is none.

    The one that ``last_checkpoint`` names comes first; a damaged one is passed over with a warning.

    Raises:
        ValueError: every checkpoint is damaged, or one is of another training.
    """
    paths = _candidates(folder)
    faults = []
    for path in paths:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not {"model", "iteration", "training"} <= state.keys():
                raise ValueError(f"it holds {', '.join(map(str, state))}")
            if path.stem != FINAL and "trainer" not in state:
                raise ValueError("it holds no optimiser")
        except Exception as error:  # torch raises many kinds for a damaged file
            faults.append(f"{path}: {' '.join(str(error).split())[:120]}")
            logger.warning("%s is damaged or no checkpoint of a run; trying the one before", faults[-1])
            continue
        if state["training"] != training:
            raise ValueError(
                f"{path}: is of another training (backbone, settings or number of passes differ); remove it, "
                "or write to another folder"
            )
        logger.info("Going on from %s, after iteration %d", path, state["iteration"])
        assert isinstance(state, dict)
        return state
    if faults:
        raise ValueError(
            "expected a checkpoint to go on from, found only damaged ones; remove them to start anew:\n  "
            + "\n  ".join(faults)
        )
    return None


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for name in ("model_*.pth", TAG):
        for path in folder.glob(f".{name}.*"):
            path.unlink()


def _candidates(folder: Path) -> list[Path]:
    """The files to go on from, the first choice first."""
    final, tag = folder / f"{FINAL}.pth", folder / TAG
    found = [*([final] if final.exists() else []), *_periodic(folder)]
    if tag.exists():
        named = folder / tag.read_text(encoding="utf-8", errors="replace").strip()
        if named in found:
            return found[found.index(named) :]
    return found


def _periodic(folder: Path) -> list[Path]:
    """Checkpoints before the end, the newest first."""
    return sorted(
        (path for path in folder.glob("model_*.pth") if re.fullmatch(r"model_\d{7,}", path.stem)),
        key=lambda path: int(path.stem.removeprefix("model_")),
        reverse=True,
    )


def _write(path: Path, content: bytes | memoryview) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)  # a rename is on disk when its folder is
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
