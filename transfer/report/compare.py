"""Two results files side by side: which numbers changed, and by more than noise.

Numbers are matched by what they are: method and its pre-training, question (task, dataset, split,
protocol, metric), backend and selection; not by code version, hardware or wall time. Where each file
has one backbone file for such a number, and not the same, the two are matched and the line says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from transfer.report.aggregate import Cell, place_failures, read_all, to_cells
from transfer.report.items import read_items
from transfer.report.markdown import padded_table
from transfer.report.pairs import compare_cells
from transfer.report.rows import METRICS
from transfer.report.statistics import Comparison

BEYOND = "beyond noise"
UNKNOWN = "changed, no spread known"
LOST = "has no number now"
FOUND = "has a number now"
WITHIN = "within noise"
ONLY_A = "only in A"
ONLY_B = "only in B"
UNCHANGED = "unchanged"
VERDICTS = (BEYOND, UNKNOWN, LOST, FOUND, WITHIN, ONLY_A, ONLY_B, UNCHANGED)  # the order of the table
ALARMS = (BEYOND, UNKNOWN, LOST)
HEAD = ("number", "A", "B", "difference", "95 % interval of the difference", "verdict", "remark")


@dataclass(frozen=True)
class Change:
    """One number in both files, or in one."""

    old: Cell | None
    new: Cell | None
    verdict: str
    comparison: Comparison | None = None
    remark: str = ""

    @property
    def cell(self) -> Cell:
        """The cell that says what is asked and who answers."""
        cell = self.new or self.old
        assert cell is not None  # one of the two files has it
        return cell


def compare_files(first: Path, second: Path) -> list[Change]:
    """Every number of two results files, in the order of :data:`VERDICTS`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, or whose rows do not belong together; names the place.
    """
    rows = [read_all([path]) for path in (first, second)]
    measured = [[row for row in side if not row.published] for side in rows]
    sides = [
        to_cells(
            [row for row in rows[i] if row.published],
            # A task that failed as a whole knows no split: the other file may.
            place_failures(measured[i], known=measured[1 - i]),
            read_items([path], measured[i]),
        )
        for i, path in enumerate((first, second))
    ]
    return compare_sides(sides[0], sides[1])


def compare_sides(first: Sequence[Cell], second: Sequence[Cell]) -> list[Change]:
    """As :func:`compare_files`, of cells."""
    old, new = _by_identity(first), _by_identity(second)
    changes = []
    for key in sorted(old.keys() | new.keys(), key=str):
        sides = old.get(key, {}), new.get(key, {})
        same = sorted(sides[0].keys() & sides[1].keys())
        changes += [_judge(sides[0].pop(weights), sides[1].pop(weights)) for weights in same]
        if len(sides[0]) == len(sides[1]) == 1:
            (a,), (b,) = sides[0].values(), sides[1].values()
            changes.append(_judge(a, b))
            continue
        changes += [Change(cell, None, ONLY_A) for _, cell in sorted(sides[0].items())]
        changes += [Change(None, cell, ONLY_B) for _, cell in sorted(sides[1].items())]
    return sorted(changes, key=lambda change: VERDICTS.index(change.verdict))  # stable: else by identity


def render_changes(changes: Sequence[Change], names: tuple[str, str]) -> str:
    """A Markdown table, aligned so that it reads as text; unchanged numbers are only counted."""
    counts = Counter(change.verdict for change in changes)
    lines = [f"A: {names[0]}", f"B: {names[1]}", ""]
    shown = [_texts(change) for change in changes if change.verdict != UNCHANGED]
    if shown:
        lines += [*padded_table(HEAD, shown), ""]
    said = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    lines.append(f"{len(changes)} numbers: {', '.join(said) or 'none'}.")
    tested = sum(change.comparison is not None for change in changes)
    if counts[BEYOND]:
        lines.append(
            f"Of {tested} compared numbers, {0.05 * tested:.1f} fall beyond a 95 % interval by chance alone."
        )
    return "\n".join(lines) + "\n"


def exit_status(changes: Sequence[Change]) -> int:
    """1 where a number changed beyond noise, changed with no spread known, or was lost; else 0."""
    return int(any(change.verdict in ALARMS for change in changes))


def _by_identity(cells: Sequence[Cell]) -> dict[tuple[object, ...], dict[str, Cell]]:
    """Cells by everything but the backbone's digest, then by that."""
    grouped: dict[tuple[object, ...], dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        key = (*astuple(cell.column), *astuple(replace(cell.line, backbone_sha256="")))
        grouped[key][cell.line.backbone_sha256] = cell
    return grouped


def _judge(old: Cell, new: Cell) -> Change:
    remark = "; ".join(_remarks(old, new))
    if old.value is None or new.value is None:
        verdict = UNCHANGED if old.value is new.value else LOST if new.value is None else FOUND
        return Change(old, new, verdict, remark=remark)
    seeds = [[(row.seed, row.value) for row in cell.rows] for cell in (old, new)]
    if seeds[0] == seeds[1]:
        return Change(old, new, UNCHANGED, remark=remark)
    comparison = None if new.line.published else compare_cells(old, new)  # a paper's numbers have no noise
    if comparison is None:
        verdict = UNCHANGED if old.value == new.value else UNKNOWN
    else:
        verdict = BEYOND if comparison.beyond_noise else WITHIN
    return Change(old, new, verdict, comparison, remark)


def _remarks(old: Cell, new: Cell) -> list[str]:
    said = []
    if old.line.backbone_sha256 != new.line.backbone_sha256:
        said.append("other backbone file")
    if {row.config_sha256 for row in old.rows} != {row.config_sha256 for row in new.rows}:
        said.append("other configuration")
    if old.n != new.n:
        said.append(f"n {old.n} and {new.n}")
    seeds = [[row.seed for row in cell.rows] for cell in (old, new)]
    if seeds[0] != seeds[1]:
        said.append(" and ".join("seeds " + ",".join(map(str, side)) for side in seeds))
    if old.failures or new.failures:
        said.append(" → ".join("; ".join(cell.failures) or "ok" for cell in (old, new)))
    return said


def _texts(change: Change) -> tuple[str, ...]:
    column, line = change.cell.column, change.cell.line
    parts = [line.method, line.arch, line.pretrain_data, line.pretrain_epochs, line.backbone_sha256[:8]]
    parts += [column.task, column.dataset, column.split, column.protocol, METRICS[column.metric].name]
    parts += [line.selection, line.source]
    difference = noise = ""
    if change.comparison is not None:
        found = change.comparison
        difference = f"{found.difference:+.3g}"
        noise = f"[{found.low:+.3g}, {found.high:+.3g}] {found.test}"
    elif change.old and change.new and change.old.value is not None and change.new.value is not None:
        difference = f"{change.new.value - change.old.value:+.3g}"
    number = " ".join(part for part in parts if part)
    return (number, _value(change.old), _value(change.new), difference, noise, change.verdict, change.remark)


def _value(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return "no number" if cell.value is None else f"{cell.value:.6g}"
