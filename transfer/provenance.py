"""What a row says about the code, the configuration and the machine that made it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from transfer import __version__

PACKAGE_DIR = Path(__file__).parent


def config_sha256(resolved: dict[str, Any]) -> str:
    """Digest of a resolved configuration, independent of key order."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()


@functools.cache
def code_sha256(*parts: str) -> str:
    """Digest of the Python sources in the given folders (or files) of this package, paths included.

    Read once in a process, which goes on with the code that it imported whatever becomes of the files.
    """
    digest = hashlib.sha256()
    for part in sorted(parts):
        place = PACKAGE_DIR / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(PACKAGE_DIR).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def code_version() -> str:
    """The package version, with the git commit (and ``-dirty``) when run from a checkout."""
    if not (PACKAGE_DIR.parent / ".git").exists() or shutil.which("git") is None:
        return __version__
    described = subprocess.run(
        ["git", "-C", str(PACKAGE_DIR.parent), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return f"{__version__}+{described}" if described else __version__


def hardware() -> str:
    """The processor or accelerator that computed a number, in words."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()}x {torch.cuda.get_device_name(0)}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores {_cpu_model()}"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
