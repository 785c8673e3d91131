"""What decides a result, as one digest: of a run, and of a job, whose data count too."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from typing import Any

from transfer import provenance
from transfer.backbone.contract import Backbone
from transfer.data.checksum import data_sha256
from transfer.identity import identity
from transfer.inputs import data_paths
from transfer.tasks import TASKS

KEY_VARIABLE = "MEC_TRANSFER_KEY"  # the key of the job that a plan has this process run


def run_key(name: str, config: Any, backbone: Backbone, seed: int) -> str:
    """Digest of all that decides a result: backbone, configuration, seed and code."""
    return _key(name, identity(config), backbone, seed)


def _key(name: str, decided: dict[str, Any], backbone: Backbone, seed: int) -> str:
    parts = [backbone.sha256, name, decided, seed, code_of(name)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def code_of(name: str) -> str:
    """Digest of the code that decides a task's results."""
    return provenance.code_sha256("backbone", "data", "ranks.py", "selection.py", TASKS[name].package)


def job_key(name: str, config: Any, backbone: Backbone, seed: int) -> str:
    """Digest of what :func:`run_key` is of, and of the data.

    Two runs with one key give the same rows as far as arithmetic does: threads, processes, packages and
    processor round sums in their own ways, and are in ``run.json``, not in the key.

    Code, data and the files that a configuration names are read once in a process, so that thousands of
    keys cost one reading: who plans a grid plans one moment of them. Data that are not there count as absent.

    Raises:
        ValueError: a configuration that does not say which data it reads.
    """
    resolved = _Resolved.of(config)
    key = _key(name, _identity_once(resolved), backbone, seed)
    parts = [key, _data_once(name, resolved)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def check_key(name: str, config: Any, backbone: Backbone) -> None:
    """Refuse to run another job than the one that was planned, where a plan started this process.

    Raises:
        ValueError: the key in the environment is not that of what would run now.
    """
    planned = os.environ.get(KEY_VARIABLE, "")
    if planned and job_key(name, config, backbone, config.seed) != planned:
        raise ValueError(
            f"the code, configuration or data changed since this job was planned ({KEY_VARIABLE} is "
            f"{planned[:12]}...); run the suite again"
        )


@dataclass(frozen=True)
class _Resolved:
    """A configuration as the key of a memory: its text says all of it, and its seed is another's matter."""

    text: str
    config: Any = field(compare=False)

    @classmethod
    def of(cls, config: Any) -> _Resolved:
        unseeded = replace(config, seed=0)
        return cls(repr(unseeded), unseeded)


@functools.cache
def _identity_once(resolved: _Resolved) -> dict[str, Any]:
    return identity(resolved.config)


@functools.cache
def _data_once(name: str, resolved: _Resolved) -> str:
    return data_sha256(data_paths(name, resolved.config))
