"""Image folders and archives: faults are named, and an archive writes nothing outside its folder."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from classify_images import write_digits

from transfer.data.archives import ARCHIVE_MARK, extract_once
from transfer.data.folders import ImageSetConfig, read_split, read_splits


def config_for(data_dir: Path, **changes: str) -> ImageSetConfig:
    return ImageSetConfig(dataset="digits", protocol="knn-k20", data_dir=str(data_dir), **changes)  # type: ignore[arg-type]


def pack(archive: Path, *members: tuple[str, bytes | None, str]) -> Path:
    """Write a .tar.gz of (name, content, link target); content None makes a link."""
    with tarfile.open(archive, "w:gz") as tar:
        for name, content, link in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, link
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return archive


def test_splits_are_listed_by_class(tmp_path: Path) -> None:
    train, val = read_splits(config_for(write_digits(tmp_path, 2, 1, num_classes=2)))
    assert train.classes == ("digit0", "digit1")
    assert train.labels == (0, 0, 1, 1)
    assert val.names == ("digit0/digit0_2.png", "digit1/digit1_2.png")


def test_missing_split_is_named_with_what_is_there(tmp_path: Path) -> None:
    write_digits(tmp_path, 2, 1, num_classes=2)
    with pytest.raises(FileNotFoundError, match=r"test: expected the folder of split 'test'.*'train', 'val'"):
        read_split(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_split(tmp_path / "absent", "train")


def test_class_without_images_is_named(tmp_path: Path) -> None:
    write_digits(tmp_path, 2, 1, num_classes=2)
    (tmp_path / "val" / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        read_split(tmp_path, "val")


def test_splits_that_disagree_on_classes_are_refused(tmp_path: Path) -> None:
    write_digits(tmp_path, 2, 1, num_classes=2)
    (tmp_path / "val" / "digit1").rename(tmp_path / "val" / "other")
    with pytest.raises(ValueError, match=r"only in train/: \['digit1'\], only in val/: \['other'\]"):
        read_splits(config_for(tmp_path))


def test_archive_is_unpacked_once(tmp_path: Path) -> None:
    source = write_digits(tmp_path / "source", 2, 1, num_classes=2)
    archive = tmp_path / "digits.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source / "train", "train")
        tar.add(source / "val", "test")
    target = tmp_path / "unpacked"
    config = config_for(target, archive=str(archive), val_split="test")
    train, val = read_splits(config)
    assert (len(train.names), len(val.names)) == (4, 2)
    before = (target / ARCHIVE_MARK).stat().st_mtime_ns
    assert read_splits(config) == (train, val)
    assert (target / ARCHIVE_MARK).stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.tar.gz", "source", "unpacked"]


def test_folder_of_another_archive_is_refused(tmp_path: Path) -> None:
    extract_once(pack(tmp_path / "a.tar.gz", ("train/a/0.png", b"a", "")), tmp_path / "set")
    other = pack(tmp_path / "b.tar.gz", ("train/a/0.png", b"b", ""))
    with pytest.raises(ValueError, match=r"was not unpacked from .*b\.tar\.gz"):
        extract_once(other, tmp_path / "set")


def test_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such archive"):
        extract_once(tmp_path / "absent.tar.gz", tmp_path / "set")


@pytest.mark.parametrize(
    "member",
    [("../outside.png", b"x", ""), ("/tmp/outside.png", b"x", ""), ("train/link", None, "../../outside")],
)
def test_archive_that_reaches_outside_leaves_nothing(
    tmp_path: Path, member: tuple[str, bytes | None, str]
) -> None:
    archive = pack(tmp_path / "bad.tar.gz", ("train/a/0.png", b"x", ""), member)
    with pytest.raises(ValueError, match="refused member"):
        extract_once(archive, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar.gz"]


def cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_sum(content: bytes) -> bytes:
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


def with_bad_header(content: bytes) -> bytes:
    tar = bytearray(gzip.decompress(content))
    tar[2 * (512 + 1024) + 148] ^= 1  # the third header's own sum
    return gzip.compress(bytes(tar))


def without_content(_: bytes) -> bytes:
    return b"<html>404 Not Found</html>"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_off, "end-of-stream"),
        (without_sum, "CRC check failed"),
        (with_bad_header, "bad header at byte 3072"),
        (without_content, "not a gzip file"),
    ],
)
def test_damaged_archive_is_named_and_leaves_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    content = np.random.default_rng(0).bytes(700)
    archive = pack(tmp_path / "set.tar.gz", *((f"train/a/{i}.png", content, "") for i in range(5)))
    extract_once(archive, tmp_path / "sound")
    assert len(list((tmp_path / "sound").rglob("*.png"))) == 5
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(
        ValueError, match=rf"set.tar.gz: not an archive, or a damaged one .*{reason}.*; get it"
    ):
        extract_once(archive, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.tar.gz", "sound"]


def test_folder_that_another_machine_unpacks_into_is_left_alone(tmp_path: Path) -> None:
    archive = pack(tmp_path / "set.tar.gz", ("train/a/0.png", b"a", ""))
    others = tmp_path / f".set.{os.getpid()}"  # of the same process number
    others.mkdir()
    extract_once(archive, tmp_path / "set")
    assert others.is_dir()
