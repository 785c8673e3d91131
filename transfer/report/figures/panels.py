"""Panels of lines over a horizontal axis: frame, ticks, lines with their points, labels at the right end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transfer.report.figures.canvas import ACCENT, FAINT, GRID, MUTED, QUIET, Point, Sheet, fit
from transfer.report.figures.scale import Scale, show_tick, spread_out

HEAD, FOOT = 34.0, 30.0
LABEL_GAP = 9.5


@dataclass(frozen=True)
class Mark:
    """One number: place on the axis, value, ends of what is known of it, and the id of its point."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None
    gid: str | None = None
    hollow: bool = True


@dataclass(frozen=True)
class Series:
    """Marks of one label, by place."""

    label: str
    marks: tuple[Mark, ...]
    ours: bool = False


@dataclass(frozen=True)
class Box:
    """Where a panel stands: the frame's edges."""

    left: float
    top: float
    width: float
    height: float
    room: float = 0.0  # at the right, for labels

    @property
    def right(self) -> float:
        """The right end of the axis."""
        return self.left + self.width - self.room

    @property
    def bottom(self) -> float:
        """The lower end of the axis."""
        return self.top + self.height


def draw_frame(
    sheet: Sheet,
    box: Box,
    title: str,
    subtitle: str,
    y: Scale,
    x_ticks: Sequence[tuple[float, str]],
    x_name: str,
    gid: str = "",
) -> None:
    """Titles above, value lines, ticks below; ``x_ticks`` are positions and labels."""
    sheet.text(box.left, box.top - 22, fit(title, box.width, 9, True), size=9, bold=True)
    sheet.text(box.left, box.top - 11, fit(subtitle, box.width, 7), size=7, colour=QUIET)
    for tick in y.ticks:
        place = y(tick)
        name = f"tick-{gid}-{show_tick(tick)}" if gid else None
        sheet.line([(box.left + 24, place), (box.right, place)], colour=GRID, width=0.7, gid=name)
        sheet.text(box.left + 20, place + 2.4, show_tick(tick), size=6.5, colour=QUIET, anchor="right")
    sheet.line([(box.left + 24, box.bottom), (box.right, box.bottom)], colour=FAINT, width=0.7)
    for place, label in x_ticks:
        sheet.line([(place, box.bottom), (place, box.bottom + 2.5)], colour=FAINT, width=0.7)
        sheet.text(place, box.bottom + 10.5, label, size=6.5, colour=QUIET, anchor="center")
    middle = (box.left + 24 + box.right) / 2
    sheet.text(middle, box.bottom + 20.5, x_name, size=7, colour=QUIET, anchor="center")


def draw_series(sheet: Sheet, series: Sequence[Series], x: Scale, y: Scale) -> None:
    """Lines and points, ours last and on top."""
    for line in sorted(series, key=lambda s: s.ours):
        colour = ACCENT if line.ours else MUTED
        points: list[Point] = [(x(mark.x), y(mark.value)) for mark in line.marks]
        sheet.line(points, colour=colour, width=1.8 if line.ours else 1.0)
        for mark, (px, py) in zip(line.marks, points, strict=True):
            if mark.low is not None and mark.high is not None:
                sheet.line([(px, y(mark.low)), (px, y(mark.high))], colour=colour, width=1.2)
            size = 5.0 if line.ours else 3.5
            sheet.dot(px, py, colour=colour, hollow=mark.hollow, size=size, gid=mark.gid)


def label_ends(sheet: Sheet, box: Box, series: Sequence[Series], x: Scale, y: Scale) -> None:
    """Each line's name and last value beside its end, moved apart where ends are close."""
    ends = [(x(line.marks[-1].x), y(line.marks[-1].value)) for line in series]
    places = spread_out([py for _, py in ends], LABEL_GAP, box.top, box.bottom)
    for line, (px, py), place in zip(series, ends, places, strict=True):
        colour = ACCENT if line.ours else QUIET
        if abs(place - py) > 1 or px < box.right - 1:
            sheet.line([(px + 4, py), (box.right + 6, place)], colour=FAINT, width=0.6)
        text = fit(line.label, box.room - 38, 7.5, line.ours)
        sheet.text(box.right + 9, place + 2.7, text, size=7.5, bold=line.ours, colour=colour)
        value = f"{line.marks[-1].value:.1f}"
        edge = box.left + box.width
        sheet.text(edge, place + 2.7, value, size=7.5, bold=line.ours, colour=colour, anchor="right")
