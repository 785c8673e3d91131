"""The committed page against a rebuilt one, byte for byte."""

from __future__ import annotations

from pathlib import Path

CONTEXT = 60  # characters shown on either side of the first difference


def page_difference(path: Path, expected: str) -> str | None:
    """None, or where and how the page differs from what the rows give."""
    if not path.is_file():
        return f"{path}: missing"
    found = path.read_bytes().decode(errors="replace")
    if found == expected:
        return None
    place = next(
        (i for i, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]),
        min(len(expected), len(found)),
    )
    line = expected.count("\n", 0, place) + 1
    wanted, have = (repr(text[max(0, place - CONTEXT) : place + CONTEXT]) for text in (expected, found))
    return f"{path}:{line}: the rows give {wanted}, the file has {have}"
