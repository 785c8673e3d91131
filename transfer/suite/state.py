"""What has become of a job, read from the files in its run folder.

``running.json``  who works there; its modification time is the heartbeat
``key.txt``   written last: the rows in ``results.csv`` are this very job's, and complete
``results.csv``   rows; where one says failed, the job failed

Nothing else is remembered: a job that was killed has no ``key.txt``, whoever killed it and when.
"""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from transfer.suite.claims import is_held
from transfer.suite.job import Job
from transfer.suite.process import birth, kernel
from transfer.suite.words import read_plain
from transfer.writing import write_text

KEY_NAME = "key.txt"
BEAT_NAME = "running.json"
BEAT_S = 10.0  # between two heartbeats
DEAD_S = 60.0  # without one: machines that share a disk need not agree on the time to the second
KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
}  # of what stands in running.json

DONE, FAILED, RUNNING, INTERRUPTED, WAITING, NOT_RUN = (
    *("done", "failed", "running", "interrupted", "waiting"),
    "not-run",
)


@dataclass(frozen=True)
class State:
    """What has become of a job.

    Attributes:
        name: done, failed, running, interrupted (was killed; will run again), waiting or not-run.
        detail: of a failure its reason, of a running job where it runs, of one that cannot run why.
        seconds: how long it ran, or has been running; 0 where that is not known.
        ended: when its process was killed or crashed under a worker that lived on (seconds since the epoch).
    """

    name: str
    detail: str = ""
    seconds: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True)
class Beat:
    """What stands in ``running.json``.

    Attributes:
        host, pid: of the worker.
        kernel, birth: what that number means, see :mod:`transfer.suite.process`.
        started: seconds since the epoch.
        key: of the job.
        command: that its child runs.
        submission: of the worker, see :func:`submission`.
        why, ended: how the child ended under a worker that lived on, where it left no result.
        beaten: time of the last heartbeat, which is the file's.
    """

    host: str
    pid: int
    kernel: str
    birth: str
    started: float
    key: str
    command: str
    submission: str
    why: str = ""
    ended: float = 0.0
    beaten: float = 0.0


def state_of(job: Job) -> State:
    """What has become of a job; where it is unclear whether its rows are whole, it is not done."""
    folder = job.folder
    if job.key and _text(folder / KEY_NAME).strip() == job.key:
        rows = read_rows(folder / "results.csv")
        if rows:
            reasons = failures_in(rows)
            seconds = _number(rows[0].get("wall_s"))
            return State(FAILED, reasons[0], seconds) if reasons else State(DONE, "", seconds)
    about = read_beat(job)
    state = State(WAITING) if about is None else _of_beat(about, folder)
    return State(NOT_RUN, job.obstacle) if job.obstacle and state.name != RUNNING else state


def _of_beat(about: Beat, folder: Path) -> State:
    if about.why:
        return State(INTERRUPTED, about.why, ended=about.ended)
    if about.kernel == kernel() != "" and birth(about.pid) != about.birth:
        if is_held(folder):  # torchrun takes half a minute to end its processes
            detail = f"{about.host}, the job of process {about.pid}, which has ended"
            return State(RUNNING, detail, time.time() - about.started)
        return State(INTERRUPTED, f"process {about.pid} on {about.host} has ended")
    if time.time() - about.beaten > DEAD_S:
        return State(INTERRUPTED, f"no sign of life from {about.host}, process {about.pid}")
    return State(RUNNING, f"{about.host}, process {about.pid}", time.time() - about.started)


def _text(path: Path) -> str:
    """What stands in a file, "" where none can be read."""
    try:
        return read_plain(path)
    except (FileNotFoundError, ValueError):
        return ""


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def read_beat(job: Job) -> Beat | None:
    """Who works, or last worked, in the run folder; None: nobody, or a file that is none of ours."""
    path = job.folder / BEAT_NAME
    try:
        about = Beat(**json.loads(_text(path)))
        if not all(isinstance(getattr(about, field.name), KINDS[str(field.type)]) for field in fields(about)):
            return None
        return replace(about, beaten=path.stat().st_mtime)
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows that are there, as text; none where there is no such file, or one that ends within a line."""
    text = _text(path)
    if not text.endswith("\n"):
        return []
    try:
        return [row for row in csv.DictReader(io.StringIO(text)) if row.get("status")]
    except csv.Error:  # NUL, or a field without end
        return []


def failures_in(rows: Sequence[dict[str, str]]) -> list[str]:
    """What the rows that failed say of why, ``failed: `` before it."""
    return [row["status"] for row in rows if row["status"].startswith("failed")]


def begin(job: Job, command_line: str) -> None:
    """Say who works in the run folder, and take back what an earlier run said of it."""
    (job.folder / KEY_NAME).unlink(missing_ok=True)
    pid, host, started = os.getpid(), socket.gethostname(), time.time()
    _write(job, Beat(host, pid, kernel(), birth(pid), started, job.key, command_line, submission()))


def submission() -> str:
    """SLURM's number of this process's job and how often it was requeued; "" where it is none of SLURM's."""
    number = os.environ.get("SLURM_JOB_ID", "")
    return number and f"{number}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"


def _write(job: Job, about: Beat) -> None:
    write_text(job.folder / BEAT_NAME, json.dumps(asdict(about)))


def beat(job: Job) -> None:
    """The heartbeat: still here."""
    with suppress(FileNotFoundError):  # somebody tidied up; the claim is what counts
        os.utime(job.folder / BEAT_NAME)


def finish(job: Job) -> None:
    """The rows in the run folder are this job's, and complete."""
    write_text(job.folder / KEY_NAME, job.key + "\n")
    forget(job)


def give_up(job: Job, why: str) -> None:
    """The job was killed or crashed: it is to run again, and until then this is what is known of it."""
    about = read_beat(job)
    if about is not None:
        _write(job, replace(about, why=why, ended=time.time()))


def forget(job: Job) -> None:
    """Nobody works in the run folder any more."""
    (job.folder / BEAT_NAME).unlink(missing_ok=True)
