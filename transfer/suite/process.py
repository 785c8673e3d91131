"""Whether a process that a file tells of still lives here. Standard library only; Linux says, others do not.

A process number alone does not say it: numbers are used again, and a container or another machine that
shares the disk counts from 1, too.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def kernel() -> str:
    """Where process numbers mean what they mean here: this boot of this machine, this container.

    "" where the system does not say.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def birth(pid: int) -> str:
    """When a process began, in clock ticks since the machine did (proc(5), field 22 of ``stat``).

    "" where it has ended, also where nobody has yet asked how it did (a zombie).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything, brackets, too
    return "" if fields[0] in ("Z", "X") else fields[19]
