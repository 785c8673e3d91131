"""The first screen: how MEC stands on each benchmark, and against random weights where it was run here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from transfer.report.aggregate import Cell, Column
from transfer.report.layout import DATASETS, method_name, rank_in
from transfer.report.page.texts import UNITS, name_task, show_value
from transfer.report.page.views import identify
from transfer.report.rows import METRICS, TASKS
from transfer.report.variants import VARIANTS

OURS = "mec"
BASELINES = ("random", "supervised")
ENOUGH = 4  # self-supervised methods that make a published column a benchmark


@dataclass(frozen=True)
class Dot:
    """A number on the strip, ``x`` in percent of its width."""

    x: str
    ours: bool
    baseline: bool


@dataclass(frozen=True)
class Figure:
    """A number in words, with the id of its cell."""

    text: str
    who: str
    id: str


@dataclass(frozen=True)
class Benchmark:
    """One line of the overview."""

    title: str
    detail: str
    unit: str
    dots: tuple[Dot, ...]
    ours: Figure
    other: Figure | None
    difference: str
    ahead: bool


@dataclass(frozen=True)
class Overview:
    """The published benchmarks, those measured here, and counts."""

    published: tuple[Benchmark, ...]
    measured: tuple[Benchmark, ...]
    facts: tuple[tuple[str, str], ...]


def build_overview(cells: Sequence[Cell]) -> Overview:
    """Benchmarks that MEC has a number on; whatever the cells, never an error."""
    columns: dict[tuple[bool, Column], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.value is not None and cell.line.method not in VARIANTS:
            columns[cell.line.published, cell.column].append(cell)
    return Overview(
        tuple(_compare(found, True) for found in _choose(columns, True)),
        tuple(_compare(found, False) for found in _choose(columns, False)),
        _count(cells),
    )


def _choose(columns: dict[tuple[bool, Column], list[Cell]], published: bool) -> list[list[Cell]]:
    """Of each task and dataset the first metric and the protocol with most numbers."""
    best: dict[tuple[str, str], tuple[tuple[bool, int, int, str, str], list[Cell]]] = {}
    for (origin, column), found in columns.items():
        methods = {cell.line.method for cell in found}
        enough = len(methods - set(BASELINES)) >= ENOUGH if published else methods > {OURS}
        if origin != published or OURS not in methods or not enough:
            continue
        key = (column.task, column.dataset)
        metric = list(METRICS).index(column.metric)
        training = column.split == "train" and not published
        rank = (training, metric, -len(found), column.protocol, column.split)
        if key not in best or rank < best[key][0]:
            best[key] = rank, found
    return sorted((found for _, found in best.values()), key=_rank)


def _rank(cells: Sequence[Cell]) -> tuple[object, ...]:
    column = cells[0].column
    return TASKS.index(column.task), rank_in(tuple(DATASETS), column.dataset), str(column)


def _compare(cells: Sequence[Cell], published: bool) -> Benchmark:
    column = cells[0].column
    metric = METRICS[column.metric]
    sign = 1 if metric.higher_is_better else -1
    ordered = sorted(cells, key=lambda cell: (-sign * (cell.value or 0.0), identify(cell)))
    ours = next(cell for cell in ordered if cell.line.method == OURS)
    rivals = [cell for cell in ordered if cell.line.method != OURS]
    if published:
        rivals = [cell for cell in rivals if cell.line.method not in BASELINES]
    else:
        rivals = sorted(rivals, key=lambda cell: cell.line.method not in BASELINES)
    other = rivals[0] if rivals else None
    drawn = [cell for cell in ordered if not published or cell.line.method != "random"]
    dots = _place(drawn, ours, published)
    gap = None if other is None else (ours.value or 0.0) - (other.value or 0.0)
    decimals = 0 if metric.unit == "count" else 1
    return Benchmark(
        title=DATASETS.get(column.dataset, column.dataset),
        detail=f"{name_task(column.task)}, {metric.name}",
        unit=UNITS.get(metric.unit, metric.unit),
        dots=dots,
        ours=_figure(ours, published),
        other=None if other is None else _figure(other, published),
        difference="" if gap is None else _signed(gap, decimals),
        ahead=gap is not None and round(sign * gap, decimals) > 0,
    )


def _place(cells: Sequence[Cell], ours: Cell, published: bool) -> tuple[Dot, ...]:
    """Dots on a common scale, ours last and so on top; measured scales start at zero."""
    values = [cell.value or 0.0 for cell in cells]
    low, high = min(values), max(values)
    if not published:
        low, high = min(low, 0.0), max(high, 1.0)
    span = high - low or 1.0
    ordered = sorted(cells, key=lambda cell: (cell is ours, cell.value or 0.0, identify(cell)))
    return tuple(
        Dot(f"{3 + 94 * ((cell.value or 0.0) - low) / span:.2f}", cell is ours, cell.line.method in BASELINES)
        for cell in ordered
    )


def _signed(gap: float, decimals: int) -> str:
    text = f"{abs(gap):.{decimals}f}"
    return text if float(text) == 0 else f"{'+' if gap > 0 else '−'}{text}"


def _figure(cell: Cell, published: bool) -> Figure:
    who = method_name(cell.line.method) if published or cell.line.method not in BASELINES else ""
    if published and cell.line.pretrain_epochs.isdecimal():
        who += f", {cell.line.pretrain_epochs} ep."
    return Figure(show_value(cell)[0], who, identify(cell))


def _count(cells: Sequence[Cell]) -> tuple[tuple[str, str], ...]:
    published = [cell for cell in cells if cell.line.published]
    measured = [cell for cell in cells if not cell.line.published]
    sources = {cell.line.source for cell in published}
    backbones = {cell.line.backbone_sha256 for cell in measured}
    missing = sum(cell.value is None for cell in cells)
    facts = (
        (len(published), "published numbers"),
        (len(sources), "tables and pages they come from"),
        (len(measured), "numbers measured here"),
        (len(backbones), "backbones measured"),
        (missing, "failed or not run, with the reason"),
    )
    return tuple((f"{number:,}", text) for number, text in facts)
