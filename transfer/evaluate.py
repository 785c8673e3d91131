"""Run one task on one backbone and turn what it measured into rows."""

from __future__ import annotations

import hashlib
import importlib
import os
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from transfer import provenance
from transfer.backbone.contract import Backbone, read_backbone
from transfer.report.rows import METRICS, Measurement, Row, write_rows
from transfer.tasks import TASKS, Task


def load_config(task: Task, path: Path, overrides: Sequence[str] = ()) -> Any:
    """Merge a task's dataclass defaults, a YAML file and ``key=value`` overrides.

    Raises:
        FileNotFoundError: no such configuration.
        OmegaConfBaseException: an unknown key or a value of the wrong type; the message names it.
    """
    schema = importlib.import_module(task.module).Config
    merged = OmegaConf.merge(
        OmegaConf.structured(schema), OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))
    )
    return OmegaConf.to_object(merged)


def identity(config: Any) -> dict[str, Any]:
    """What a configuration decides, as plain data that is the same on every machine.

    The folder of the real data is replaced by its variable's name, and every configuration file
    that this one names (a detectron2 YAML, an mmtrack file) is joined by the digest of its bytes.
    """
    plain = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    assert isinstance(plain, dict)  # a dataclass resolves to a mapping
    return {str(key): _portable(value) for key, value in plain.items()}


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _portable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_portable(entry) for entry in value]
    if not isinstance(value, str):
        return value
    data_root = os.environ.get("MEC_TRANSFER_DATA")
    if data_root and value.startswith(data_root):
        return "MEC_TRANSFER_DATA" + value.removeprefix(data_root)
    if value.startswith("configs/") and Path(value).is_file():
        return [value, hashlib.sha256(Path(value).read_bytes()).hexdigest()]
    return value


def run_task(
    name: str, config_path: Path, backbone_path: Path, out: Path, overrides: Sequence[str], command_line: str
) -> list[Row]:
    """Run a task and write ``out/results.csv``; a failure inside the task becomes rows that say so.

    Raises:
        FileNotFoundError, ValueError, OmegaConfBaseException: a configuration or backbone that
            cannot be used; nothing was written.
    """
    config = load_config(TASKS[name], config_path, overrides)
    backbone = read_backbone(backbone_path)
    out.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.structured(config), out / "config.yaml")
    start = time.perf_counter()
    try:
        measurements = list(importlib.import_module(TASKS[name].module).run(backbone, config, out))
    except Exception as error:
        traceback.print_exc()
        measurements = failures(name, config, f"{type(error).__name__}: {error}")
    rows = to_rows(name, config, backbone, measurements, command_line, time.perf_counter() - start)
    write_rows(out / "results.csv", rows)
    return rows


def failures(name: str, config: Any, reason: str) -> list[Measurement]:
    """One ``failed: reason`` measurement for every metric the task would have given."""
    task = TASKS[name]
    status = f"failed: {' '.join(reason.split())[:200]}"
    return [
        Measurement(config.dataset, "", config.protocol, task.backend, metric, None, None, status=status)
        for metric in task.metrics
    ]


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
            task=name,
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
