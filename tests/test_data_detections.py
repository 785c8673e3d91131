"""Given detections in MOTChallenge's and JDE's text, and MOTChallenge sequences checked as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from track_sets import write_mot

from transfer.data.detections import read_detections
from transfer.data.mot_sequences import read_mot_sequences


@pytest.mark.parametrize(
    "text",
    [
        "2,-1,10,20,30,40,0.9,-1,-1,-1\n1,-1,1,2,3,4,-1.5,-1,-1,-1\n2,-1,5,6,7,8,0.5,-1,-1,-1\n",
        "2,7,10,20,30,40,0.9\n1,8,1,2,3,4,-1.5\n\n2,9,5,6,7,8,0.5\n",
        "2 10 20 30 40 0.9\n1 1 2 3 4 -1.5\n2 5 6 7 8 0.5\n",
    ],
    ids=["det.txt", "tracks", "six cells"],
)
def test_every_text_gives_the_same_boxes(tmp_path: Path, text: str) -> None:
    (tmp_path / "det.txt").write_text(text)
    found = read_detections(tmp_path / "det.txt", 3)
    assert found.of(1).tolist() == [[1, 2, 3, 4, -1.5]]
    assert found.of(2).tolist() == [[10, 20, 30, 40, 0.9], [5, 6, 7, 8, 0.5]]
    assert found.of(3).shape == (0, 5)
    assert len(found) == 3


def test_jde_boxes_are_parts_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "000002.txt").write_text("0.5 0.25 0.2 0.5 0.75\n")
    (tmp_path / "000001.txt").write_text("")
    found = read_detections(tmp_path, 2, size=(100, 40))
    assert np.allclose(found.of(2), [[40, 0, 20, 20, 0.75]])
    with pytest.raises(ValueError, match="give size"):
        read_detections(tmp_path, 2)
    (tmp_path / "000009.txt").write_text("0.5 0.25 0.2 0.5 0.75\n")
    with pytest.raises(ValueError, match="1 detections are of frames that do not exist"):
        read_detections(tmp_path, 2, size=(100, 40))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("5,-1,1,2,3,4,1", r"1 detections are of frames that do not exist \(there are 4\): 5"),
        ("0,-1,1,2,3,4,1", r"frames that do not exist \(there are 4\): 0"),
        ("2,-1,1,nan,3,4,1", r"line 2 \('2,-1,1,nan,3,4,1'\)"),
        ("2,-1,1,2,inf,4,1", "line 2"),
        ("2,-1,1,2,0,4,1", r"no width or height above 0: line 2 \(0x4\)"),
        ("2,-1,1,2,3,-4,1", r"line 2 \(3x-4\)"),
        ("2,-1,1,2", "line 2"),
        ("2.5,-1,1,2,3,4,1", "line 2"),
        ("2,1,2,3,4,1", "expected lines of one kind"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "det.txt"
    path.write_text("1,-1,1,2,3,4,1\n")
    assert len(read_detections(path, 4)) == 1
    path.write_text(f"1,-1,1,2,3,4,1\n{line}\n")
    with pytest.raises(ValueError, match=words):
        read_detections(path, 4)


def test_no_detections_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such detections"):
        read_detections(tmp_path / "det.txt", 4)


def test_a_sequence_comes_with_its_frames_and_boxes(tmp_path: Path) -> None:
    (sequence,) = read_mot_sequences(write_mot(tmp_path, num_frames=3))
    assert len(sequence.frames) == 3
    assert [(box.frame, box.identity, box.left) for box in sequence.boxes][:2] == [(1, 1, 7), (2, 1, 10)]
    assert sequence.detections.of(2)[:, 0].tolist() == [10, 10]


@pytest.mark.parametrize("layout", ["file", "folder", "images"])
def test_detections_of_another_detector_lie_elsewhere(tmp_path: Path, layout: str) -> None:
    write_mot(tmp_path / "set")
    if layout == "file":
        path, text = tmp_path / "given" / "TINY-01.txt", "3,1,2,3,4,0.5\n"
    else:
        folder = tmp_path / "given" / "TINY-01" / ("img1" if layout == "images" else "")
        path, text = folder / "000003.txt", "0.5 0.5 0.5 0.5 0.5\n"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (sequence,) = read_mot_sequences(tmp_path / "set", detections_dir=tmp_path / "given")
    assert list(sequence.detections.frames) == [3]
    with pytest.raises(ValueError, match="TINY-01: has no given detections in"):
        read_mot_sequences(tmp_path / "set", detections_dir=tmp_path / "set")


def break_frame(folder: Path) -> str:
    (folder / "img1" / "000002.png").unlink()
    return "1 frames are missing: 000002.png"


def break_size(folder: Path) -> str:
    Image.new("RGB", (9, 9)).save(folder / "img1" / "000002.png")
    return "not of the sequence's size 96x64: 000002.png (9x9)"


def break_more(folder: Path) -> str:
    Image.new("RGB", (96, 64)).save(folder / "img1" / "000005.png")
    return "seqinfo.ini: expected 4 frames, found 5 in img1"


def break_info(folder: Path) -> str:
    (folder / "seqinfo.ini").write_text("[Sequence]\nname=bad\n")
    return "not a MOTChallenge seqinfo.ini"


def break_nan(folder: Path) -> str:
    with (folder / "gt" / "gt.txt").open("a") as handle:
        handle.write("3,9,nan,2,3,4,1,1,1\n")
    return "boxes of gt.txt are not finite, or have no size: frame 3 id 9"


def break_lost(folder: Path) -> str:
    with (folder / "gt" / "gt.txt").open("a") as handle:
        handle.write("7,9,1,2,3,4,1,1,1\n")
    return "frames of gt.txt do not exist (there are 4): 7"


def break_detections(folder: Path) -> str:
    with (folder / "det" / "det.txt").open("a") as handle:
        handle.write("9,-1,1,2,3,4,1\n")
    return "det.txt: 1 detections are of frames that do not exist (there are 4): 9"


def break_frame_number(folder: Path) -> str:
    with (folder / "gt" / "gt.txt").open("a") as handle:
        handle.write("inf,9,1,2,3,4,1,1,1\n")
    return "gt.txt:9: expected whole frame, id and class, found 'inf,9"


def break_twice(folder: Path) -> str:
    path = folder / "gt" / "gt.txt"
    path.write_text(path.read_text() + "1,1,1,2,3,4,1,1,1\n")
    return "boxes of gt.txt have the frame and id of another: frame 1 id 1"


def break_text(folder: Path) -> str:
    (folder / "det" / "det.txt").write_bytes(b"\xff\xfe1,2")
    return "det.txt: not a text file"


def break_rate(folder: Path) -> str:
    path = folder / "seqinfo.ini"
    path.write_text(path.read_text().replace("frameRate=30", "frameRate=0"))
    return "frameRate: expected numbers above 0"


def break_name(folder: Path) -> str:
    path = folder / "seqinfo.ini"
    path.write_text(path.read_text().replace("name=", "name=../../"))
    return "name: expected the name of a folder, found '../../"


BREAKS = [break_frame, break_size, break_more, break_info, break_nan, break_lost, break_detections]
BREAKS += [break_frame_number, break_twice, break_text, break_rate, break_name]


@pytest.mark.parametrize("break_it", BREAKS)
def test_a_fault_is_named_with_its_sequence(tmp_path: Path, break_it: Callable[[Path], str]) -> None:
    write_mot(tmp_path, ("bad", "good"))
    assert len(read_mot_sequences(tmp_path)) == 2
    words = break_it(tmp_path / "bad")
    with pytest.raises(ValueError, match="1 faults; correct the files") as error:
        read_mot_sequences(tmp_path)
    assert words in str(error.value)
    assert "- bad: " in str(error.value)
    assert [sequence.name for sequence in read_mot_sequences(tmp_path, ["good"])] == ["good"]


def test_faults_of_all_sequences_come_in_one_message(tmp_path: Path) -> None:
    names = tuple(f"S{number}" for number in range(len(BREAKS)))
    write_mot(tmp_path, names)
    words = [break_it(tmp_path / name) for name, break_it in zip(names, BREAKS, strict=True)]
    with pytest.raises(ValueError, match="12 faults") as error:
        read_mot_sequences(tmp_path)
    for name, word in zip(names, words, strict=True):
        assert any(f"- {name}: " in line and word in line for line in str(error.value).splitlines())
