"""What a run's rows say about the detector whose predictions are drawn."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from transfer.detect.pictures.read import PREFIX
from transfer.report.rows import COLUMNS, METRICS

FACTS = (
    "method",
    "arch",
    "pretrain_data",
    "pretrain_epochs",
    "backbone_sha256",
    "branch",
    "dataset",
    "split",
)


@dataclass(frozen=True)
class Line:
    """The numbers of one protocol for boxes or masks, in the order of :attr:`Identity.metrics`."""

    protocol: str
    seed: str
    what: str  # box or mask
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Identity:
    """``facts`` by column name, the same for all rows; metrics by display name."""

    facts: dict[str, str]
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]


def read_identity(predictions: Path) -> Identity | None:
    """The rows of ``results.csv`` beside a predictions folder, of its split; None where there are none.

    Raises:
        ValueError: a file that is no results file, or rows of several backbones.
    """
    folder = predictions.resolve()
    path = folder.parent / "results.csv"
    if not folder.name.startswith(PREFIX) or not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle, strict=True)
        try:
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(
                    f"{path}:1: expected the columns of a results file, found {reader.fieldnames}"
                )
            rows = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}") from error
    split = folder.name.removeprefix(PREFIX)
    rows = [row for row in rows if row["task"] == "detect" and row["split"] == split]
    if not rows:
        return None
    facts = {}
    for name in FACTS:
        values = sorted({row[name] or "" for row in rows})
        if len(values) > 1:
            raise ValueError(f"{path}: {name}: one run has one, found {', '.join(values)}")
        facts[name] = values[0]
    cells = {}
    for row in rows:
        what, _, metric = row["metric"].partition("_")
        cells[row["protocol"], row["seed"], what, metric] = _number(row)
    metrics = list(dict.fromkeys(key[3] for key in cells))
    lines = [
        Line(*key, tuple(cells.get((*key, metric), "") for metric in metrics))
        for key in dict.fromkeys(key[:3] for key in cells)
    ]
    return Identity(facts, tuple(map(_name, metrics)), tuple(lines))


def _name(metric: str) -> str:
    known = METRICS.get(f"box_{metric}")
    return known.name if known else metric


def _number(row: dict[str, str]) -> str:
    try:
        return f"{float(row['value']):.1f}"
    except ValueError:
        return row["status"]
