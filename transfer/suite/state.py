"""What has become of a job, read from the files in its run folder; and the claim on that folder.

``.claim``    locked (flock) by whoever works there, for as long as it lives: the kernel lets go of it
``running.json``  who works there; its modification time is the heartbeat
``key.txt``   written last: the rows in ``results.csv`` are this very job's, and complete
``results.csv``   rows; where one says failed, the job failed

Nothing else is remembered: a job that was killed has no ``key.txt``, whoever killed it and when.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from transfer.suite.job import Job
from transfer.suite.process import birth, kernel
from transfer.writing import write_text

KEY_NAME = "key.txt"
CLAIM_NAME = ".claim"
BEAT_NAME = "running.json"
BEAT_S = 10.0  # between two heartbeats
DEAD_S = 60.0  # without one: machines that share a disk need not agree on the time to the second

DONE, FAILED, RUNNING, INTERRUPTED, WAITING, STOPPED = (
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


def state_of(job: Job) -> State:
    """What has become of a job; where it is unclear whether its rows are whole, it is not done."""
    folder = job.folder
    if job.key and _text(folder / KEY_NAME) == job.key:
        rows = read_rows(folder / "results.csv")
        if rows:
            reasons = [row["status"] for row in rows if row["status"].startswith("failed")]
            seconds = float(rows[0].get("wall_s") or 0)
            return State(FAILED, reasons[0], seconds) if reasons else State(DONE, "", seconds)
    about = read_beat(job)
    if about is None:
        return State(STOPPED, job.stop) if job.stop else State(WAITING)
    if about.get("why"):
        return State(INTERRUPTED, about["why"], ended=about["ended"])
    if about.get("kernel") == kernel() != "" and birth(about["pid"]) != about.get("birth"):
        return State(INTERRUPTED, f"process {about['pid']} on {about['host']} has ended")
    if time.time() - about["beaten"] > DEAD_S:
        return State(INTERRUPTED, f"no sign of life from {about['host']}, process {about['pid']}")
    return State(RUNNING, f"{about['host']}, process {about['pid']}", time.time() - about["started"])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def read_beat(job: Job) -> dict[str, Any] | None:
    """Who works, or last worked, in the run folder, with the time of the last heartbeat; None: nobody."""
    path = job.folder / BEAT_NAME
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return {**about, "beaten": path.stat().st_mtime}
    except (FileNotFoundError, ValueError):
        return None


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows that are there, as text; none where there is no file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row.get("status")]
    except FileNotFoundError:
        return []


@contextmanager
def claim(folder: Path) -> Iterator[IO[str] | None]:
    """Make the run folder and hold it; None where another process does.

    The open file is yielded: a child process that inherits it holds the folder, too, and goes on holding it
    should this process be killed. The file stays: to remove it would let two hold one folder.

    Raises:
        OSError: a folder that cannot be written, or a file system without locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / CLAIM_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            raise OSError(
                f"{folder}: this file system has no locks ({error.strerror}), by which two runners tell "
                "whose job is whose; choose another one with --out, or ask for it to be mounted with flock"
            ) from None
        yield file


@contextmanager
def alone(folder: Path, waiting: str) -> Iterator[None]:
    """Do something in a folder while no other process does; ``waiting`` is printed where one has to wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / CLAIM_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def begin(job: Job, command_line: str) -> None:
    """Say who works in the run folder, and take back what an earlier run said of it."""
    (job.folder / KEY_NAME).unlink(missing_ok=True)
    about = {
        **{"host": socket.gethostname(), "pid": os.getpid(), "started": time.time()},
        **{"kernel": kernel(), "birth": birth(os.getpid())},
        **{"key": job.key, "command": command_line, "submission": os.environ.get("SLURM_JOB_ID", "")},
    }
    write_text(job.folder / BEAT_NAME, json.dumps(about))


def beat(job: Job) -> None:
    """The heartbeat: still here."""
    os.utime(job.folder / BEAT_NAME)


def finish(job: Job) -> None:
    """The rows in the run folder are this job's, and complete."""
    write_text(job.folder / KEY_NAME, job.key + "\n")
    (job.folder / BEAT_NAME).unlink(missing_ok=True)


def give_up(job: Job, why: str) -> None:
    """The job was killed from outside: it is to run again, and until then this is what is known of it."""
    path = job.folder / BEAT_NAME
    about = json.loads(path.read_text(encoding="utf-8")) | {"why": why, "ended": time.time()}
    write_text(path, json.dumps(about))


def forget(job: Job) -> None:
    """Nobody works in the run folder, and nothing could be written about how that ended."""
    (job.folder / BEAT_NAME).unlink(missing_ok=True)
