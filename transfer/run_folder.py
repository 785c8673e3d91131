"""A task's run folder: what an interrupted run may go on from, and which of several processes writes.

``results.csv`` is complete or absent. Checkpoints and what else a task leaves belong to one backbone,
configuration, seed and code, whose digest is in ``resume.txt``; another run removes them first, by name: the
folder may hold other things, a pre-training's checkpoints among them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from transfer.ranks import World, choose_device, join, size_asked, sum_over_ranks
from transfer.report.items import items_path
from transfer.tasks import TASKS

KEY_NAME = "key.txt"  # written last: what the rows beside it are the result of
RECORD_NAMES = ("run.json", "code.diff")  # how the rows came about (transfer.run_record)
STAMP_NAME = "resume.txt"  # what the checkpoints beside it are of
SEARCH = "search/lr-*/"  # run folders of a detector's learning rates, inside its own
PREDICTIONS = ("coco_instances_results.json", "per_image.csv", "per_class.csv", "set.json")
STAGES = ("detector", "reid", "tracker")  # of mmtrack's multi-object trackers
# By package of the task: what only an interrupted run needs, and what a finished one leaves.
CHECKPOINTS = {
    "classify": ("linear.pt", "point-*.pt", "final.pt"),
    "detect": tuple(
        f"{place}{name}" for place in ("", SEARCH) for name in ("model_[0-9]*.pth", "last_checkpoint")
    ),
    "track": (
        "mmtrack/epoch_*.pth",
        # latest.pth is a link, which glob does not find once its file is gone
        *(f"{stage}/{name}.pth" for stage in STAGES for name in ("latest", "epoch_*", "iter_*")),
    ),
}
RECORDS = {
    "classify": ("selection.csv", "predictions*.npz", "labels.txt", "holdout.txt", "draws.csv"),
    "detect": (
        *("backbone.pkl", "detectron2.yaml", "rescale.csv", "selection.csv", f"{SEARCH}scores.json"),
        *(f"holdout/{part}.{suffix}" for part in ("rest", "holdout") for suffix in ("json", "txt")),
        *(
            f"{place}{name}"
            for place in ("", SEARCH)
            for name in ("model_final.pth", "metrics.json", "log.txt", "events.out.tfevents.*")
        ),
        *(f"{place}/{name}" for place in ("predictions_*", f"{SEARCH}predictions") for name in PREDICTIONS),
    ),
    "track": (
        *("selection.csv", "mmtrack/*.log", "mmtrack/*.log.json", "mmtrack/config.py"),
        *("per_sequence.csv", "tracks/sequences.json", "tracks/*/*.txt", "tracks/scores.json"),
        *("backbone.pth", "results.json", "data/train.json", "data/test.json"),
        *(
            f"{stage}{name}"
            for stage in STAGES
            for name in (".pth", ".json", "/key.txt", "/*.log", "/*.log.json")
        ),
    ),
}
GRACE_S = 30.0  # for the first process to report what made all of them fail


def join_processes(name: str, config: Any) -> World:
    """The processes that share a task's run.

    Raises:
        ValueError: torchrun started several for a task that takes one, or more than there are GPUs.
    """
    if size_asked() == 1:
        return World()
    if not TASKS[name].shared:
        shared = ", ".join(task for task in TASKS if TASKS[task].shared)
        raise ValueError(
            f"task {name} runs in one process, but torchrun started {size_asked()}; start it with python -m "
            f"transfer instead. Tasks that several processes share: {shared}"
        )
    return join(choose_device(config.device))


def prepare_folder(out: Path, name: str, key: str) -> None:
    """Make the run folder and remove what is not this run's: an interrupted run must not look like the one
    before, nor go on from another's checkpoints."""
    out.mkdir(parents=True, exist_ok=True)
    results, stamp = out / "results.csv", out / STAMP_NAME
    for leftover in (results, items_path(results), *(out / name for name in (KEY_NAME, *RECORD_NAMES))):
        leftover.unlink(missing_ok=True)
    if not TASKS[name].shared:
        return  # frameworks keep their own folders
    digest = f"{key} torch {torch.__version__}"
    if not stamp.exists() or stamp.read_text().strip() != digest:
        remove_checkpoints(out, name)
        for pattern in RECORDS[TASKS[name].package]:
            _remove(out, pattern)
        stamp.write_text(digest + "\n")


def remove_checkpoints(out: Path, name: str) -> None:
    """Remove what only an interrupted run would need, also what a killed process was writing."""
    if TASKS[name].shared:
        (out / STAMP_NAME).unlink(missing_ok=True)  # first: without it the files below are nobody's
        for pattern in CHECKPOINTS[TASKS[name].package]:
            _remove(out, pattern)
            folder, _, file = pattern.rpartition("/")
            _remove(out, f"{folder}/.{file}.*" if folder else f".{file}.*")


def _remove(out: Path, pattern: str) -> None:
    for path in sorted(out.glob(pattern)):
        path.unlink()


def wait_for_all(world: World) -> None:
    """Return when every process is here."""
    sum_over_ranks(torch.zeros(1), world)


def written_by_another(results: Path, world: World) -> bool:
    """Whether another process has written why the run failed, so that this one need not.

    What fails in all processes is the first one's to report. One that failed alone finds that the first one
    writes nothing, waiting for it in some collective; it then reports itself, and torchrun ends the others.
    """
    deadline = time.monotonic() + (0.0 if world.first else GRACE_S)
    while not results.exists():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True
