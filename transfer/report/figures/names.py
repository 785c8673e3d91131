"""Identifiers of drawn numbers, and short names of sources."""

from __future__ import annotations

import hashlib
import re

from transfer.report.aggregate import Cell
from transfer.report.variants import VARIANTS

METHODS_OF_THEIR_OWN = ("regulariser", "strategy")  # studies whose variants papers compare as methods
TABLE_5 = "MEC (arXiv 2210.11464) Table 5("


def cell_id(cell: Cell) -> str:
    """The id of a number's point in an SVG: the same whatever else is drawn or measured again."""
    column, line = cell.column, cell.line
    parts = (
        *(column.task, column.dataset, column.split, column.protocol, column.metric),
        *(line.method, line.arch, line.pretrain_data, line.pretrain_epochs, line.branch),
        *(line.backbone_sha256, line.backend, line.selection, line.source),
    )
    return "n-" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:12]


def short_source(source: str, *, table: bool = True) -> str:
    """``MEC Table 7`` for ``MEC (arXiv 2210.11464) Table 7, p. 17``; ``MEC T7`` where room is short."""
    head, _, rest = source.partition(" (")
    place = re.search(r"(Table|Fig\.|App\.) ?([A-Z]?\.?\d*[A-Z]?(?:\([a-z]\))?)", rest)
    if not place:
        return head
    return f"{head} {place[1]} {place[2]}" if table else f"{head} {place[1][0]}{place[2]}"


def is_ours(method: str) -> bool:
    """Whether it is MEC or a variant of it, which figures emphasise."""
    variant = VARIANTS.get(method)
    return (variant.method if variant else method) == "mec"


def is_ablation(cell: Cell) -> bool:
    """Whether the number shows what a setting does, rather than what a method can do."""
    variant = VARIANTS.get(cell.line.method)
    return (variant is not None and variant.study not in METHODS_OF_THEIR_OWN) or cell.line.source.startswith(
        TABLE_5
    )
