"""Backbones of one recipe as one line: the spread over trainings instead of that over images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from transfer.report.aggregate import Cell, Column, Line

BACKBONES = "backbones"


def pool_backbones(cells: Sequence[Cell], wanted: Callable[[Cell], bool]) -> list[Cell]:
    """The cells, those of ``wanted`` whose lines differ in the backbone's digest alone as one.

    Such a cell has one row a backbone. Where a backbone has several seeds, or was evaluated by another
    configuration, the cells stay apart. As in :mod:`transfer.report.over_seeds`, that the backbones differ in
    nothing but the seed of their pre-training is for whoever made the rows to know.
    """
    grouped: dict[tuple[Column, Line], list[Cell]] = defaultdict(list)
    pooled: list[Cell] = []
    for cell in cells:
        if not cell.line.published and wanted(cell):
            grouped[cell.column, replace(cell.line, backbone_sha256="")].append(cell)
        else:
            pooled.append(cell)
    largest: dict[Column, int] = defaultdict(int)
    for (column, _), members in grouped.items():
        if _are_one(members):
            largest[column] = max(largest[column], len(members))
    for (column, line), members in grouped.items():
        if not _are_one(members):
            pooled += members
            continue
        rows = tuple(row for cell in members for row in cell.rows)
        pooled.append(Cell(column, line, rows, largest[column], over=BACKBONES))
    return sorted(pooled, key=lambda cell: (str(cell.column), str(cell.line)))


def _are_one(members: Sequence[Cell]) -> bool:
    rows = [row for cell in members for row in cell.rows]
    configurations = {row.config_sha256 for row in rows}
    return len(rows) == len(members) > 1 and len(configurations) == 1
