"""Who works in a folder: the lock on its ``.claim``, which the kernel lets go of when its holder ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CLAIM_NAME = ".claim"
# Neither through a link that somebody planted there, nor waiting for a pipe's other end.
PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
ASKED, ASKED_S = 4, 0.05  # times and seconds: who only asks whether it is held, holds it for a moment


@contextmanager
def claim(folder: Path) -> Iterator[IO[str] | None]:
    """Make the run folder and hold it; None where another process does.

    The open file is yielded: a child process that inherits it holds the folder, too, and goes on holding it
    should this process be killed. The file stays: to remove it would let two hold one folder.

    Raises:
        OSError: a folder that cannot be written, or a file system without locks.
    """
    with _open_claim(folder) as file:
        for asked in range(ASKED):
            if asked:
                time.sleep(ASKED_S)
            if _lock(file, folder):
                yield file
                return
        yield None


@contextmanager
def alone(folder: Path, waiting: str) -> Iterator[None]:
    """Do something in a folder while no other process does; ``waiting`` is printed where one has to wait.

    Raises:
        OSError: as for :func:`claim`.
    """
    with _open_claim(folder) as file:
        if not _lock(file, folder):
            print(waiting, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(folder: Path) -> bool:
    """Whether some process holds the folder; it may be this one."""
    try:
        with open(os.open(folder / CLAIM_NAME, os.O_RDONLY | PLAIN)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _open_claim(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return open(os.open(folder / CLAIM_NAME, os.O_RDWR | os.O_CREAT | PLAIN, 0o644), "r+")


def _lock(file: IO[str], folder: Path) -> bool:
    """Whether nobody else had it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        raise OSError(
            f"{folder}: this file system has no locks ({error.strerror}), by which two runners tell "
            "whose job is whose; choose another one with --out, or ask for it to be mounted with flock"
        ) from None
    return True
