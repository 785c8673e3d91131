"""Pre-training curves of one file: loss, coding length, spectral norm and kNN accuracy against epochs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transfer.report.curves import DERIVED, KNN, LENGTH, OBJECTIVE, ONLINE_KNN, CurvePoint
from transfer.report.figures.canvas import (
    ACCENT,
    MARGIN,
    QUIET,
    SECOND,
    SHADE,
    WIDTH,
    Sheet,
    fit,
    notes_height,
)
from transfer.report.figures.panels import FOOT, HEAD, Box, draw_frame
from transfer.report.figures.scale import Scale, nice_scale, nice_step, show_tick, spread_out

TOP, GAP, HEIGHT = 56.0, 26.0, 120.0
ROOM = 46.0  # for the last value
COLOURS = (ACCENT, SECOND, "#00795c", "#8a4a76", QUIET)


@dataclass(frozen=True)
class Plot:
    """One panel."""

    metric: str
    title: str
    subtitle: str
    bound: float | None = None  # drawn as a dashed line
    points: bool = False


PLOTS = (
    Plot("loss", "Loss", "minus the coding length, scaled: about −1 when the views agree"),
    Plot(LENGTH, "Coding length", "nats per batch, by the series trained with; grows with λ"),
    Plot("spectral_norm", "Spectral norm of C", "the series converges below 1", bound=1.0),
    Plot(KNN, "kNN", "top-1 in % of the checkpoints", points=True),
)
# In the place of the last where no checkpoint was evaluated; the two are never in one panel.
ONLINE_PLOT = Plot(ONLINE_KNN, "kNN while training", "top-1 in %, online encoder, on subsets", points=True)


def draw_curves(name: str, points: Sequence[CurvePoint]) -> Sheet | None:
    """The sheet of one file, or None where it has no line."""
    if not points:
        return None
    lines: dict[str, dict[str, list[CurvePoint]]] = defaultdict(lambda: defaultdict(list))
    for point in sorted(points, key=lambda p: (p.run, p.metric, p.step)):
        lines[point.metric][point.run].append(point)
    runs = sorted({point.run for point in points})
    notes = _notes(points, runs)
    width = (WIDTH - 2 * MARGIN - GAP) / 2
    bottom = TOP + 2 * (HEAD + HEIGHT + FOOT)
    sheet = Sheet(bottom + notes_height(notes), f"Pre-training: {name}")
    sheet.heading()
    end = max(point.epoch for point in points)
    warm = _warm_up_end(lines["lambda"])
    plots = (*PLOTS[:-1], ONLINE_PLOT) if ONLINE_KNN in lines and KNN not in lines else PLOTS
    for i, plot in enumerate(_describe(plot, points) for plot in plots):
        left = MARGIN + (i % 2) * (width + GAP)
        top = TOP - 20 + HEAD + (i // 2) * (HEAD + HEIGHT + FOOT)
        _draw(sheet, Box(left, top, width, HEIGHT, ROOM), plot, lines[plot.metric], runs, end, warm)
    sheet.footnotes(bottom - 12, notes)
    return sheet


def _describe(plot: Plot, points: Sequence[CurvePoint]) -> Plot:
    """The plot with a subtitle that is true of what its points' sources say they are."""
    sources = {point.source for point in points if point.metric == plot.metric}
    if plot.metric == "loss" and any(OBJECTIVE in source for source in sources):
        return replace(plot, subtitle="of the objective trained with; its scale is its own")
    derived = {source.startswith(DERIVED) for source in sources}
    if plot.metric == LENGTH and derived == {False}:
        return replace(plot, subtitle="nats per batch, Eq. 1 of one view at the final λ")
    if plot.metric == LENGTH and len(derived) == 2:
        return replace(plot, subtitle="nats per batch, by two definitions: see the sources")
    return plot


def _notes(points: Sequence[CurvePoint], runs: Sequence[str]) -> list[str]:
    steps = {run: [p for p in points if p.run == run and p.epoch > 0] for run in runs}
    said = []
    for run, found in steps.items():
        if found:
            last = max(found, key=lambda p: p.step)
            said.append(f"{run}: {last.step} steps, {last.step / last.epoch:g} an epoch")
    hardware = sorted({p.hardware for p in points if p.hardware})
    return [
        "; ".join(said) + ".",
        "Shaded: warm-up of λ, from an eighth of its value. A point is the batch of one step, unsmoothed."
        + (f" Evaluated on {', '.join(hardware)}." if hardware else ""),
    ]


def _warm_up_end(lines: dict[str, list[CurvePoint]]) -> float:
    """The epoch at which the last run's lambda has reached its value; 0 without a warm-up."""
    ends = [0.0]
    for points in lines.values():
        final = points[-1].value
        rising = [i for i, p in enumerate(points) if p.value < final * (1 - 1e-6)]
        if rising:
            ends.append(points[min(rising[-1] + 1, len(points) - 1)].epoch)
    return max(ends)


def _draw(
    sheet: Sheet,
    box: Box,
    plot: Plot,
    lines: dict[str, list[CurvePoint]],
    runs: Sequence[str],
    end: float,
    warm: float,
) -> None:
    x = Scale(0.0, end, box.left + 24, box.right)
    values = [p.value for points in lines.values() for p in points]
    if plot.bound is not None:
        values += [0.0, plot.bound]
    y = nice_scale(values or [0.0, 1.0], box.bottom, box.top, intervals=4)
    if warm:
        corners = [(x(0), box.top), (x(warm), box.top), (x(warm), box.bottom), (x(0), box.bottom)]
        sheet.area(corners, SHADE)
    step = max(1.0, nice_step(end / 6)) if end > 0 else 1.0
    ticks = [(x(i * step), show_tick(i * step)) for i in range(int(end / step + 1e-9) + 1)]
    frame = y if values else Scale(0, 1, box.bottom, box.top)
    draw_frame(sheet, box, plot.title, plot.subtitle, frame, ticks, "epochs", plot.metric)
    if not lines:
        middle = (box.left + 24 + box.right) / 2
        sheet.text(
            middle, (box.top + box.bottom) / 2, "not measured for this run", colour=QUIET, anchor="center"
        )
        return
    if plot.bound is not None:
        sheet.line(
            [(x(0), y(plot.bound)), (box.right, y(plot.bound))], colour=QUIET, width=0.9, dash="dashed"
        )
    shown = [(run, COLOURS[runs.index(run) % len(COLOURS)], lines[run]) for run in runs if run in lines]
    for run, colour, points in shown:
        places = [(x(p.epoch), y(p.value)) for p in points]
        sheet.line(places, colour=colour, width=1.5, gid=f"{plot.metric}-{runs.index(run)}")
        for (px, py), p in zip(places, points, strict=True):
            if plot.points:
                gid = f"{plot.metric}-{runs.index(run)}-{p.step}"
                sheet.dot(px, py, colour=colour, size=4.5, gid=gid)
    heights = spread_out([y(points[-1].value) for *_, points in shown], 18.0, box.top, box.bottom)
    for (run, colour, points), height in zip(shown, heights, strict=True):
        value = points[-1].value
        text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if plot.points else f"{value:.3f}"
        text = text.replace("-", "\N{MINUS SIGN}")
        sheet.text(box.right + 6, height + 2.7, text, size=8, bold=True, colour=colour)
        if len(shown) > 1:
            sheet.text(box.right + 6, height + 11, fit(run, ROOM - 6, 6.5), size=6.5, colour=colour)
