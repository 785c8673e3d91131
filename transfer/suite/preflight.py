"""Why a job cannot run here, told before anything starts; looked at once for all jobs that share it."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transfer.suite import doctor
from transfer.suite.data_places import MANY_SHOT_SETS, how_to_get
from transfer.suite.job import Needs
from transfer.suite.machine import find_gpus, free_gb, nearest_folder, why_not_writable
from transfer.tasks import TASKS

ENVIRONMENT = re.compile(r"\$\{oc\.env:\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}")  # without a default
JSON_READ_BYTES = 32_000_000  # a longer file is looked at from its two ends, in which a cut-off one shows
GZIP = b"\x1f\x8b"
SEQUENCES = ("mot", "frozen-mot", "frozen-mots")  # whose folders are MOTChallenge's, or a detector's text


def what_stops(task: str, needs: Needs, out: Path, *, elsewhere: bool = False) -> str:
    """Why a job cannot run, in one line with the next step; "" where nothing is known to stop it.

    Args:
        task: a key of :data:`transfer.tasks.TASKS`.
        needs: what it takes.
        out: its run folder, which need not be there.
        elsewhere: other machines run it, with the same files and environment: GPUs are theirs to have.
    """
    for path in needs.data:
        if fault := data_fault(task, path):
            return " ".join(fault.split())  # a path may hold a line break
    if fault := package_fault(needs.packages or task):
        return fault
    if needs.gpus and not elsewhere and (fault := gpu_fault(needs.gpus, needs.gpu_memory_gb)):
        return fault
    folder = nearest_folder(out)
    if fault := _writing_fault(folder):
        return f"{fault}; give --out a folder of yours"
    free = _free_gb(folder)
    if free < needs.disk_gb:
        short = f"{folder} has {free:.1f} GB free, the run may leave {needs.disk_gb:.1f} GB"
        return f"{short}; make room, or give --out on another disk"
    return ""


def data_fault(task: str, path: str) -> str:
    """Why data cannot be read, as far as a glance shows; "" where nothing is seen."""
    try:
        found = os.stat(path)
        fault = _seen_at_a_glance(task, path, found.st_mtime_ns, found.st_size)
    except (FileNotFoundError, NotADirectoryError):
        fault = f"{path} is not there"
    except OSError as error:
        fault = f"{error.filename or path} cannot be read ({error.strerror})"
    return f"{fault}; next: {how_to_get(path)}" if fault else ""


@functools.cache
def _seen_at_a_glance(task: str, path: str, *_state: int) -> str:
    place = Path(path)
    return _folder_fault(task, place) if place.is_dir() else _file_fault(place)


def _folder_fault(task: str, folder: Path) -> str:
    """What a folder lacks at first sight: anything at all, a folder of images for each class, frames."""
    inside = _visible(folder)
    first = next(inside, None)
    if first is None:
        return f"{folder} is empty"
    package = TASKS[task].package
    if package == "classify" and not folder.as_posix().endswith(MANY_SHOT_SETS):
        if not first.is_dir():
            first = next((entry for entry in inside if entry.is_dir()), None)
        if first is None:
            return f"{folder} holds no folder of images for each class"
        if next(_visible(Path(first.path)), None) is None:
            return f"{first.path} is empty, a class without images"
    if task in SEQUENCES and not _holds_sequences(folder):
        return f"{folder} holds neither img1/ with frames, nor sequences that do, nor text files"
    return ""


def _holds_sequences(folder: Path) -> bool:
    places = (folder, *(Path(entry.path) for entry in _visible(folder) if entry.is_dir()))
    return any(
        (place / "img1").is_dir() and next(_visible(place / "img1"), None) is not None for place in places
    ) or any(entry.name.endswith(".txt") for entry in _visible(folder))


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _file_fault(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(64)
        handle.seek(max(0, size - 64))
        end = handle.read(64)
    if not size:
        return f"{path} is empty"
    if path.suffix == ".gz" and not start.startswith(GZIP):
        return f"{path} is no gzip archive"
    if path.suffix == ".json":
        if start.lstrip()[:1] not in (b"{", b"[") or end.rstrip()[-1:] not in (b"}", b"]"):
            return f"{path} is no JSON, or cut off"
        if size <= JSON_READ_BYTES:
            try:
                content = json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:
                return f"{path} is no JSON ({error})"
            if not content or (isinstance(content, dict) and content.get("images", "unasked") == []):
                return f"{path} lists nothing"
    return ""


def package_fault(group: str) -> str:
    """Why a task's packages do not serve; each is tried once in a process."""
    try_packages([group])
    return doctor.what_stops(group, _PACKAGES)


def try_packages(groups: Iterable[str]) -> None:
    """Try what several tasks need, two packages at a time: some seconds each, which later calls save."""
    needs = dict.fromkeys(need for group in groups for need in doctor.NEEDS[group])
    _PACKAGES.update(doctor.examine([need for need in needs if need not in _PACKAGES]))


_PACKAGES: dict[str, doctor.Package] = {}  # what was tried in this process


@functools.cache
def gpu_fault(gpus: int, memory_gb: float) -> str:
    """Why this machine's GPUs do not serve."""
    try:
        found = find_gpus()
    except RuntimeError as error:
        return str(error)
    if len(found) < gpus:
        there = f"{len(found)} x {found[0].name}" if found else "none"
        return (
            f"it takes {gpus} GPUs, this machine has {there}; give fewer by --num-gpus, or --executor slurm"
        )
    fitting = sum(gpu.memory_gb >= memory_gb for gpu in found)
    if fitting < gpus:
        smallest = min(gpu.memory_gb for gpu in found)
        asked = f"it takes {gpus} GPUs of {memory_gb:.1f} GB each"
        return f"{asked}, {fitting} of the {len(found)} here has that, the smallest {smallest:.1f} GB"
    return ""


_writing_fault = functools.cache(why_not_writable)
_free_gb = functools.cache(free_gb)


def unset_variable(config_path: Path) -> str:
    """The first environment variable that a configuration and its bases name and that is not set; "" if none.

    Raises:
        FileNotFoundError, ValueError: as :func:`transfer.base_files.read_with_bases`.
    """
    from omegaconf import OmegaConf

    from transfer.base_files import read_with_bases

    content = OmegaConf.to_container(read_with_bases(config_path), resolve=False)
    for text in _texts(content):
        for name in ENVIRONMENT.findall(text):
            if not os.environ.get(name):
                return str(name)
    return ""


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node
