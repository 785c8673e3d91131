"""What a run of the frozen protocol leaves behind: tracks in each benchmark's format, and their bookkeeping.

out/tracks/<protocol>/<sequence>.txt | <sequence>.json | <sequence>/00000.png
out/tracks/sequences.json      which frames and which ground truth the tracks belong to
out/per_sequence.csv           each metric of each sequence
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer.writing import write_text

KINDS = ("boxes", "masks", "mot", "mots", "pose")
PER_SEQUENCE = ("protocol", "sequence", "metric", "value")


@dataclass(frozen=True)
class IndexEntry:
    """A sequence of ``sequences.json``."""

    name: str
    frames: Sequence[Path]
    ground_truth: Path  # a file, or the folder of masks


@dataclass(frozen=True)
class SequenceValue:
    """A metric of one sequence in the unit of its rows; None where it is undefined there."""

    protocol: str
    sequence: str
    metric: str
    value: float | None


def tracks_folder(out: Path, protocol: str) -> Path:
    """Where the tracks of one protocol go."""
    return out / "tracks" / protocol


def write_index(out: Path, kind: str, entries: Iterable[IndexEntry]) -> None:
    """Write ``out/tracks/sequences.json``, with absolute paths.

    Raises:
        ValueError: a kind that is not in :data:`KINDS`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    sequences = [
        {
            "name": entry.name,
            "frames": [str(frame.absolute()) for frame in entry.frames],
            "ground_truth": str(entry.ground_truth.absolute()),
        }
        for entry in entries
    ]
    text = json.dumps({"kind": kind, "sequences": sequences}, indent=1)
    write_text(out / "tracks" / "sequences.json", text + "\n")


def write_per_sequence(out: Path, rows: Iterable[SequenceValue]) -> None:
    """Write ``out/per_sequence.csv``; an undefined value, NaN too, is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(PER_SEQUENCE)
    for row in rows:
        defined = row.value is not None and math.isfinite(row.value)
        writer.writerow((row.protocol, row.sequence, row.metric, f"{row.value:.10g}" if defined else ""))
    write_text(out / "per_sequence.csv", buffer.getvalue())
