"""What single-object tracking leaves behind: boxes in the ground truth's format, metrics of each sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transfer.track.frozen.results import (
    IndexEntry,
    SequenceValue,
    tracks_folder,
    write_index,
    write_per_sequence,
)
from transfer.track.mm.sot_evaluation import Evaluation
from transfer.track.mm.sot_sequences import sequence_names
from transfer.writing import write_text


def write_records(out: Path, protocol: str, dataset: Any, found: Evaluation) -> None:
    """Write ``per_sequence.csv`` and ``tracks/`` of a run, as the frozen protocol does.

    Boxes are written for sequences of :mod:`transfer.track.mm.sot_sequences`, which know their frames; other
    data sets of mmtrack's have their metrics only.
    """
    names = sequence_names(dataset)
    write_per_sequence(
        out,
        [
            SequenceValue(protocol, name, metric, value)
            for metric, values in found.by_sequence.items()
            for name, value in zip(names, values, strict=True)
        ],
    )
    sequences = getattr(dataset, "sequences", None)
    if sequences is None:
        return
    start = 0
    for sequence in sequences:
        boxes = found.boxes[start : start + len(sequence.frames)]
        lines = [f"{x1:.4f},{y1:.4f},{x2 - x1:.4f},{y2 - y1:.4f}\n" for x1, y1, x2, y2, _ in boxes]
        write_text(tracks_folder(out, protocol) / f"{sequence.name}.txt", "".join(lines))
        start += len(sequence.frames)
    entries = [IndexEntry(sequence.name, sequence.frames, sequence.ground_truth) for sequence in sequences]
    write_index(out, "boxes", entries)
