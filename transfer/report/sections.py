"""Lines over columns: numbers are placed, ranked, marked, compared and turned into text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from transfer.report import footnotes
from transfer.report.aggregate import Cell, Line
from transfer.report.layout import DATASETS, method_group, method_name, method_rank, rank_in, rank_text
from transfer.report.marks import Place, bold_in_line, bold_places, underlined_places
from transfer.report.papers import Bold, Underline
from transfer.report.shown import (
    Entry,
    Part,
    Record,
    Section,
    Text,
    decimals,
    show,
    show_difference,
)

IDENTITY = ("pre-training", "network", "data", "epochs", "branch", "which")
Slot = tuple[int, int]  # column, and position in a cell that holds several numbers
MISSING = "–"  # in a cell of several numbers, the one that is not there


@dataclass
class Draft:
    """A line in the making."""

    identity: tuple[str, ...]
    method: str
    measured: bool
    arch: str = ""
    numbers: dict[Slot, Cell] = field(default_factory=dict)

    def put(self, slot: Slot, cell: Cell) -> None:
        """Place a number.

        Raises:
            ValueError: there is one already.
        """
        if slot in self.numbers:
            who = " ".join(filter(None, self.identity)) or self.method
            raise ValueError(f"two numbers for {cell.column} in the line {who}")
        self.numbers[slot] = cell


@dataclass(frozen=True)
class Rules:
    """How a section ranks and shows its numbers."""

    bold: Bold = "best"
    underline: Underline = "second"
    by_network: bool = False  # rank each network's lines among themselves
    to_supervised: bool = False  # append the difference to the supervised line
    spread: bool = True  # show ± and intervals of published numbers


def identify(line: Line) -> tuple[str, ...]:
    """What :data:`IDENTITY` asks but for its last."""
    return (method_name(line.method), line.arch, line.pretrain_data, line.pretrain_epochs, line.branch)


def order_drafts(drafts: Sequence[Draft], order: Sequence[str] = ()) -> list[Draft]:
    """By ``order``, else by method, and then by what is shown of them."""

    def rank(draft: Draft) -> tuple[object, ...]:
        first = rank_in(order, draft.method) if order else method_rank(draft.method)
        return (first, [rank_text(text) for text in draft.identity])

    return sorted(drafts, key=rank)


def factor(head: Sequence[str], drafts: Sequence[Draft]) -> tuple[tuple[str, ...], list[str]]:
    """Take what all lines share out of their identities (never the first cell); the rest of the head, and a
    sentence with what was taken out."""
    shared = [i for i in range(1, len(head)) if len({draft.identity[i] for draft in drafts}) == 1]
    said = [f"{head[i]} {drafts[0].identity[i]}" for i in shared if drafts[0].identity[i]]
    for draft in drafts:
        draft.identity = tuple(text for i, text in enumerate(draft.identity) if i not in shared)
    left = tuple(name for i, name in enumerate(head) if i not in shared)
    return left, [f"All lines: {', '.join(said)}."] if said else []


def make_section(
    title: str,
    head: tuple[str, ...],
    columns: Sequence[tuple[str, str]],
    drafts: Sequence[Draft],
    rules: Rules,
    notes: Sequence[str],
) -> Section:
    """Rank and mark the numbers of ordered drafts and turn them into text.

    Where published lines stand, only they are ranked, so that the marks are those of the published table.
    """
    by_column: list[dict[Place, Cell]] = [{} for _ in columns]
    for i, draft in enumerate(drafts):
        for (column, position), cell in draft.numbers.items():
            by_column[column][i, position] = cell
    places = [decimals(cell for cell in numbers.values() if cell.line.published) for numbers in by_column]
    widths = [1 + max((position for _, position in numbers), default=0) for numbers in by_column]
    bold, underlined = _marks(drafts, by_column, places, rules)
    counterparts = _counterparts(drafts)
    entries: list[Entry] = []
    records: list[Record] = []
    for i, (draft, group) in enumerate(zip(drafts, _groups(drafts), strict=True)):
        parts: dict[int, list[Part]] = {}
        for (column, position), cell in sorted(draft.numbers.items(), key=lambda item: item[0]):
            slot = (column, position)
            entry = Entry(cell, _counterpart(cell, counterparts, slot))
            entries.append(entry)
            text = show(cell, places[column], rules.spread or draft.measured)
            text += show_difference(entry, places[column])
            if rules.to_supervised and not draft.measured:
                text += _to_supervised(cell, counterparts, slot, places[column])
            if sum(other == column for other, _ in draft.numbers) < widths[column]:
                text = " / ".join(text if k == position else MISSING for k in range(widths[column]))
            key = (column, (i, position))
            parts.setdefault(column, []).append(Part(text, key in bold, key in underlined))
        texts = tuple(Text(tuple(parts.get(column, ()))) for column in range(len(columns)))
        records.append(Record(draft.identity, texts, draft.measured, group))
    return Section(title, head, tuple(columns), tuple(records), tuple(notes), tuple(entries))


def letter_lines(measured: Mapping[Line, Draft], width: int = 1) -> tuple[list[Draft], list[str]]:
    """Measured lines among published ones: lettered, and for each letter what the line is."""
    measured = _join_backends(measured)
    ordered = sorted(measured, key=lambda line: (method_name(line.method), str(line)))
    drafts, said = [], []
    for number, line in enumerate(ordered):
        draft, letter = measured[line], _letter_of(number)
        draft.identity = (f"{draft.identity[0]} ({letter})", *[""] * (width - 1))
        cells = list(draft.numbers.values())
        drafts.append(draft)
        said.append(footnotes.say_measured_line(letter, line, cells))
    if drafts:
        cells = [cell for draft in drafts for cell in draft.numbers.values()]
        said += [
            "Lines in italics are not ranked; in parentheses the difference to the published number of the "
            "same method, network and length, and whether it lies inside the published standard deviation.",
            footnotes.say_budget(cells),
            *footnotes.say_intervals(cells),
            *footnotes.say_marks(cells),
        ]
    return drafts, said


def _join_backends(measured: Mapping[Line, Draft]) -> dict[Line, Draft]:
    """One line where several differ in their backend only and no two have a number in one place.

    Detection's columns of VOC and of COCO are scored by different code, as the papers' own are.
    """
    groups: dict[Line, list[Line]] = {}
    for line in measured:
        groups.setdefault(replace(line, backend=""), []).append(line)
    joined: dict[Line, Draft] = {}
    for lines in groups.values():
        drafts = [measured[line] for line in lines]
        slots = [slot for draft in drafts for slot in draft.numbers]
        if len(lines) == 1 or len(set(slots)) < len(slots):
            joined |= zip(lines, drafts, strict=True)
            continue
        backends = []
        for line, draft in sorted(zip(lines, drafts, strict=True), key=lambda pair: min(pair[1].numbers)):
            asked = {cell.column.dataset for cell in draft.numbers.values()}
            names = [
                DATASETS.get(name, name)
                for name in sorted(asked, key=lambda name: rank_in(tuple(DATASETS), name))
            ]
            backends.append(f"{line.backend} ({', '.join(names)})")
        numbers = {slot: cell for draft in drafts for slot, cell in draft.numbers.items()}
        joined[replace(lines[0], backend=" and ".join(backends))] = replace(drafts[0], numbers=numbers)
    return joined


def _letter_of(number: int) -> str:
    rest, last = divmod(number, 26)
    return (_letter_of(rest - 1) if rest else "") + "abcdefghijklmnopqrstuvwxyz"[last]


Marks = set[tuple[int, Place]]


def _marks(
    drafts: Sequence[Draft], by_column: Sequence[Mapping[Place, Cell]], places: Sequence[int], rules: Rules
) -> tuple[Marks, Marks]:
    """Columns and places that are bold, and those that are underlined."""
    published = any(not draft.measured for draft in drafts)
    bold: Marks = set()
    underlined: Marks = set()
    for column, numbers in enumerate(by_column):
        networks: dict[str, dict[Place, Cell]] = {}
        for place, cell in numbers.items():
            if cell.line.published == published:
                networks.setdefault(cell.line.arch if rules.by_network else "", {})[place] = cell
        for among in networks.values():
            bold |= {(column, place) for place in bold_places(among, rules.bold, places[column])}
            found = underlined_places(among, rules.underline, places[column])
            underlined |= {(column, place) for place in found}
    for i, draft in enumerate(drafts):
        if rules.bold == "line" and draft.measured != published:
            best = bold_in_line(draft.numbers, max(places, default=1))
            bold |= {(column, (i, position)) for column, position in best}
    return bold, underlined


def _counterparts(drafts: Sequence[Draft]) -> Mapping[tuple[Slot, str], list[Cell]]:
    """Published numbers by place and method."""
    found: dict[tuple[Slot, str], list[Cell]] = {}
    for draft in drafts:
        if not draft.measured:
            for slot, cell in draft.numbers.items():
                found.setdefault((slot, draft.method), []).append(cell)
    return found


def _counterpart(cell: Cell, published: Mapping[tuple[Slot, str], list[Cell]], slot: Slot) -> Cell | None:
    """The published number that a measured one repeats: same method, network and, where stated, epochs."""
    if cell.line.published:
        return None
    same = [
        other
        for other in published.get((slot, cell.line.method), ())
        if other.line.arch == cell.line.arch and other.line.pretrain_epochs in ("", cell.line.pretrain_epochs)
    ]
    return same[0] if len(same) == 1 else None


def _to_supervised(
    cell: Cell, published: Mapping[tuple[Slot, str], list[Cell]], slot: Slot, places: int
) -> str:
    supervised = published.get((slot, "supervised"), [])
    if len(supervised) != 1 or cell.line.method == "supervised":
        return ""
    if cell.value is None or supervised[0].value is None:
        return ""
    return f" ({cell.value - supervised[0].value:+.{places}f})"


def _groups(drafts: Sequence[Draft]) -> list[str]:
    """Group of each line; none where no group has two lines, and measured lines are a group of their own."""
    groups = ["measured" if draft.measured else method_group(draft.method) for draft in drafts]
    if all(draft.measured for draft in drafts) or len(set(groups)) == len(groups):
        return [""] * len(groups)
    return groups
