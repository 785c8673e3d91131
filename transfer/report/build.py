"""From rows to the files of all tables and to the page: the one way, for the tool and for a suite's end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transfer.report.aggregate import Cell, read_all, to_cells
from transfer.report.items import read_items
from transfer.report.layout import read_notes
from transfer.report.page import render_page
from transfer.report.render import render_all
from transfer.report.tables import build_tables


def render_tables(published: Path, measured: Sequence[Path], notes: Path) -> dict[str, str]:
    """All table files by name; raises as :func:`read_cells` does."""
    return render_all(build_tables(read_cells(published, measured), read_notes(notes)))


def render_results(published: Path, measured: Sequence[Path], notes: Path) -> tuple[dict[str, str], str]:
    """All table files by name, and the page; raises as :func:`read_cells` does."""
    cells, said = read_cells(published, measured), read_notes(notes)
    return render_all(build_tables(cells, said)), render_page(cells, notes=said)


def read_cells(published: Path, measured: Sequence[Path]) -> list[Cell]:
    """All numbers, with the items they are means of where those are known.

    Raises:
        FileNotFoundError: an input that is not there.
        ValueError: a row that the schema refuses, or rows that do not belong together; names the place.
    """
    rows = read_all(measured, published=False)
    return to_cells(read_all([published], published=True), rows, read_items(measured, rows))
