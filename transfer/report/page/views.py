"""From tables to what the page shows: the same lines, columns and marks, each number with its cell.

The layout is that of :mod:`transfer.report.tables`, so the page cannot say anything else than the files
under ``results/tables``. Added are what only a page can hold: an address for every number, whole
reasons where there is no number, units, and in which direction a column is sorted first.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transfer.report.aggregate import Cell
from transfer.report.page.texts import UNITS
from transfer.report.rows import METRICS
from transfer.report.shown import FEWER_SEEDS, SELECTED_ON_TEST, Entry, Part, Record, Section, Table

MEASURED = "Measured: "  # how titles of measured sections begin; the page marks them another way


@dataclass(frozen=True)
class Number:
    """One number as it stands in a table; ``anchor`` only where it stands for the first time."""

    id: str
    anchor: bool
    text: str
    marks: str  # as footnotes explain them
    extra: str  # spread, interval or difference, shown small
    bold: bool
    underline: bool
    failed: bool


@dataclass(frozen=True)
class Heading:
    """Over one column of numbers."""

    group: str
    name: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class Line:
    """Who, then for each heading the numbers of its cell: one, several side by side, or none."""

    measured: bool
    rule: bool  # another group of methods begins
    identity: tuple[str, ...]
    places: tuple[tuple[Number, ...], ...]


@dataclass(frozen=True)
class Sheet:
    """One table, and what is said beneath it."""

    id: str
    title: str
    published: bool
    head: tuple[str, ...]
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring headings of one group, with their number."""
        names = (heading.group for heading in self.headings)
        return [(name, len(list(members))) for name, members in itertools.groupby(names)]


@dataclass(frozen=True)
class Chapter:
    """The tables of one subject."""

    id: str
    title: str
    sheets: tuple[Sheet, ...]


def build_chapters(tables: Sequence[Table]) -> list[Chapter]:
    """Every table that shows a number."""
    seen: set[str] = set()
    taken: set[str] = set()
    return [
        Chapter(
            f"c-{to_slug(table.name)}",
            table.title,
            tuple(_sheet(section, table.name, seen, taken) for section in table.sections),
        )
        for table in tables
        if table.sections
    ]


def identify(cell: Cell) -> str:
    """A permanent name of the number: the same whatever else is added, removed or measured again."""
    column, line = cell.column, cell.line
    parts = (
        *(column.task, column.dataset, column.split, column.protocol, column.metric),
        *(line.method, line.arch, line.pretrain_data, line.pretrain_epochs, line.branch),
        *(line.backbone_sha256, line.backend, line.selection, line.source),
    )
    return "n-" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:12]


def to_slug(text: str) -> str:
    """A name for an address: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "other"


def _sheet(section: Section, table: str, seen: set[str], taken: set[str]) -> Sheet:
    title = section.title.removeprefix(MEASURED)
    base = f"t-{to_slug(f'{table} {title}')}"
    names = itertools.chain([base], (f"{base}-{count}" for count in itertools.count(2)))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    entries = iter(section.entries)
    placed = [(record, _place(record, entries)) for record in section.records]
    first = _first_cells([places for _, places in placed], len(section.columns))
    groups = [None, *(record.group for record in section.records)]
    return Sheet(
        id=name,
        title=title,
        published=any(not record.measured for record in section.records),
        head=section.head,
        headings=tuple(_heading(*names, cell) for names, cell in zip(section.columns, first, strict=True)),
        lines=tuple(
            Line(
                record.measured,
                before is not None and before != record.group,
                record.identity,
                tuple(tuple(_number(part, entry, seen) for part, entry in place) for place in places),
            )
            for before, (record, places) in zip(groups, placed, strict=False)
        ),
        notes=tuple(note for note in section.notes if note),
    )


def _place(record: Record, entries: Iterator[Entry]) -> list[list[tuple[Part, Entry]]]:
    """The parts of a line's cells with their entries, which a section lists in the order of reading."""
    return [[(part, next(entries)) for part in text.parts] for text in record.texts]


def _first_cells(lines: Sequence[list[list[tuple[Part, Entry]]]], width: int) -> list[Cell | None]:
    """Of each column some cell, to know its metric by."""
    found: list[Cell | None] = [None] * width
    for line in lines:
        for column, place in enumerate(line):
            if place and found[column] is None:
                found[column] = place[0][1].cell
    return found


def _heading(group: str, name: str, cell: Cell | None) -> Heading:
    if cell is None:
        return Heading(group, name, "", True)
    metric = METRICS[cell.column.metric]
    return Heading(group, name, UNITS.get(metric.unit, metric.unit), metric.higher_is_better)


def _number(part: Part, entry: Entry, seen: set[str]) -> Number:
    name = identify(entry.cell)
    anchor = name not in seen
    seen.add(name)
    if entry.cell.value is None:
        return Number(name, anchor, _say_failure(entry.cell), "", "", False, False, True)
    marks = SELECTED_ON_TEST if entry.cell.line.selection == "best-test" else ""
    marks += FEWER_SEEDS if entry.cell.is_short else ""
    text, _, extra = part.text.translate({ord(mark): None for mark in marks}).partition(" ")
    return Number(name, anchor, text, marks, extra, part.bold, part.underline, False)


def _say_failure(cell: Cell) -> str:
    """The whole reason, and how many of several seeds it is about."""
    failed = sum(row.status != "ok" for row in cell.rows)
    text = "; ".join(cell.failures)
    return text if len(cell.rows) == 1 else f"{text} ({failed} of {len(cell.rows)} seeds)"
