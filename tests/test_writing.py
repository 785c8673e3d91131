"""A file of detection's is one of those that were written, whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from transfer.writing import write_text


def test_writers_with_equal_process_numbers_may_write_at_once(tmp_path: Path) -> None:
    """Threads have one number, as processes of two machines may have."""
    path = tmp_path / "new" / "list.txt"
    texts = [letter * 100_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            assert list(threads.map(lambda text: write_text(path, text), texts)) == [None] * 8
            assert path.read_text() in texts
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "a name that is no text: \udcff")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
