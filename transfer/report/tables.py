"""From cells to tables: which lines and columns stand together, and what is said beneath them.

Every table has one section with the published columns, where measured lines may join only on the
very same dataset, split and protocol, and then one section for each other measured dataset, split
and protocol. So no two numbers stand in one column that do not answer the same question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from transfer.report.aggregate import Cell, Column, Line
from transfer.report.layout import DATASETS, METHODS, PLANS, PROTOCOLS, TASK_ORDER, Note, Plan
from transfer.report.rows import METRICS

Key = TypeVar("Key")
STATUS_LENGTH = 48  # characters of a failure shown in a cell; the CSV has all of it
NOT_COMPARABLE = (
    "Compare within this section only. These numbers are not comparable with published ones, which come "
    "from other datasets or other protocols."
)


@dataclass(frozen=True)
class Text:
    """One cell as shown."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Record:
    """One line as shown: who, then one Text a column."""

    identity: tuple[str, ...]
    texts: tuple[Text, ...]
    measured: bool


@dataclass(frozen=True)
class Section:
    """Lines over common columns; ``columns`` are (group, metric) headings."""

    title: str
    head: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    records: tuple[Record, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table ready to be rendered; ``cells`` are the numbers it shows."""

    name: str
    title: str
    sections: tuple[Section, ...]
    cells: tuple[Cell, ...]


def build_tables(cells: Sequence[Cell], notes: Sequence[Note]) -> list[Table]:
    """Every table of :data:`PLANS`, also those that no cell belongs to.

    Raises:
        ValueError: a cell of a task that no table shows.
    """
    unknown = sorted({cell.column.task for cell in cells} - set(TASK_ORDER))
    if unknown:
        raise ValueError(f"no table shows task {', '.join(unknown)}; known: {', '.join(TASK_ORDER)}")
    return [_build_table(name, plan, cells, notes) for name, plan in PLANS.items()]


def _build_table(name: str, plan: Plan, cells: Sequence[Cell], notes: Sequence[Note]) -> Table:
    published = {c.column for c in cells if c.line.published and c.column.task in plan.published_tasks}
    joined = [cell for cell in cells if cell.column in published]
    everywhere_published = {c.column for c in cells if c.line.published}
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        if cell.column.task in plan.measured_tasks and cell.column not in everywhere_published:
            groups.setdefault(_section_rank(cell.column), []).append(cell)
    sections = [published_section(joined, notes, plan.epochs_as_columns)] if joined else []
    sections += [measured_section(groups[rank], notes) for rank in sorted(groups)]
    used = [*joined, *(cell for rank in sorted(groups) for cell in groups[rank])]
    return Table(name, plan.title, tuple(sections), tuple(used))


def published_section(cells: Sequence[Cell], notes: Sequence[Note], epochs_as_columns: bool) -> Section:
    """Published lines, then measured lines on the same columns."""
    sources = sorted({cell.line.source for cell in cells if cell.line.published})

    def identity(line: Line) -> tuple[str, ...]:
        reference = f"[{sources.index(line.source) + 1}]" if line.published else _measured_reference(line)
        epochs = () if epochs_as_columns else (line.pretrain_epochs,)
        return (METHODS.get(line.method, line.method), line.arch, line.pretrain_data, *epochs, reference)

    def place(cell: Cell) -> tuple[Column, str]:
        return cell.column, cell.line.pretrain_epochs if epochs_as_columns else ""

    protocols = {cell.column.dataset: _protocols(cells, cell.column.dataset) for cell in cells}
    keys = sorted(
        {place(cell) for cell in cells}, key=lambda key: (_column_rank(key[0]), _number_rank(key[1]))
    )
    said = [f"[{number}] {source}" for number, source in enumerate(sources, 1)]
    for dataset in sorted(protocols, key=lambda dataset: _rank(DATASETS, dataset)):
        splits = sorted({cell.column.split for cell in cells if cell.column.dataset == dataset})
        said.append(
            f"{DATASETS.get(dataset, dataset)}: dataset {dataset}, split {' and '.join(splits)}, "
            f"protocol {' or '.join(protocols[dataset])}."
        )
    said += _said_about(cells, notes)
    if any(not cell.line.published for cell in cells):
        said.append("Lines in italics were measured with this repository. " + _budget(cells))
    head = ("pre-training", "network", "data", *(() if epochs_as_columns else ("epochs",)), "from")
    records = _records(cells, keys, place, identity)
    headings = tuple(_heading(column, epochs, len(protocols[column.dataset]) > 1) for column, epochs in keys)
    return Section("Published", head, headings, records, tuple(said))


def measured_section(cells: Sequence[Cell], notes: Sequence[Note]) -> Section:
    """Measured lines of one dataset, split and protocol."""
    column = cells[0].column
    split = column.split or "not reached"

    def identity(line: Line) -> tuple[str, ...]:
        seeds = sorted({row.seed for c in cells if c.line == line for row in c.rows if row.seed is not None})
        return (
            METHODS.get(line.method, line.method),
            line.arch,
            line.pretrain_data,
            line.pretrain_epochs,
            line.branch,
            line.backbone_sha256[:8],
            line.backend,
            line.selection,
            ",".join(str(seed) for seed in seeds),
        )

    columns = sorted({cell.column for cell in cells}, key=_column_rank)
    records = _records(cells, columns, lambda cell: cell.column, identity)
    said = [NOT_COMPARABLE, _budget(cells), *_said_about(cells, notes)]
    if any(cell.interval for cell in cells):
        counts = sorted({cell.n for cell in cells if cell.n})
        said.append(f"[low, high]: 95 % Wilson interval, n = {', '.join(map(str, counts))} images, one seed.")
    if any(cell.std is not None for cell in cells):
        said.append("±: sample standard deviation over the seeds.")
    head = (
        "pre-training", "network", "data", "epochs", "branch", "backbone", "backend", "selection", "seeds"
    )  # fmt: skip
    title = f"Measured: {column.dataset}, split {split}, protocol {column.protocol}"
    headings = tuple(("", METRICS[column.metric].name) for column in columns)
    return Section(title, head, headings, records, tuple(said))


def best_cells(cells: Iterable[Cell]) -> set[Cell]:
    """The best of cells that share a column: those tied at the precision shown, if there are two lines."""
    shown = [(cell, round(cell.value, 1)) for cell in cells if cell.value is not None]
    if len(shown) < 2:
        return set()
    pick = max if METRICS[shown[0][0].column.metric].higher_is_better else min
    best = pick(value for _, value in shown)
    return {cell for cell, value in shown if value == best}


def show(cell: Cell) -> str:
    """A cell as text: ``70.6``, ``33.1 [31.2, 35.0]``, ``33.1 ± 0.4``, ``6665`` or ``failed: reason``."""
    if cell.value is None:
        failed = sum(row.status != "ok" for row in cell.rows)
        text = "; ".join(cell.failures)
        text = text if len(text) <= STATUS_LENGTH else text[: STATUS_LENGTH - 1].rstrip() + "…"
        return text if len(cell.rows) == 1 else f"{text} ({failed} of {len(cell.rows)} seeds)"
    if METRICS[cell.column.metric].unit == "count" and cell.std is None:
        return f"{cell.value:.0f}"
    text = f"{round(cell.value, 1) + 0.0:.1f}"  # + 0.0 turns -0.0 into 0.0
    if cell.std is not None:
        return f"{text} ± {cell.std:.1f}"
    if cell.interval is not None:
        return f"{text} [{cell.interval[0]:.1f}, {cell.interval[1]:.1f}]"
    return text


def _records(
    cells: Sequence[Cell],
    keys: Sequence[Key],
    place: Callable[[Cell], Key],
    identity: Callable[[Line], tuple[str, ...]],
) -> tuple[Record, ...]:
    """Pivot cells; lines whose shown identity agrees share a record, and a place holds one cell."""
    best = {cell for key in keys for cell in best_cells(c for c in cells if place(c) == key)}
    records: dict[tuple[bool, tuple[int, str], tuple[str, ...]], dict[Key, Cell]] = {}
    for cell in cells:
        shown = identity(cell.line)
        who = (not cell.line.published, _rank(METHODS, cell.line.method), shown)
        places = records.setdefault(who, {})
        if place(cell) in places:
            raise ValueError(f"two numbers for {cell.column} in the line {' '.join(shown)}")
        places[place(cell)] = cell
    made = []
    for who in sorted(records, key=lambda who: (who[0], who[1], [_number_rank(text) for text in who[2]])):
        places = records[who]
        texts = tuple(
            Text(show(places[key]), places[key] in best) if key in places else Text("") for key in keys
        )
        made.append(Record(who[2], texts, measured=who[0]))
    return tuple(made)


def _heading(column: Column, epochs: str, with_protocol: bool) -> tuple[str, str]:
    group = DATASETS.get(column.dataset, column.dataset)
    if with_protocol:
        group += f", {PROTOCOLS.get(column.protocol, column.protocol)}"
    if epochs:
        group += f", {epochs} ep." if epochs.isdecimal() else f", {epochs}"
    return group, METRICS[column.metric].name


def _measured_reference(line: Line) -> str:
    return f"measured, backbone {line.backbone_sha256[:8]}, {line.selection}"


def _protocols(cells: Sequence[Cell], dataset: str) -> list[str]:
    protocols = {cell.column.protocol for cell in cells if cell.column.dataset == dataset}
    return sorted(protocols, key=lambda protocol: _rank(PROTOCOLS, protocol))


def _budget(cells: Sequence[Cell]) -> str:
    """Hardware and wall time of the measured cells, in one sentence."""
    rows = [row for cell in cells if not cell.line.published for row in cell.rows]
    hardware = sorted({row.hardware for row in rows if row.hardware})
    times = sorted(row.wall_s for row in rows if row.wall_s is not None)
    text = f"Hardware: {'; '.join(hardware) or 'not recorded'}."
    if times:
        text += f" One run took {times[0]:.0f} s" + (
            f" to {times[-1]:.0f} s." if times[-1] > times[0] else "."
        )
    return text


def _said_about(cells: Sequence[Cell], notes: Sequence[Note]) -> list[str]:
    shown = {(cell.column.task, cell.column.dataset) for cell in cells}
    return [
        note.note
        for note in notes
        if any(note.task in ("*", task) and note.dataset == dataset for task, dataset in shown)
    ]


def _rank(order: Iterable[str], name: str) -> tuple[int, str]:
    known = list(order)
    return (known.index(name) if name in known else len(known), name)


def _number_rank(text: str) -> tuple[int, str]:
    return (int(text) if text.isdecimal() else -1, text)


def _section_rank(column: Column) -> tuple[object, ...]:
    return (
        TASK_ORDER.index(column.task),
        _rank(DATASETS, column.dataset),
        _rank(PROTOCOLS, column.protocol),
        column.split,
    )


def _column_rank(column: Column) -> tuple[object, ...]:
    return (*_section_rank(column), list(METRICS).index(column.metric))
