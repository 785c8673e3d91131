"""A job as plain data: what the plan decides, the workers run and the status shows. Standard library only.

Whoever runs or watches jobs does without PyTorch: a worker starts in a fraction of a second, and so does
the status of thousands of jobs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transfer.suite.words import read_plain
from transfer.writing import write_text

PLAN_NAME = "plan.json"


@dataclass(frozen=True)
class Needs:
    """What a job takes, so far as that is known; 0 and "" where it is not.

    Attributes:
        cores: processor threads that it computes with; 0 as many as the machine has.
        memory_gb: main memory at its peak, 10^9 bytes.
        gpus: on each machine; its processes share them. 0 where it computes on the processor.
        machines: that its processes run on.
        gpu_memory_gb: of each GPU.
        disk_gb: what it leaves in its run folder at most, checkpoints included.
        hours: of wall clock on what ``hours_source`` names.
        hours_source: where ``hours`` is from: a measured row's hardware, or a publication.
        data: files and folders that it reads.
        packages: a key of :data:`transfer.suite.doctor.NEEDS`.
    """

    cores: int = 0
    memory_gb: float = 0.0
    gpus: int = 0
    machines: int = 1
    gpu_memory_gb: float = 0.0
    disk_gb: float = 0.0
    hours: float = 0.0
    hours_source: str = ""
    data: tuple[str, ...] = ()
    packages: str = ""


@dataclass(frozen=True)
class Job:
    """One task on one backbone with one seed, in a run folder of its own.

    Attributes:
        task: a key of :data:`transfer.tasks.TASKS`.
        config: path of its configuration.
        method, arch: of the backbone.
        backbone: its contract file.
        seed: overrides the configuration's.
        out: run folder.
        key: digest of backbone, configuration, seed, data and code; "" while the backbone is not made.
        words: of the command after ``python -m transfer``.
        needs: what it takes.
        obstacle: why it cannot run here, in one line; "" where it can.
    """

    task: str
    config: str
    method: str
    arch: str
    backbone: str
    seed: int
    out: str
    key: str
    words: tuple[str, ...]
    needs: Needs = field(default_factory=Needs)
    obstacle: str = ""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out)

    @property
    def label(self) -> str:
        """How a person names this job."""
        return f"{self.method} {self.task} ({short_name(Path(self.config))}) seed {self.seed}"


def short_name(config_path: Path) -> str:
    """Its name in run folders: ``configs/track/frozen/sot_mini.yaml`` is frozen-sot_mini."""
    inside = config_path.parts[2:-1] if config_path.parts[0] == "configs" else ()
    return "-".join((*inside, config_path.stem))


def write_plan(out: Path, jobs: Sequence[Job]) -> None:
    """Write ``out/plan.json``, which the status and other runners on this folder read."""
    write_text(out / PLAN_NAME, json.dumps([asdict(job) for job in jobs]))


def read_plan(out: Path) -> list[Job]:
    """Read ``out/plan.json``.

    Raises:
        FileNotFoundError: no plan there: nothing was started in this folder.
        ValueError: not a plan, or one of another version of this program.
    """
    path = out / PLAN_NAME
    try:
        entries = json.loads(read_plain(path))
        return [_job(entry) for entry in entries]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such plan; nothing was started in this folder") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a plan of this version ({type(error).__name__}: {error}); start the suite again, "
            "which writes it anew"
        ) from None


def _job(entry: dict[str, Any]) -> Job:
    needs = dict(entry["needs"])
    needs["data"] = tuple(needs["data"])
    entry["words"] = tuple(entry["words"])
    return Job(**{**entry, "needs": Needs(**needs)})
