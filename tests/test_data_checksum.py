"""A digest of data changes with what a task reads, and with nothing else."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from transfer.data import checksum
from transfer.data.checksum import data_sha256


@pytest.fixture(autouse=True)
def _afresh() -> None:
    checksum.forget()


def lay_out(root: Path) -> Path:
    """Two classes, three images, an annotation."""
    for name, content in (
        ("train/cat/1.png", b"\x00\x01\x02"),
        ("train/dog/1.png", b"\x03"),
        ("train/dog/2.png", b""),
        ("annotations/boxes.json", b'{"images": [1]}'),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def digest(*paths: Path) -> str:
    checksum.forget()
    return data_sha256(paths)


def test_the_same_bytes_elsewhere_at_another_time_are_the_same_data(tmp_path: Path) -> None:
    first = lay_out(tmp_path / "a")
    second = tmp_path / "deep/er/b"
    for name in ("train/dog/2.png", "train/dog/1.png", "annotations/boxes.json", "train/cat/1.png"):
        (second / name).parent.mkdir(parents=True, exist_ok=True)  # in another order
        shutil.copyfile(first / name, second / name)
    os.utime(second / "train/cat/1.png", (1, 1))
    assert digest(first) == digest(second)


@pytest.mark.parametrize("whole_bytes", [1_000, 0])
def test_a_name_a_size_or_an_annotation_changes_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr(checksum, "WHOLE_BYTES", whole_bytes)
    root = lay_out(tmp_path / "set")
    seen = {digest(root)}

    def changed() -> bool:
        known = len(seen)
        seen.add(digest(root))
        return len(seen) > known

    assert not changed()
    (root / "train/cat/1.png").rename(root / "train/cat/3.png")
    assert changed()
    (root / "train/cat/3.png").rename(root / "train/dog/3.png")
    assert changed()
    (root / "train/cat/empty.png").touch()
    assert changed()
    (root / "train/dog/1.png").write_bytes(b"\x03\x04")
    assert changed()
    (root / "annotations/boxes.json").write_bytes(b'{"images": [2]}')
    assert changed()


def test_a_pixel_is_seen_in_a_small_set_and_not_in_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay_out(tmp_path / "set")
    small = digest(root)
    monkeypatch.setattr(checksum, "WHOLE_BYTES", 3)
    large = digest(root)
    (root / "train/cat/1.png").write_bytes(b"\x00\x01\xff")
    assert digest(root) == large  # what the docstring says is not seen
    monkeypatch.undo()
    assert digest(root) not in (small, large)


def test_two_trees_whose_names_run_together_differ(tmp_path: Path) -> None:
    for root, names in (("a", ("x1 ", "y")), ("b", ("x", "1 y"))):
        (tmp_path / root).mkdir()
        for name in names:
            (tmp_path / root / name).touch()
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_what_is_not_there_counts_and_what_arrives_changes_the_digest(tmp_path: Path) -> None:
    place = tmp_path / "later"
    before = data_sha256([place])
    assert data_sha256([tmp_path / "elsewhere"]) == before
    place.mkdir()
    empty = data_sha256([place])
    (place / "1.txt").write_text("1")
    assert len({before, empty, data_sha256([place])}) == 3
    assert data_sha256([place / "1.txt/below"]) == before  # below a file there is nothing


def test_paths_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    assert digest(tmp_path / "a", tmp_path / "b") != digest(tmp_path / "b", tmp_path / "a")


def test_links_count_as_what_they_lead_to_and_loops_end(tmp_path: Path) -> None:
    plain = lay_out(tmp_path / "plain")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "train").symlink_to(plain / "train")
    (linked / "annotations").mkdir()
    (linked / "annotations/boxes.json").symlink_to(plain / "annotations/boxes.json")
    assert digest(linked) == digest(plain)
    assert digest(Path(shutil.copytree(plain, tmp_path / "copied", symlinks=True))) == digest(plain)
    (linked / "up").symlink_to(linked)
    with_loop = digest(linked)
    assert with_loop != digest(plain)
    (linked / "up").unlink()
    (linked / "nowhere").symlink_to("nothing")
    (linked / "itself").symlink_to("itself")
    assert digest(linked) not in (with_loop, digest(plain))


def test_links_that_double_at_each_level_are_followed_once(tmp_path: Path) -> None:
    for level in range(40):  # 2 ** 40 paths
        (tmp_path / f"l{level}").mkdir()
        for name in ("a", "b"):
            (tmp_path / f"l{level}" / name).symlink_to(tmp_path / f"l{level + 1}")
    (tmp_path / "l40").mkdir()
    start = time.monotonic()
    digest(tmp_path / "l0")
    assert time.monotonic() - start < 5


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert digest(tmp_path) == digest(tmp_path)


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    before = digest(tmp_path)
    with open(os.fsencode(tmp_path) + b"/\xff\n.png", "wb"):
        pass
    assert digest(tmp_path) != before


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The memory of this process opens, and fails to be read from its start: as a file on a bad disk does."""
    root = lay_out(tmp_path / "set")
    (root / "train/cat/1.png").unlink()
    (root / "train/cat/1.png").symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as caught:
        data_sha256([root])
    assert caught.value.filename == str(root / "train/cat/1.png")


def test_data_are_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay_out(tmp_path / "set")
    listed: list[str] = []
    original = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: (listed.append(place), original(place))[1])
    first = data_sha256([root])
    once = len(listed)
    assert once > 0
    assert [data_sha256([root]) for _ in range(100)] == [first] * 100
    assert len(listed) == once
    checksum.forget()
    data_sha256([root])
    assert len(listed) == 2 * once


def test_ten_thousand_files_take_no_two_seconds(tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / f"set/n{folder:02}").mkdir(parents=True)
        for image in range(500):
            (tmp_path / f"set/n{folder:02}/{image:05}.JPEG").touch()
    os.truncate(tmp_path / "set/n00/00000.JPEG", checksum.WHOLE_BYTES + 1)  # a hole, not bytes
    start = time.process_time()
    data_sha256([tmp_path / "set"])
    assert time.process_time() - start < 2  # ImageNet has 130 times as many: minutes at the worst
