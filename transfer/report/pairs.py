"""Two answers to one question, compared by what they share: seeds first, then items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from transfer.report.aggregate import Cell, Column, Line
from transfer.report.items import HITS, Items
from transfer.report.resampling import MIN_ITEMS, paired_bootstrap
from transfer.report.statistics import Comparison, holm, mcnemar, paired_t, unpaired_shares, welch_t


@dataclass(frozen=True)
class Pair:
    """Two measured lines of one column; ``comparison`` is second minus first.

    ``holm_p`` is its p value adjusted for the number of tests in this column; None where it has no p.
    """

    column: Column
    first: Line
    second: Line
    comparison: Comparison
    holm_p: float | None


def pairs(cells: Sequence[Cell]) -> list[Pair]:
    """Every two measured lines of a column, where there is a way to compare them.

    Lines whose numbers were selected in different ways (last epoch, best on test) are not compared.
    The order is that of the cells, whatever the order of the rows was.
    """
    columns: dict[tuple[Column, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        if not cell.line.published and cell.value is not None:
            columns[cell.column, cell.line.selection].append(cell)
    found: list[Pair] = []
    for (column, _), members in columns.items():
        made = [
            (first.line, second.line, comparison)
            for first, second in combinations(members, 2)
            if (comparison := compare_cells(first, second)) is not None
        ]
        p_values = [comparison.p_value for _, _, comparison in made]
        adjusted = iter(holm([p for p in p_values if p is not None]))
        found += [
            Pair(column, first, second, comparison, None if comparison.p_value is None else next(adjusted))
            for first, second, comparison in made
        ]
    return found


def compare_cells(first: Cell, second: Cell) -> Comparison | None:
    """Second minus first, by the first of these that applies; None where none does.

    1. at least two common seeds, with differences that are not all the same: paired t over them;
    2. at least two seeds on each side, but fewer than two in common: Welch's t;
    3. the same items of a common seed (else of each one's first): exact McNemar of hits, paired bootstrap of
       other values;
    4. classification accuracies of known n: Wilson intervals, unpaired.

    Seeds that change nothing (kNN) leave no noise to see between seeds, so 3 or 4 decide there. The mean of
    several backbones is compared with that of several others only: what one backbone or its seeds give says
    nothing about the spread between trainings.
    """
    if first.value is None or second.value is None or first.over != second.over:
        return None
    common = sorted(first.by_seed.keys() & second.by_seed.keys())
    if len(common) > 1:
        a, b = ([cell.by_seed[seed] for seed in common] for cell in (first, second))
        if len({y - x for x, y in zip(a, b, strict=True)}) > 1:
            return paired_t(a, b)
    elif min(len(first.rows), len(second.rows)) > 1 and (first.std or second.std):
        found = welch_t(first.values, second.values)
        return replace(found, test=found.test.replace("seeds", first.over))
    return _compare_items(first, second, common) or _compare_shares(first, second)


def _compare_items(first: Cell, second: Cell, common: Sequence[int]) -> Comparison | None:
    a, b = _items(first, common), _items(second, common)
    if a is None or b is None or a.names_sha256 != b.names_sha256:
        return None
    if first.column.metric in HITS:
        return mcnemar(a.values, b.values)
    return paired_bootstrap(a.values, b.values) if len(a.values) >= MIN_ITEMS else None


def _items(cell: Cell, common: Sequence[int]) -> Items | None:
    """Those of the first common seed, else of the first seed."""
    for row, items in zip(cell.rows, cell.items, strict=False):  # () where no items are known
        if not common or row.seed == common[0]:
            return items
    return None


def _compare_shares(first: Cell, second: Cell) -> Comparison | None:
    if first.column.metric not in HITS or not first.n or not second.n:
        return None
    if first.value is None or second.value is None:
        return None
    return unpaired_shares(first.value, first.n, second.value, second.n)
