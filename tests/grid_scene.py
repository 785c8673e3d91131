"""Run folders of a grid as workers leave them, and a terminal to look at them."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from transfer.suite.job import Job, Needs, write_plan
from transfer.suite.state import begin, finish, give_up

ROOT = Path(__file__).resolve().parent.parent


def job_at(out: Path, seed: int, *, method: str = "mec", task: str = "knn", obstacle: str = "") -> Job:
    config = f"configs/classify/{task}_mini.yaml"
    folder = str(out / f"{method}-12345678" / f"{task}_mini-seed{seed}")
    return Job(task, config, method, "resnet18", "b", seed, folder, f"k{seed}", (task,), Needs(), obstacle)


def run(job: Job, status: str = "ok", wall_s: float = 31.0) -> None:
    """What a worker leaves of a job that gave its verdict."""
    start(job)
    with (job.folder / "results.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("status", "wall_s"), (status, wall_s)])
    finish(job)


def start(job: Job, output: str = "") -> None:
    """What a worker leaves that is at it; this process is the worker."""
    job.folder.mkdir(parents=True, exist_ok=True)
    begin(job, "python -m transfer knn")
    (job.folder / "console.txt").write_text(output)


def grid(out: Path) -> list[Job]:
    """One job in each state: done, failed, running, interrupted, waiting, and two that cannot run."""
    jobs = [job_at(out, seed) for seed in range(5)]
    jobs += [job_at(out, seed, task="sot", obstacle="mmtrack not installed") for seed in (5, 6)]
    run(jobs[0])
    run(jobs[1], "failed: temperature must be positive, found -50")
    start(jobs[2], "epoch 1\repoch 2 loss 3.1\r\n")
    start(jobs[3])
    give_up(jobs[3], "the process was killed by SIGKILL")
    write_plan(out, jobs)
    return jobs


@contextlib.contextmanager
def on_terminal(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A Python process on a terminal of 100 x 20 characters, and the number by which that is read."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        # Where the tests run in the background of a shell it is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(ours: int, text: bytes, timeout_s: float = 30) -> bytes:
    """What the terminal got until ``text`` came, or its other end was closed (``text`` empty)."""
    got, deadline = b"", time.monotonic() + timeout_s
    while not text or text not in got:
        ready, _, _ = select.select([ours], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, got
        try:
            got += os.read(ours, 65536)
        except OSError:  # the other end was closed
            assert not text, got
            break
    return got
