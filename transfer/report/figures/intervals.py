"""Interval plots: every number of a task as a point with the interval that is known of it.

One sheet a task, one panel a dataset, split and protocol, so that what stands on one axis is
comparable. Published numbers are rings, measured ones discs; the line through a point says by its
kind what the interval is. A number that could not be measured keeps its line and says why.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transfer.report.aggregate import STATED, Cell
from transfer.report.figures.canvas import (
    ACCENT,
    BAD,
    FAINT,
    GRID,
    INK,
    MARGIN,
    QUIET,
    WIDTH,
    Sheet,
    fit,
    measure,
    notes_height,
)
from transfer.report.figures.names import cell_id, is_ablation, is_ours, label_lines
from transfer.report.figures.scale import Scale, nice_scale, show_tick
from transfer.report.layout import DATASETS, METHODS
from transfer.report.protocols import find_protocol, rank_protocol
from transfer.report.rows import METRICS

# What is drawn of a task: of each group the first metric that a panel's protocol has.
MAIN: dict[str, tuple[tuple[str, ...], ...]] = {
    "linear": (("top1", "accuracy", "map_voc07", "mean_per_class"),),
    "knn": (("top1",),),
    "fewshot": (("top1",),),
    "semisup": (("top1",),),
    "finetune": (("accuracy", "top1", "map_voc07", "mean_per_class"),),
    "detect": (("box_ap", "box_ap50"), ("mask_ap", "mask_ap50")),
    "sot": (("success",),),
    "vos": (("j_mean",),),
    "mot": (("idf1",),),
    "mots": (("idf1",),),
    "pose": (("idf1",),),
}
TITLES: dict[str, str] = {
    "linear": "Linear probe",
    "knn": "Nearest neighbours",
    "fewshot": "Few-shot classification",
    "semisup": "Semi-supervised fine-tuning",
    "finetune": "Fine-tuning on other image sets",
    "detect": "Object detection and instance segmentation",
    "sot": "Single-object tracking",
    "vos": "Video object segmentation",
    "mot": "Multi-object tracking",
    "mots": "Multi-object tracking and segmentation",
    "pose": "Pose tracking",
}
BASELINES = ("random", "supervised")
NEAR = 3.0  # points of percent: a baseline as near as this, or as the others' range is wide, is on the axis
KINDS = {"t": "solid", "Wilson": "solid", "bootstrap": "dotted", STATED: "dashed"}  # first word of a kind
GAP, COLUMNS = 28.0, 2
PANEL_WIDTH = (WIDTH - 2 * MARGIN - GAP * (COLUMNS - 1)) / COLUMNS
LABEL_WIDTH, VALUE_WIDTH = 146.0, 34.0
HEAD, ROW, FOOT = 32.0, 12.5, 30.0
MOST_LINES, MOST_PANELS = 60, 60  # drawn; the tables have all


@dataclass(frozen=True)
class Panel:
    """One axis."""

    title: str
    subtitle: str
    cells: tuple[Cell, ...]  # best first, those without a number last
    more: int = 0  # lines that are not drawn

    @property
    def rows(self) -> int:
        """Lines that it takes."""
        return len(self.cells) + (self.more > 0)

    @property
    def height(self) -> float:
        """Room it takes."""
        return HEAD + ROW * self.rows + FOOT


def draw_intervals(cells: Sequence[Cell]) -> dict[str, Sheet]:
    """A sheet for each task that has numbers, by ``intervals-TASK``."""
    sheets = {}
    for task, groups in MAIN.items():
        panels = build_panels([cell for cell in cells if cell.column.task == task], groups)
        if panels:
            sheets[f"intervals-{task}"] = _draw(TITLES[task], panels)
    return sheets


def build_panels(cells: Sequence[Cell], groups: Sequence[Sequence[str]]) -> list[Panel]:
    """Panels in the order of tables, those with published numbers first; ablations have their own sheet."""
    questions: dict[tuple[object, ...], dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        column = cell.column
        if not is_ablation(cell):
            questions[column.dataset, column.split, column.protocol][column.metric].append(cell)
    panels = []
    for found in questions.values():
        for group in groups:
            metric = next((name for name in group if name in found), None)
            if metric and not _is_lone(found[metric]):
                panels.append(_panel(found[metric]))
    return sorted(panels, key=_panel_rank)


def _is_lone(cells: Sequence[Cell]) -> bool:
    """One published number without a spread: nothing to see beside it."""
    return len(cells) == 1 and cells[0].line.published and cells[0].spread is None


def _panel(cells: Sequence[Cell]) -> Panel:
    column = cells[0].column
    metric = METRICS[column.metric]
    protocol = find_protocol(column.protocol)
    named = f"{protocol.name} ({column.protocol})" if protocol else column.protocol
    unit = " in %" if metric.unit == "percent" else ""
    better = "" if metric.higher_is_better else ", lower is better"
    subtitle = f"{metric.name}{unit}{better} · {column.split or 'no split'} · {named}"
    ordered = tuple(sorted(cells, key=_cell_rank))
    more = len(ordered) - MOST_LINES
    return Panel(
        DATASETS.get(column.dataset, column.dataset), subtitle, ordered[:MOST_LINES], more if more > 0 else 0
    )


def _panel_rank(panel: Panel) -> tuple[object, ...]:
    column = panel.cells[0].column
    published = any(cell.line.published for cell in panel.cells)
    return (
        not published,
        _rank(DATASETS, column.dataset),
        rank_protocol(column.protocol),
        column.split,
        _rank(METRICS, column.metric),
    )


def _cell_rank(cell: Cell) -> tuple[object, ...]:
    sign = -1 if METRICS[cell.column.metric].higher_is_better else 1
    return (cell.value is None, sign * (cell.value or 0.0), _rank(METHODS, cell.line.method), str(cell.line))


def _rank(order: Mapping[str, object], name: str) -> tuple[int, str]:
    return (list(order).index(name) if name in order else len(order), name)


def _draw(title: str, panels: Sequence[Panel]) -> Sheet:
    kinds = sorted({cell.spread.kind for panel in panels for cell in panel.cells if cell.spread})
    notes = _notes(kinds)
    if len(panels) > MOST_PANELS:
        notes.append(
            f"{len(panels) - MOST_PANELS} more panels are not drawn; their numbers stand in the tables."
        )
        panels = panels[:MOST_PANELS]
    tops, bottoms = [], [54.0] * COLUMNS
    for panel in panels:
        column = bottoms.index(min(bottoms))
        tops.append((column, bottoms[column]))
        bottoms[column] += panel.height
    sheet = Sheet(max(bottoms) + notes_height(notes), title)
    sheet.heading(
        "Ring: published. Disc: measured here. Line: 95 % interval, or what a source states. Best first."
    )
    for panel, (column, top) in zip(panels, tops, strict=True):
        _draw_panel(sheet, panel, MARGIN + column * (PANEL_WIDTH + GAP), top)
    sheet.footnotes(max(bottoms) - 8, notes)
    return sheet


def _notes(kinds: Sequence[str]) -> list[str]:
    said = {
        "t": "solid line: 95 % t interval over seeds",
        "Wilson": "solid line: 95 % Wilson interval of one run's accuracy over its images",
        "bootstrap": "dotted line: 95 % bootstrap interval over images or videos of one run",
        STATED: "dashed line: ± as the source states it, of whatever kind",
    }
    present = [text for start, text in said.items() if any(kind.startswith(start) for kind in kinds)]
    present.append("no line: nothing is known about the spread; triangle: outside the axis")
    text = "; ".join(present)
    return [
        f"{text[0].upper()}{text[1:]}. A panel holds one dataset, split and protocol; other metrics, and "
        "published numbers alone on their panel, stand in the tables."
    ]


def _draw_panel(sheet: Sheet, panel: Panel, left: float, top: float) -> None:
    right = left + PANEL_WIDTH
    sheet.text(left, top + 14, fit(panel.title, PANEL_WIDTH, 9, True), size=9, bold=True)
    sheet.text(left, top + 25, fit(panel.subtitle, PANEL_WIDTH, 7), size=7, colour=QUIET)
    first = top + HEAD + ROW / 2
    bottom = top + HEAD + ROW * panel.rows
    scale = _scale(panel, left + LABEL_WIDTH + 6, right - VALUE_WIDTH - 6)
    if scale:
        for tick in scale.ticks:
            x = scale(tick)
            gid = f"tick-{cell_id(panel.cells[0])}-{show_tick(tick)}"
            sheet.line([(x, top + HEAD), (x, bottom)], colour=GRID, width=0.7, gid=gid)
            sheet.text(x, bottom + 10, show_tick(tick), size=6.5, colour=QUIET, anchor="center")
    sheet.line([(left, bottom), (right, bottom)], colour=FAINT, width=0.7)
    if panel.more:
        y = first + ROW * len(panel.cells) + 2.8
        sheet.text(left, y, f"and {panel.more} more in the tables", size=7, colour=QUIET)
    for i, (cell, label) in enumerate(zip(panel.cells, label_lines(panel.cells), strict=True)):
        _draw_line(sheet, cell, label, scale, (left, right, first + ROW * i))


def _scale(panel: Panel, start: float, end: float) -> Scale | None:
    """An axis over what is known; baselines far off stay outside, so that the others can be told apart."""
    known = [cell for cell in panel.cells if cell.value is not None]
    if not known:
        return None
    inside = [c for c in known if not (c.line.published and c.line.method in BASELINES)]
    reach = [x for cell in (inside if len(inside) > 1 else known) for x in _reach(cell)]
    room = max(NEAR, max(reach) - min(reach))
    reach += [x for c in known for x in _reach(c) if min(reach) - room <= x <= max(reach) + room]
    metric = METRICS[known[0].column.metric]
    highest = 100.0 if metric.unit == "percent" else float("inf")
    for intervals in (4, 3, 2, 1):
        scale = nice_scale(reach, start, end, intervals=intervals, lowest=metric.lowest, highest=highest)
        apart = abs(end - start) / max(1, len(scale.ticks) - 1)
        if all(measure(show_tick(tick), 6.5) + 6 <= apart for tick in scale.ticks):
            break
    return scale


def _reach(cell: Cell) -> tuple[float, ...]:
    assert cell.value is not None
    return (cell.value, cell.spread.low, cell.spread.high) if cell.spread else (cell.value,)


def _draw_line(
    sheet: Sheet, cell: Cell, label: str, scale: Scale | None, place: tuple[float, float, float]
) -> None:
    left, right, y = place
    ours = is_ours(cell.line.method)
    colour = ACCENT if ours else QUIET if cell.line.published else INK
    sheet.text(left, y + 2.8, fit(label, LABEL_WIDTH, 7.5, ours), size=7.5, bold=ours, colour=colour)
    start = left + LABEL_WIDTH + 6
    if cell.value is None or scale is None:
        reason = re.sub(r"\s+", " ", "; ".join(cell.failures))
        sheet.dot(start + 3, y, colour=BAD, marker="x", size=5, gid=f"{cell_id(cell)}-failed")
        sheet.text(start + 11, y + 2.6, fit(reason, right - start - 11, 7), size=7, colour=BAD)
        return
    if not scale.low - 1e-9 <= cell.value <= scale.high + 1e-9:
        off = "<" if cell.value < scale.low else ">"
        edge = scale.start if off == "<" else scale.end
        sheet.dot(edge, y, colour=colour, hollow=cell.line.published, marker=off, gid=f"{cell_id(cell)}-off")
    else:
        _draw_interval(sheet, cell, scale, y, colour)
    text = f"{cell.value:.1f}" if cell.value == 0 or abs(cell.value) >= 0.05 else f"{cell.value:.1g}"
    mark = ("†" if cell.line.selection == "best-test" else "") + ("‡" if cell.is_short else "")
    sheet.text(right - measure("‡", 7.5), y + 2.8, text, size=7.5, bold=ours, colour=colour, anchor="right")
    if mark:
        sheet.text(right - measure("‡", 7.5), y + 2.8, mark, size=7.5, colour=colour)


def _draw_interval(sheet: Sheet, cell: Cell, scale: Scale, y: float, colour: str) -> None:
    assert cell.value is not None
    if cell.spread:
        dash = next((d for word, d in KINDS.items() if cell.spread.kind.startswith(word)), "solid")
        ends = [(scale(cell.spread.low), y), (scale(cell.spread.high), y)]
        sheet.line(ends, colour=colour, width=1.4, dash=dash, gid=f"{cell_id(cell)}-interval")
        for x, _ in ends:
            sheet.line([(x, y - 2.2), (x, y + 2.2)], colour=colour, width=1.0)
    sheet.dot(scale(cell.value), y, colour=colour, hollow=cell.line.published, gid=cell_id(cell))
