"""What a worker does: take jobs one after the other, each in a process of its own. Standard library only.

A worker is started by submitit, on this machine or by SLURM; ``transfer.suite.executors`` starts it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from transfer.suite.job import Job
from transfer.suite.state import (
    BEAT_S,
    DONE,
    FAILED,
    STOPPED,
    beat,
    begin,
    claim,
    failures_in,
    finish,
    forget,
    give_up,
    read_beat,
    read_rows,
    state_of,
)

KEY_VARIABLE = "MEC_TRANSFER_KEY"  # the job that was planned; a task that would run another one refuses
RESULT_NAMES = ("results.csv", "items.csv", "run.json", "code.diff")
# Faults of the machine, not of the job: it runs again as soon as the suite does.
MACHINE_FAULTS = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE))
PR_SET_PDEATHSIG = 1  # prctl(2)
NODE_WAIT_S = 600.0  # for the first machine of several to begin a job


@dataclass(frozen=True)
class Work:
    """Run every job that is nobody's and not done; submitit calls it, in a process of its own.

    Attributes:
        jobs: to look at, in this order.
        stop: no further job is started once this file is there; None: go on whatever happens.
    """

    jobs: tuple[Job, ...]
    stop: Path | None = None

    def __call__(self) -> None:
        """Return when every job is finished, or somebody else's."""
        for job in self.jobs:
            if self.stop is not None and self.stop.exists():
                return
            if job.needs.machines > 1 and int(os.environ.get("SLURM_NODEID", "0")) > 0:
                _join(job)
                continue
            if state_of(job).name in (DONE, FAILED, STOPPED):
                continue
            with claim(job.folder) as held:
                # Also asked again once it is held: another worker may have finished it in between.
                if held is None or state_of(job).name in (DONE, FAILED):
                    continue
                try:
                    ok = run_job(job, held)
                except OSError as error:  # a full disk, most often: not even that can be written down
                    print(f"{job.label}: {error}", file=sys.stderr, flush=True)
                    forget(job)
                    ok = False
            if not ok and self.stop is not None:
                self.stop.touch()

    def checkpoint(self) -> Any:
        """submitit asks for this when SLURM takes the machine away or the time is up: the same again.

        What the job had come to lies in its run folder.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_job(job: Job, held: IO[str]) -> bool:
    """Run one job as a child process; its output goes to ``console.txt``, its rows to ``results.csv``.

    The child holds the claim with us and is ended when we are. Where it gives rows, or says why it failed,
    the job is finished; where it was killed or crashed, ``failed: …`` rows say so and it will run again.

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
    (folder / "console.txt").unlink(missing_ok=True)  # also what might be a link in its place
    with (folder / "console.txt").open("x", encoding="utf-8") as console:
        code = _run(words, job, console, (held.fileno(),), lambda: beat(job))
    reasons = failures_in(read_rows(folder / "results.csv"))
    if code == 0 and not reasons:
        finish(job)
        return True
    if code in (0, 1) and reasons:
        if any(fault in reasons[0] for fault in MACHINE_FAULTS):
            give_up(job, reasons[0].removeprefix("failed: "))
        else:
            finish(job)
        return False
    why = _last_line(folder / "console.txt") if code == 2 else _how_it_ended(code)
    _write_failed_rows(job, why, time.perf_counter() - start)
    if code == 2:  # what the task says of input that it cannot use
        finish(job)
    else:
        give_up(job, why)
    return False


def _run(
    words: Sequence[str], job: Job, output: IO[str], keep: tuple[int, ...], alive: Callable[[], None]
) -> int:
    """The child's exit status; ``alive`` is called every few seconds meanwhile."""
    environment = dict(os.environ)
    if job.key:
        environment[KEY_VARIABLE] = job.key
    if job.needs.cores:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(job.needs.cores)
    process = subprocess.Popen(
        [sys.executable, "-m", "transfer", *words],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=keep,
        preexec_fn=_die_with(os.getpid()),  # a worker has one thread, so this is safe
    )
    while True:
        try:
            return process.wait(BEAT_S)
        except subprocess.TimeoutExpired:
            alive()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _die_with(parent: int) -> Callable[[], None]:
    """For the child, before it becomes another program: to be ended when its parent is, however that ends."""
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # already gone
            os._exit(128 + signal.SIGTERM)

    return ask


def _place(job: Job) -> list[str]:
    """Of several machines: how many, which this is and where the first one is reached."""
    if job.needs.machines == 1:
        return []
    host = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    port = 20000 + int(os.environ["SLURM_JOB_ID"]) % 20000
    place = ["--num-machines", str(job.needs.machines), "--machine-rank", os.environ["SLURM_NODEID"]]
    return [*place, "--dist-url", f"tcp://{host}:{port}"]


def _join(job: Job) -> None:
    """On all machines but the first: run the job's processes once the first machine has begun it."""
    deadline = time.monotonic() + NODE_WAIT_S
    while state_of(job).name not in (DONE, FAILED):
        about = read_beat(job)
        if about is not None and about.submission == os.environ["SLURM_JOB_ID"]:
            rank = os.environ["SLURM_NODEID"]
            with (job.folder / f"console-{rank}.txt").open("w", encoding="utf-8") as console:
                _run([*job.words, *_place(job)], job, console, (), lambda: None)
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job.out}: machine 0 did not begin within {NODE_WAIT_S:.0f} s")
        time.sleep(0.5)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}"
    return f"the process ended with status {code} and no reason given"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")


def _write_failed_rows(job: Job, why: str, wall_s: float) -> None:
    from transfer.suite.plan import write_rows_without_values

    for name in RESULT_NAMES:
        (job.folder / name).unlink(missing_ok=True)
    write_rows_without_values(job, "failed", why, wall_s)
