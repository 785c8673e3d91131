"""Have jobs run by workers that submitit starts, on this machine (``local``) or by SLURM (``slurm``).

Both run :class:`transfer.suite.work.Work` on the same plan. Who works on what is decided by the claims on
the run folders alone, so several runners, on one machine or many that share a disk, may use one folder.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from transfer.suite.job import Job
from transfer.suite.state import DONE, FAILED, NOT_RUN, RUNNING, WAITING, State
from transfer.suite.status import read_states

ATTEMPTS = 3  # at a job whose worker vanished, before a run of the suite gives up on it
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
    stop_file: Path | None = None,
) -> list[State]:
    """Have every job run that is not done, failed or stopped; return what became of them.

    Args:
        show: called about once a second with the states, in the order of the jobs.
        stop_file: as in :class:`Work`.
    """
    ended: list[float] | None = None  # by killed or crashed jobs, before this run; each is tried once more
    attempts: Counter[str] = Counter()
    settled = 0  # jobs, when workers were last missing
    states: list[State] = []
    try:
        while True:
            look = time.perf_counter()
            states = read_states(jobs, states)
            show(states)
            look = time.perf_counter() - look
            ended = ended or [state.ended for state in states]
            expected = executor.alive()
            left = [
                (job, state)
                for job, state, before in zip(jobs, states, ended, strict=True)
                if state.name not in (DONE, FAILED, NOT_RUN) and state.ended == before
            ]
            if not left:
                executor.wait()
                return states
            if stop_file is not None and stop_file.exists():
                if expected is not None and not expected:
                    executor.wait()
                    return states
            elif expected is not None:
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


def submission_folder(out: Path) -> Path:
    """A folder for submitit's files of this runner alone: its names are process ids, which machines share."""
    return out / "submitit" / f"{time.strftime('%Y%m%d-%H%M%S')}-{socket.gethostname()}-{os.getpid()}"
