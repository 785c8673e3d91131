"""What a table shows: numbers as text with their marks, lines, sections. No format knows more than this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from transfer.report.aggregate import Cell
from transfer.report.rows import METRICS

STATUS_LENGTH = 48  # characters of a failure shown in a cell; the CSV has all of it
MOST_DECIMALS = 4
SELECTED_ON_TEST = "†"
FEWER_SEEDS = "‡"


@dataclass(frozen=True)
class Part:
    """One number as shown."""

    text: str
    bold: bool = False
    underline: bool = False


@dataclass(frozen=True)
class Text:
    """One cell as shown: a number, or several that stand side by side as ``a / b``; () is empty."""

    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Record:
    """One line as shown: who, then one Text a column."""

    identity: tuple[str, ...]
    texts: tuple[Text, ...]
    measured: bool
    group: str = ""  # a rule or a label separates groups


@dataclass(frozen=True)
class Entry:
    """A number that a section shows, and the published one that it repeats."""

    cell: Cell
    published: Cell | None = None

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.published is None or self.cell.value is None or self.published.value is None:
            return None
        return round(self.cell.value - self.published.value, 10)

    @property
    def inside(self) -> bool | None:
        """Whether the difference is within the published spread; None without one."""
        spread = published_std(self.published) if self.published else None
        if self.difference is None or spread is None:
            return None
        return abs(self.difference) <= spread


@dataclass(frozen=True)
class Section:
    """Lines over common columns; ``columns`` are (group, name) headings."""

    title: str
    head: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    records: tuple[Record, ...]
    notes: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    """A table ready to be rendered."""

    name: str
    title: str
    sections: tuple[Section, ...]
    beside: tuple[Cell, ...] = ()  # numbers that stand in its CSV only

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The numbers it shows, one for every place."""
        return tuple(entry.cell for section in self.sections for entry in section.entries)


def published_std(cell: Cell) -> float | None:
    """The spread that a published number comes with."""
    return cell.rows[0].std if cell.line.published and len(cell.rows) == 1 else None


def decimals(cells: Iterable[Cell]) -> int:
    """How many decimals published numbers of one column are printed with: as many as one of them has."""
    return max((_decimals(cell) for cell in cells), default=1)


def show(cell: Cell, places: int = 1, spread: bool = True) -> str:
    """A cell as text: ``70.6``, ``33.1 [31.2, 35.0]``, ``33.1 ± 0.4``, ``6665`` or ``failed: reason``."""
    if cell.value is None:
        failed = sum(row.status != "ok" for row in cell.rows)
        text = "; ".join(cell.failures)
        text = text if len(text) <= STATUS_LENGTH else text[: STATUS_LENGTH - 1].rstrip() + "…"
        return text if len(cell.rows) == 1 else f"{text} ({failed} of {len(cell.rows)} {cell.over})"
    deviation = published_std(cell) if cell.line.published else cell.std
    if METRICS[cell.column.metric].unit == "count" and deviation is None:
        return f"{cell.value:.0f}"
    text = f"{round(cell.value, places) + 0.0:.{places}f}"  # + 0.0 turns -0.0 into 0.0
    mark = SELECTED_ON_TEST if cell.line.selection == "best-test" else ""
    mark += FEWER_SEEDS if cell.is_short else ""
    if not spread:
        return text + mark
    if deviation is not None:
        return f"{text} ± {deviation:.{places}f}{mark}"
    if cell.interval is not None:
        return f"{text} [{cell.interval[0]:.1f}, {cell.interval[1]:.1f}]{mark}"
    return text + mark


def show_difference(entry: Entry, places: int = 1) -> str:
    """What is appended to a measured number: ``(+0.3)``, ``(-0.3, inside ±0.2)`` or nothing."""
    if entry.published is None or entry.difference is None:
        return ""
    text = f"{round(entry.difference, places) + 0.0:+.{places}f}"
    spread = published_std(entry.published)
    if spread is None:
        return f" ({text})"
    return f" ({text}, {'inside' if entry.inside else 'outside'} ±{spread:g})"


def _decimals(cell: Cell) -> int:
    if cell.value is None or METRICS[cell.column.metric].unit == "count":
        return 1
    fraction = f"{cell.value:.{MOST_DECIMALS}f}".rstrip("0").partition(".")[2]
    return max(1, len(fraction))
