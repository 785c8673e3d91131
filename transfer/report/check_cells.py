"""Two tables in long form compared: the first cell that differs, and the rows that it comes from."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from transfer.report.long_csv import CSV_COLUMNS, IDENTITY
from transfer.report.rows import read_placed_rows

SHOWN = 160  # characters of a line shown in a message
PLACES = 3  # input rows named in a message
INPUT_COLUMNS = {
    "values": "value",
    "seeds": "seed",
    "num_seeds": "seed",
    "origin": "reported",
    "section": "source",
}
DERIVED = (
    "value",
    "low95",
    "high95",
    "interval",
    "difference",
    "published_value",
    "published_std",
    "inside_std",
)
Record = tuple[str, ...]


def csv_difference(built: Path, found: Path, inputs: Sequence[Path]) -> str | None:
    """The first cell that differs between two tables in long form; None where the columns differ."""
    try:
        wanted, having = list(_read(built)), list(_read(found))
    except (csv.Error, UnicodeDecodeError):
        return None
    if not wanted or not having or wanted[0][1] != CSV_COLUMNS or having[0][1] != CSV_COLUMNS:
        return None
    if any(len(record) != len(CSV_COLUMNS) for _, record in having):
        return None
    known, there = {record for _, record in wanted}, {record for _, record in having}
    missing = [(line, record) for line, record in wanted if record not in there]
    extra = [(line, record) for line, record in having if record not in known]
    if extra and not missing:
        line, record = extra[0]
        return f"{found}:{line}: {_describe(record)}: no row gives this line{_sources(record, inputs)}"
    if missing and not extra:
        line, record = missing[0]
        return f"{found}: line {line} is missing: {_describe(record)}{_sources(record, inputs)}"
    if not missing:
        return None  # lines in another order, or the same cells written in another way
    line, expected, changed = _closest(missing, extra)
    columns = [i for i, (a, b) in enumerate(zip(expected, changed, strict=True)) if a != b]
    said = f"{found}:{line}: {_describe(changed)}"
    for i in columns[:PLACES]:
        said += f"\n  column {CSV_COLUMNS[i]}: the rows give {shorten(expected[i])}, "
        said += f"the file has {shorten(changed[i])}"
    said += _sources(expected, inputs, [CSV_COLUMNS[i] for i in columns])
    others = [record for _, record in missing if record != expected]
    if others:
        said += f"\n{found}: {len(others)} more lines differ; the rows also give {_describe(others[0])}"
        said += _sources(others[0], inputs)
    return said


def _closest(
    missing: Sequence[tuple[int, Record]], extra: Sequence[tuple[int, Record]]
) -> tuple[int, Record, Record]:
    """The first line of the file that is not wanted, and the missing one that differs in fewest columns."""
    line, changed = extra[0]

    def distance(record: Record) -> tuple[int, int]:
        differing = [a != b for a, b in zip(record, changed, strict=True)]
        return sum(differing[: len(IDENTITY)]), sum(differing)

    return line, min((record for _, record in missing), key=distance), changed


def _read(path: Path) -> Iterator[tuple[int, Record]]:
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.reader(handle, strict=True)
        for cells in reader:
            yield reader.line_num, tuple(cells)


def _describe(record: Record) -> str:
    cells = dict(zip(CSV_COLUMNS, record, strict=True))
    who = ("origin", "method", "arch", "pretrain_epochs", "task", "dataset", "split", "protocol", "metric")
    return f"{' '.join(cells[name] for name in who if cells[name])} ({cells['section']})"


def _sources(record: Record, inputs: Sequence[Path], columns: Sequence[str] = ()) -> str:
    """Where the rows of a line of a table stand, and which of their columns the differing ones are from.

    Where no row has the line's identity, the rows that have it but for one column are named with that.
    """
    cells = dict(zip(CSV_COLUMNS, record, strict=True))
    names = [*(name for name in IDENTITY if name not in ("section", "origin")), "source"]
    same: list[str] = []
    near: list[str] = []
    for path in inputs:
        for place, row in read_placed_rows(path):
            differing = [
                name
                for name in names
                if getattr(row, name) != cells[name] and (name != "source" or row.published)
            ]
            if not differing:
                same.append(place)
            elif len(differing) == 1:
                near.append(f"{place} (column {differing[0]}: {shorten(getattr(row, differing[0]))})")
    if not same:
        return f"\n  perhaps from {_list(near)}" if near else ""
    plain = [name for name in columns if name not in DERIVED or name == "value"]
    named = sorted({INPUT_COLUMNS.get(name, name) for name in plain})
    return f"\n  from {_list(same)}" + (f", column {', '.join(named)}" if named else "")


def _list(places: Sequence[str]) -> str:
    more = f" and {len(places) - PLACES} more" if len(places) > PLACES else ""
    return ", ".join(places[:PLACES]) + more


def shorten(text: str) -> str:
    """A text as a message quotes it."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
