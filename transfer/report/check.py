"""Committed files against rebuilt ones, byte for byte; the first difference down to its cell."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from transfer.report.check_cells import csv_difference, shorten
from transfer.report.layout import read_notes


def first_difference(
    built: Path, found: Path, inputs: Sequence[Path] = (), notes: Path | None = None
) -> str | None:
    """Compare a folder with a rebuilt one; None, or where and how they differ.

    CSV files come first, because there a difference is one cell: the message then names it, and the line of
    the ``inputs`` (results files) that the rebuilt cell is from. A sentence is looked up in ``notes``.
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
            said = csv_difference(built / name, found / name, inputs) if name.endswith(".csv") else None
            return said or _line_difference(found / name, expected, have, notes)
    return None


def _line_difference(path: Path, expected: bytes, found: bytes, notes: Path | None) -> str:
    pairs = itertools.zip_longest(expected.split(b"\n"), found.split(b"\n"))
    number, (want, have) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    cell = _cell_difference(want, have) if want is not None and have is not None else ""
    said = f"{path}:{number}: {cell}the rows give {_quote(want)}, the file has {_quote(have)}"
    return said + (_note(want, notes) or _note(have, notes) if notes else "")


def _note(line: bytes | None, notes: Path) -> str:
    """Where in the notes a line of Markdown or LaTeX stands; nothing where it does not."""
    plain = (line or b"").decode(errors="replace").replace("\\", "")
    for number, note in enumerate(read_notes(notes), 2):
        if note.note in plain:
            return f"\n  from {notes}:{number}"
    return ""


def _cell_difference(want: bytes, have: bytes) -> str:
    """Which cell of a line of a Markdown or LaTeX table differs; nothing where that cannot be said."""
    for separator in (r" \| ", r" & "):
        wanted, found = (re.split(separator, text.decode(errors="replace")) for text in (want, have))
        if len(wanted) == len(found) > 1:
            number = next(i for i, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1])
            who = " ".join(wanted[:2]).strip("| ")
            return f"column {number + 1} ({who}): {shorten(wanted[number])} or {shorten(found[number])}? "
    return ""


def _quote(line: bytes | None) -> str:
    return "the end of the file" if line is None else shorten(line.decode(errors="replace"))
