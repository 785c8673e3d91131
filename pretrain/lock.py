"""One process per run folder."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the run folder; the system lets go of it when the process ends, however it ends.

    Raises:
        ValueError: another process holds it; names host and process.
    """
    path = out / "lock"
    with path.open("a+") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # flock's would live on in forked workers
        except (BlockingIOError, PermissionError):
            handle.seek(0)
            raise ValueError(
                f"{out}: {handle.read().strip() or 'another process'} is training in this folder; "
                "wait for it or choose another out=..."
            ) from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield
        handle.truncate(0)
