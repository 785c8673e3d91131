"""Checkpoints: whole or not there, damaged ones set aside, the one before kept whatever happens."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.checkpoint import list_checkpoints, load_newest, save_checkpoint
from pretrain.export import remove_leftovers


def state(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"weight": torch.full((64, 64), float(step))}}


def test_the_newest_is_read_and_only_as_many_as_wanted_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, state(step), keep=2)
    assert [path.name[:19] for path in list_checkpoints(tmp_path)] == [
        "checkpoint_00000030",
        "checkpoint_00000020",
    ]
    newest = load_newest(tmp_path)
    assert newest is not None
    assert newest[1]["step"] == 30
    assert torch.equal(newest[1]["model"]["weight"], torch.full((64, 64), 30.0))


def test_no_checkpoint_is_nothing(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "checkpoints") is None


@pytest.mark.parametrize("damage", ["truncate", "flip a bit", "empty"])
def test_a_damaged_newest_is_set_aside_for_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    save_checkpoint(tmp_path, 10, state(10), keep=2)
    path = save_checkpoint(tmp_path, 20, state(20), keep=2)
    content = bytearray(path.read_bytes())
    if damage == "flip a bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: {"truncate": len(content) - 100, "empty": 0}.get(damage, len(content))])
    newest = load_newest(tmp_path)
    assert newest is not None
    assert newest[1]["step"] == 10
    assert f"{path}: damaged" in capsys.readouterr().err
    assert path.with_name(path.name + ".damaged").exists()
    assert not path.exists()


def test_all_damaged_is_an_error_and_not_a_new_start(tmp_path: Path) -> None:
    for step in (10, 20):
        save_checkpoint(tmp_path, step, state(step), keep=2).write_bytes(b"x")
    with pytest.raises(ValueError, match="all 2 checkpoints are damaged; remove the folder to start anew"):
        load_newest(tmp_path)


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails half-way, in the same place."""
    import resource
    import signal

    first = save_checkpoint(tmp_path, 10, state(10), keep=2)
    before = first.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # write() then says EFBIG, as it says ENOSPC
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OSError, match=rf"not written \(.*\); {first.name} is kept. Free some space"):
            save_checkpoint(tmp_path, 20, state(20), keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert first.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [first.name], "nothing half-written"
    assert save_checkpoint(tmp_path, 20, state(20), keep=2).exists()


def test_the_first_checkpoint_on_a_full_disk_says_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pretrain.checkpoint.write_atomically", full)
    with pytest.raises(OSError, match=r"No space left on device\); there is none before it"):
        save_checkpoint(tmp_path, 10, state(10), keep=2)


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 10, state(10), keep=2)
    leftover = tmp_path / f".{path.name}.12345"
    leftover.write_bytes(b"half")
    other = tmp_path / ".notes"
    other.write_text("mine")
    remove_leftovers(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([other.name, path.name])
