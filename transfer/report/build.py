"""From rows to the files of all tables: the one way, for the tool and for a suite's end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transfer.report.aggregate import read_all, to_cells
from transfer.report.items import read_items
from transfer.report.layout import read_notes
from transfer.report.render import render_all
from transfer.report.tables import build_tables


def render_tables(published: Path, measured: Sequence[Path], notes: Path) -> dict[str, str]:
    """All table files by name.

    Raises:
        FileNotFoundError: an input that is not there.
        ValueError: a row that the schema refuses, or rows that do not belong together; names the place.
    """
    rows = read_all(measured, published=False)
    cells = to_cells(read_all([published], published=True), rows, read_items(measured, rows))
    return render_all(build_tables(cells, read_notes(notes)))
