"""Who works in a folder: the lock on its ``.claim``, which the kernel lets go of when its holder ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

CLAIM_NAME = ".claim"
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
        try:
            _lock(file)
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


def _lock(file: IO[str]) -> None:
    for _ in range(ASKED):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(ASKED_S)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(folder: Path) -> bool:
    """Whether some process holds the folder; it may be this one."""
    try:
        with (folder / CLAIM_NAME).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _open_claim(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    # Neither through a link that somebody planted there, nor waiting for a pipe's other end.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(os.open(folder / CLAIM_NAME, flags, 0o644), "r+")


@contextmanager
def alone(folder: Path, waiting: str) -> Iterator[None]:
    """Do something in a folder while no other process does; ``waiting`` is printed where one has to wait."""
    with _open_claim(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
