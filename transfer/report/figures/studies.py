"""Accuracy against the length of pre-training, and MEC's ablations (its Tables 1 and 5, Fig. 4(c))."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from transfer.report.aggregate import Cell, Column
from transfer.report.figures.canvas import MARGIN, WIDTH, Anchor, Sheet, notes_height
from transfer.report.figures.intervals import MAIN
from transfer.report.figures.names import cell_id, is_ours, short_source
from transfer.report.figures.panels import (
    FOOT,
    HEAD,
    Box,
    Mark,
    Series,
    draw_frame,
    draw_series,
    label_ends,
)
from transfer.report.figures.scale import Scale, nice_scale
from transfer.report.layout import DATASETS, METHODS, method_name
from transfer.report.protocols import find_protocol
from transfer.report.rows import METRICS
from transfer.report.variants import STUDIES, VARIANTS

OURS = "MEC (arXiv 2210.11464)"
TOP, GAP = 56.0, 26.0
SYMBOLS = {"distortion": "ε² / d", "batch": "images", "momentum": "m", "order": "terms"}
MOST_PANELS, MOST_LINES = 12, 18  # drawn; the tables have all
Place = tuple[Column, str]


def draw_epochs(cells: Sequence[Cell]) -> Sheet | None:
    """One panel a table (or a measured column): who is how good after how many epochs."""
    found: dict[Place, dict[tuple[str, ...], list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        line, column = cell.line, cell.column
        if column.task not in ("linear", "knn") or column.metric not in MAIN[column.task][0]:
            continue
        if not line.pretrain_epochs.isdecimal() or int(line.pretrain_epochs) == 0 or cell.value is None:
            continue
        if line.method in VARIANTS or (line.published and not line.source.startswith(OURS)):
            continue
        who = (line.method, line.arch, line.pretrain_data, line.branch, line.backend, line.selection)
        found[column, line.source][who].append(cell)
    panels = {
        place: {
            who: group for who, group in lines.items() if len({c.line.pretrain_epochs for c in group}) > 1
        }
        for place, lines in found.items()
    }
    places = sorted((p for p in panels if panels[p]), key=_place_rank)
    if not places:
        return None
    places, left_out = places[:MOST_PANELS], len(places) - MOST_PANELS
    notes = ["Horizontal axes are logarithmic. Rings: published numbers; discs: measured here."]
    if left_out > 0:
        notes.append(f"{left_out} more panels are not drawn; their numbers stand in the tables.")
    width, height, per_row = (WIDTH - 2 * MARGIN - GAP) / 2, 190.0, 2
    rows = -(-len(places) // per_row)
    bottom = TOP + rows * (HEAD + height + FOOT)
    sheet = Sheet(bottom + notes_height(notes), "Accuracy against the length of pre-training")
    sheet.heading()
    for i, place in enumerate(places):
        box = Box(
            MARGIN + (i % per_row) * (width + GAP),
            TOP - 20 + HEAD + (i // per_row) * (HEAD + height + FOOT),
            width,
            height,
            room=112.0,
        )
        _draw_length(sheet, box, place, list(panels[place].values()))
    sheet.footnotes(bottom - 12, notes)
    return sheet


def _draw_length(sheet: Sheet, box: Box, place: Place, lines: Sequence[Sequence[Cell]]) -> None:
    ranked = sorted(lines, key=_line_rank)
    lines = ranked[:MOST_LINES]
    series = [
        Series(
            method_name(group[0].line.method),
            tuple(_mark(c, math.log2(int(c.line.pretrain_epochs))) for c in sorted(group, key=_length)),
            is_ours(group[0].line.method),
        )
        for group in sorted(lines, key=lambda g: (_method_rank(g[0].line.method), str(g[0].line)))
    ]
    x, y = _scales(box, series)
    lengths = sorted({int(c.line.pretrain_epochs) for group in lines for c in group})
    ticks = [(x(math.log2(n)), str(n)) for n in lengths]
    title, subtitle = _titles(place)
    if len(ranked) > MOST_LINES:
        subtitle += f" · {MOST_LINES} of {len(ranked)} lines, the best"
    draw_frame(sheet, box, title, subtitle, y, ticks, "epochs of pre-training", cell_id(lines[0][0]))
    draw_series(sheet, series, x, y)
    label_ends(sheet, box, series, x, y)


def draw_ablations(cells: Sequence[Cell]) -> Sheet | None:
    """One panel a setting and table: the setting that MEC has elsewhere is filled."""
    found: dict[tuple[str, Place], list[Cell]] = defaultdict(list)
    for cell in cells:
        variant = VARIANTS.get(cell.line.method)
        if variant is None or variant.value is None or variant.study not in SYMBOLS:
            continue
        if cell.value is not None and cell.column.metric == "top1":
            found[variant.study, (cell.column, cell.line.source)].append(cell)
    order = ("order", "distortion", *(study for study in STUDIES if study in SYMBOLS))
    keys = sorted(
        (key for key in found if _is_study(found[key])), key=lambda k: (order.index(k[0]), _place_rank(k[1]))
    )
    if not keys:
        return None
    notes = [
        "One setting is changed at a time. Filled: the setting of MEC's other numbers; rings: the others. "
        "Settings stand at equal distances. Numbers of Fig. 4(c) were read off its plot, to ±0.03."
    ]
    per_row = 3
    width, height = (WIDTH - 2 * MARGIN - GAP * (per_row - 1)) / per_row, 110.0
    rows = -(-len(keys) // per_row)
    bottom = TOP + rows * (HEAD + height + FOOT)
    sheet = Sheet(bottom + notes_height(notes), "What MEC's settings do")
    sheet.heading()
    for i, key in enumerate(keys):
        box = Box(
            MARGIN + (i % per_row) * (width + GAP),
            TOP - 20 + HEAD + (i // per_row) * (HEAD + height + FOOT),
            width,
            height,
        )
        _draw_study(sheet, box, key[0], key[1], found[key])
    sheet.footnotes(bottom - 12, notes)
    return sheet


def _is_study(cells: Sequence[Cell]) -> bool:
    """Several settings, each once: backbones that share one differ in something else, a seed for one."""
    return len({_setting(cell) for cell in cells}) == len(cells) > 1


def _draw_study(sheet: Sheet, box: Box, study: str, place: Place, cells: Sequence[Cell]) -> None:
    ordered = sorted(cells, key=lambda c: (_setting(c), str(c.line)))
    marks = tuple(_mark(c, i, hollow=not VARIANTS[c.line.method].default) for i, c in enumerate(ordered))
    series = [Series("", marks, ours=True)]
    x, y = _scales(box, series, inset=22.0)
    ticks = [(x(i), f"{_setting(c):g}") for i, c in enumerate(ordered)]
    title, subtitle = _titles(place)
    name = STUDIES[study]
    draw_frame(
        sheet,
        box,
        name[0].upper() + name[1:],
        f"{title} · {subtitle}",
        y,
        ticks,
        SYMBOLS[study],
        cell_id(ordered[0]),
    )
    draw_series(sheet, series, x, y)
    for i, mark in enumerate(marks):
        before = mark.value - marks[i - 1].value if i else None
        after = marks[i + 1].value - mark.value if i + 1 < len(marks) else None
        _label_value(sheet, x(mark.x), y(max(mark.value, mark.high or mark.value)), mark, before, after)


def _label_value(
    sheet: Sheet, x: float, top: float, mark: Mark, before: float | None, after: float | None
) -> None:
    """Above the point, on the side that the line leaves free."""
    rising = (after or 0) > 0 and (before is None or before > 0)
    falling = (before or 0) < 0 and (after is None or after < 0)
    anchor: Anchor = "right" if rising else "left" if falling else "center"
    shift = {"right": 3.0, "left": -3.0, "center": 0.0}[anchor]
    text = f"{mark.value:.1f}" if round(mark.value, 1) == mark.value else f"{mark.value:.2f}"
    sheet.text(x + shift, top - 6, text, size=7, bold=not mark.hollow, anchor=anchor)


def _setting(cell: Cell) -> float:
    value = VARIANTS[cell.line.method].value
    assert value is not None
    return value


def _scales(box: Box, series: Sequence[Series], inset: float = 10.0) -> tuple[Scale, Scale]:
    places = [mark.x for line in series for mark in line.marks]
    values = [v for line in series for m in line.marks for v in (m.value, m.low, m.high) if v is not None]
    x = Scale(min(places), max(places), box.left + 24 + inset, box.right - inset)
    return x, nice_scale(values, box.bottom, box.top + 12, intervals=4)


def _mark(cell: Cell, x: float, *, hollow: bool | None = None) -> Mark:
    assert cell.value is not None
    low, high = (cell.spread.low, cell.spread.high) if cell.spread else (None, None)
    return Mark(x, cell.value, low, high, cell_id(cell), cell.line.published if hollow is None else hollow)


def _titles(place: Place) -> tuple[str, str]:
    column, source = place
    protocol = find_protocol(column.protocol)
    name = DATASETS.get(column.dataset, column.dataset)
    what = f"{protocol.name if protocol else column.protocol}, {METRICS[column.metric].name} in %"
    return name, f"{what} · {short_source(source) if source else 'measured'}"


def _place_rank(place: Place) -> tuple[object, ...]:
    column, source = place
    datasets = list(DATASETS)
    known = datasets.index(column.dataset) if column.dataset in datasets else len(datasets)
    return (not source, known, column.task != "linear", source, str(column))


def _line_rank(group: Sequence[Cell]) -> tuple[object, ...]:
    """Ours first, then the best at their greatest length."""
    last = max(group, key=_length)
    return (not is_ours(last.line.method), -(last.value or 0.0), str(last.line))


def _length(cell: Cell) -> tuple[int, str]:
    return int(cell.line.pretrain_epochs), str(cell.line)


def _method_rank(method: str) -> int:
    return list(METHODS).index(method) if method in METHODS else len(METHODS)
