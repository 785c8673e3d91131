"""From cells to tables: which lines and columns stand together.

A table has first the papers' own tables, laid out as printed, then a section for every other source, then
one for each measured dataset, split and protocol that no paper asks about, but for those that
:mod:`transfer.report.side_by_side` sets side by side. A measured number stands beside published ones only on
the very same question, so no two numbers stand in one column that do not answer it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from transfer.report import footnotes
from transfer.report.aggregate import Cell, Column, Line
from transfer.report.layout import (
    CSV_ONLY,
    DATASETS,
    METRIC_ORDER,
    PLANS,
    Note,
    method_name,
    method_rank,
    rank_in,
    rank_text,
)
from transfer.report.papers import Heading, Paper
from transfer.report.protocols import rank_protocol
from transfer.report.rows import METRICS, TASKS
from transfer.report.sections import (
    IDENTITY,
    Draft,
    Rules,
    Slot,
    factor,
    identify,
    letter_lines,
    make_section,
    order_drafts,
)
from transfer.report.shown import Section, Table
from transfer.report.side_by_side import home_of, side_by_side
from transfer.report.variants import VARIANTS

DIFFERENCES = ("MoCo ",)  # beginnings of sources whose tables print the difference to the supervised line
Question = tuple[str, ...]


def build_tables(cells: Sequence[Cell], notes: Sequence[Note]) -> list[Table]:
    """Every table of :data:`PLANS`, also those that no cell belongs to.

    Raises:
        ValueError: a cell of a task that no table shows, or two numbers for one place.
    """
    homes = {task: name for name, plan in PLANS.items() for task in plan.tasks}
    unknown = sorted({cell.column.task for cell in cells} - set(homes))
    if unknown:
        raise ValueError(f"no table shows task {', '.join(unknown)}; known: {', '.join(homes)}")
    beside: dict[str, list[Cell]] = {name: [] for name in PLANS}
    for cell in cells:
        if cell.column.metric in CSV_ONLY:
            beside[homes[cell.column.task]].append(cell)
    cells = [cell for cell in cells if cell.column.metric not in CSV_ONLY]
    layouts = {name: [_Layout(paper) for paper in plan.papers] for name, plan in PLANS.items()}
    others: dict[str, dict[str, list[Cell]]] = {name: {} for name in PLANS}
    for cell in cells:
        if not cell.line.published:
            continue
        if not any(layout.take_published(cell) for found in layouts.values() for layout in found):
            home = _home_of_source(cell.line.source) or homes[cell.column.task]
            others[home].setdefault(_split_source(cell.line.source)[0], []).append(cell)
    asked: dict[Question, list[list[Cell]]] = {}
    for sources in others.values():
        for group in sources.values():
            for question in {_question(cell.column) for cell in group}:
                asked.setdefault(question, []).append(group)
    apart: dict[str, dict[Question, list[Cell]]] = {name: {} for name in PLANS}
    together: dict[str, list[Cell]] = {name: [] for name in PLANS}
    for cell in cells:
        if cell.line.published:
            continue
        joined = [layout.take_measured(cell) for found in layouts.values() for layout in found]
        groups = asked.get(_question(cell.column), [])
        for group in groups:
            group.append(cell)
        if groups or any(joined):
            continue
        if (table := home_of(cell)) is not None:
            together[table].append(cell)
        else:
            column = cell.column
            key = (column.task, column.dataset, column.protocol, column.split)
            apart[homes[column.task]].setdefault(key, []).append(cell)
    sections = {name: tuple(_sections(layouts[name], others[name], apart[name], notes)) for name in PLANS}
    for name, found in together.items():
        sections[name] += tuple(side_by_side(found, notes))
    for numbers in beside.values():
        numbers.sort(
            key=lambda cell: (_column_rank(cell.column), method_rank(cell.line.method), str(cell.line))
        )
    return [Table(name, plan.title, sections[name], tuple(beside[name])) for name, plan in PLANS.items()]


def _sections(
    layouts: Iterable[_Layout],
    others: Mapping[str, Sequence[Cell]],
    apart: Mapping[Question, Sequence[Cell]],
    notes: Sequence[Note],
) -> Iterable[Section]:
    for layout in layouts:
        if layout.published:
            yield layout.section(notes)
    for source in sorted(others, key=_source_rank):
        yield source_section(source, others[source])
    for key in sorted(apart, key=lambda key: _column_rank(apart[key][0].column)):
        yield measured_section(apart[key], notes)


class _Layout:
    """A paper's table while numbers are placed in it."""

    def __init__(self, paper: Paper) -> None:
        self.paper = paper
        self.published: dict[str, Draft] = {}
        self.measured: dict[Line, Draft] = {}
        self._names = dict(paper.lines)
        self._slots: dict[Question, list[tuple[Heading, Slot]]] = {}
        for i, heading in enumerate(paper.headings):
            for j, protocol in enumerate(heading.protocols):
                for question in heading.questions(protocol):
                    self._slots.setdefault(question, []).append((heading, (i, j)))

    def take_published(self, cell: Cell) -> bool:
        """Place a number of this very table."""
        if not cell.line.source.startswith(self.paper.source):
            return False
        slots = [(method, slot) for method, slot in self._find(cell) if method in self._names]
        for method, slot in slots:
            draft = self.published.setdefault(method, Draft((self._names[method],), method, False))
            draft.put(slot, cell)
        return bool(slots)

    def take_measured(self, cell: Cell) -> bool:
        """Place a measured number that answers one of this table's questions."""
        slots = self._find(cell)
        for method, slot in slots:
            self.measured.setdefault(cell.line, Draft((method_name(method),), method, True)).put(slot, cell)
        return bool(slots)

    def _find(self, cell: Cell) -> list[tuple[str, Slot]]:
        """The lines, by method, and places where a number belongs."""
        _, *question = _question(cell.column)
        variant = VARIANTS.get(cell.line.method)
        found = []
        for heading, slot in self._slots.get(tuple(question), ()):
            if heading.setting and (variant is None or variant.setting != heading.setting):
                continue
            if heading.epochs in ("", cell.line.pretrain_epochs) and heading.arch in ("", cell.line.arch):
                found.append((variant.method if variant and heading.setting else cell.line.method, slot))
        return found

    def section(self, notes: Sequence[Note]) -> Section:
        """The table as printed, measured lines below."""
        paper = self.paper
        order = [method for method, _ in paper.lines]
        published = order_drafts(list(self.published.values()), order)
        measured, said = letter_lines(self.measured)
        cells = [cell for draft in published for cell in draft.numbers.values()]
        by_length = any(heading.epochs for heading in paper.headings)
        source = " and ".join(sorted({cell.line.source for cell in cells}))
        lines = [
            f"{source}; {paper.marks}.",
            *footnotes.say_questions([cell.column for cell in cells], {}),
            *([] if by_length else footnotes.say_epochs(cells, self._names)),
            *footnotes.say_reporters(cells, self._names),
            *footnotes.say_spreads(cells),
            *(footnotes.say_notes(cells, notes) if paper.noted else []),
            *said,
        ]
        headings = [(heading.group, heading.name) for heading in paper.headings]
        rules = Rules(paper.bold, paper.underline, spread=False)
        return make_section(paper.title, (paper.head,), headings, [*published, *measured], rules, lines)


def source_section(source: str, cells: Sequence[Cell]) -> Section:
    """All numbers of one source that no paper's layout holds, measured lines below."""
    published = [cell for cell in cells if cell.line.published]
    columns = sorted({cell.column for cell in published}, key=_column_rank)
    slots = {_question(column): (i, 0) for i, column in enumerate(columns)}
    drafts: dict[tuple[str, ...], Draft] = {}
    for cell in published:
        identity = (*identify(cell.line), _split_source(cell.line.source)[1])
        key = (*identity, cell.line.selection)
        draft = drafts.setdefault(key, Draft(identity, cell.line.method, False))
        draft.put(slots[_question(cell.column)], cell)
    repeats: dict[Line, Draft] = {}
    for cell in cells:
        if not cell.line.published:
            draft = Draft((method_name(cell.line.method),), cell.line.method, True)
            repeats.setdefault(cell.line, draft).put(slots[_question(cell.column)], cell)
    ordered = order_drafts(list(drafts.values()))
    head, shared = factor(IDENTITY, ordered)
    measured, said = letter_lines(repeats, len(head))
    numbers = footnotes.number_protocols(columns)
    lines = [
        *shared,
        *footnotes.say_questions(columns, numbers),
        *footnotes.say_reporters(published, {}),
        *footnotes.say_spreads(published),
        *footnotes.say_marks(published),
        *said,
    ]
    networks = len({cell.line.arch for cell in published})
    rules = Rules(by_network=networks > 1, to_supervised=source.startswith(DIFFERENCES))
    if rules.to_supervised and {draft.method for draft in ordered} > {"supervised"}:
        lines.append("In parentheses: the difference to the supervised line.")
    return make_section(source, head, _headings(columns, numbers), [*ordered, *measured], rules, lines)


def measured_section(cells: Sequence[Cell], notes: Sequence[Note]) -> Section:
    """Measured lines of one dataset, split and protocol."""
    column = cells[0].column
    columns = sorted({cell.column for cell in cells}, key=_column_rank)
    slots = {column: (i, 0) for i, column in enumerate(columns)}
    drafts: dict[Line, Draft] = {}
    for cell in cells:
        line = cell.line
        draft = drafts.setdefault(line, Draft((), line.method, True))
        draft.put(slots[cell.column], cell)
    for line, draft in drafts.items():
        seeds = sorted({row.seed for c in draft.numbers.values() for row in c.rows if row.seed is not None})
        draft.identity = (
            *identify(line),
            *(line.backbone_sha256[:8], line.backend, line.selection, ",".join(map(str, seeds))),
        )
    ordered = order_drafts(list(drafts.values()))
    head, shared = factor((*IDENTITY[:-1], "backbone", "backend", "selection", "seeds"), ordered)
    lines = [
        footnotes.NOT_COMPARABLE,
        *shared,
        footnotes.say_budget(cells),
        *footnotes.say_notes(cells, notes),
        *footnotes.say_intervals(cells),
        *footnotes.say_pairs(cells),
        *footnotes.say_marks(cells),
    ]
    title = f"Measured: {column.dataset}, split {column.split or 'not reached'}, protocol {column.protocol}"
    headings = [("", METRICS[column.metric].name) for column in columns]
    return make_section(title, head, headings, ordered, Rules(), lines)


def _home_of_source(source: str) -> str | None:
    return next((name for name, plan in PLANS.items() if source.startswith(plan.sources)), None)


def _split_source(source: str) -> tuple[str, str]:
    """The table or page that a section shows, and which of its lines, as in ``README, mean of 5 trials``."""
    whole, _, rest = source.partition(", ")
    return (source, "") if rest.startswith("p. ") else (whole, rest)


def _question(column: Column) -> Question:
    """What a column asks."""
    return (column.task, column.dataset, column.split, column.protocol, column.metric)


def _headings(columns: Sequence[Column], numbers: Mapping[str, int]) -> list[tuple[str, str]]:
    """Dataset over metric; the number of the protocol and the split join it where it has several."""
    splits: dict[tuple[str, str], set[str]] = {}
    for column in columns:
        splits.setdefault((column.task, column.dataset), set()).add(column.split)
    headings = []
    for column in columns:
        group = DATASETS.get(column.dataset, column.dataset)
        if len(splits[column.task, column.dataset]) > 1:
            group += f", {column.split}"
        if column.protocol in numbers:
            group += f" [{numbers[column.protocol]}]"
        headings.append((group, METRICS[column.metric].name))
    return headings


def _source_rank(source: str) -> tuple[object, ...]:
    """MEC first, then by name, numbers by size."""
    pieces = [(rank_text(piece)) for piece in re.split(r"(\d+)", source)]
    return (not source.startswith("MEC"), pieces)


def _column_rank(column: Column) -> tuple[object, ...]:
    return (
        TASKS.index(column.task),
        rank_in(tuple(DATASETS), column.dataset),
        rank_protocol(column.protocol),
        column.split,
        rank_in((*METRIC_ORDER, *(name for name in METRICS if name not in METRIC_ORDER)), column.metric),
    )
