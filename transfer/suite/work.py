"""What a worker does: take jobs one after the other, each in a process of its own. Standard library only.

A worker is started by submitit, on this machine or by SLURM; ``transfer.suite.executors`` starts it.
"""

from __future__ import annotations

import errno
import os
import pickle
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from transfer.suite.child import how_it_ended, last_line, run_child
from transfer.suite.claims import claim
from transfer.suite.job import Job
from transfer.suite.process import birth
from transfer.suite.state import (
    DONE,
    FAILED,
    NOT_RUN,
    begin,
    failures_in,
    finish,
    forget,
    give_up,
    read_beat,
    read_rows,
    state_of,
    submission,
)

RESULT_NAMES = ("results.csv", "items.csv", "run.json", "code.diff")
# Faults of the machine, not of the job: it runs again as soon as the suite does.
MACHINE_FAULTS = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE))
WRITE_ROWS = (
    "import pickle, sys; from transfer.suite.plan import write_rows_without_values as write; "
    "write(*pickle.load(sys.stdin.buffer))"
)
NODE_WAIT_S = 600.0  # for the first machine of several to begin a job
TERM_S = 2.0  # SLURM ends a job's processes one after the other


class RunnerGoneError(Exception):
    """Who started this worker has ended."""


@dataclass(frozen=True)
class Work:
    """Run every job that is nobody's and not done; submitit calls it, in a process of its own.

    Attributes:
        jobs: to look at, in this order.
        stop_file: no further job is started once this file is there; None: go on whatever happens.
        runner: process number and birth of the runner on this machine that the worker ends with, and its
            job with it; None: it goes on alone.
    """

    jobs: tuple[Job, ...]
    stop_file: Path | None = None
    runner: tuple[int, str] | None = None

    def __call__(self) -> None:
        """Return when every job is finished, or somebody else's."""
        signal.signal(signal.SIGTERM, _leave)  # submitit ignores it
        parent = os.getppid()  # submitit's, which can be killed as well
        with suppress(RunnerGoneError):
            self._work(lambda: self._check_runner(parent))

    def _check_runner(self, parent: int) -> None:
        if self.runner is not None and (os.getppid() != parent or birth(self.runner[0]) != self.runner[1]):
            raise RunnerGoneError

    def _work(self, check: Callable[[], None]) -> None:
        for job in self.jobs:
            check()
            if self.stop_file is not None and self.stop_file.exists():
                return
            if job.needs.machines > 1 and int(os.environ.get("SLURM_NODEID", "0")) > 0:
                _join(job)
                continue
            if state_of(job).name in (DONE, FAILED, NOT_RUN):
                continue
            with claim(job.folder) as held:
                # Also asked again once it is held: another worker may have finished it in between.
                if held is None or state_of(job).name in (DONE, FAILED):
                    continue
                try:
                    ok = run_job(job, held, check)
                except OSError as error:  # a full disk, most often: not even that can be written down
                    print(f"{job.label}: {error}", file=sys.stderr, flush=True)
                    forget(job)
                    ok = False
            if not ok and self.stop_file is not None:
                self.stop_file.touch()

    def checkpoint(self) -> Any:
        """submitit asks for this when SLURM takes the machine away or the time is up: the same again.

        What the job had come to lies in its run folder.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_job(job: Job, held: IO[str], check: Callable[[], None] = lambda: None) -> bool:
    """Run one job as a child process; its output goes to ``console.txt``, its rows to ``results.csv``.

    The child holds the claim with us and is ended when we are. Where it gives rows, or says why it failed,
    the job is finished; where it was killed or crashed, no rows are left and it will run again.

    Args:
        held: the claim on its folder.
        check: called every second meanwhile; what it raises ends the child, too.

    Returns:
        Whether it gave its rows and none of them failed.
    """
    folder = job.folder
    words = [*job.words, *_place(job)]
    before = read_beat(job)
    begin(job, shlex.join(["python", "-m", "transfer", *words]))
    for name in RESULT_NAMES:
        (folder / name).unlink(missing_ok=True)
    if before is not None and before.key != job.key:
        (folder / "resume.txt").unlink(missing_ok=True)  # checkpoints of other data or another configuration
    start = time.perf_counter()
    console_path = folder / "console.txt"
    console_path.unlink(missing_ok=True)  # also what might be a link in its place
    with console_path.open("x", encoding="utf-8") as console:
        code = run_child(words, job, console, (held.fileno(),), check)
    if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        time.sleep(TERM_S)  # where it was meant for this process, too, the job has not failed: see _leave
    rows = read_rows(folder / "results.csv")
    reasons = failures_in(rows)
    if code == 0 and rows and not reasons:
        finish(job)
        return True
    if code in (0, 1) and reasons:
        if any(fault in reasons[0] for fault in MACHINE_FAULTS):
            give_up(job, reasons[0].removeprefix("failed: "))
        else:
            finish(job)
        return False
    for name in RESULT_NAMES:
        (folder / name).unlink(missing_ok=True)
    why = last_line(console_path) if code == 2 else how_it_ended(code, console_path)
    if code == 2 and _write_failed_rows(job, why, time.perf_counter() - start):
        finish(job)  # what the task says of input that it cannot use
    else:
        give_up(job, why)
    return False


def _leave(number: int, _: object) -> None:
    """Cancelled, preempted or killed: end the child and go; the job is one that was interrupted."""
    signal.signal(number, signal.SIG_IGN)  # once is enough, and the child may take its time
    raise SystemExit(128 + number)


def _place(job: Job) -> list[str]:
    """Of several machines: how many, which this is and where the first one is reached."""
    if job.needs.machines == 1:
        return []
    host = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    port = 20000 + int(os.environ["SLURM_JOB_ID"]) % 12000  # below those that the kernel gives out
    place = ["--num-machines", str(job.needs.machines), "--machine-rank", os.environ["SLURM_NODEID"]]
    return [*place, "--dist-url", f"tcp://{host}:{port}"]


def _join(job: Job) -> None:
    """On all machines but the first: run the job's processes while the first machine runs the job."""

    def check() -> None:
        if not _is_begun(job):
            raise SystemExit(f"{job.out}: machine 0 has ended this job")

    deadline = time.monotonic() + NODE_WAIT_S
    while state_of(job).name not in (DONE, FAILED):
        if _is_begun(job):
            rank = os.environ["SLURM_NODEID"]
            with (job.folder / f"console-{rank}.txt").open("w", encoding="utf-8") as console:
                run_child([*job.words, *_place(job)], job, console, (), check)
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job.out}: machine 0 did not begin within {NODE_WAIT_S:.0f} s")
        time.sleep(0.5)


def _is_begun(job: Job) -> bool:
    """Whether the first machine of this very submission runs the job, and has not said how it ended."""
    about = read_beat(job)
    return about is not None and about.submission == submission() and not about.why


def _write_failed_rows(job: Job, why: str, wall_s: float) -> bool:
    """Whether the rows could be made, in a process of its own: a worker does without PyTorch."""
    given = pickle.dumps((job, "failed", why, wall_s))
    return subprocess.run([sys.executable, "-c", WRITE_ROWS], input=given, check=False).returncode == 0
