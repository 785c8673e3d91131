"""Committed files against rebuilt ones, byte for byte; the first difference down to its cell."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from transfer.report.long_csv import CSV_COLUMNS, IDENTITY
from transfer.report.rows import Row, read_placed_rows

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


def first_difference(built: Path, found: Path, inputs: Sequence[Path] = ()) -> str | None:
    """Compare a folder with a rebuilt one; None, or where and how they differ.

    CSV files come first, because there a difference is one cell: the message then names it, and the line of
    the ``inputs`` (results files) that the rebuilt cell is from.
    """
    built_names = {path.name for path in built.iterdir()}
    found_names = {path.name for path in found.iterdir()} if found.is_dir() else set()
    for name in sorted(found_names - built_names):
        return f"{found / name}: not a file of this project; remove it"
    for name in sorted(built_names, key=lambda name: (not name.endswith(".csv"), name)):
        if name not in found_names:
            return f"{found / name}: missing"
        expected, have = (built / name).read_bytes(), (found / name).read_bytes()
        if expected != have:
            said = _csv_difference(built / name, found / name, inputs) if name.endswith(".csv") else None
            return said or _line_difference(found / name, expected, have)
    return None


# ------------------------------------------------------------------------------------------ any file


def _line_difference(path: Path, expected: bytes, found: bytes) -> str:
    pairs = itertools.zip_longest(expected.split(b"\n"), found.split(b"\n"))
    number, (want, have) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    cell = _cell_difference(want, have) if want is not None and have is not None else ""
    return f"{path}:{number}: {cell}the rows give {_quote(want)}, the file has {_quote(have)}"


def _cell_difference(want: bytes, have: bytes) -> str:
    """Which cell of a line of a Markdown or LaTeX table differs; nothing where that cannot be said."""
    for separator in (r" \| ", r" & "):
        wanted, found = (re.split(separator, text.decode(errors="replace")) for text in (want, have))
        if len(wanted) == len(found) > 1:
            number = next(i for i, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1])
            who = " ".join(wanted[:2]).strip("| ")
            return f"column {number + 1} ({who}): {_shorten(wanted[number])} or {_shorten(found[number])}? "
    return ""


def _quote(line: bytes | None) -> str:
    return "the end of the file" if line is None else _shorten(line.decode(errors="replace"))


def _shorten(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")


# ------------------------------------------------------------------------------------------ long CSV

Record = tuple[str, ...]


def _csv_difference(built: Path, found: Path, inputs: Sequence[Path]) -> str | None:
    """The first cell that differs between two tables in long form; None where the columns differ."""
    try:
        wanted, having = list(_read(built)), list(_read(found))
    except (csv.Error, UnicodeDecodeError):
        return None
    if not wanted or not having or wanted[0][1] != CSV_COLUMNS or having[0][1] != CSV_COLUMNS:
        return None
    if any(len(record) != len(CSV_COLUMNS) for _, record in having):
        return None
    for pair in itertools.zip_longest(wanted, having):
        want, have = pair
        if want is None:
            assert have is not None  # one of the two goes on
            return f"{found}:{have[0]}: {_describe(have[1])}: no row gives this line"
        if have is None or want[1] != have[1]:
            break
    else:
        return None  # the same cells, written in another way
    missing = {record for _, record in wanted} - {record for _, record in having}
    extra = {record for _, record in having} - {record for _, record in wanted}
    if not missing or not extra:  # lines were added, dropped or moved
        place = f"{found}:{have[0]}" if have else f"{found}:{len(having) + 1}"
        return f"{place}: expected {_describe(want[1])}{_sources(want[1], inputs)}"
    line, expected, changed = _closest(wanted, having, missing, extra)
    columns = [i for i, (a, b) in enumerate(zip(expected, changed, strict=True)) if a != b]
    said = f"{found}:{line}: {_describe(changed)}"
    for i in columns[:PLACES]:
        said += f"\n  column {CSV_COLUMNS[i]}: the rows give {_shorten(expected[i])}, "
        said += f"the file has {_shorten(changed[i])}"
    said += _sources(expected, inputs, [CSV_COLUMNS[i] for i in columns])
    others = [record for _, record in wanted if record in missing and record != expected]
    if others:
        said += f"\n{found}: {len(others)} more lines differ; the rows also give {_describe(others[0])}"
        said += _sources(others[0], inputs)
    return said


def _closest(
    wanted: Sequence[tuple[int, Record]],
    having: Sequence[tuple[int, Record]],
    missing: set[Record],
    extra: set[Record],
) -> tuple[int, Record, Record]:
    """The first line of the file that is not wanted, and the missing one that differs in fewest columns."""
    line, changed = next((line, record) for line, record in having if record in extra)
    candidates = [record for _, record in wanted if record in missing]

    def distance(record: Record) -> tuple[int, int]:
        differing = [a != b for a, b in zip(record, changed, strict=True)]
        return sum(differing[: len(IDENTITY)]), sum(differing)

    return line, min(candidates, key=distance), changed


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
    """Where the rows of a line of a table stand, and which of their columns the differing ones are from."""
    cells = dict(zip(CSV_COLUMNS, record, strict=True))
    names = [name for name in IDENTITY if name not in ("section", "origin")]
    wanted = tuple(cells[name] for name in names)
    get: Callable[[Row], Record] = lambda row: tuple(getattr(row, name) for name in names)  # noqa: E731
    places = [
        place
        for path in inputs
        for place, row in read_placed_rows(path)
        if get(row) == wanted and (not row.published or row.source == cells["source"])
    ]
    if not places:
        return ""
    more = f" and {len(places) - PLACES} more" if len(places) > PLACES else ""
    plain = [name for name in columns if name not in DERIVED or name == "value"]
    named = sorted({INPUT_COLUMNS.get(name, name) for name in plain})
    return f"\n  from {', '.join(places[:PLACES])}{more}" + (f", column {', '.join(named)}" if named else "")
