"""The record of a run: ``run.json`` beside its rows says how these came about.

It is written when a task starts and completed when it ends, also when it fails. Nothing but
``python -m transfer show`` and ``rerun`` reads it: rows are complete without it. ``code.diff`` beside it is
what the code differed in from its commit, where it did.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from transfer import __version__, provenance
from transfer.backbone.contract import Backbone
from transfer.data.checksum import data_sha256
from transfer.identity import identity
from transfer.inputs import data_paths
from transfer.keys import code_of, job_key
from transfer.ranks import World
from transfer.run_folder import RECORD_NAMES
from transfer.tasks import TASKS
from transfer.writing import write_text

RECORD_NAME, DIFF_NAME = RECORD_NAMES
FORMAT = 1
DIFF_CAP = 262_144  # characters; what is cut off is told in the record
RUNNING, DONE, FAILED = "running", "done", "failed"
# What a record of this format has, each a mapping.
PARTS = ("command", "task", "backbone", "data", "code", "packages", "environment", "hardware", "processes")


@dataclass(frozen=True)
class Usage:
    """What a run is measured from: wall clock, and processor seconds of this process and its children."""

    wall: float
    cpu: float
    cpu_children: float

    @classmethod
    def now(cls) -> Usage:
        """Both clocks, as they stand."""
        own, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return cls(time.time(), own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime)


def begin_record(
    out: Path, name: str, config: Any, config_path: Path, backbone: Backbone, command_line: str, world: World
) -> None:
    """Write ``out/run.json`` of a task that is about to start, and ``out/code.diff`` of changed code."""
    diff = provenance.git_diff()
    if diff:
        write_text(out / DIFF_NAME, diff[:DIFF_CAP])
    commit = provenance.ask_git("rev-parse", "HEAD").strip()
    record = {
        "format": FORMAT,
        "state": RUNNING,
        "reason": "",
        "started": _utc(time.time()),
        "command": {
            "line": command_line,
            "words": shlex.split(command_line),
            "folder": str(Path.cwd()),
            "python": sys.executable,
        },
        "task": {
            "name": name,
            "config": str(config_path),
            "config_sha256": provenance.config_sha256(identity(config)),
            "seed": config.seed,
            "key": _key(name, config, backbone),
        },
        "backbone": {"path": str(backbone.path), "sha256": backbone.sha256, **asdict(backbone.info)},
        "data": _data(name, config),
        "code": {
            "version": __version__,
            "sha256": code_of(name),
            "commit": commit,
            "branch": provenance.ask_git("rev-parse", "--abbrev-ref", "HEAD").strip(),
            "dirty": bool(diff),
            "diff_characters": len(diff),
            "diff_cut": len(diff) > DIFF_CAP,
        },
        "packages": provenance.versions(),
        "environment": provenance.environment(),
        "hardware": provenance.machine(),
        "processes": {
            "pid": os.getpid(),
            "number": world.size,
            "machines": world.size // int(os.environ.get("LOCAL_WORLD_SIZE", world.size)),
            "threads": torch.get_num_threads(),
        },
    }
    _write(out, record)


def _key(name: str, config: Any, backbone: Backbone) -> str:
    try:
        return job_key(name, config, backbone, config.seed)
    except ValueError:  # as in _data
        return ""


def _data(name: str, config: Any) -> dict[str, Any]:
    try:
        paths = data_paths(name, config)
    except ValueError as error:  # the task itself says what is wrong with its configuration
        return {"paths": [], "sha256": "", "unknown": str(error)}
    absent = [str(path) for path in paths if not path.exists()]
    return {"paths": [str(path) for path in paths], "sha256": data_sha256(paths), "absent": absent}


def end_record(out: Path, before: Usage, reason: str) -> None:
    """Complete ``out/run.json``: what the task took, and why it failed (``reason``; "" where it did not)."""
    now = Usage.now()
    kilobytes = {
        name: resource.getrusage(which).ru_maxrss
        for name, which in (("own", resource.RUSAGE_SELF), ("largest_child", resource.RUSAGE_CHILDREN))
    }
    record = read_record(out) | {
        "state": FAILED if reason else DONE,
        "reason": reason,
        "ended": _utc(now.wall),
        "wall_s": round(now.wall - before.wall, 3),
        "cpu_s": {
            "own": round(now.cpu - before.cpu, 3),
            "children": round(now.cpu_children - before.cpu_children, 3),
        },
        "peak_memory_mb": {name: round(value * 1024 / 1e6, 1) for name, value in kilobytes.items()},
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        record["peak_memory_mb"] |= {
            f"gpu{i}": round(torch.cuda.max_memory_allocated(i) / 1e6, 1)
            for i in range(torch.cuda.device_count())
        }
    record["hardware"]["used"] = provenance.hardware()  # only now: it makes torch occupy the GPUs
    _write(out, record)


def folder_of(run: Path) -> Path:
    """A run folder, which its ``results.csv`` may stand for."""
    return run.parent if run.name == "results.csv" else run


def read_record(run: Path) -> dict[str, Any]:
    """The record in a run folder, or in that of its ``results.csv``.

    Raises:
        FileNotFoundError: no such folder, or one without a record.
        ValueError: not a record of this version.
    """
    folder = folder_of(run)
    path = folder / RECORD_NAME
    if not folder.is_dir():
        raise FileNotFoundError(f"{run}: no such run folder")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no record; it is no run folder, or one of before records were kept: run its task again"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a record of a run ({type(error).__name__}: {error})") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"{path}: expected a record of format {FORMAT}, found {found!r}")
    lacking = [part for part in PARTS if not isinstance(record.get(part), dict)]
    if lacking or record.get("task", {}).get("name") not in TASKS:
        what = f"it lacks {', '.join(lacking)}" if lacking else "its task is unknown"
        raise ValueError(f"{path}: not a record of a run: {what}")
    return record


def _write(out: Path, record: dict[str, Any]) -> None:
    write_text(out / RECORD_NAME, json.dumps(record, indent=2) + "\n")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
