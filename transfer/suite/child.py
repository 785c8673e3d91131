"""A job's process: started so that it ends with its worker, watched, and asked how it ended.

Standard library only.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from transfer.launch import end_with
from transfer.suite.job import Job
from transfer.suite.state import BEAT_S, beat

KEY_VARIABLE = "MEC_TRANSFER_KEY"  # the job that was planned; a task that would run another one refuses
RANK_ENDED = re.compile(r"transfer: process \d+ ended with status")  # transfer/launch.py
CHECK_S = 1.0  # between two looks at who started this worker


def run_child(
    words: Sequence[str], job: Job, output: IO[str], keep: tuple[int, ...], check: Callable[[], None]
) -> int:
    """The child's exit status. Meanwhile ``check`` is called, and the heart beats where the claim is kept."""
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
        preexec_fn=_prepare(os.getpid()),  # a worker has one thread, so this is safe
    )
    beaten = time.monotonic()
    while True:
        try:
            try:
                return process.wait(CHECK_S)
            except subprocess.TimeoutExpired:
                check()
            if keep and time.monotonic() - beaten >= BEAT_S:
                beat(job)
                beaten = time.monotonic()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _prepare(parent: int) -> Callable[[], None]:
    """For the child, before it becomes another program: to be ended when its parent is, however that ends."""

    def prepare() -> None:
        # SLURM's word that time is up goes to every process, and would end those that do not expect it.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        end_with(parent)

    return prepare


def how_it_ended(code: int, console: Path) -> str:
    """Why there is no result, in one line."""
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}"
    if code == 1:  # Python's, of an error that nobody caught
        return f"the process ended with status 1: {last_line(console)}"
    return f"the process ended with status {code} and no reason given"


def last_line(console: Path) -> str:
    """The last thing that it said, but for torchrun's that one of its processes ended."""
    lines = console.read_text(encoding="utf-8", errors="replace").split("\n")
    said = (line.strip() for line in reversed(lines))
    return next((line for line in said if line and not RANK_ENDED.match(line)), "no reason given")
