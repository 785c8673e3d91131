"""Array elements of SLURM, through submitit: one for each job."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from transfer.suite.job import Job
from transfer.suite.work import Work

MAX_ARRAY = 1000  # SLURM's default MaxArraySize is 1001
SQUEUE_S = 5.0  # between two looks at SLURM's queue
REFUSALS = 3  # of sbatch, while squeue answers: it may have been away for a moment
CORES_PER_GPU = 8  # of a job that does not say how many cores it wants


@dataclass
class Slurm:
    """One array element for each job.

    Attributes:
        folder: for submitit's files, on a disk that all machines share.
        name: of the jobs in SLURM's queue.
        minutes: until SLURM ends a job; submitit has it queued again then, three times at most.
        at_once: elements of an array that may run at the same time.
        parameters: further options of sbatch (partition, account, qos, mem_per_gpu, ...).
        stop_file: as in :class:`Work`.
    """

    folder: Path
    name: str
    minutes: int
    at_once: int
    parameters: dict[str, str] = field(default_factory=dict)
    stop_file: Path | None = None
    elements: dict[str, str] = field(default_factory=dict)  # run folder -> id in SLURM's queue
    queue: set[str] | None = None
    looked: float = 0.0

    def start(self, jobs: Sequence[Job]) -> bool:
        """Submit arrays, one for each kind of machine that the jobs need."""
        for needs, group in groupby(sorted(jobs, key=_resources), key=_resources):
            alike = list(group)
            for i in range(0, len(alike), MAX_ARRAY):
                self._submit(alike[i : i + MAX_ARRAY], *needs)
        self.looked = 0.0
        return True

    def describe(self, jobs: Sequence[Job]) -> str:
        """What SLURM is asked for."""
        given = "".join(f", {key} {value}" for key, value in self.parameters.items())
        return f"by SLURM, {self.at_once} at once at most, {self.minutes} minutes for each{given}"

    def _submit(self, jobs: Sequence[Job], cores: int, gpus: int, machines: int, memory_gb: float) -> None:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(self.folder)
        resources: dict[str, Any] = {"nodes": machines, "ntasks_per_node": 1}
        if gpus:
            resources["gpus_per_node"] = gpus
        if cores or gpus:
            resources["cpus_per_task"] = cores or CORES_PER_GPU * gpus
        else:
            resources["exclusive"] = True
        if memory_gb:
            resources["mem"] = f"{memory_gb * 1000:.0f}M"
        executor.update_parameters(
            job_name=self.name,
            time=self.minutes,
            array_parallelism=self.at_once,
            stderr_to_stdout=True,
            use_srun=True,
            srun_args=["--cpu-bind=none"],  # from SLURM 22.05 on srun does not know of --cpus-per-task
            additional_parameters={"requeue": True, **self.parameters},
            **resources,
        )
        elements = self._sbatch(executor, [Work((job,), self.stop_file) for job in jobs])
        self.elements |= {job.out: element.job_id for job, element in zip(jobs, elements, strict=True)}

    def _sbatch(self, executor: Any, work: Sequence[Work]) -> list[Any]:
        from submitit.core.utils import FailedJobError

        refused = 0
        while True:
            try:
                with executor.batch():
                    elements = [executor.submit(each) for each in work]
                return elements
            except FailedJobError as error:
                refused += _queued_ids() is not None  # else its controller is silent, and will be back
                if refused == REFUSALS:
                    raise RuntimeError(str(error)) from None
                time.sleep(SQUEUE_S)

    def alive(self) -> set[str] | None:
        """Run folders whose elements SLURM still has in its queue."""
        if time.monotonic() - self.looked >= SQUEUE_S:
            self.queue = _queued_ids()
            self.looked = time.monotonic()
            if self.queue is None:
                print("squeue gets no answer from SLURM; waiting for it", file=sys.stderr, flush=True)
        if self.queue is None:
            return None
        return {out for out, element in self.elements.items() if element in self.queue}

    def wait(self) -> None:
        """Take out of the queue what would find nothing to do, since other runners did it."""
        self.cancel()

    def cancel(self) -> None:
        """Take all of them out of the queue."""
        queued = self.alive()
        ids = [id_ for out, id_ in self.elements.items() if queued is None or out in queued]
        if ids:
            subprocess.run(["scancel", *ids], check=False)


def _resources(job: Job) -> tuple[int, int, int, float]:
    needs = job.needs
    return needs.cores, needs.gpus, needs.machines, needs.memory_gb


def _queued_ids() -> set[str] | None:
    """Ids of this user's jobs and array elements in SLURM's queue; None while its controller is silent."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None
