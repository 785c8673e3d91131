"""What a number is the mean of: one value an item (image, sequence), in a file beside the rows.

``items.csv`` beside ``results.csv``, ``NAME.items.csv`` beside ``NAME.csv``; one line a number. Hits are
written as ``0110…``, one character an image, other values as ``47.3;51.9;…`` in the unit of their row.
The digest of the items' names says whether two lines list the same items in the same order, so that
they can be compared item by item.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from transfer.report.rows import Row

SUFFIX = ".items.csv"
HITS = {"top1": "images", "top5": "images"}  # metric -> what the items are; 1 where right, else 0
MEANS = {
    **dict.fromkeys(("success", "norm_precision", "precision"), "sequences"),
    **dict.fromkeys(("j_mean", "f_mean", "j_and_f"), "objects"),
}
ITEM_NOUNS = HITS | MEANS
IDENTITY = (
    *("method", "backbone_sha256", "branch", "task", "dataset", "split", "protocol", "backend", "metric"),
    *("seed", "selection", "config_sha256"),
)
IDENTITY_OF = attrgetter(*IDENTITY)
COLUMNS = (*IDENTITY, "n", "names_sha256", "values")
CELL_LENGTH = 131_072  # characters; the csv module reads no longer cell
ROUNDING = 5.1e-4  # in percent: mmtrack rounds its metrics to three decimals
ItemKey = tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """Values ``(n,)`` of n items, and a digest of the items' names in the same order."""

    values: tuple[float, ...]
    names_sha256: str


def name_items(names: Sequence[str], values: Iterable[float]) -> Items:
    """Items of ``names``, which are unique and relative to the data set.

    Raises:
        ValueError: more or fewer values than names, or a name given twice.
    """
    held = tuple(values)
    if len(held) != len(names) or len(set(names)) != len(names):
        raise ValueError(f"{len(held)} values for {len(names)} items, {len(set(names))} of them different")
    return Items(held, hashlib.sha256("\n".join(names).encode()).hexdigest())


def item_key(row: Row) -> ItemKey:
    """What finds a row again."""
    return tuple("" if value is None else str(value) for value in IDENTITY_OF(row))


def check_items(row: Row, items: Items) -> None:
    """See that the items are those that the row's number is the mean of.

    Raises:
        ValueError: another number of items, another mean, a hit other than 0 and 1, a value that is not
            finite, a metric that is no mean of items, or a row without a number; names the column.
    """
    if row.metric not in ITEM_NOUNS:
        raise ValueError(f"metric: {row.metric} is no mean of items; known: {', '.join(ITEM_NOUNS)}")
    if row.value is None:
        raise ValueError(f"values: stand beside a row that says {row.status!r}")
    if row.n != len(items.values) or not items.values:
        raise ValueError(f"values: {len(items.values)} of them, the row says n = {row.n}")
    if row.metric in HITS and not set(items.values) <= {0, 1}:
        raise ValueError("values: expected hits 0 and 1 only")
    scale = 100 if row.metric in HITS else 1
    total = math.fsum(items.values)  # NaN and infinity come out as themselves
    if not abs(scale * total / len(items.values) - row.value) <= ROUNDING:
        found = scale * total / len(items.values)
        raise ValueError(f"values: their mean is {found:.10g}, the row's {row.metric} is {row.value:.10g}")


def items_path(results: Path) -> Path:
    """Where the items of a results file stand."""
    return results.with_name("items.csv" if results.name == "results.csv" else results.stem + SUFFIX)


def write_items(path: Path, numbers: Iterable[tuple[Row, Items]]) -> None:
    """Write an items file atomically; no file where there are no items, also where there was one.

    Raises:
        ValueError: what :func:`check_items` refuses, or more items than a cell can hold.
    """
    lines = [_to_cells(row, items) for row, items in numbers]
    if not lines:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(lines)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_items(paths: Iterable[Path], rows: Sequence[Row]) -> dict[ItemKey, Items]:
    """The items beside results files, as far as there are any, each found to fit its row.

    ``rows`` are those of the same results files, all together.

    Raises:
        ValueError: a wrong header, cell or number of cells, items without a row, items that do not fit
            their row, or two different lines for one row; the message gives file, line and column.
    """
    by_key = {item_key(row): row for row in rows}
    found: dict[ItemKey, tuple[str, Items]] = {}
    for path in map(items_path, paths):
        if not path.is_file():
            continue
        for place, key, items in _read_file(path):
            if key not in by_key:
                raise ValueError(
                    f"{place}: {IDENTITY[0]} to {IDENTITY[-1]}: no row beside this file is this one"
                )
            try:
                check_items(by_key[key], items)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            earlier_place, earlier = found.setdefault(key, (place, items))
            if earlier != items:
                raise ValueError(f"{place}: values: differ from those of the same row at {earlier_place}")
    return {key: items for key, (_, items) in found.items()}


def matching(rows: Iterable[Row], items: Mapping[ItemKey, Items]) -> list[tuple[Row, Items]]:
    """The rows that have items, with them, in the rows' order."""
    keys = ((row, item_key(row)) for row in rows)
    return [(row, items[key]) for row, key in keys if key in items]


def _to_cells(row: Row, items: Items) -> list[str]:
    check_items(row, items)
    if row.metric in HITS:
        text = "".join("1" if value else "0" for value in items.values)
    else:
        text = ";".join(f"{value:.8g}" for value in items.values)
    if len(text) > CELL_LENGTH:
        raise ValueError(
            f"values: {len(items.values)} items need {len(text)} characters, at most {CELL_LENGTH}"
        )
    return [*item_key(row), str(len(items.values)), items.names_sha256, text]


def _read_file(path: Path) -> Iterable[tuple[str, ItemKey, Items]]:
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.reader(handle, strict=True)
        try:
            header = tuple(next(reader, ()))
            if header != COLUMNS:
                raise ValueError(
                    f"{path}:1: expected the header {','.join(COLUMNS)}, found {','.join(header)}"
                )
            for cells in reader:
                place = f"{path}:{reader.line_num}"
                if len(cells) != len(COLUMNS):
                    raise ValueError(f"{place}: expected {len(COLUMNS)} cells, found {len(cells)}")
                try:
                    items = _from_cells(dict(zip(COLUMNS, cells, strict=True)))
                except ValueError as error:
                    raise ValueError(f"{place}: {error}") from error
                yield place, tuple(cells[: len(IDENTITY)]), items
        except csv.Error as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}:{reader.line_num + 1}: not UTF-8: {error}") from error


def _from_cells(cells: Mapping[str, str]) -> Items:
    text = cells["values"]
    if cells["metric"] in HITS:
        if not text or text.strip("01"):
            raise ValueError("values: expected 0 and 1 only, one an image")
        values = tuple(map(float, text))
    else:
        values = tuple(_number(part) for part in text.split(";"))
    if cells["n"] != str(len(values)):
        raise ValueError(f"n: is {cells['n']!r}, but there are {len(values)} values")
    digest = cells["names_sha256"]
    if len(digest) != 64 or digest.strip("0123456789abcdef"):
        raise ValueError(f"names_sha256: {digest!r} is not a SHA-256")
    return Items(values, digest)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"values: {text!r} is not a finite number")
    return value
