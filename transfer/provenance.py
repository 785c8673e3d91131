"""What a row says about the code, the configuration and the machine that made it."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from transfer import __version__
from transfer.suite.doctor import NEEDS, find_version

PACKAGE_DIR = Path(__file__).parent
SOURCES = ("transfer", "pretrain", "configs", "tools", "pyproject.toml")  # what a result can depend on
# Variables that decide where data are, how many threads compute, or who started a run. Only these are
# recorded: others may hold what is secret.
VARIABLES = (
    *("MEC_TRANSFER_DATA", "DETECTRON2_DATASETS"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"),
    *("ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE"),
    *("PYTORCH_CUDA_ALLOC_CONF", "NCCL_DEBUG", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_PARTITION"),
    *("SLURM_JOB_NUM_NODES", "SLURM_RESTART_COUNT"),
)


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
    described = ask_git("describe", "--always", "--dirty", "--abbrev=12").strip()
    return f"{__version__}+{described}" if described else __version__


def ask_git(*words: str) -> str:
    """What git says of the checkout that holds this package; "" where there is no checkout or no git.

    Programs that a repository's settings name (pagers, monitors, converters) are not run.
    """
    checkout = PACKAGE_DIR.parent
    if not (checkout / ".git").exists() or shutil.which("git") is None:
        return ""
    command = ["git", "--no-pager", "-c", "core.fsmonitor=false", "-C", str(checkout), *words]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.decode(errors="replace")


def git_diff() -> str:
    """What the checkout's sources differ in from its commit, new files included; "" where in nothing."""
    changed = ask_git("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--", *SOURCES)
    new = ask_git("ls-files", "--others", "--exclude-standard", "-z", "--", *SOURCES)
    parts = [changed]
    for name in filter(None, new.split("\0")):
        try:
            lines = (PACKAGE_DIR.parent / name).read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError):
            parts.append(f"new file {name}, which is no text\n")
            continue
        parts.append("".join(difflib.unified_diff([], lines, "/dev/null", f"b/{name}")))
    return "".join(parts)


def versions() -> dict[str, str]:
    """Versions of Python and of each installed distribution that a task needs, by its name on an index."""
    names = {name for needs in NEEDS.values() for need in needs for name in need.split("|")}
    found = {name: find_version(name) for name in sorted(names)}
    return {"python": platform.python_version()} | {
        name: version for name, version in found.items() if version
    }


def environment() -> dict[str, str]:
    """The variables of :data:`VARIABLES` that are set; others are nobody's business."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def hardware() -> str:
    """The processor or accelerator that computed a number, in words."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()}x {torch.cuda.get_device_name(0)}"
    return f"{usable_cores()} cores {_cpu_model()}"


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """The machine: host, system, processor, usable cores, memory (GB, 10^9 bytes) and all its GPUs."""
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": gpus(),
    }


def gpus() -> list[dict[str, str]]:
    """Name, memory and driver of each GPU, from NVIDIA's own program: asking torch would occupy them."""
    if shutil.which("nvidia-smi") is None:
        return []
    fields = ("name", "memory.total", "driver_version")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return []
    cells = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    names = ("name", "memory", "driver")
    return [dict(zip(names, line, strict=True)) for line in cells if len(line) == len(names)]


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
