"""From rows to cells: one cell per line and column, all seeds of a number together.

A *column* is a question (dataset, split, protocol, metric), a *line* is who answers it (backbone
and how its number was selected), a *cell* is the answer. Nothing is averaged over what happens to
exist: a cell with one failed seed has no value.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from transfer.report.rows import METRICS, Row, read_placed_rows, write_rows

ACCURACIES = ("top1", "top5")  # shares of n independent images, so a binomial interval applies
Z_95 = 1.959963984540054  # 97.5 % point of the standard normal distribution


@dataclass(frozen=True)
class Column:
    """What is asked."""

    task: str
    dataset: str
    split: str
    protocol: str
    metric: str


@dataclass(frozen=True)
class Line:
    """Who answers. ``source`` is the paper and table of a published line, empty for a measured one."""

    published: bool
    method: str
    arch: str
    pretrain_data: str
    pretrain_epochs: str
    branch: str
    backbone_sha256: str
    backend: str
    selection: str
    source: str


@dataclass(frozen=True)
class Cell:
    """The answer: one row a seed."""

    column: Column
    line: Line
    rows: tuple[Row, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """The distinct statuses of seeds that gave no number."""
        return tuple(sorted({row.status for row in self.rows if row.status != "ok"}))

    @property
    def value(self) -> float | None:
        """Mean over the seeds, or None when a seed gave no number."""
        values = [row.value for row in self.rows if row.value is not None]
        return statistics.fmean(values) if len(values) == len(self.rows) else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds; None for a single seed."""
        values = [row.value for row in self.rows if row.value is not None]
        return statistics.stdev(values) if len(values) == len(self.rows) > 1 else None

    @property
    def n(self) -> int | None:
        """Number of evaluated items, where all seeds agree on it."""
        counts = {row.n for row in self.rows}
        return counts.pop() if len(counts) == 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval in percent of a classification accuracy from one seed."""
        if self.column.metric not in ACCURACIES or len(self.rows) > 1 or self.value is None or not self.n:
            return None
        return wilson_interval(self.value, self.n)


def wilson_interval(percent: float, n: int) -> tuple[float, float]:
    """95 % Wilson score interval, in percent, of a share measured on ``n`` items (Wilson 1927, JASA 22).

    Unlike the normal approximation it stays inside 0..100 and has a width at 0 and 100.
    """
    share = percent / 100
    scale = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / scale
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2)) / scale
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def find_results(path: Path) -> list[Path]:
    """The results files of a path: itself, or every ``results.csv`` below it, or else its ``*.csv``.

    Raises:
        FileNotFoundError: no such path, or a folder without any results file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder of results")
    found = sorted(path.rglob("results.csv")) or sorted(path.glob("*.csv"))
    if not found:
        raise FileNotFoundError(f"{path}: holds neither a results.csv nor another CSV file")
    return found


def read_all(paths: Iterable[Path]) -> list[Row]:
    """Rows of several results files; a row that stands in two files identically counts once.

    Raises:
        ValueError: a file that :func:`read_placed_rows` refuses, or two different rows for the same
            backbone, column and seed; the message names both places.
    """
    seen: dict[object, tuple[str, Row]] = {}
    for path in paths:
        for place, row in read_placed_rows(path):
            # A published row has no backbone file: there the source tells two numbers apart.
            key = (_column(row), _line(row, published=not row.backbone_sha256), row.seed)
            earlier_place, earlier = seen.setdefault(key, (place, row))
            if earlier != row:
                differing = [f.name for f in fields(Row) if getattr(row, f.name) != getattr(earlier, f.name)]
                raise ValueError(
                    f"{place}: a second row for {_describe(row)}, first at {earlier_place}; they differ in "
                    f"{', '.join(differing)}. Keep one, or give the runs different protocol ids."
                )
    return [row for _, row in seen.values()]


def collect(folder: Path, into: Path) -> int:
    """Write the rows of every results file under ``folder`` into one sorted file; returns how many.

    Raises:
        ValueError: the target lies in the folder and would be read the next time, or :func:`read_all`.
    """
    if folder.resolve() in into.resolve().parents:
        raise ValueError(f"{into}: lies inside {folder}, whose files it is to hold; choose a place outside")
    rows = sorted(read_all(find_results(folder)), key=_order)
    write_rows(into, rows)
    return len(rows)


def to_cells(published: Sequence[Row], measured: Sequence[Row]) -> list[Cell]:
    """Group rows into cells, in an order that no order of the rows changes.

    Raises:
        ValueError: two rows of one seed in the same cell, or seeds of different configurations.
    """
    groups: dict[tuple[Column, Line], list[Row]] = defaultdict(list)
    for row in published:
        groups[_column(row), _line(row, published=True)].append(row)
    for row in place_failures(measured):
        groups[_column(row), _line(row, published=False)].append(row)
    for rows in groups.values():
        if len({row.seed for row in rows}) < len(rows):
            statuses = ", ".join(sorted(row.status for row in rows))
            raise ValueError(f"{_describe(rows[0])}: {len(rows)} rows ({statuses}), expected one a seed")
        if len({row.config_sha256 for row in rows}) > 1:
            raise ValueError(
                f"{_describe(rows[0])}: seeds of different configurations (config_sha256) are no repeats of "
                "one another; collect one configuration's rows, or give the other a protocol of its own"
            )
    return [
        Cell(column, line, tuple(sorted(groups[column, line], key=_order)))
        for column, line in sorted(groups, key=lambda key: (str(key[0]), str(key[1])))
    ]


def place_failures(rows: Sequence[Row]) -> list[Row]:
    """Give a failed row without split the splits that other runs of its task and protocol have.

    A task that fails as a whole cannot know on which splits it would have reported.
    """
    splits: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in rows:
        if row.split:
            splits[row.task, row.dataset, row.protocol, row.metric].add(row.split)
    placed: list[Row] = []
    for row in rows:
        known = sorted(splits[row.task, row.dataset, row.protocol, row.metric])
        if row.split or row.status == "ok" or not known:
            placed.append(row)
        else:
            placed += [replace(row, split=split) for split in known]
    return placed


def _column(row: Row) -> Column:
    return Column(row.task, row.dataset, row.split, row.protocol, row.metric)


def _line(row: Row, *, published: bool) -> Line:
    names = ("method", "arch", "pretrain_data", "pretrain_epochs", "branch", "backbone_sha256", "backend")
    identity = {name: getattr(row, name) for name in names}
    return Line(published, **identity, selection=row.selection, source=row.source if published else "")


def _describe(row: Row) -> str:
    names = ("method", "task", "dataset", "split", "protocol", "metric")
    return " ".join(getattr(row, name) for name in names if getattr(row, name)) + f" seed {row.seed}"


def _order(row: Row) -> tuple[object, ...]:
    everything = (str(getattr(row, field.name)) for field in fields(Row))
    metric_rank = list(METRICS).index(row.metric)
    return (row.task, row.dataset, row.protocol, row.split, row.method, metric_rank, *everything)
