"""Where jobs run: submitit starts workers on this machine, or hands SLURM one array element for each job.

Both run :class:`transfer.suite.work.Work` on the same plan. Who works on what is decided by the claims on
the run folders alone, so several runners, on one machine or many that share a disk, may use one folder.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from transfer.suite.job import Job
from transfer.suite.process import birth
from transfer.suite.state import DONE, FAILED, RUNNING, STOPPED, WAITING, State
from transfer.suite.status import read_states
from transfer.suite.work import Work

MEMORY_SHARE = 0.9  # of the machine's, that jobs may take together
ATTEMPTS = 3  # at a job whose worker vanished, before a run of the suite gives up on it
FOREVER_MIN = 60 * 24 * 365
MAX_ARRAY = 1000  # SLURM's default MaxArraySize is 1001
SQUEUE_S = 5.0  # between two looks at SLURM's queue
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
LOOK_SHARE = 200  # looking at run folders takes at most 1/200 of the time


class Executor(Protocol):
    """Starts workers for jobs that nobody works on."""

    def start(self, jobs: Sequence[Job]) -> bool:
        """Start workers for these jobs; whether there was room for any."""

    def describe(self, jobs: Sequence[Job]) -> str:
        """Where these jobs would run, in words."""

    def alive(self) -> set[str] | None:
        """Run folders that living workers will come to, none where a worker that was killed leaves a gap.

        None where that cannot be told just now.
        """

    def wait(self) -> None:
        """Return when the workers, which have no job left, have ended."""

    def cancel(self) -> None:
        """End all workers that were started."""


def run_jobs(
    jobs: Sequence[Job],
    executor: Executor,
    show: Callable[[Sequence[State]], None],
    *,
    stop: Path | None = None,
) -> list[State]:
    """Have every job run that is not done, failed or stopped; return what became of them.

    Args:
        show: called about once a second with the states, in the order of the jobs.
        stop: as in :class:`Work`.
    """
    began = time.time()
    attempts: Counter[str] = Counter()
    settled = 0  # jobs, when workers were last missing
    states: list[State] = []
    try:
        while True:
            look = time.perf_counter()
            states = read_states(jobs, states)
            show(states)
            look = time.perf_counter() - look
            expected = executor.alive()
            left = [
                (job, state)
                for job, state in zip(jobs, states, strict=True)
                if state.name not in (DONE, FAILED, STOPPED) and state.ended < began
            ]
            if expected is not None:
                if not left or (stop is not None and stop.exists() and not expected):
                    executor.wait()
                    return states
                if not expected and len(jobs) - len(left) > settled:
                    settled = len(jobs) - len(left)
                    for job, state in left:  # nobody came to this one yet, but others got on
                        if state.name == WAITING:
                            del attempts[job.out]
                lost = [
                    job
                    for job, state in left
                    if state.name != RUNNING and job.out not in expected and attempts[job.out] < ATTEMPTS
                ]
                if lost and _start(executor, lost):
                    attempts.update(job.out for job in lost)
                elif not lost and not expected and all(state.name != RUNNING for _, state in left):
                    executor.wait()
                    return read_states(jobs, states)  # tried often enough
            time.sleep(max(1.0, LOOK_SHARE * look))
    except BaseException:
        executor.cancel()
        raise


def _start(executor: Executor, jobs: Sequence[Job]) -> bool:
    """Whether workers were started; where the disk is full that counts as an attempt as well."""
    try:
        return executor.start(jobs)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return True


@dataclass
class Local:
    """Workers on this machine, each of which takes the next job that is nobody's.

    Attributes:
        folder: for submitit's files.
        at_once: jobs; 0: as many as the machine carries.
        gpus: visible to each worker; workers share one only where ``at_once`` asks for more than there are.
        stop: as in :class:`Work`.
    """

    folder: Path
    at_once: int
    gpus: int = 0
    stop: Path | None = None
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
        return executor.submit(Work(self.jobs, self.stop, (os.getpid(), birth(os.getpid()))))

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


@dataclass
class Slurm:
    """One array element for each job.

    Attributes:
        folder: for submitit's files, on a disk that all machines share.
        name: of the jobs in SLURM's queue.
        minutes: until SLURM ends a job; submitit has it queued again then, three times at most.
        at_once: elements of an array that may run at the same time.
        parameters: further options of sbatch (partition, account, qos, mem_per_gpu, ...).
        stop: as in :class:`Work`.
    """

    folder: Path
    name: str
    minutes: int
    at_once: int
    parameters: dict[str, str] = field(default_factory=dict)
    stop: Path | None = None
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
        resources: dict[str, Any] = {"nodes": machines, "ntasks_per_node": 1, "cpus_per_task": max(1, cores)}
        if gpus:
            resources["gpus_per_node"] = gpus
        if memory_gb:
            resources["mem"] = f"{memory_gb * 1000:.0f}M"
        executor.update_parameters(
            job_name=self.name,
            time=self.minutes,
            array_parallelism=self.at_once,
            stderr_to_stdout=True,
            use_srun=True,
            additional_parameters={"requeue": True, **self.parameters},
            **resources,
        )
        elements = self._sbatch(executor, [Work((job,), self.stop) for job in jobs])
        self.elements |= {job.out: element.job_id for job, element in zip(jobs, elements, strict=True)}

    def _sbatch(self, executor: Any, work: Sequence[Work]) -> list[Any]:
        from submitit.core.utils import FailedJobError

        while True:
            try:
                with executor.batch():
                    elements = [executor.submit(each) for each in work]
                return elements
            except FailedJobError as error:
                if _queued_ids() is not None:
                    raise RuntimeError(str(error)) from None
                time.sleep(SQUEUE_S)  # SLURM's controller is silent, and will be back

    def alive(self) -> set[str] | None:
        """Run folders whose elements SLURM still has in its queue."""
        if time.monotonic() - self.looked >= SQUEUE_S:
            self.queue = _queued_ids()
            self.looked = time.monotonic()
        if self.queue is None:
            return None
        return {out for out, element in self.elements.items() if element in self.queue}

    def wait(self) -> None:
        """Nothing: SLURM sees to it that they end."""

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


def places(jobs: Sequence[Job]) -> int:
    """How many of these jobs this machine carries at once: by its cores, its memory and its GPUs.

    A job that asks for all cores (``needs.cores`` 0) and no GPU gets the machine for itself.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
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


def submission_folder(out: Path) -> Path:
    """A folder for submitit's files of this runner alone: its names are process ids, which machines share."""
    return out / "submitit" / f"{time.strftime('%Y%m%d-%H%M%S')}-{socket.gethostname()}-{os.getpid()}"
