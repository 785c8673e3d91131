"""Protocols side by side: backbones as lines, one column a protocol.

Elsewhere each protocol of a measured set has a section of its own. CIFAR-10 is evaluated by every published
protocol, made for its size, and what one wants to see there is whether these agree on a backbone. Frozen
features in video are read from two layers, by two heads, with motion cues and without, beside a floor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from transfer.report import footnotes
from transfer.report.aggregate import Cell, Column, Line
from transfer.report.layout import DATASETS, METRIC_ORDER, SIDE_BY_SIDE, VIDEO, Note
from transfer.report.protocols import DEVIATION, FROZEN, find_protocol, rank_protocol
from transfer.report.rows import METRICS, TASKS
from transfer.report.sections import IDENTITY, Draft, Rules, factor, identify, make_section, order_drafts
from transfer.report.shown import Section

TITLE = "CIFAR-10: every protocol"
GROUPS: dict[str, str] = {  # dataset -> what its section is about
    "cifar10": "frozen backbone",
    "cifar10-1pct": "1 % of the labels",
    "cifar10-10pct": "10 % of the labels",
}
MEMBERS = re.compile(r".+-cifar10(-k\d+)?|linear-(sweep|lbfgs)|fewshot-\d+")  # protocols that stand here
VIDEO_TASKS = {
    "sot": "single-object tracking",
    "vos": "object segmentation",
    "mot": "multi-object tracking",
    "mots": "tracking of masks",
    "pose": "tracking of poses",
}
Place = tuple[Column, str]  # a protocol's numbers that were selected differently have columns of their own


def home_of(cell: Cell) -> str | None:
    """The table in which a measured number stands side by side with others, if there is one."""
    column = cell.column
    if column.protocol.partition(DEVIATION)[0] in FROZEN:
        return VIDEO
    return SIDE_BY_SIDE if column.dataset in GROUPS and MEMBERS.fullmatch(column.protocol) else None


def stands_here(cell: Cell) -> bool:
    """Whether a measured number stands side by side with others."""
    return home_of(cell) is not None


def side_by_side(cells: Sequence[Cell], notes: Sequence[Note]) -> Iterator[Section]:
    """A section for each question: CIFAR-10's by metric and dataset, in video by task, dataset and metric."""
    asked: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        column = cell.column
        task = column.task if home_of(cell) == VIDEO else ""
        asked.setdefault((task, column.dataset, column.metric, column.split), []).append(cell)
    for _, found in sorted(asked.items(), key=lambda item: _section_rank(*item[0])):
        yield _section(found, notes)


def _section_rank(task: str, dataset: str, metric: str, split: str) -> tuple[object, ...]:
    rank = (*METRIC_ORDER, *METRICS).index(metric)
    if task:
        return (TASKS.index(task), dataset, rank, split)
    return (rank, tuple(GROUPS).index(dataset), split)


def _title(column: Column) -> str:
    metric = METRICS[column.metric].name
    if column.dataset in GROUPS:
        return f"{TITLE}, {GROUPS[column.dataset]}, {metric}"
    dataset = DATASETS.get(column.dataset, column.dataset)
    return f"Frozen features: {VIDEO_TASKS[column.task]} on {dataset}, {metric}"


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
    return make_section(_title(asked), head, [("", _name(place)) for place in places], ordered, Rules(), said)


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
