"""mmtrack's training function, made such that a killed training goes on to the same weights.

The loop, the hooks, samplers and optimisers are mmtrack's and mmcv's. Its own are here: random numbers
follow from seed, epoch and process, checkpoints are whole, and the newest of the same training is gone
on from.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import Dataset, get_worker_info

from transfer.ranks import World
from transfer.track.mm.gpu_streams import mend_streams
from transfer.track.mm.mot_ranks import loops_on_cpu

logger = logging.getLogger(__name__)
NUM_KEPT = 2  # the newest checkpoint, and one to fall back on
# Keys of an mmtrack configuration that change nothing of what is trained.
MACHINE_KEYS = ("work_dir", "gpu_ids", "log_config", "log_level", "dist_params", "evaluation", "resume_from")


class SeededEpochs(Dataset[Any]):
    """A data set whose random augmentations follow from seed, epoch, process and worker.

    mmtrack's workers draw the same numbers in every epoch, or, where they live on, other numbers than
    those of a training that was interrupted.
    """

    def __init__(self, dataset: Any, seed: int, rank: int) -> None:
        self.dataset = dataset  # under this name mmtrack's build_dataloader looks for its kind
        self.CLASSES = dataset.CLASSES
        self.seed, self.rank, self.epoch = seed, rank, 0
        self._seeded = False

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        worker = get_worker_info()
        if worker is not None and not self._seeded:  # in a copy of this object that lives for one epoch
            seed_all(self.seed, self.epoch, self.rank, 1 + worker.id)
            self._seeded = True
        return self.dataset[index]


def seed_all(*numbers: int) -> None:
    """Seed Python, numpy and torch from several numbers."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def train(model: nn.Module, dataset: Any, mm_config: Any, world: World, digest: str, keep_from: int) -> None:
    """Train by mmtrack's ``train_model``, from the newest checkpoint in ``work_dir`` where there is one.

    Args:
        model: on its device; several processes each hold it.
        dataset: of mmtrack's.
        mm_config: an ``mmcv.Config``, which is left as it is.
        world: this process; the others call the same function. Gradients are means over processes.
        digest: of all that decides the training (:func:`training_digest`).
        keep_from: the first epoch (from 1) whose checkpoint stays; of earlier ones the newest two do.

    Raises:
        ValueError: a checkpoint of another training, only damaged ones, or processes that do not see the
            same folder.
    """
    from mmtrack.apis import train_model
    from mmtrack.utils import get_root_logger

    _register_hooks()
    mend_streams()
    config = copy.deepcopy(mm_config)  # mmcv takes keys out of it
    folder = Path(config.work_dir)
    newest = _newest_for_all(folder, digest, world)
    config.resume_from = None if newest is None else str(newest)
    config.data.persistent_workers = False  # a worker that lives on would not hear of the next epoch
    config.checkpoint_config = None
    config.custom_hooks = [
        *(config.get("custom_hooks") or []),
        {"type": "EpochSeed", "seed": config.seed},
        {"type": "WholeCheckpoint", "keep_from": keep_from},
    ]
    timestamp = time.strftime("%Y%m%d_%H%M%S")
    get_root_logger(log_file=str(folder / f"{timestamp}.log"), log_level=config.log_level)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with loops_on_cpu(device, world.size > 1):
        train_model(
            model,
            [SeededEpochs(dataset, config.seed, world.rank)],
            config,
            distributed=world.size > 1,
            validate=False,
            timestamp=timestamp,
            meta={"training": digest},
        )


def training_digest(mm_config: Any, backbone_sha256: str, world: World) -> str:
    """What decides a training: the backbone's bytes, the configuration and the number of processes."""
    plain = copy.deepcopy(mm_config._cfg_dict.to_dict())
    for key in MACHINE_KEYS:
        plain.pop(key, None)
    plain["data"] = {key: value for key, value in plain["data"].items() if key not in ("val", "test")}
    plain["model"]["backbone"].pop("init_cfg", None)  # a path; the bytes are told apart by their digest
    text = json.dumps([backbone_sha256, world.size, plain], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def checkpoints(folder: Path) -> dict[int, Path]:
    """Whole checkpoints by epoch (from 1), the newest first."""
    found = {
        int(match[1]): path
        for path in folder.glob("epoch_*.pth")
        if (match := re.fullmatch(r"epoch_(\d+)\.pth", path.name))
    }
    return dict(sorted(found.items(), reverse=True))


def read_newest(folder: Path, digest: str) -> Path | None:
    """The newest checkpoint of this training that can be read; a damaged one is passed over with a warning.

    Raises:
        ValueError: one of another training, or only damaged ones.
    """
    faults = []
    for path in checkpoints(folder).values():
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            meta = content["meta"]
            if "optimizer" not in content:
                raise ValueError("it holds no optimiser")
        except Exception as error:  # torch raises many kinds for a damaged file
            faults.append(f"{path}: {' '.join(str(error).split())[:120]}")
            logger.warning("%s is damaged or no checkpoint of a run; trying the one before", faults[-1])
            continue
        if meta.get("training") != digest:
            raise ValueError(
                f"{path}: is of another training (backbone, configuration, seed or number of processes "
                "differ); remove it, or write to another folder"
            )
        logger.info("going on from %s", path)
        return path
    if faults:
        raise ValueError(
            "expected a checkpoint to go on from, found only damaged ones; remove them to start anew:\n  "
            + "\n  ".join(faults)
        )
    return None


def _newest_for_all(folder: Path, digest: str, world: World) -> Path | None:
    newest = read_newest(folder, digest)
    if world.size > 1:
        found: list[Any] = [None] * world.size
        dist.all_gather_object(found, newest and newest.name)
        if len(set(found)) > 1:
            raise ValueError(
                f"{folder}: expected the same checkpoints for all processes, found {found}; let the machines "
                "share the folder, or start in an empty one"
            )
    return newest


def _register_hooks() -> None:
    """Make this module's hooks known to mmcv's runner; safe to call again."""
    from mmcv.runner import HOOKS, Hook, get_dist_info

    class EpochSeed(Hook):  # type: ignore[misc]  # mmcv has no types
        """Random numbers of an epoch follow from its number, whatever came before it."""

        def __init__(self, seed: int) -> None:
            self.seed = seed

        def before_train_epoch(self, runner: Any) -> None:
            runner.data_loader.dataset.epoch = runner.epoch
            seed_all(self.seed, runner.epoch, runner.rank, 0)

    class WholeCheckpoint(Hook):  # type: ignore[misc]
        """A checkpoint after each epoch, whole or not there."""

        def __init__(self, keep_from: int) -> None:
            self.keep_from = keep_from

        def after_train_epoch(self, runner: Any) -> None:
            rank, size = get_dist_info()
            if size > 1:  # batch norms' statistics are each process's own; the first one's are kept
                for buffer in runner.model.buffers():
                    dist.broadcast(buffer, src=0)
            if rank == 0:
                write_checkpoint(runner, self.keep_from)

    HOOKS.register_module(module=EpochSeed, force=True)
    HOOKS.register_module(module=WholeCheckpoint, force=True)


def write_checkpoint(runner: Any, keep_from: int) -> None:
    """Write mmcv's checkpoint of the epoch that has ended, then remove what is no longer needed."""
    folder, epoch = Path(runner.work_dir), runner.epoch + 1
    for group in runner.optimizer.param_groups:  # mmtrack's schedule sets numpy's numbers, which torch and so
        for key, value in group.items():  # mmcv do not read back
            if isinstance(value, np.generic):
                group[key] = value.item()
    temporary = folder / f".epoch_{epoch}.pth.{os.getpid()}"
    try:
        runner.save_checkpoint(str(folder), filename_tmpl=temporary.name, create_symlink=False)
        temporary.replace(folder / f"epoch_{epoch}.pth")
    finally:
        temporary.unlink(missing_ok=True)
    for old, path in list(checkpoints(folder).items())[NUM_KEPT:]:
        if old < keep_from:
            path.unlink()
