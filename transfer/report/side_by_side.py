"""Protocols side by side: backbones as lines, one column a protocol.

Elsewhere each protocol of a measured set has a section of its own. CIFAR-10 is evaluated by every published
protocol, made for its size, and what one wants to see there is whether these agree on a backbone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from transfer.report import footnotes
from transfer.report.aggregate import Cell, Column, Line
from transfer.report.layout import METRIC_ORDER, Note
from transfer.report.protocols import find_protocol, rank_protocol
from transfer.report.rows import METRICS
from transfer.report.sections import IDENTITY, Draft, Rules, factor, identify, make_section, order_drafts
from transfer.report.shown import Section

TITLE = "CIFAR-10: every protocol"
GROUPS: dict[str, str] = {  # dataset -> what its section is about
    "cifar10": "frozen backbone",
    "cifar10-1pct": "1 % of the labels",
    "cifar10-10pct": "10 % of the labels",
}
MEMBERS = re.compile(r".+-cifar10(-k\d+)?|linear-(sweep|lbfgs)|fewshot-\d+")  # protocols that stand here
Place = tuple[Column, str]  # a protocol's numbers that were selected differently have columns of their own


def stands_here(cell: Cell) -> bool:
    """Whether a measured number belongs to this table."""
    return cell.column.dataset in GROUPS and MEMBERS.fullmatch(cell.column.protocol) is not None


def side_by_side(cells: Sequence[Cell], notes: Sequence[Note]) -> Iterator[Section]:
    """A section for each metric and dataset, the first metric's first."""
    order = (*METRIC_ORDER, *METRICS)
    asked = {(cell.column.metric, cell.column.dataset, cell.column.split) for cell in cells}
    for metric, dataset, split in sorted(
        asked, key=lambda key: (order.index(key[0]), tuple(GROUPS).index(key[1]), key[2])
    ):
        found = [
            c
            for c in cells
            if (c.column.metric, c.column.dataset, c.column.split) == (metric, dataset, split)
        ]
        yield _section(found, notes)


def _section(cells: Sequence[Cell], notes: Sequence[Note]) -> Section:
    asked = cells[0].column
    places = sorted({_place(cell) for cell in cells}, key=_rank)
    drafts: dict[Line, Draft] = {}
    for cell in cells:
        line = replace(cell.line, selection="")
        drafts.setdefault(line, Draft((), line.method, True)).put((places.index(_place(cell)), 0), cell)
    for line, draft in drafts.items():
        draft.identity = (*identify(line), line.backbone_sha256[:8], line.backend)
    ordered = order_drafts(list(drafts.values()))
    head, shared = factor((*IDENTITY[:-1], "backbone", "backend"), ordered)
    title = f"{TITLE}, {GROUPS[asked.dataset]}, {METRICS[asked.metric].name}"
    said = [
        footnotes.NOT_COMPARABLE,
        *shared,
        *footnotes.say_questions([column for column, _ in places], {}),
        footnotes.say_budget(cells),
        *footnotes.say_notes(cells, notes),
        *footnotes.say_intervals(cells),
        *footnotes.say_pairs(cells, by_protocol=True),
        *footnotes.say_marks(cells),
    ]
    return make_section(title, head, [("", _name(place)) for place in places], ordered, Rules(), said)


def _place(cell: Cell) -> Place:
    return cell.column, cell.line.selection


def _rank(place: Place) -> tuple[object, ...]:
    return (rank_protocol(place[0].protocol), place[1])


def _name(place: Place) -> str:
    """The protocol, and how its numbers were selected where they were."""
    column, selection = place
    known = find_protocol(column.protocol)
    name = known.name if known else column.protocol
    return name if selection == "last" else f"{name} ({selection})"
