"""Run one task on one backbone and turn what it measured into rows."""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from transfer import provenance
from transfer.backbone.contract import Backbone, read_backbone
from transfer.base_files import read_with_bases
from transfer.identity import identity
from transfer.keys import check_key, run_key
from transfer.ranks import World, leave
from transfer.report.items import check_items, items_path, write_items
from transfer.report.protocols import check_task
from transfer.report.rows import FAILED, METRICS, Measurement, Row, write_rows
from transfer.run_folder import (
    join_processes,
    prepare_folder,
    remove_checkpoints,
    wait_for_all,
    written_by_another,
)
from transfer.run_record import Usage, begin_record, end_record
from transfer.tasks import TASKS, Task


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


def run_task(
    name: str, config_path: Path, backbone_path: Path, out: Path, overrides: Sequence[str], command_line: str
) -> list[Row]:
    """Run a task and write ``out/results.csv``; a failure inside the task becomes rows that say so.

    What the numbers are means of goes to ``out/items.csv``, before the rows: where there are rows, their
    items are complete. ``out/run.json`` records the run. Of several processes (torchrun) the first one
    writes and the others return no rows, unless they failed.

    Raises:
        FileNotFoundError, ValueError, OmegaConfBaseException: a configuration or backbone that
            cannot be used, several processes where the task takes one, or another job than the one
            that was planned; nothing was written.
    """
    before = Usage.now()
    config = load_config(TASKS[name], config_path, overrides)
    check_protocol(name, config, config_path)
    backbone = read_backbone(backbone_path)
    check_key(name, config, backbone)
    world = join_processes(name, config)
    try:
        if world.first:
            prepare_folder(out, name, run_key(name, config, backbone, config.seed))
            OmegaConf.save(OmegaConf.structured(config), out / "config.yaml")
            begin_record(out, name, config, config_path, backbone, command_line, world)
        wait_for_all(world)
        return _run_and_write(name, config, backbone, out, command_line, world, before)
    finally:
        if world.size > 1:  # only now: to the others a process that leaves looks like one that died
            leave()


def _run_and_write(
    name: str, config: Any, backbone: Backbone, out: Path, command_line: str, world: World, before: Usage
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
    reasons = [row.status for row in rows if row.failed]
    end_record(out, before, reasons[0].removeprefix(FAILED) if reasons else "")
    if not reasons:
        remove_checkpoints(out, name)
    return rows


def failures(name: str, config: Any, reason: str, kind: str = "failed") -> list[Measurement]:
    """One ``failed: reason`` measurement for every protocol and metric the task would have given.

    ``kind`` is ``failed``, or ``not-run`` where it was not even tried.
    """
    status = f"{kind}: {' '.join(reason.split())[:200]}"
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
