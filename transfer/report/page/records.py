"""The provenance that the page carries: every row's fields as text, each distinct text once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields

from transfer.report.aggregate import Cell
from transfer.report.layout import DATASETS, method_name
from transfer.report.page.texts import (
    UNITS,
    find_interval,
    find_std,
    name_protocol,
    name_task,
    row_texts,
    show_value,
)
from transfer.report.page.views import identify
from transfer.report.rows import METRICS, Row
from transfer.report.shown import Entry

# Field -> label, by the headings of the dialog; a field that is not here comes last, under its own name.
LABELS = {
    "Where it comes from": {
        "source": "source or command",
        "reported": "reported",
        "status": "status",
        "config_sha256": "configuration SHA-256",
        "backbone_sha256": "backbone SHA-256",
        "code_version": "code version and commit",
        "hardware": "hardware",
        "wall_s": "wall time (s)",
    },
    "The number": {
        "value": "value",
        "std": "stated spread",
        "unit": "unit",
        "higher_is_better": "higher is better",
        "metric": "metric",
        "seed": "seed",
        "n": "items evaluated (n)",
        "selection": "selection",
    },
    "What was asked": {
        "task": "task",
        "dataset": "dataset",
        "split": "split",
        "protocol": "protocol",
        "backend": "backend",
    },
    "Of which backbone": {
        "method": "method",
        "arch": "network",
        "pretrain_data": "pre-trained on",
        "pretrain_epochs": "pre-training epochs",
        "branch": "branch",
    },
}
COPIED = ("source", "config_sha256", "backbone_sha256", "code_version")


def list_fields() -> list[tuple[str, str, str]]:
    """All fields of a row as ``(name, label, heading)``, in the dialog's order."""
    names = [field.name for field in fields(Row)]
    known = [(n, label, head) for head, labels in LABELS.items() for n, label in labels.items() if n in names]
    listed = {name for name, _, _ in known}
    return known + [(name, name.replace("_", " "), "Else") for name in names if name not in listed]


def embed(cells: Sequence[Cell], entries: Iterable[Entry]) -> dict[str, object]:
    """What the page's script needs, ready for JSON; the cells in the order given."""
    repeats = {identify(entry.cell): _say_repeat(entry) for entry in entries if entry.difference is not None}
    listed = list_fields()
    names = tuple(name for name, _, _ in listed)
    strings: dict[str, int] = {}

    def intern(text: str) -> int:
        return strings.setdefault(text, len(strings))

    rows: list[list[int]] = []
    numbers: list[list[object]] = []
    for cell in cells:
        first, name = len(rows), identify(cell)
        rows += [[intern(text) for text in row_texts(row, names)] for row in cell.rows]
        interval = find_interval(cell)
        spread = find_std(cell)
        numbers.append(
            [
                name,
                first,
                len(cell.rows),
                cell.value,
                *show_value(cell),
                f"{spread:.4g}" if spread is not None else "",
                int(cell.line.published),
                cell.planned if cell.is_short else 0,
                repeats.get(name, []),
                *((f"{interval[0]:.4g}", f"{interval[1]:.4g}", interval[2]) if interval else ()),
            ]
        )
    columns = [cell.column for cell in cells]
    return {
        "fields": [[name, label, heading, name in COPIED] for name, label, heading in listed],
        "strings": list(strings),
        "rows": rows,
        "numbers": numbers,
        "names": {
            "method": {cell.line.method: method_name(cell.line.method) for cell in cells},
            "task": {column.task: name_task(column.task) for column in columns},
            "dataset": {column.dataset: DATASETS.get(column.dataset, column.dataset) for column in columns},
            "protocol": {column.protocol: name_protocol(column.protocol) for column in columns},
            "metric": {column.metric: METRICS[column.metric].name for column in columns},
        },
        "units": UNITS,
    }


def _say_repeat(entry: Entry) -> list[str]:
    """The published number that a measured one repeats: its id, the difference, how that lies."""
    assert entry.published is not None, "a difference is one to a published number"
    lies = {True: "inside", False: "outside", None: ""}[entry.inside]
    return [identify(entry.published), f"{entry.difference:+.4g}", lies]


def to_script_json(data: object) -> str:
    """JSON that can stand inside a ``script`` element: no text in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
