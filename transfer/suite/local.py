"""Workers on this machine, through submitit, and how many of them it carries."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfer.provenance import usable_cores
from transfer.suite.job import Job
from transfer.suite.process import birth
from transfer.suite.work import Work

MEMORY_SHARE = 0.9  # of the machine's, that jobs may take together
FOREVER_MIN = 60 * 24 * 365


@dataclass
class Local:
    """Workers on this machine, each of which takes the next job that is nobody's.

    Attributes:
        folder: for submitit's files.
        at_once: jobs; 0: as many as the machine carries.
        gpus: visible to each worker; workers share one only where ``at_once`` asks for more than there are.
        stop_file: as in :class:`Work`.
    """

    folder: Path
    at_once: int
    gpus: int = 0
    stop_file: Path | None = None
    workers: list[Any] = field(default_factory=list)  # a submitit job for each place, None where it is free
    jobs: tuple[Job, ...] = ()

    def start(self, jobs: Sequence[Job]) -> bool:
        """Fill the free places."""
        self.jobs = tuple(jobs)
        at_once = self.at_once or places(jobs)
        self.workers = [None if worker is None or worker.done() else worker for worker in self.workers]
        self.workers += [None] * (at_once - len(self.workers))
        free = [place for place, worker in enumerate(self.workers) if worker is None][: len(jobs)]
        for place in free:
            self.workers[place] = self._submit(place)
        return bool(free)

    def describe(self, jobs: Sequence[Job]) -> str:
        """How many at once."""
        return f"on this machine, {self.at_once or places(jobs)} at once"

    def _submit(self, place: int) -> Any:
        from submitit import LocalExecutor

        executor = LocalExecutor(self.folder)
        found = _visible_gpus()
        share = min(self.gpus, len(found))
        visible = [found[(place * share + i) % len(found)] for i in range(share)]
        executor.update_parameters(
            timeout_min=FOREVER_MIN, stderr_to_stdout=True, gpus_per_node=len(visible), visible_gpus=visible
        )
        return executor.submit(Work(self.jobs, self.stop_file, (os.getpid(), birth(os.getpid()))))

    def alive(self) -> set[str]:
        """All run folders while the workers live: each of them looks at every job."""
        if any(worker is not None and _was_killed(worker) for worker in self.workers):
            return set()
        return {job.out for job in self.jobs} if self._living() else set()

    def _living(self) -> list[Any]:
        return [worker for worker in self.workers if worker is not None and not worker.done()]

    def wait(self) -> None:
        """Return when no worker lives."""
        while self._living():
            time.sleep(0.05)

    def cancel(self) -> None:
        """End the workers, and with them their jobs."""
        # Not SIGINT, which submitit would send: what a shell starts in the background ignores it. Again and
        # again: a worker that is just starting does not listen yet.
        while living := self._living():
            for worker in living:
                os.kill(int(worker.job_id), signal.SIGTERM)
            time.sleep(0.5)


def _was_killed(worker: Any) -> bool:
    """Whether it ended without a word, in which case it may have left jobs out."""
    return worker.done() and not worker.paths.result_pickle.exists()


def places(jobs: Sequence[Job]) -> int:
    """How many of these jobs this machine carries at once: by its cores, its memory and its GPUs.

    A job that asks for all cores (``needs.cores`` 0) and no GPU gets the machine for itself.
    """
    cores = usable_cores()
    gpus = len(_visible_gpus())
    per_job = max((job.needs.gpus for job in jobs), default=0)
    limits = []
    if gpus and per_job:
        limits.append(gpus // per_job)
    else:
        limits.append(min((cores // (job.needs.cores or cores) for job in jobs), default=1))
    memory_gb = max((job.needs.memory_gb for job in jobs), default=0.0)
    if memory_gb:
        limits.append(int(MEMORY_SHARE * _memory_gb() / memory_gb))
    return max(1, min(limits))


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _visible_gpus() -> list[int]:
    """Numbers of the GPUs of this machine, of those that CUDA_VISIBLE_DEVICES leaves."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        words = [word.strip() for word in named.split(",") if word.strip()]
        if not all(word.isdigit() for word in words):
            raise ValueError(
                f"CUDA_VISIBLE_DEVICES: expected numbers, by which workers get their GPUs, found {named}"
            )
        return [int(word) for word in words]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return list(range(len(listed.stdout.splitlines()))) if listed.returncode == 0 else []
