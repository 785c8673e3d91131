"""From rows to cells: one cell per line and column, all seeds of a number together.

A *column* is a question (dataset, split, protocol, metric), a *line* is who answers it (backbone
and how its number was selected), a *cell* is the answer. Nothing is averaged over what happens to
exist: a cell with one failed seed has no value, and a cell with fewer seeds than planned says so.
Planned is the largest number of seeds that any measured line of the same column has; rows do not say
what a suite meant to run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from transfer.report.items import (
    HITS,
    ITEM_NOUNS,
    SUFFIX,
    ItemKey,
    Items,
    item_key,
    items_path,
    matching,
    read_items,
    write_items,
)
from transfer.report.resampling import MIN_ITEMS, bootstrap_interval
from transfer.report.rows import METRICS, Row, read_placed_rows, write_rows
from transfer.report.statistics import Interval, mean, mean_interval, sample_std, wilson_interval

STATED = "stated ±"  # kind of a published spread: what the source prints, of whatever it says


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


@dataclass(frozen=True, eq=False)
class Cell:
    """The answer: one row a seed, and the items of each where they are known.

    ``planned``: seeds a measured cell should have; ``over``: what has a row each (transfer.report.pooled).
    """

    column: Column
    line: Line
    rows: tuple[Row, ...]
    planned: int = 1
    items: tuple[Items | None, ...] = ()
    over: str = "seeds"

    @cached_property
    def failures(self) -> tuple[str, ...]:
        """The distinct statuses of seeds that gave no number."""
        return tuple(sorted({row.status for row in self.rows if row.status != "ok"}))

    @cached_property
    def values(self) -> tuple[float, ...]:
        """One number a seed, or () when a seed gave none."""
        values = tuple(row.value for row in self.rows if row.value is not None)
        return values if len(values) == len(self.rows) else ()

    @cached_property
    def by_seed(self) -> dict[int, float]:
        """Seed -> number; nothing when a seed gave none, or when the rows are several backbones'."""
        values = self.values if self.over == "seeds" else ()
        return {row.seed: v for row, v in zip(self.rows, values, strict=False) if row.seed is not None}

    @cached_property
    def value(self) -> float | None:
        """Mean over the seeds, or None when a seed gave no number."""
        return mean(self.values) if self.values else None

    @cached_property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds; None for a single seed."""
        return sample_std(self.values) if len(self.values) > 1 else None

    @cached_property
    def n(self) -> int | None:
        """Number of evaluated items, where all seeds agree on it."""
        counts = {row.n for row in self.rows}
        return counts.pop() if len(counts) == 1 else None

    @property
    def is_short(self) -> bool:
        """Whether a measured cell has fewer seeds than planned."""
        return not self.line.published and len(self.rows) < self.planned

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the value; what a source prints after ± is none."""
        spread = self.spread
        return None if spread is None or spread.kind == STATED else (spread.low, spread.high)

    @cached_property
    def spread(self) -> Interval | None:
        """How far off the value may be, and how that is known; None where nothing is known.

        Published: value ± what the source states. Measured: a t interval over seeds, cut at the ends of the
        metric's range; where there is one seed, or none changed anything (kNN), the Wilson interval of a
        classification accuracy, or the bootstrap over the items.
        """
        if self.value is None:
            return None
        if self.line.published:
            stated = self.rows[0].std if len(self.rows) == 1 else None
            return None if stated is None else Interval(self.value - stated, self.value + stated, STATED)
        if self.std:
            low, high = interval_over_seeds(self.values, self.column.metric)
            return Interval(low, high, f"t over {len(self.values)} {self.over}")
        noun = ITEM_NOUNS.get(self.column.metric, "")
        if self.column.metric in HITS and self.n:
            return Interval(*wilson_interval(self.value, self.n), f"Wilson, {self.n} {noun}")
        for items in self.items:
            if items is not None and len(items.values) >= MIN_ITEMS:
                kind = f"bootstrap over {len(items.values)} {noun}"
                return Interval(*bootstrap_interval(items.values), kind)
        return None


def interval_over_seeds(values: Sequence[float], metric: str) -> tuple[float, float]:
    """95 % t interval of the mean of two values or more, cut at the ends of the metric's range."""
    low, high = mean_interval(values)
    lowest, highest = METRICS[metric].lowest, 100.0 if METRICS[metric].unit == "percent" else high
    return max(low, lowest), min(high, highest)


def find_results(path: Path) -> list[Path]:
    """The results files of a path: itself, or every ``results.csv`` below it, or else its ``*.csv``.

    Files of items (``*.items.csv``) are none.

    Raises:
        FileNotFoundError: no such path, or a folder without any results file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder of results")
    found = sorted(path.rglob("results.csv")) or sorted(
        file for file in path.glob("*.csv") if not file.name.endswith(SUFFIX)
    )
    if not found:
        raise FileNotFoundError(f"{path}: holds neither a results.csv nor another CSV file")
    return found


def read_all(paths: Iterable[Path], *, published: bool | None = None) -> list[Row]:
    """Rows of several results files; a row that stands in two files identically counts once.

    ``published`` says which rows may stand in them: published, measured, or (None) both.

    Raises:
        ValueError: a file that :func:`read_placed_rows` refuses, or two different rows for the same
            backbone, column and seed; the message names both places.
    """
    seen: dict[object, tuple[str, Row]] = {}
    for path in paths:
        for place, row in read_placed_rows(path, published=published):
            earlier_place, earlier = seen.setdefault((_question(row), _answerer(row), row.seed), (place, row))
            if earlier is not row and earlier != row:
                differing = [f.name for f in fields(Row) if getattr(row, f.name) != getattr(earlier, f.name)]
                raise ValueError(
                    f"{place}: a second row for {_describe(row)}, first at {earlier_place}; they differ in "
                    f"{', '.join(differing)}. Keep one, or give the runs different protocol ids."
                )
    return [row for _, row in seen.values()]


def collect(folder: Path, into: Path) -> int:
    """Write the rows of every results file under ``folder`` into one sorted file; returns how many.

    Their items go beside it, ``NAME.items.csv``, in the same order.

    Raises:
        ValueError: the target lies in the folder and would be read the next time, a target named like
            a file of items, or what :func:`read_all` or :func:`read_items` refuses.
    """
    if folder.resolve() in into.resolve().parents:
        raise ValueError(f"{into}: lies inside {folder}, whose files it is to hold; choose a place outside")
    if into.name.endswith(SUFFIX):
        raise ValueError(f"{into}: a name that ends in {SUFFIX} is that of the items beside a results file")
    paths = find_results(folder)
    rows = sorted(read_all(paths, published=False), key=_order)
    write_items(items_path(into), matching(rows, read_items(paths, rows)))
    write_rows(into, rows)
    return len(rows)


def to_cells(
    published: Sequence[Row], measured: Sequence[Row], items: Mapping[ItemKey, Items] | None = None
) -> list[Cell]:
    """Group rows into cells, in an order that no order of the rows changes.

    ``items`` are those of measured rows, as :func:`transfer.report.items.read_items` gives them.

    Raises:
        ValueError: two rows of one seed in the same cell, or seeds of different configurations.
    """
    groups: dict[tuple[object, object], list[Row]] = defaultdict(list)
    for row in (*published, *place_failures(measured)):
        groups[_question(row), _answerer(row)].append(row)
    cells: list[tuple[Column, Line, list[Row]]] = []
    planned: Counter[Column] = Counter()
    for rows in groups.values():
        if len({row.seed for row in rows}) < len(rows):
            statuses = ", ".join(sorted(row.status for row in rows))
            raise ValueError(f"{_describe(rows[0])}: {len(rows)} rows ({statuses}), expected one a seed")
        if len({row.config_sha256 for row in rows}) > 1:
            raise ValueError(
                f"{_describe(rows[0])}: seeds of different configurations (config_sha256) are no repeats of "
                "one another; collect one configuration's rows, or give the other a protocol of its own"
            )
        column, line = Column(*_question(rows[0])), Line(*_answerer(rows[0]))
        if not line.published:
            planned[column] = max(planned[column], len(rows))
        # Without a seed first; seeds of one cell differ, so this is a complete order.
        rows.sort(key=lambda row: -1 if row.seed is None else row.seed)
        cells.append((column, line, rows))
    cells.sort(key=lambda cell: (str(cell[0]), str(cell[1])))
    return [
        Cell(
            column,
            line,
            tuple(rows),
            max(1, planned[column]),
            tuple(items.get(item_key(row)) for row in rows) if items else (),
        )
        for column, line, rows in cells
    ]


def place_failures(rows: Sequence[Row], known: Sequence[Row] = ()) -> list[Row]:
    """Give a failed row without split the splits that other runs of its task and protocol have.

    A task that fails as a whole cannot know on which splits it would have reported, nor that its setting
    would have been chosen: where other runs of its configuration were, it stands with them. ``known`` are
    rows from elsewhere that may tell.
    """
    splits: dict[tuple[str, ...], set[str]] = defaultdict(set)
    selections: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in (*rows, *known):
        if row.split:
            splits[row.task, row.dataset, row.protocol, row.metric].add(row.split)
            selections[row.task, row.dataset, row.protocol, row.config_sha256].add(row.selection)
    placed: list[Row] = []
    for row in rows:
        possible = sorted(splits[row.task, row.dataset, row.protocol, row.metric])
        if row.split or row.status == "ok" or not possible:
            placed.append(row)
            continue
        chosen = selections[row.task, row.dataset, row.protocol, row.config_sha256]
        selection = next(iter(chosen)) if len(chosen) == 1 else row.selection
        placed += [replace(row, split=split, selection=selection) for split in possible]
    return placed


def _question(row: Row) -> tuple[str, str, str, str, str]:
    """The fields of :class:`Column`."""
    return (row.task, row.dataset, row.split, row.protocol, row.metric)


def _answerer(row: Row) -> tuple[bool, str, str, str, str, str, str, str, str, str]:
    """The fields of :class:`Line`; a published row has no backbone file, its source tells it apart."""
    return (
        *(row.published, row.method, row.arch, row.pretrain_data, row.pretrain_epochs, row.branch),
        *(row.backbone_sha256, row.backend, row.selection, row.source if row.published else ""),
    )


def _describe(row: Row) -> str:
    names = ("method", "task", "dataset", "split", "protocol", "metric")
    return " ".join(getattr(row, name) for name in names if getattr(row, name)) + f" seed {row.seed}"


def _order(row: Row) -> tuple[object, ...]:
    everything = (str(getattr(row, field.name)) for field in fields(Row))
    metric_rank = list(METRICS).index(row.metric)
    return (row.task, row.dataset, row.protocol, row.split, row.method, metric_rank, *everything)
