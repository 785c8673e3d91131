"""The row: one measured or published number, with everything needed to believe it.

A results file is a CSV with exactly the columns of :class:`Row`, in that order. Identity lives in
the fields, never in file names; a missing number is an empty cell. Writing needs no package; reading
needs pandas and pandera, which :mod:`transfer.report.schema` imports.
"""

from __future__ import annotations

import csv
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transfer.report.items import Items


@dataclass(frozen=True)
class Metric:
    """What a metric id means wherever it appears."""

    name: str  # display name, used only in tables
    unit: str  # "percent" (0..100), "count" or "hours"
    higher_is_better: bool
    lowest: float = 0.0


METRICS: dict[str, Metric] = {
    "top1": Metric("top-1", "percent", True),
    "top5": Metric("top-5", "percent", True),
    "mean_per_class": Metric("mean per class", "percent", True),
    # Top-1 or mean per class, whichever is customary for the dataset; the source does not say.
    "accuracy": Metric("accuracy", "percent", True),
    "map_voc07": Metric("11-point mAP", "percent", True),
    "box_ap": Metric("AP", "percent", True),
    "box_ap50": Metric("AP50", "percent", True),
    "box_ap75": Metric("AP75", "percent", True),
    "box_ap_small": Metric("AP small", "percent", True),
    "box_ap_medium": Metric("AP medium", "percent", True),
    "box_ap_large": Metric("AP large", "percent", True),
    "mask_ap": Metric("mask AP", "percent", True),
    "mask_ap50": Metric("mask AP50", "percent", True),
    "mask_ap75": Metric("mask AP75", "percent", True),
    "mask_ap_small": Metric("mask AP small", "percent", True),
    "mask_ap_medium": Metric("mask AP medium", "percent", True),
    "mask_ap_large": Metric("mask AP large", "percent", True),
    "success": Metric("success (AUC)", "percent", True),
    "norm_precision": Metric("norm. precision", "percent", True),
    "precision": Metric("precision", "percent", True),
    "j_mean": Metric("J mean", "percent", True),
    "f_mean": Metric("F mean", "percent", True),
    "j_and_f": Metric("J&F", "percent", True),
    "mota": Metric("MOTA", "percent", True, lowest=-math.inf),
    "smota": Metric("sMOTA", "percent", True, lowest=-math.inf),
    "idf1": Metric("IDF1", "percent", True),
    "hota": Metric("HOTA", "percent", True),
    "id_switches": Metric("ID switches", "count", False),
    "relative_error": Metric("relative error", "percent", False),
    "wall_hours": Metric("hours", "hours", False),
}
# What is asked of a backbone ("fewshot": a classifier of its features from a few images of each class;
# "finetune": all weights on all labels of another dataset), then what is said about pre-training itself
# ("objective": the loss; "pretrain": its cost).
TASKS = (
    *(
        "linear",
        "knn",
        "fewshot",
        "semisup",
        "finetune",
        "detect",
        "sot",
        "vos",
        "mot",
        "mots",
        "pose",
        "vis",
    ),
    *("objective", "pretrain"),
)
REQUIRED = ("method", "task", "dataset", "protocol", "source")  # a number without these is not a fact
MEASURED = ("backbone_sha256", "config_sha256", "code_version")  # what every measured number has
SELECTIONS = ("last", "best-val", "best-test", "unknown")
REPORTED = ("own", "quoted", "unknown")  # of a published number; a measured one has ""
FAILED = "failed: "  # how the status of a task that broke begins; the reason follows
NOT_RUN = "not-run: "  # how that of a number begins that could not be had; the reason follows
STATUS_BEGINNINGS = (FAILED, NOT_RUN)


@dataclass(frozen=True)
class Measurement:
    """What a task knows about a number it computed. Identity of backbone and code is added later.

    ``value`` is in percent (0..100) or a count, as :data:`METRICS` says; ``n`` is the number of
    evaluated items (images, sequences); ``selection`` is ``last``, ``best-val`` or ``best-test``.
    A task that could not give a number yields ``value=None`` and a ``status`` that starts with
    ``failed: `` or ``not-run: ``. ``items`` are the values that the number is the mean of, where it is.
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
    items: Items | None = None


@dataclass(frozen=True)
class Row:
    """One line of a results file; see the module docstring.

    What one row can be wrong about by itself is refused here, so that no task writes it; a file is
    held to more when it is read (:mod:`transfer.report.schema`).

    Raises:
        ValueError: an empty identity field, an unknown metric, a value that is not finite or out of
            range, a status that contradicts the value, an unknown selection or reporter, a spread
            that is negative or beside a measured number.
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
    source: str  # the paper, table and page, or the command that measured it
    config_sha256: str
    code_version: str
    hardware: str
    wall_s: float | None
    std: float | None = None  # the spread that a published number comes with, in the unit of the value
    reported: str = ""  # who measured a published number: "own", "quoted", "unknown"; "" where we did

    @property
    def published(self) -> bool:
        """Whether a paper or page says so; else this repository measured it."""
        return self.reported != ""

    @property
    def failed(self) -> bool:
        """Whether the task broke; one that was not run, and says why, did not."""
        return self.status.startswith(FAILED)

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
        if self.reported and self.reported not in REPORTED:
            raise ValueError(f"reported {self.reported!r} is none of {', '.join(REPORTED)}, and not empty")
        self._check_value(metric)
        if self.std is not None and not (
            self.published and self.value is not None and 0 <= self.std < math.inf
        ):
            raise ValueError(f"std {self.std}: expected a spread >= 0 beside a published number, or nothing")

    def _check_value(self, metric: Metric) -> None:
        if self.status == "ok":
            if self.value is None or not math.isfinite(self.value):
                raise ValueError(f"{self.metric}: status ok needs a finite value, found {self.value}")
            if metric.unit == "percent" and not metric.lowest <= self.value <= 100.0:
                raise ValueError(f"{self.metric}: {self.value} lies outside 0..100 percent")
            if metric.unit == "hours" and self.value < 0:
                raise ValueError(f"{self.metric}: {self.value} is negative")
            if metric.unit == "count" and (self.value < 0 or self.value != int(self.value)):
                raise ValueError(f"{self.metric}: {self.value} is not a count")
        elif not self.status.startswith(STATUS_BEGINNINGS):
            raise ValueError(f"status {self.status!r} is neither ok, 'failed: …' nor 'not-run: …'")
        elif self.value is not None:
            raise ValueError(f"{self.metric}: a value beside status {self.status!r}")


KINDS: dict[str, Callable[[Any], float]] = {
    "value": float,
    "wall_s": float,
    "std": float,
    "seed": int,
    "n": int,
}
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


def read_rows(path: Path, *, published: bool | None = None) -> list[Row]:
    """Read a results file strictly; raises as :func:`read_placed_rows` does."""
    return [row for _, row in read_placed_rows(path, published=published)]


def read_placed_rows(path: Path, *, published: bool | None = None) -> list[tuple[str, Row]]:
    """Read a results file strictly, each row with its place, ``file:line``.

    ``published`` says which rows may stand in the file: published ones, measured ones, or (None) both.
    A row that spans several lines has the place of its last one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: text that is no CSV, a wrong header or number of cells, or a cell that
            :mod:`transfer.report.schema` refuses; the message gives file, line and column
            of the first ten.
    """
    from transfer.report.schema import check_records  # here, so that writing rows needs no pandas

    lines, records = _read_records(path)
    check_records(path, lines, records, published=published)
    return [(f"{path}:{line}", _to_row(cells)) for line, cells in zip(lines, records, strict=True)]


def _read_records(path: Path) -> tuple[list[int], list[list[str]]]:
    """Line numbers and cells of everything below the header, which must be that of the schema."""
    lines: list[int] = []
    records: list[list[str]] = []
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.reader(handle, strict=True)
        try:
            header = tuple(next(reader, ()))
            if header != COLUMNS:
                missing, unknown = (
                    [name for name in names if name not in others]
                    for names, others in ((COLUMNS, header), (header, COLUMNS))
                )
                raise ValueError(
                    f"{path}:1: header differs from the row schema; missing {missing}, unknown {unknown}"
                    + ("" if missing or unknown else f"; expected this order: {','.join(COLUMNS)}")
                )
            for cells in reader:
                lines.append(reader.line_num)
                records.append(list(map(sys.intern, cells)))  # most cells repeat
        except csv.Error as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}:{reader.line_num + 1}: not UTF-8: {error}") from error
    return lines, records


def _to_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _to_row(cells: list[str]) -> Row:
    """A row from cells that the schema has accepted."""
    typed: dict[str, object] = dict(zip(COLUMNS, cells, strict=True))
    for name, kind in KINDS.items():
        text = typed[name]
        typed[name] = kind(text) if text else None
    typed["higher_is_better"] = typed["higher_is_better"] == "true"
    return Row(**typed)  # type: ignore[arg-type]  # the header was checked against the fields
