"""Hours, memory and disk of configurations: published or derived (``configs/costs.csv``), and measured rows.

docs/costs.md says how each number comes about.
"""

from __future__ import annotations

import csv
import functools
import os
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfer.identity import identity
from transfer.provenance import config_sha256

CHECKOUT = Path(__file__).parents[2]
COSTS = CHECKOUT / "configs" / "costs.csv"
MEASURED = CHECKOUT / "results" / "measured"
COLUMNS = ("config", "gpus", "gpu", "gpu_memory_gb", "hours", "disk_gb", "memory_gb", "source")
WORDS = ("config", "gpu", "source")
CORES = re.compile(r"\d+ cores ")  # how the hardware of a row begins that no GPU computed
COMMAND = re.compile(
    r"python -m transfer [\w-]+ (?P<config>configs/\S+\.yaml) (?!.*\S+=)"
)  # without overrides
RUN_COLUMNS = ("backbone_sha256", "branch", "seed", "source", "hardware", "wall_s")


@dataclass(frozen=True)
class Cost:
    """One line of ``configs/costs.csv``: what a configuration takes, as published or derived from that."""

    gpus: int  # that ``hours`` is of
    gpu: str  # their name
    gpu_memory_gb: float  # of each, 10^9 bytes
    hours: float  # of wall clock on these GPUs
    disk_gb: float
    memory_gb: float
    source: str  # in words


def cost_of(config_path: Path) -> Cost | None:
    """The line of a configuration; None where it has none."""
    return costs().get(_in_checkout(config_path))


def _in_checkout(config_path: Path) -> str:
    place = Path(os.path.abspath(config_path))
    return (place.relative_to(CHECKOUT) if place.is_relative_to(CHECKOUT) else config_path).as_posix()


@functools.cache
def costs(path: Path = COSTS) -> dict[str, Cost]:
    """The costs by configuration, a path from the checkout's root; none where there is no such file.

    Raises:
        ValueError: other columns, or a cell that is no number where one belongs; names the line.
    """
    if not path.is_file():
        return {}
    found: dict[str, Cost] = {}
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        if reader.fieldnames != list(COLUMNS):
            raise ValueError(f"{path}: expected the columns {', '.join(COLUMNS)}, found {reader.fieldnames}")
        for row in reader:
            try:
                numbers = [float(row[column] or 0) for column in COLUMNS if column not in WORDS]
            except ValueError as error:
                raise ValueError(f"{path}: line {reader.line_num}: {error}") from None
            gpus, gpu_memory_gb, hours, disk_gb, memory_gb = numbers
            found[row["config"]] = Cost(
                int(gpus), row["gpu"], gpu_memory_gb, hours, disk_gb, memory_gb, row["source"]
            )
    return found


@dataclass(frozen=True)
class _Run:
    hardware: str
    hours: float


@dataclass(frozen=True)
class _AsText:
    """A configuration as the key of a memory: its text says all of it."""

    text: str
    config: Any = field(compare=False)


@functools.cache
def _digest_once(known: _AsText) -> str:
    return config_sha256(identity(known.config))


def measured_hours(config: Any, config_path: Path, gpus: int) -> tuple[float, str]:
    """The median over measured runs of a configuration, and on what; (0, "") where there is none.

    Runs of this very configuration count, or, where there is none, those of the same file as it was before.
    A GPU's time says nothing to a job on processors; to a job on GPUs the time of processors is a bound, and
    counts where no GPU was measured. Of several machines that one counts which has more runs.
    """
    measured = measured_runs()
    of_this = measured.get(_digest_once(_AsText(repr(config), config)), ())
    runs = of_this or measured.get(_in_checkout(config_path), ())
    by_hardware: dict[str, list[float]] = {}
    for run in runs:
        if gpus or CORES.match(run.hardware):
            by_hardware.setdefault(run.hardware, []).append(run.hours)
    if not by_hardware:
        return 0.0, ""

    def fits(hardware: str) -> tuple[bool, int, str]:
        return not CORES.match(hardware), len(by_hardware[hardware]), hardware

    hardware = max(by_hardware, key=fits)
    hours = by_hardware[hardware]
    number = "1 run" if len(hours) == 1 else f"{len(hours)} runs"
    before = "" if of_this else " of this file as it was before"
    return statistics.median(hours), f"median of {number}{before}, measured on {hardware}"


@functools.cache
def measured_runs(folder: Path = MEASURED) -> dict[str, tuple[_Run, ...]]:
    """The finished runs behind the committed rows, by digest of their configuration and by its path.

    The rows of one run share backbone, seed, command and time; a time that was not taken is left out.
    """
    found: dict[str, dict[tuple[str, ...], _Run]] = {}
    for path in sorted(folder.glob("*.csv")):
        if path.name.endswith(".items.csv"):
            continue
        with path.open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                if row["status"] != "ok" or not row["wall_s"] or not row["hardware"]:
                    continue
                named = COMMAND.match(row["source"])
                run = _Run(row["hardware"], float(row["wall_s"]) / 3600)
                for key in (row["config_sha256"], named["config"] if named else ""):
                    found.setdefault(key, {})[tuple(row[column] for column in RUN_COLUMNS)] = run
    return {key: tuple(runs.values()) for key, runs in found.items() if key}
