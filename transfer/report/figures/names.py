"""Identifiers and labels of drawn numbers, and short names of sources."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from transfer.report.aggregate import Cell
from transfer.report.layout import method_name
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


def label_lines(cells: Sequence[Cell]) -> list[str]:
    """A name for each line: the method, and what tells it from the others of the panel."""
    differing = [
        name
        for name in ("pretrain_epochs", "arch", "pretrain_data", "branch", "backend", "selection")
        if len({getattr(c.line, name) for c in cells if c.line.method not in ("random", "supervised")}) > 1
    ]
    labels = []
    for cell in cells:
        parts = [str(getattr(cell.line, name)) for name in differing]
        parts = [
            f"{p} ep." if p.isdecimal() else p for p in parts if p not in ("", "random", "none", "unknown")
        ]
        labels.append(", ".join([method_name(cell.line.method), *parts]))
    for tell in (_tell_source, _tell_remark):
        counts = Counter(labels)
        labels = [
            f"{label} [{tell(cell)}]" if counts[label] > 1 and tell(cell) else label
            for label, cell in zip(labels, cells, strict=True)
        ]
    return labels


def _tell_source(cell: Cell) -> str:
    line = cell.line
    if not line.published:
        return line.backbone_sha256[:8]
    return "" if "README" in line.source else short_source(line.source, table=False)


def _tell_remark(cell: Cell) -> str:
    """What a source's name ends with: ``released checkpoint``."""
    return cell.line.source.rpartition("), ")[2] if cell.line.published and "), " in cell.line.source else ""
