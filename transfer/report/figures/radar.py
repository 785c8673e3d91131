"""The radar of MEC's Figure 1: five image tasks by value, five video tasks by rank (App. C, p. 17).

An axis of which a method has no number stays empty: no line runs across it. The image axes are
linear between the printed ends; of the video axes the outer end is rank 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from transfer.report.aggregate import Cell
from transfer.report.figures.canvas import (
    ACCENT,
    FAINT,
    GRID,
    MUTED,
    QUIET,
    SECOND,
    TINT,
    Anchor,
    Point,
    Sheet,
    measure,
    notes_height,
)
from transfer.report.figures.scale import show_tick
from transfer.report.figures.spokes import (
    AXES,
    HOLE,
    LEAST_IMAGE_AXES,
    MEC,
    Spoke,
    build_spokes,
    drawn_methods,
    method_rank,
    show_ordinal,
)
from transfer.report.layout import method_name

SHEET_WIDTH = 470.0
LARGE, SMALL, PER_ROW = 335.0, 146.0, 3  # room of the large web and of each small one below it
NOTES = (
    "Published numbers of MEC (arXiv 2210.11464), Tables 1 to 4; in the large web the others are grey, below "
    "each stands alone. LIN: 800 epochs of pre-training. VOC: the paper does not say which VOC its Figure 1 "
    "shows; here VOC07+12. Tables 2 and 3 mix pre-training lengths.",
    "Video axes: rank among all {ranked} lines of Table 4, ties sharing the better rank, by each method's "
    "best number of layer3 and layer4 (SOT: also of XCorr and DCF; the paper does not say which it ranks).",
)


def draw_radar(cells: Sequence[Cell]) -> Sheet | None:
    """The sheet, or None where there is nothing of MEC to compare."""
    spokes = build_spokes(cells)
    drawn = [m for m in drawn_methods(spokes) if m != MEC]
    if not drawn or not any(MEC in spoke.values for spoke in spokes):
        return None
    ranked = max((len(spoke.values) for spoke in spokes if spoke.axis.by_rank), default=0)
    left_out = sorted(
        {m for spoke in spokes for m in spoke.values} - {MEC, *drawn}, key=lambda m: (method_rank(m), m)
    )
    notes = [note.format(ranked=ranked) for note in NOTES]
    if left_out:
        names = ", ".join(method_name(m) for m in left_out)
        notes.append(
            f"Not drawn: {names} (fewer than {LEAST_IMAGE_AXES} of the image axes, or baselines far below)."
        )
    rows = -(-len(drawn) // PER_ROW)
    top = 58 + LARGE
    height = top + rows * SMALL + notes_height(notes, SHEET_WIDTH)
    sheet = Sheet(height, "MEC and others on ten tasks (MEC's Figure 1)", SHEET_WIDTH)
    sheet.heading("Image tasks by value, video tasks by rank. Outside is better; a gap is a missing number.")
    _draw_large(sheet, spokes, drawn, (SHEET_WIDTH / 2, 58 + LARGE / 2 - 6), 118.0)
    for i, method in enumerate(drawn):
        centre = (SHEET_WIDTH * (0.5 + i % PER_ROW) / PER_ROW, top + (i // PER_ROW + 0.5) * SMALL)
        _draw_small(sheet, spokes, method, centre, 46.0)
    sheet.footnotes(top + rows * SMALL, notes)
    return sheet


def _place(centre: Point, radius: float, index: int, share: float) -> Point:
    angle = 2 * math.pi * (index + 0.5) / len(AXES) - math.pi / 2
    return centre[0] + radius * share * math.cos(angle), centre[1] + radius * share * math.sin(angle)


def _web(sheet: Sheet, centre: Point, radius: float, rings: Sequence[float]) -> None:
    count = len(AXES)
    for share in rings:
        ring = [_place(centre, radius, i % count, share) for i in range(count + 1)]
        sheet.line(ring, colour=FAINT if share == 1 else GRID, width=0.7)
    for i in range(count):
        sheet.line([_place(centre, radius, i, HOLE), _place(centre, radius, i, 1)], colour=GRID, width=0.7)


def _outline(
    sheet: Sheet,
    spokes: Sequence[Spoke],
    method: str,
    centre: Point,
    radius: float,
    gid: str,
    **style: object,
) -> list[Point | None]:
    """Edges between neighbouring axes that both have a number."""
    shares = [spoke.share(method) for spoke in spokes]
    points = [None if s is None else _place(centre, radius, i, s) for i, s in enumerate(shares)]
    runs: list[list[Point]] = []
    count = len(points)
    start = next((i for i in range(count) if points[i] is None), 0)
    run: list[Point] = []
    for k in range(count + 1):
        point = points[(start + k) % count]
        if point is None:
            runs.append(run)
            run = []
        else:
            run.append(point)
    runs.append(run)
    for number, found in enumerate(runs):
        if len(found) > 1:
            sheet.line(found, gid=f"{gid}-edge{number}", **style)  # type: ignore[arg-type]
    return points


def _draw_large(
    sheet: Sheet, spokes: Sequence[Spoke], others: Sequence[str], centre: Point, radius: float
) -> None:
    if all(spoke.share(MEC) is not None for spoke in spokes):
        sheet.area([_place(centre, radius, i, spoke.share(MEC) or 0) for i, spoke in enumerate(spokes)], TINT)
    _web(sheet, centre, radius, (HOLE, (1 + HOLE) / 2, 1))
    for method in others:
        points = _outline(
            sheet, spokes, method, centre, radius, f"radar-{_safe(method)}", colour=MUTED, width=0.8
        )
        for point in points:
            if point is not None:
                sheet.dot(*point, colour=MUTED, size=2.0)
    points = _outline(sheet, spokes, MEC, centre, radius, "radar-mec", colour=ACCENT, width=2.0)
    for spoke, point in zip(spokes, points, strict=True):
        if point is not None:
            sheet.dot(*point, colour=ACCENT, size=5.0, gid=f"radar-mec-{spoke.axis.name.lower()}")
    for i, spoke in enumerate(spokes):
        _label_axis(sheet, spoke, _place(centre, radius, i, 1), centre)


def _label_axis(sheet: Sheet, spoke: Spoke, end: Point, centre: Point) -> None:
    """Name, MEC's number, what it is and the two ends, outside the web."""
    right = end[0] > centre[0]
    anchor: Anchor = "left" if right else "right"
    upright = abs(end[1] - centre[1]) / math.dist(end, centre)
    x = end[0] + (8 if right else -8) * (1.15 - 0.6 * upright)
    y = end[1] + (end[1] - centre[1]) / math.dist(end, centre) * (20 if end[1] < centre[1] else 14) - 4
    if end[1] < centre[1] - 1:
        y -= 10 * upright
    name = spoke.axis.name
    if MEC in spoke.values:
        number = spoke.show(MEC)
        if right:
            sheet.text(x, y, name, size=9, bold=True)
            sheet.text(x + measure(name, 9, True) + 4, y, number, size=9, bold=True, colour=ACCENT)
        else:
            sheet.text(x, y, number, size=9, bold=True, colour=ACCENT, anchor="right")
            sheet.text(x - measure(number, 9, True) - 4, y, name, size=9, bold=True, anchor="right")
    else:
        sheet.text(x, y, name, size=9, bold=True, anchor=anchor)
    sheet.text(x, y + 9.5, spoke.axis.what, size=6.5, colour=QUIET, anchor=anchor)
    ends = (
        f"{show_ordinal(int(spoke.low))} to 1st"
        if spoke.axis.by_rank
        else f"{show_tick(spoke.low)} to {show_tick(spoke.high)}"
    )
    sheet.text(x, y + 18, ends, size=6.5, colour=QUIET, anchor=anchor)


def _draw_small(sheet: Sheet, spokes: Sequence[Spoke], method: str, centre: Point, radius: float) -> None:
    _web(sheet, centre, radius, (HOLE, 1))
    _outline(sheet, spokes, MEC, centre, radius, f"small-{_safe(method)}-mec", colour=ACCENT, width=1.0)
    points = _outline(
        sheet, spokes, method, centre, radius, f"small-{_safe(method)}", colour=SECOND, width=1.5
    )
    for spoke, point in zip(spokes, points, strict=True):
        if point is not None:
            gid = f"small-{_safe(method)}-{spoke.axis.name.lower()}"
            sheet.dot(*point, colour=SECOND, size=3.0, gid=gid)
    sheet.text(
        centre[0],
        centre[1] - radius - 12,
        method_name(method),
        size=8.5,
        bold=True,
        colour=SECOND,
        anchor="center",
    )
    missing = [spoke.axis.name for spoke in spokes if method not in spoke.values]
    if missing:
        video = {spoke.axis.name for spoke in spokes if spoke.axis.by_rank}
        parts = [name for name in missing if name not in video or not video <= set(missing)]
        parts += ["video"] if video <= set(missing) else []
        sheet.text(
            centre[0],
            centre[1] + radius + 14,
            "no " + ", ".join(parts),
            size=6.5,
            colour=QUIET,
            anchor="center",
        )


def _safe(method: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}" if c != "-" else "-" for c in method)
