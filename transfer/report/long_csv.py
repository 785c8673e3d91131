"""Tables in long form: one line a number, unrounded, with all that its rows say, seed by seed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from transfer.report.aggregate import Cell
from transfer.report.rows import METRICS
from transfer.report.shown import Entry, Table, published_std

IDENTITY = (
    *("section", "origin", "task", "dataset", "split", "protocol", "metric", "method", "arch"),
    *("pretrain_data", "pretrain_epochs", "branch", "backbone_sha256", "backend", "selection"),
)
NUMBERS = (
    *("unit", "higher_is_better", "reported", "value", "std", "num_seeds", "interval", "low95", "high95"),
    *("published_value", "published_std", "difference", "inside_std"),
)
PROVENANCE = (
    *("status", "seeds", "values", "n", "source"),
    *("config_sha256", "code_version", "hardware", "wall_s"),
)
BESIDE = "In no section"  # what its lines have for one
CSV_COLUMNS = (*IDENTITY, *NUMBERS, *PROVENANCE)


def to_csv(table: Table) -> str:
    """One line for every number that a section shows; a number shown in two sections has two lines.

    Last come numbers that no section shows (:data:`~transfer.report.layout.CSV_ONLY`).

    What differs between the seeds is listed in the order of the seeds, with ``; `` between; so no digit of
    a row can change without a change here.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for section in table.sections:
        for entry in section.entries:
            cell = entry.cell
            writer.writerow([section.title, *_identity(cell), *_numbers(entry), *_provenance(cell)])
    for cell in table.beside:
        writer.writerow([BESIDE, *_identity(cell), *_numbers(Entry(cell)), *_provenance(cell)])
    return output.getvalue()


def _identity(cell: Cell) -> list[str]:
    column, line = cell.column, cell.line
    return [
        "published" if line.published else "measured",
        *(column.task, column.dataset, column.split, column.protocol, column.metric),
        *(line.method, line.arch, line.pretrain_data, line.pretrain_epochs, line.branch),
        line.backbone_sha256 or _listed(row.backbone_sha256 for row in cell.rows),
        *(line.backend, line.selection),
    ]


def _numbers(entry: Entry) -> list[str]:
    cell, metric = entry.cell, METRICS[entry.cell.column.metric]
    low, high, kind = _interval(cell)
    std = published_std(cell) if cell.line.published else cell.std
    published = entry.published.value if entry.published else None
    spread = published_std(entry.published) if entry.published else None
    inside = "" if entry.inside is None else str(entry.inside).lower()
    return [
        *(metric.unit, str(metric.higher_is_better).lower(), cell.rows[0].reported),
        *(_derived(cell.value), _derived(std), str(len(cell.rows)), kind, _derived(low), _derived(high)),
        *(_derived(published), _derived(spread), _derived(entry.difference), inside),
    ]


def _interval(cell: Cell) -> tuple[float | None, float | None, str]:
    if cell.interval is None or cell.spread is None:
        return None, None, ""
    return cell.interval[0], cell.interval[1], cell.spread.kind


def _provenance(cell: Cell) -> list[str]:
    rows = cell.rows
    return [
        "; ".join(cell.failures) or "ok",
        "; ".join("" if row.seed is None else str(row.seed) for row in rows),
        "; ".join(_exact(row.value) for row in rows),
        _listed("" if row.n is None else str(row.n) for row in rows),
        _listed(row.source for row in rows),
        _listed(row.config_sha256 for row in rows),
        _listed(row.code_version for row in rows),
        _listed(row.hardware for row in rows),
        _listed(_exact(row.wall_s) for row in rows),
    ]


def _listed(texts: Iterable[str]) -> str:
    """One text where all agree, otherwise each."""
    found = list(texts)
    return found[0] if len(set(found)) == 1 else "; ".join(found)


def _exact(value: float | None) -> str:
    """As many digits as it takes to read the same number back."""
    return "" if value is None else repr(value + 0.0).removesuffix(".0")


def _derived(value: float | None) -> str:
    """Ten digits, which every Python computes alike."""
    return "" if value is None else f"{value:.10g}"
