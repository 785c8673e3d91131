"""From rows to the files of all tables and figures and to the page: the one way, for tool and suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer.report.aggregate import Cell, read_all, to_cells
from transfer.report.curves import read_curves
from transfer.report.items import read_items
from transfer.report.layout import read_notes
from transfer.report.page import render_page
from transfer.report.pooled import pool_backbones
from transfer.report.render import render_all
from transfer.report.side_by_side import stands_here
from transfer.report.tables import build_tables


def render_tables(published: Path, measured: Sequence[Path], notes: Path) -> dict[str, str]:
    """All table files by name; raises as :func:`read_cells` does."""
    return render_all(build_tables(read_cells(published, measured), read_notes(notes)))


@dataclass(frozen=True)
class Results:
    """Everything that follows from the rows: files by name, and the page."""

    tables: dict[str, str]
    figures: dict[str, bytes]  # NAME.svg and NAME.pdf
    page: str


def render_results(published: Path, measured: Sequence[Path], notes: Path, curves: Path) -> Results:
    """Tables, figures and page; ``curves`` is a folder. Raises as both readers do."""
    from transfer.report.figures.draw import render_figures  # here, so that tables need no matplotlib

    cells, said = read_cells(published, measured), read_notes(notes)
    figures = render_figures(cells, read_curves(curves))
    pictures = {name: content.decode() for name, content in figures.items() if name.endswith(".svg")}
    page = render_page(cells, notes=said, figures=pictures)
    return Results(render_all(build_tables(cells, said)), figures, page)


def read_cells(published: Path, measured: Sequence[Path]) -> list[Cell]:
    """All numbers, with the items they are means of where those are known; backbones of one recipe are one
    where protocols stand side by side.

    Raises:
        FileNotFoundError: an input that is not there.
        ValueError: a row that the schema refuses, or rows that do not belong together; names the place.
    """
    rows = read_all(measured, published=False)
    cells = to_cells(read_all([published], published=True), rows, read_items(measured, rows))
    return pool_backbones(cells, stands_here)
