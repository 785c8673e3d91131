"""All figures of the results: cells and curves in, sheets or files out."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from transfer.report.aggregate import Cell
from transfer.report.curves import Curves
from transfer.report.figures.curves import draw_curves
from transfer.report.figures.intervals import draw_intervals
from transfer.report.figures.output import settled, to_pdf, to_svg
from transfer.report.figures.radar import draw_radar
from transfer.report.figures.studies import draw_ablations, draw_epochs


def draw_figures(cells: Sequence[Cell], curves: Curves | None = None) -> dict[str, Figure]:
    """Every figure by name; no order of the cells changes one, and what has no numbers is not there."""
    ordered = sorted(cells, key=lambda cell: (str(cell.column), str(cell.line)))
    with settled():
        sheets = {
            "radar": draw_radar(ordered),
            "epochs": draw_epochs(ordered),
            "ablations": draw_ablations(ordered),
            **draw_intervals(ordered),
            **{
                f"curves-{name}": draw_curves(name, points) for name, points in sorted((curves or {}).items())
            },
        }
    return {name: sheet.figure for name, sheet in sheets.items() if sheet is not None}


def render_figures(cells: Sequence[Cell], curves: Curves | None = None) -> dict[str, bytes]:
    """Every figure as ``NAME.svg`` and ``NAME.pdf``; equal input and matplotlib give equal bytes."""
    files = {}
    for name, figure in draw_figures(cells, curves).items():
        files[f"{name}.svg"] = to_svg(figure).encode()
        files[f"{name}.pdf"] = to_pdf(figure)
    return files
