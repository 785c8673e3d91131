"""The row: one measured or published number, with everything needed to believe it.

A results file is a CSV with exactly the columns of :class:`Row`, in that order. Identity lives in
the fields, never in file names; a missing number is an empty cell.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Metric:
    """What a metric id means wherever it appears."""

    name: str  # display name, used only in tables
    unit: str  # "percent" (0..100) or "count"
    higher_is_better: bool


METRICS: dict[str, Metric] = {
    "top1": Metric("top-1", "percent", True),
    "top5": Metric("top-5", "percent", True),
    "box_ap": Metric("AP", "percent", True),
    "box_ap50": Metric("AP50", "percent", True),
    "box_ap75": Metric("AP75", "percent", True),
    "mask_ap": Metric("mask AP", "percent", True),
    "mask_ap50": Metric("mask AP50", "percent", True),
    "mask_ap75": Metric("mask AP75", "percent", True),
    "success": Metric("success (AUC)", "percent", True),
    "norm_precision": Metric("norm. precision", "percent", True),
    "precision": Metric("precision", "percent", True),
    "j_mean": Metric("J mean", "percent", True),
    "mota": Metric("MOTA", "percent", True),
    "idf1": Metric("IDF1", "percent", True),
    "hota": Metric("HOTA", "percent", True),
    "id_switches": Metric("ID switches", "count", False),
}


@dataclass(frozen=True)
class Measurement:
    """What a task knows about a number it computed. Identity of backbone and code is added later.

    ``value`` is in percent (0..100) or a count, as :data:`METRICS` says; ``n`` is the number of
    evaluated items (images, sequences); ``selection`` is ``last``, ``best-val`` or ``best-test``.
    A task that could not give a number yields ``value=None`` and a ``status`` that starts with
    ``failed: `` or ``not-run: ``.
    """

    dataset: str
    split: str
    protocol: str
    backend: str
    metric: str
    value: float | None
    n: int | None
    selection: str = "last"
    status: str = "ok"


@dataclass(frozen=True)
class Row:
    """One line of a results file; see the module docstring.

    Raises:
        ValueError: an empty identity field, an unknown metric, a value that is not finite or out of
            range, a status that contradicts the value, an unknown selection.
    """

    method: str
    arch: str
    pretrain_data: str
    pretrain_epochs: str  # text: "800", "random", "" where unknown
    backbone_sha256: str
    branch: str
    task: str
    dataset: str
    split: str
    protocol: str
    backend: str
    metric: str
    value: float | None
    unit: str
    higher_is_better: bool
    seed: int | None
    n: int | None
    selection: str
    status: str
    source: str  # the paper and table, or the command that measured it
    config_sha256: str
    code_version: str
    hardware: str
    wall_s: float | None

    def __post_init__(self) -> None:
        empty = [name for name in REQUIRED if not getattr(self, name)]
        if empty:
            raise ValueError(f"{', '.join(empty)} must not be empty")
        metric = METRICS.get(self.metric)
        if metric is None:
            raise ValueError(f"metric {self.metric!r} is unknown; known: {', '.join(METRICS)}")
        if (self.unit, self.higher_is_better) != (metric.unit, metric.higher_is_better):
            raise ValueError(
                f"{self.metric}: expected unit {metric.unit} and higher_is_better "
                f"{metric.higher_is_better}, found {self.unit} and {self.higher_is_better}"
            )
        if self.selection not in SELECTIONS:
            raise ValueError(f"selection {self.selection!r} is none of {', '.join(SELECTIONS)}")
        if self.status == "ok":
            if self.value is None or not math.isfinite(self.value):
                raise ValueError(f"{self.metric}: status ok needs a finite value, found {self.value}")
            lowest = -math.inf if self.metric == "mota" else 0.0  # MOTA has no lower bound
            if self.unit == "percent" and not lowest <= self.value <= 100.0:
                raise ValueError(f"{self.metric}: {self.value} lies outside 0..100 percent")
            if self.unit == "count" and (self.value < 0 or self.value != int(self.value)):
                raise ValueError(f"{self.metric}: {self.value} is not a count")
        elif not self.status.startswith(("failed: ", "not-run: ")):
            raise ValueError(f"status {self.status!r} is neither ok, 'failed: …' nor 'not-run: …'")
        elif self.value is not None:
            raise ValueError(f"{self.metric}: a value beside status {self.status!r}")


REQUIRED = ("method", "task", "dataset", "protocol", "source")  # a number without these is not a fact
SELECTIONS = ("last", "best-val", "best-test", "unknown")
COLUMNS = tuple(field.name for field in fields(Row))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a results file atomically: the file is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for row in rows:
                writer.writerow({name: _to_text(value) for name, value in asdict(row).items()})
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_rows(path: Path) -> Iterator[Row]:
    """Read a results file strictly; raises as :func:`read_placed_rows` does."""
    return (row for _, row in read_placed_rows(path))


def read_placed_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Read a results file strictly, each row with its place, ``file:line``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: wrong header, wrong number of cells, or a cell that :class:`Row` refuses; the
            message gives file and line.
    """
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            found = set(reader.fieldnames or ())
            raise ValueError(
                f"{path}:1: header differs from the row schema; missing "
                f"{sorted(set(COLUMNS) - found)}, unknown {sorted(found - set(COLUMNS))}"
            )
        for cells in reader:
            if None in cells or None in cells.values():
                raise ValueError(f"{path}:{reader.line_num}: expected {len(COLUMNS)} cells")
            try:
                row = _from_text(cells)
            except ValueError as error:
                raise ValueError(f"{path}:{reader.line_num}: {error}") from error
            yield f"{path}:{reader.line_num}", row


def _to_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _from_text(cells: dict[str, str]) -> Row:
    if cells["higher_is_better"] not in ("true", "false"):
        raise ValueError(f"higher_is_better is {cells['higher_is_better']!r}, expected true or false")
    typed: dict[str, object] = dict(cells)
    for name in ("value", "wall_s"):
        typed[name] = _number(float, name, cells[name])
    for name in ("seed", "n"):
        typed[name] = _number(int, name, cells[name])
    typed["higher_is_better"] = cells["higher_is_better"] == "true"
    return Row(**typed)  # type: ignore[arg-type]  # the header was checked against the fields


def _number(kind: type[int] | type[float], name: str, text: str) -> float | None:
    try:
        return kind(text) if text else None
    except ValueError:
        raise ValueError(f"{name} is {text!r}, expected {kind.__name__} or nothing") from None
