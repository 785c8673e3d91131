"""Frames, videos side by side, files of a run and ids of its rows: what the five frozen tasks share."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transfer.track.frozen import frames as frames_module
from transfer.track.frozen.frames import in_batches, read_ahead, read_image
from transfer.track.frozen.protocol_ids import row_ids
from transfer.track.frozen.results import (
    IndexEntry,
    SequenceValue,
    tracks_folder,
    write_index,
    write_per_sequence,
)
from transfer.track.frozen.videos import SequenceError, map_videos


@dataclass(frozen=True)
class Video:
    name: str
    length: int = 1


def write_images(folder: Path, num: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(num)]
    for index, path in enumerate(paths):
        Image.new("RGB", (4, 3), (index, 100, 200)).save(path)
    return paths


def test_an_image_is_rgb_rows_and_columns(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1))


def test_frames_come_in_order_whoever_decodes_them(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 9)
    assert [int(image[0, 0, 0]) for image in read_ahead(paths, 3)] == list(range(9))
    assert list(read_ahead([])) == []
    assert [len(batch) for batch in in_batches(read_ahead(paths), 4)] == [4, 4, 1]


def test_few_frames_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, decoded = write_images(tmp_path, 30), []

    def counted(path: Path) -> torch.Tensor:
        decoded.append(path)
        return read_image(path)

    monkeypatch.setattr(frames_module, "read_image", counted)
    images = read_ahead(paths, 2)
    next(images)
    time.sleep(0.2)
    assert len(decoded) <= 6
    images.close()  # type: ignore[attr-defined]  # a generator's


def test_a_frame_that_cannot_be_read_is_named_in_its_turn(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 3)
    paths[1].write_bytes(b"no image")
    images = read_ahead(paths)
    next(images)
    with pytest.raises(ValueError, match=r"1\.png: not a readable image"):
        next(images)


@pytest.mark.parametrize("at_once", [0, 1, 3])
def test_results_are_in_order_and_threads_as_before(at_once: int) -> None:
    threads = torch.get_num_threads()
    videos = [Video(str(index), index) for index in range(5)]

    def square(video: Video) -> int:
        time.sleep(0.01 * (5 - video.length))
        return video.length**2

    assert map_videos(square, videos, at_once) == [0, 1, 4, 9, 16]
    assert torch.get_num_threads() == threads
    assert map_videos(square, [], at_once) == []


def test_videos_are_side_by_side() -> None:
    barrier = threading.Barrier(2, timeout=10)  # nobody passes alone
    assert map_videos(lambda video: barrier.wait() >= 0, [Video("a"), Video("b")], 2) == [True, True]


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_first_error_names_its_sequence(at_once: int) -> None:
    begun: list[str] = []

    def fail(video: Video) -> None:
        begun.append(video.name)
        if video.name == "b":
            raise ValueError("no such box")
        time.sleep(0.05)

    with pytest.raises(SequenceError, match=r"^b: no such box") as caught:
        map_videos(fail, [Video(name) for name in "abcdefgh"], at_once)
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(begun) < 8


def test_a_negative_number_of_videos_is_refused() -> None:
    with pytest.raises(ValueError, match="videos_at_once: expected at least 0, found -1"):
        map_videos(lambda video: 0, [Video("a")], -1)


def test_files_of_a_run(tmp_path: Path) -> None:
    entries = [IndexEntry("a", [tmp_path / "1.png"], tmp_path / "gt.txt")]
    write_index(tmp_path, "boxes", entries)
    index = json.loads((tmp_path / "tracks" / "sequences.json").read_text())
    assert index["kind"] == "boxes"
    assert index["sequences"][0]["frames"] == [str(tmp_path / "1.png")]
    with pytest.raises(ValueError, match="kind: expected one of boxes"):
        write_index(tmp_path, "box", entries)
    rows = [SequenceValue("p", "a,b", "mota", 12.5), SequenceValue("p", "c", "mota", None)]
    rows.append(SequenceValue("p", "d", "mota", float("nan")))
    write_per_sequence(tmp_path, rows)
    expected = 'protocol,sequence,metric,value\np,"a,b",mota,12.5\np,c,mota,\np,d,mota,\n'
    assert (tmp_path / "per_sequence.csv").read_text() == expected
    assert tracks_folder(tmp_path, "p") == tmp_path / "tracks" / "p"
    assert not list(tmp_path.rglob(".*"))


@dataclass
class Settings:
    root: str = ""
    seed: int = 0
    obid: str = "FairMOT"
    gate: bool = False
    rate: float = 0.1
    size: list[int] = field(default_factory=lambda: [1088, 608])


def test_what_deviates_is_in_the_id() -> None:
    assert row_ids(Settings(root="x", seed=3), ["a", "b"]) == ("a", "b")
    changed = Settings(size=[544, 304], gate=True, rate=1e-5, obid="mine")
    assert row_ids(changed, ["a"], ["obid"]) == ("a@gate=true,rate=1e-05,size=544x304",)
    assert row_ids(changed, ["a"])[0].startswith("a@gate=true,obid=mine,")
    assert row_ids(Settings(rate=0.12345678), ["a"]) == ("a@rate=0.12345678",)  # no two values look alike
