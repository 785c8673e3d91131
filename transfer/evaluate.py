"""Run one task on one backbone and turn what it measured into rows."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import re
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from transfer import provenance
from transfer.backbone.contract import Backbone, read_backbone
from transfer.base_files import read_with_bases
from transfer.ranks import World, leave
from transfer.report.items import check_items, items_path, write_items
from transfer.report.protocols import check_task
from transfer.report.rows import METRICS, Measurement, Row, write_rows
from transfer.run_folder import (
    join_processes,
    prepare_folder,
    remove_checkpoints,
    wait_for_all,
    written_by_another,
)
from transfer.tasks import TASKS, Task

# How a machine computes, not what.
MACHINE_KEYS = (
    *("num_workers", "device", "cache_images", "check_images"),
    *("evaluator", "checkpoint_period", "frames_at_once", "videos_at_once"),
)
# Folders of real data; what lies below one of them is the same data on every machine.
DATA_ROOTS = ("MEC_TRANSFER_DATA", "DETECTRON2_DATASETS")
CONFIG_SUFFIXES = (".yaml", ".yml", ".py")
NAMED_FILE = re.compile(r"[^\s'\"\[\](),]*/[^\s'\"\[\](),]+\.(?:ya?ml|py)\b")  # a path inside a configuration


def load_config(task: Task, path: Path, overrides: Sequence[str] = ()) -> Any:
    """Merge a task's dataclass defaults, a YAML file with its bases, and ``key=value`` overrides.

    Raises:
        FileNotFoundError: no such configuration, or no such base of one.
        ValueError: what :func:`read_with_bases` refuses.
        OmegaConfBaseException: an unknown key or a value of the wrong type; the message names it.
    """
    schema = importlib.import_module(task.module).Config
    merged = OmegaConf.merge(
        OmegaConf.structured(schema), read_with_bases(path), OmegaConf.from_dotlist(list(overrides))
    )
    return OmegaConf.to_object(merged)


def check_protocol(task: str, config: Any, path: Path) -> None:
    """Refuse a protocol whose rows no reader would accept: before the work, not after it.

    Raises:
        ValueError: the protocol has no line in the table of protocols, or is another task's.
    """
    for protocol in (config.protocol, *protocols_of(task, config)):
        try:
            check_task(TASKS[task].asks or task, protocol)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def identity(config: Any) -> dict[str, Any]:
    """What a configuration decides, as plain data that is the same on every machine.

    The folders of the real data are replaced by their variables' names, and every configuration file
    that this one names (a detectron2 YAML, an mmtrack file) gives way to a digest of its content, files
    that it names in turn included; so is a list of labelled images, wherever it lies. The seed
    is left out: seeds of one recipe are one recipe; and so are :data:`MACHINE_KEYS`, and exceptions
    from the lint when there are none, which rows older than that field lack.
    """
    plain = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    assert isinstance(plain, dict)  # a dataclass resolves to a mapping
    if not plain.get("allow"):
        plain.pop("allow", None)
    left_out = ("seed", *MACHINE_KEYS)
    decided = {str(key): _portable(value) for key, value in plain.items() if key not in left_out}
    labels = Path(str(plain.get("subset_list", "")))
    if labels.is_file():
        decided["subset_list"] = hashlib.sha256(labels.read_bytes()).hexdigest()
    return decided


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _portable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_portable(entry) for entry in value]
    if not isinstance(value, str):
        return value
    for variable in DATA_ROOTS:
        root = os.environ.get(variable)
        if root and Path(value).is_relative_to(root):
            return (Path(variable) / Path(value).relative_to(root)).as_posix()
    path = Path(value)
    if (value.startswith("configs/") or path.suffix in CONFIG_SUFFIXES) and path.is_file():
        return {
            os.path.relpath(file, path.parent): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in _with_bases(path)
        }
    return value


def _with_bases(path: Path) -> list[Path]:
    """A configuration file and the files that it names, directly or through one another: neighbours by their
    names alone, configurations elsewhere by a path from its folder or an absolute one."""
    found, waiting = [], [path]
    while waiting:
        current = waiting.pop()
        found.append(current)
        if current.suffix not in CONFIG_SUFFIXES:
            continue
        text = current.read_text(encoding="utf-8")
        named = [neighbour for neighbour in sorted(current.parent.iterdir()) if neighbour.name in text]
        named += [Path(os.path.normpath(current.parent / word)) for word in NAMED_FILE.findall(text)]
        waiting += [file for file in dict.fromkeys(named) if file.is_file() and file not in found + waiting]
    return sorted(found)


def run_key(name: str, config: Any, backbone: Backbone, seed: int) -> str:
    """Digest of all that decides a result: backbone, configuration, seed and code."""
    return _key(name, identity(config), backbone, seed)


def _key(name: str, decided: dict[str, Any], backbone: Backbone, seed: int) -> str:
    code = provenance.code_sha256("backbone", "data", "ranks.py", "selection.py", TASKS[name].package)
    parts = [backbone.sha256, name, decided, seed, code]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def job_key(name: str, config: Any, backbone: Backbone, seed: int) -> str:
    """Digest of what :func:`run_key` is of, and of the data: two runs with one key must give the same rows.

    Code, data and the files that a configuration names are read once in a process, so that thousands of
    keys cost one reading: who plans a grid plans one moment of them.

    Raises:
        FileNotFoundError: data that the configuration names and that are not there.
    """
    resolved = _Resolved.of(config)
    key = _key(name, _identity_once(resolved), backbone, seed)
    parts = [key, _data_once(_data_paths(name, resolved))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class _Resolved:
    """A configuration as the key of a memory: its text says all of it, and its seed is another's matter."""

    text: str
    config: Any = field(compare=False)

    @classmethod
    def of(cls, config: Any) -> _Resolved:
        unseeded = replace(config, seed=0)
        return cls(repr(unseeded), unseeded)


@functools.cache
def _identity_once(resolved: _Resolved) -> dict[str, Any]:
    return identity(resolved.config)


@functools.cache
def _data_paths(name: str, resolved: _Resolved) -> tuple[Path, ...]:
    try:
        from transfer.suite.needs import data_paths
    except ModuleNotFoundError:
        return ()
    return tuple(data_paths(name, resolved.config))


@functools.cache
def _data_once(paths: tuple[Path, ...]) -> str:
    try:
        from transfer.data.checksum import data_sha256
    except ModuleNotFoundError:
        return ""
    return data_sha256(paths)


def run_task(
    name: str, config_path: Path, backbone_path: Path, out: Path, overrides: Sequence[str], command_line: str
) -> list[Row]:
    """Run a task and write ``out/results.csv``; a failure inside the task becomes rows that say so.

    What the numbers are means of goes to ``out/items.csv``, before the rows: where there are rows, their
    items are complete. Of several processes (torchrun) the first one writes and the others return no rows,
    unless they failed.

    Raises:
        FileNotFoundError, ValueError, OmegaConfBaseException: a configuration or backbone that
            cannot be used, or several processes where the task takes one; nothing was written.
    """
    config = load_config(TASKS[name], config_path, overrides)
    check_protocol(name, config, config_path)
    backbone = read_backbone(backbone_path)
    world = join_processes(name, config)
    try:
        if world.first:
            prepare_folder(out, name, run_key(name, config, backbone, config.seed))
            OmegaConf.save(OmegaConf.structured(config), out / "config.yaml")
        wait_for_all(world)
        return _run_and_write(name, config, backbone, out, command_line, world)
    finally:
        if world.size > 1:  # only now: to the others a process that leaves looks like one that died
            leave()


def _run_and_write(
    name: str, config: Any, backbone: Backbone, out: Path, command_line: str, world: World
) -> list[Row]:
    results = out / "results.csv"
    provenance.code_version()  # remembered: the code that runs, not what is there when it ends
    start = time.perf_counter()
    try:
        measurements = list(importlib.import_module(TASKS[name].module).run(backbone, config, out))
        rows = to_rows(name, config, backbone, measurements, command_line, time.perf_counter() - start)
        numbers = [(row, m.items) for row, m in zip(rows, measurements, strict=True) if m.items is not None]
        for row, items in numbers:
            check_items(row, items)
        if not world.first:
            return rows
    except Exception as error:  # also a value that no row can hold, or that its items contradict
        traceback.print_exc()
        failed = failures(name, config, f"{type(error).__name__}: {error}")
        rows = to_rows(name, config, backbone, failed, command_line, time.perf_counter() - start)
        numbers = []
        if written_by_another(results, world):
            return rows
    write_items(items_path(results), numbers)
    write_rows(results, rows)
    if not any(row.failed for row in rows):
        remove_checkpoints(out, name)
    return rows


def failures(name: str, config: Any, reason: str) -> list[Measurement]:
    """One ``failed: reason`` measurement for every protocol and metric the task would have given."""
    status = f"failed: {' '.join(reason.split())[:200]}"
    return [
        Measurement(config.dataset, "", protocol, TASKS[name].backend, metric, None, None, status=status)
        for protocol in protocols_of(name, config)
        for metric in metrics_of(name, config)
    ]


def protocols_of(name: str, config: Any) -> tuple[str, ...]:
    """The protocols of a task's rows; a detector's says what deviates from the one it is named by."""
    if TASKS[name].package == "detect":
        from transfer.detect.settings import protocol_of

        return (protocol_of(config),)
    return tuple(getattr(config, "protocols", (config.protocol,)))


def metrics_of(name: str, config: Any) -> tuple[str, ...]:
    """The metrics that a task gives, which those of images choose by their data set."""
    if TASKS[name].package == "detect":
        from transfer.detect import settings

        return settings.metric_names(config)
    if "top5" not in TASKS[name].metrics:
        return TASKS[name].metrics
    from transfer.classify.scores import metric_names

    return metric_names(config)


def to_rows(
    name: str,
    config: Any,
    backbone: Backbone,
    measurements: Iterable[Measurement],
    command_line: str,
    wall_s: float,
) -> list[Row]:
    """Complete measurements with the identity of backbone, configuration, code and machine."""
    info = backbone.info
    return [
        Row(
            method=info.method,
            arch=info.arch,
            pretrain_data=info.pretrain_data,
            pretrain_epochs=info.pretrain_epochs,
            backbone_sha256=backbone.sha256,
            branch=info.branch,
            task=TASKS[name].asks or name,
            dataset=m.dataset,
            split=m.split,
            protocol=m.protocol,
            backend=m.backend,
            metric=m.metric,
            value=m.value,
            unit=METRICS[m.metric].unit,
            higher_is_better=METRICS[m.metric].higher_is_better,
            seed=config.seed,
            n=m.n,
            selection=m.selection,
            status=m.status,
            source=command_line,
            config_sha256=provenance.config_sha256(identity(config)),
            code_version=provenance.code_version(),
            hardware=provenance.hardware(),
            wall_s=round(wall_s, 1),
        )
        for m in measurements
    ]
