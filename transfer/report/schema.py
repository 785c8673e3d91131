"""What a results file may say: a pandera schema over its text, so that every fault has a place.

Cells are checked as text, whole columns at a time, before anything is converted: so a fault is named
by line and column with the cell as it stands there, and 100,000 rows take a second or two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pandera as pa

from transfer.report.protocols import find_protocol
from transfer.report.rows import (
    COLUMNS,
    MEASURED,
    METRICS,
    NOT_RUN,
    REPORTED,
    REQUIRED,
    SELECTIONS,
    STATUS_BEGINNINGS,
    TASKS,
)

SHOWN = 10  # faults named in one message
CELL_LENGTH = 60  # characters of a cell shown in a message
DECIMAL = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
# Two rows that agree in these, and in the source where they are published, answer the same question twice.
IDENTITY = (
    *("method", "arch", "pretrain_data", "pretrain_epochs", "backbone_sha256", "branch", "task", "dataset"),
    *("split", "protocol", "backend", "metric", "seed", "selection", "reported"),
)

Frame = pd.DataFrame  # one text column per column of a results file, its index 0, 1, 2, …
Test = Callable[[Frame], "pd.Series[bool]"]


@dataclass(frozen=True, order=True)
class Fault:
    """One cell that must not be as it is."""

    line: int
    column: str
    message: str


def check_records(
    path: Path, lines: Sequence[int], records: Sequence[Sequence[str]], *, published: bool | None = None
) -> None:
    """Refuse a file's records unless each is a row; ``published`` as for ``read_placed_rows``.

    Raises:
        ValueError: what is wrong, a line for each of the first ten faults: file, line, column.
    """
    faults = [
        Fault(line, "(all)", f"expected {len(COLUMNS)} cells, found {len(cells)}")
        for line, cells in zip(lines, records, strict=True)
        if len(cells) != len(COLUMNS)
    ]
    number = len(faults)
    whole = [i for i, cells in enumerate(records) if len(cells) == len(COLUMNS)]
    if whole:
        frame = pd.DataFrame([records[i] for i in whole], columns=list(COLUMNS), dtype=object)
        for error in _broken_rules(frame, published):
            found, more = _faults_of(error, frame, [lines[i] for i in whole])
            faults += found
            number += more
    if not faults:
        return
    said = [f"{path}:{fault.line}: {fault.column}: {fault.message}" for fault in sorted(faults)[:SHOWN]]
    if number > SHOWN:
        said.append(f"{path}: and {number - SHOWN} more")
    raise ValueError("\n".join(said))


def _broken_rules(frame: Frame, published: bool | None) -> list[pa.errors.SchemaError]:
    try:
        row_schema(published).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        return list(errors.schema_errors)
    return []


def _faults_of(error: pa.errors.SchemaError, frame: Frame, lines: Sequence[int]) -> tuple[list[Fault], int]:
    """The first faults by one rule, as many as can be shown, and the number of all."""
    check, passed = error.check, error.check_output
    assert isinstance(check, pa.Check), error  # columns and types are right by construction
    assert isinstance(passed, pd.Series), error
    failed = passed.index[~passed.astype(bool)]
    column, faults = str(check.name), []
    for place in map(int, failed[:SHOWN]):
        message = f"{_shorten(str(frame.at[place, column]))} {check.error}"
        if check.error == TWICE:
            identity = _identity(frame)
            first = (identity == identity.loc[place]).all(axis=1).idxmax()
            message = f"{TWICE} {lines[int(first)]}"
        faults.append(Fault(lines[place], column, message))
    return faults, len(failed)


def _shorten(cell: str) -> str:
    return repr(cell if len(cell) <= CELL_LENGTH else cell[: CELL_LENGTH - 1] + "…")


# ------------------------------------------------------------------------------------------ the rules

TWICE = "the same number and seed stand already in line"


@lru_cache(maxsize=3)
def row_schema(published: bool | None) -> pa.DataFrameSchema:
    """The rules; ``published`` as for ``read_placed_rows``.

    Each check is named after the column it blames, and its error is the sentence that follows the cell.
    """
    rules = [*_vocabulary(), *_numbers(), *_origin(), _rule("seed", _is_first, TWICE)]
    if published is not None:
        wanted = "a published number" if published else "a measured number, which has nothing here"
        rules.append(
            _rule("reported", lambda f: (f["reported"] != "") == published, f"is not {wanted}; wrong file?")
        )
    return pa.DataFrameSchema({name: pa.Column() for name in COLUMNS}, checks=rules, strict=True)


def _rule(column: str, test: Test, sentence: str) -> pa.Check:
    # No cell is missing; and pandera need not make a list of all failures, which takes a gigabyte.
    return pa.Check(test, name=column, error=sentence, ignore_na=False, n_failure_cases=SHOWN)


def _vocabulary() -> list[pa.Check]:
    """Which words a cell may hold."""

    def one_of(column: str, words: Sequence[str], sentence: str) -> pa.Check:
        return _rule(column, lambda f: f[column].isin(words), sentence)

    def filled(column: str) -> pa.Check:
        return _rule(column, lambda f: f[column] != "", "must not be empty")

    def fits_metric(column: str, texts: dict[str, str]) -> pa.Check:
        """Against the metric table; a metric that is not in it is another rule's fault."""

        def test(f: Frame) -> pd.Series[bool]:
            expected = f["metric"].map(texts)
            return expected.isna() | (expected == f[column])

        return _rule(column, test, "is not what the metric table says for this metric")

    units = {name: metric.unit for name, metric in METRICS.items()}
    directions = {name: str(metric.higher_is_better).lower() for name, metric in METRICS.items()}
    return [
        *(filled(name) for name in REQUIRED),
        one_of("task", ["", *TASKS], f"is unknown; known: {', '.join(TASKS)}"),
        _rule(
            "protocol",
            lambda f: f["protocol"].isin(["", *filter(find_protocol, f["protocol"].unique())]),
            "is unknown; the known ones stand in transfer/report/protocols.py",
        ),
        one_of("metric", list(METRICS), f"is unknown; known: {', '.join(METRICS)}"),
        one_of("selection", SELECTIONS, f"is none of {', '.join(SELECTIONS)}"),
        one_of("reported", ["", *REPORTED], f"is none of {', '.join(REPORTED)}, and not empty"),
        one_of("higher_is_better", ["true", "false"], "expected true or false"),
        fits_metric("unit", units),
        fits_metric("higher_is_better", directions),
        _rule(
            "status",
            lambda f: (f["status"] == "ok") | f["status"].str.startswith(STATUS_BEGINNINGS),
            "is neither ok, 'failed: …' nor 'not-run: …'",
        ),
    ]


def _numbers() -> list[pa.Check]:
    """What a cell must be to be read as a number, and which numbers there can be."""

    def matches(column: str, pattern: str, sentence: str) -> pa.Check:
        return _rule(column, lambda f: f[column].str.fullmatch(f"({pattern})?"), sentence)

    def value_or_status(f: Frame) -> pd.Series[bool]:
        """Other states than ok are the next rule's matter, text that is no number an earlier one's."""
        return (f["status"] != "ok") | ~f["value"].str.fullmatch("|[+-]?(?i:nan|inf|infinity)")

    def in_percent(f: Frame) -> pd.Series[bool]:
        values = _to_numbers(f["value"])
        lowest = f["metric"].map({name: metric.lowest for name, metric in METRICS.items()})
        return (f["unit"] != "percent") | ~((values < lowest) | (values > 100))

    def not_negative(f: Frame) -> pd.Series[bool]:
        return (f["unit"] == "percent") | ~(_to_numbers(f["value"]) < 0)

    def whole(f: Frame) -> pd.Series[bool]:
        return (f["unit"] != "count") | ~(_to_numbers(f["value"]) % 1 > 0)

    return [
        matches("value", f"{DECIMAL}|[+-]?(?i:nan|inf|infinity)", "is not a number"),
        matches("std", DECIMAL, "is not a finite number"),
        matches("wall_s", DECIMAL, "is not a finite number"),
        matches("seed", r"-?\d{1,18}", "is not a whole number"),
        matches("n", r"\d{1,18}", "is not a whole number"),
        _rule("value", value_or_status, "is not finite, yet the status is ok"),
        _rule(
            "value",
            lambda f: (f["value"] == "") | ~f["status"].str.startswith(STATUS_BEGINNINGS),
            "stands beside a status that says there is no number",
        ),
        _rule("value", in_percent, "lies outside 0..100 percent"),
        _rule("value", not_negative, "is negative"),
        _rule("value", whole, "is not a count"),
        _rule("std", lambda f: ~(_to_numbers(f["std"]) < 0), "is negative"),
        _rule(
            "std",
            lambda f: (f["std"] == "") | ((f["reported"] != "") & (f["value"] != "")),
            "stands beside no published number; the spread of measured ones comes from their seeds",
        ),
    ]


def _origin() -> list[pa.Check]:
    """A published number says who measured it, a measured one which files and which code."""

    def measured(f: Frame) -> pd.Series[bool]:
        return (f[list(MEASURED)] != "").any(axis=1)

    def needless(f: Frame, column: str) -> pd.Series[bool]:
        """What did not run may have had no backbone to run on."""
        return f["status"].str.startswith(NOT_RUN) & (column == "backbone_sha256")

    def present(column: str) -> Test:
        return lambda f: (f["reported"] != "") | ~measured(f) | (f[column] != "") | needless(f, column)

    def absent(column: str) -> Test:
        return lambda f: (f["reported"] == "") | (f[column] == "")

    def digest(column: str) -> Test:
        return lambda f: f[column].str.fullmatch("([0-9a-f]{64})?")

    return [
        _rule(
            "reported",
            lambda f: (f["reported"] != "") | measured(f),
            f"must not be empty where {', '.join(MEASURED)} are: who measured this number, "
            f"{', '.join(REPORTED[:-1])} or {REPORTED[-1]}?",
        ),
        *(_rule(name, present(name), "must not be empty in a measured row") for name in MEASURED),
        *(_rule(name, absent(name), "must be empty in a published row") for name in MEASURED),
        *(_rule(name, digest(name), "is not a SHA-256") for name in MEASURED if name.endswith("sha256")),
    ]


def _identity(frame: Frame) -> Frame:
    """What tells numbers apart: a command line does not, a paper and its table do."""
    source = frame["source"].where(frame["reported"] != "", "")
    return frame[list(IDENTITY)].assign(source=source)


def _is_first(frame: Frame) -> pd.Series[bool]:
    return ~_identity(frame).duplicated()


def _to_numbers(texts: pd.Series[str]) -> pd.Series[float]:
    """Numbers where there are any; comparisons with the others are false."""
    return pd.to_numeric(texts.where(texts.str.fullmatch(DECIMAL)), errors="coerce")
