"""Shards: what is read, in which order, and which damage is named."""

from __future__ import annotations

import gc
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.config import ViewsConfig
from pretrain.images import Folder, Sample, UnlabelledImages
from pretrain.shards import MAX_OPEN, WINDOW, Names, Shards, expand


def jpeg(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((12, 16, 3), value, dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def write_shard(path: Path, members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return path


def write_shards(folder: Path, shards: int, images: int) -> str:
    for i in range(shards):
        members = {}
        for j in range(images):
            key = f"{i * images + j:06}"
            members |= {f"{key}.jpg": jpeg(j), f"{key}.cls": b"7", f"{key}.json": b"{}"}
        write_shard(folder / f"s-{i:04}.tar", members)
    return str(folder / f"s-{{0000..{shards - 1:04}}}.tar")


def test_images_are_those_that_were_written_and_labels_are_not_read(tmp_path: Path) -> None:
    shards = Shards(write_shards(tmp_path, 3, 4))
    assert len(shards) == 12
    for index in range(12):
        assert shards.read(index) == jpeg(index % 4)
        assert shards.name(index) == f"{tmp_path / f's-{index // 4:04}.tar'}: {index:06}.jpg"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_folders_are_read_in_every_tar_format(tmp_path: Path, format: int) -> None:
    name = "f" * 90 + "/" + "n" * 90 + ".JPEG"
    shard = write_shard(tmp_path / "a.tar", {"empty.txt": b"", name: jpeg(5)}, format)
    shards = Shards(str(shard))
    assert shards.read(0) == jpeg(5)
    assert shards.name(0) == f"{shard}: {name}"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the package closes no shard
def test_the_same_samples_as_the_webdataset_package(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    pattern = write_shards(tmp_path, 2, 3)
    theirs = [sample["jpg"] for sample in webdataset.WebDataset(pattern, shardshuffle=False)]
    shards = Shards(pattern)
    assert [shards.read(i) for i in range(len(shards))] == theirs
    gc.collect()  # its open shards, while their warning is ignored


def test_shards_give_the_crops_that_a_folder_gives(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    members = {}
    (tmp_path / "images").mkdir()
    for i in range(3):
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(file, "PNG")
        members[f"{i}.png"] = file.getvalue()
        (tmp_path / "images" / f"{i}.png").write_bytes(file.getvalue())
    views = ViewsConfig(size=16)
    shards = UnlabelledImages(Shards(str(write_shard(tmp_path / "a.tar", members))), views)
    folder = UnlabelledImages(Folder(tmp_path / "images"), views)
    for i in range(3):
        assert torch.equal(shards[Sample(i, 3)][0], folder[Sample(i, 3)][0])


def test_order_is_a_permutation_that_the_seed_decides(tmp_path: Path) -> None:
    shards = Shards(write_shards(tmp_path, 5, 3))
    torch.manual_seed(0)
    first = shards.order(1)
    torch.manual_seed(1)
    assert torch.equal(first, shards.order(1))
    assert sorted(first.tolist()) == list(range(15))
    assert not torch.equal(first, shards.order(2))


def test_order_stays_within_a_window_of_shuffled_shards(tmp_path: Path) -> None:
    shards = Shards(write_shards(tmp_path, 2 * WINDOW + 3, 6))
    windows = [(images // 6).unique().tolist() for images in shards.order(0).split(6 * WINDOW)]
    assert [len(window) for window in windows] == [WINDOW, WINDOW, 3]
    assert len(set().union(*windows)) == 2 * WINDOW + 3
    assert windows[0] != list(range(WINDOW))  # the shards are shuffled
    inside = shards.order(0)[: 6 * WINDOW] // 6
    assert int((inside.diff() != 0).sum()) > 3 * WINDOW  # and so are the images of a window


def test_few_shards_are_open_at_a_time(tmp_path: Path) -> None:
    shards = Shards(write_shards(tmp_path, MAX_OPEN + 5, 1))
    for index in [*range(len(shards)), 0]:
        shards.read(index)
    assert len(shards._open) == MAX_OPEN


def test_a_reader_travels_to_another_process(tmp_path: Path) -> None:
    shards = Shards(write_shards(tmp_path, 2, 2))
    shards.read(0)
    again = pickle.loads(pickle.dumps(shards))
    assert [again.read(i) for i in range(4)] == [shards.read(i) for i in range(4)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("s-{08..11}.tar", ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]),
        ("{b,a}-{0..1}.tar", ["b-0.tar", "b-1.tar", "a-0.tar", "a-1.tar"]),
        ("s-*.tar", ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]),
        ("s-1?.tar", ["s-10.tar", "s-11.tar"]),
        ("a-0.tar", ["a-0.tar"]),
    ],
)
def test_pattern_names_the_shards(tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("s-08", "s-09", "s-10", "s-11", "a-0", "a-1", "b-0", "b-1"):
        (tmp_path / f"{name}.tar").touch()
    assert [path.name for path in expand(str(tmp_path / pattern))] == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("s-{0000..0003}.tar", r"s-0003\.tar: no such shard"),
        ("t-*.tar", r"t-\*\.tar: no shard matches"),
        ("s-{0003..0000}.tar", r"no shard matches"),
    ],
)
def test_missing_shard_is_named(tmp_path: Path, pattern: str, message: str) -> None:
    write_shards(tmp_path, 3, 1)
    with pytest.raises(FileNotFoundError, match=message):
        Shards(str(tmp_path / pattern))


def test_every_truncation_is_named(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", {f"{i}.jpg": jpeg(i) for i in range(3)})
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    end += -end % tarfile.BLOCKSIZE
    for size in [0, 100, 512, 700, *range(1024, end + 1, 256)]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a\.tar: truncated"):
            Shards(str(path))
    path.write_bytes(whole[: end + 512])  # one block of zeros is an end
    assert len(Shards(str(path))) == 3


@pytest.mark.parametrize("content", [b"no tar file" * 100, b"\x1f\x8b" + b"x" * 2000])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar: truncated, or no uncompressed tar file"):
        Shards(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("members", [{}, {"a.txt": b"text", "a.cls": b"1"}])
def test_shard_without_images_is_named(tmp_path: Path, members: dict[str, bytes]) -> None:
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(ValueError, match=r"a\.tar: no image"):
        Shards(str(tmp_path / "a.tar"))


def test_undecodable_image_and_shrunken_shard_are_named(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", {"0.jpg": b"no image", "1.jpg": jpeg(1)})
    images = UnlabelledImages(Shards(str(path)), ViewsConfig(size=8))
    with pytest.raises(ValueError, match=r"a\.tar: 0\.jpg: cannot be decoded"):
        images[Sample(0, 0)]
    path.write_bytes(path.read_bytes()[:1600])
    with pytest.raises(OSError, match=r"a\.tar: 1\.jpg: 64 bytes where there were .*the shard changed"):
        images[Sample(1, 0)]


def test_names_are_kept_exactly() -> None:
    names = ["", "a", "Übersicht/写真.jpg", "\udcff.jpg", "z"]
    assert list(Names(names)) == names
