"""What this machine has: GPUs, room on its disks, folders that can be written. Standard library only."""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GPU_NODES = ("nvidia[0-9]*", "kfd", "dxg")  # below /dev: NVIDIA's, AMD's, those of Windows under Linux
LIST_GPUS = (
    "import json, torch; numbers = range(torch.cuda.device_count());"
    "found = [torch.cuda.get_device_properties(number) for number in numbers];"
    "print(json.dumps([[gpu.name, gpu.total_memory / 1e9] for gpu in found]))"
)


@dataclass(frozen=True)
class Gpu:
    """One GPU that torch can use."""

    name: str
    memory_gb: float  # 10^9 bytes, all of it


def has_gpu_node() -> bool:
    """Whether the system has a GPU, which costs nothing to see; torch may still not be able to use it."""
    return any(next(Path("/dev").glob(pattern), None) is not None for pattern in GPU_NODES)


def can_use_a_gpu() -> bool:
    """Whether torch can: a driver that is too old, or CUDA_VISIBLE_DEVICES, can leave it none."""
    try:
        return bool(find_gpus())
    except RuntimeError:
        return False


@functools.cache
def find_gpus() -> tuple[Gpu, ...]:
    """The GPUs that torch can use, asked once, in a process of its own: asking takes a GPU's memory.

    Raises:
        RuntimeError: torch is missing or cannot say; its last line.
    """
    if not has_gpu_node():
        return ()
    command = [sys.executable, "-W", "ignore", "-c", LIST_GPUS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError("torch gave no answer about GPUs within 120 s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(f"torch cannot list GPUs: {lines[-1][:200]}")
    return tuple(Gpu(name, memory_gb) for name, memory_gb in json.loads(done.stdout.splitlines()[-1]))


def nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    place = Path(os.path.abspath(path))
    while not place.is_dir():
        if place.exists() or place.is_symlink():
            return place  # a file where a folder is meant; whoever writes there will say so
        place = place.parent
    return place


def free_gb(path: Path) -> float:
    """Room for this user on the disk that a path lies or would lie on, 10^9 bytes."""
    return shutil.disk_usage(nearest_folder(path)).free / 1e9


def why_not_writable(path: Path) -> str:
    """Why no file can be made in a folder, there or not yet, in one line; "" where one can. Tries it."""
    folder = nearest_folder(path)
    if not folder.is_dir():
        return f"{folder} is no folder"
    trial = folder / f".trial.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        trial.write_bytes(b"trial")
        trial.unlink()
    except OSError as error:
        trial.unlink(missing_ok=True)
        return f"{folder} cannot be written ({error.strerror})"
    return ""


def machine_lines(runs: Path) -> Iterator[tuple[str, str]]:
    """Name and state of what a job takes besides packages and data."""
    try:
        gpus = find_gpus()
    except RuntimeError as error:
        yield "GPUs", str(error)
    else:
        if not gpus:
            yield "GPUs", "none that torch can use; tasks compute on the processor"
        for number, gpu in enumerate(gpus):
            yield f"GPU {number}", f"{gpu.name}, {gpu.memory_gb:.1f} GB"
    fault = why_not_writable(runs)
    yield f"{runs.name}/ (run folders)", fault or "can be written"
    yield "free on its disk", f"{free_gb(runs):.1f} GB"
