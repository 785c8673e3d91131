"""OTB's and LaSOT's layouts: what is read, and every fault of all sequences in one message."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from track_sets import write_frames, write_lasot, write_otb

from transfer.data.otb import RANGES, read_lasot, read_otb


def test_boxes_and_frames_are_read_as_written(tmp_path: Path) -> None:
    (sequence,) = read_otb(write_otb(tmp_path, num_frames=3))
    assert sequence.name == "Square"
    assert sequence.size == (96, 64)
    assert [path.name for path in sequence.frames] == ["0001.png", "0002.png", "0003.png"]
    assert sequence.boxes.tolist() == [[7, 7, 16, 16], [10, 7, 16, 16], [13, 7, 16, 16]]


@pytest.mark.parametrize("separator", [",", "\t", " ", ", "])
def test_cells_stand_between_commas_tabs_or_spaces(tmp_path: Path, separator: str) -> None:
    truth = write_otb(tmp_path, num_frames=2) / "Square" / "groundtruth_rect.txt"
    truth.write_text(
        "".join(separator.join(row) + "\n" for row in (("1.5", "2", "3", "4"), ("2", "3", "4", "5")))
    )
    assert read_otb(tmp_path)[0].boxes.tolist() == [[1.5, 2, 3, 4], [2, 3, 4, 5]]


def test_a_box_without_a_size_is_an_absent_target(tmp_path: Path) -> None:
    truth = write_otb(tmp_path, num_frames=3) / "Square" / "groundtruth_rect.txt"
    truth.write_text("7,7,16,16\n0,0,0,0\n13,7,16,16\n")
    boxes = read_otb(tmp_path)[0].boxes
    assert np.isnan(boxes[1]).all()
    assert np.isfinite(boxes[[0, 2]]).all()


@pytest.mark.parametrize("copied", [False, True])
def test_two_targets_of_a_video_are_two_sequences(tmp_path: Path, copied: bool) -> None:
    folders = ["Jogging-1", "Jogging-2"] if copied else ["Jogging"]
    for folder in folders:
        write_frames(tmp_path / folder / "img", 2, digits=4)
        for number in (1, 2):
            truth = tmp_path / folder / f"groundtruth_rect.{number}.txt"
            truth.write_text(f"{number},1,5,5\n" * 2)
    first, second = read_otb(tmp_path)
    assert (first.name, second.name) == ("Jogging-1", "Jogging-2")
    assert (first.boxes[0, 0], second.boxes[0, 0]) == (1, 2)
    assert read_otb(tmp_path, ["Jogging-2"])[0].boxes[0, 0] == 2


def test_the_benchmarks_frames_are_taken(tmp_path: Path) -> None:
    folder = tmp_path / "David"
    link_frames(folder, 770)
    (folder / "groundtruth_rect.txt").write_text("".join(f"{n},1,9,9\n" for n in range(300, 771)))
    (sequence,) = read_otb(tmp_path)
    assert len(sequence.frames) == 471
    assert (sequence.frames[0].name, sequence.boxes[0, 0]) == ("0300.png", 300)


def test_the_first_five_boxes_of_tiger1_are_passed_over(tmp_path: Path) -> None:
    link_frames(tmp_path / "Tiger1", 354)
    (tmp_path / "Tiger1" / "groundtruth_rect.txt").write_text("".join(f"{n},1,9,9\n" for n in range(1, 355)))
    (sequence,) = read_otb(tmp_path)
    assert RANGES["Tiger1"] == (6, 354)
    assert (len(sequence.frames), sequence.boxes[0, 0], sequence.frames[0].name) == (349, 6, "0006.png")


def link_frames(folder: Path, num_frames: int) -> None:
    """A hundred frames are enough to look at; a name for each is needed."""
    (path,) = write_frames(folder / "img", 1, digits=4)
    for number in range(2, num_frames + 1):
        os.link(path, folder / "img" / f"{number:04d}.png")


def break_missing(folder: Path) -> str:
    (folder / "img" / "0002.png").unlink()
    return "1 frames are missing from the numbering: 2"


def break_size(folder: Path) -> str:
    Image.new("RGB", (20, 10)).save(folder / "img" / "0003.png")
    return "not of the sequence's size 96x64: 0003.png (20x10)"


def break_cut_off(folder: Path) -> str:
    path = folder / "img" / "0003.png"
    path.write_bytes(path.read_bytes()[:-200])
    return "1 frames cannot be read: 0003.png"


def break_number(folder: Path) -> str:
    (folder / "img" / "0001.png").rename(folder / "img" / "20260101.png")
    return "20260096 frames are missing from the numbering: 5 to 20260100"


def break_digits(folder: Path) -> str:
    (folder / "img" / "\u00b25.png").write_bytes(b"")
    return "5.png: expected a frame named by its number"


def break_text(folder: Path) -> str:
    (folder / "groundtruth_rect.txt").write_bytes(b"\xff\xfe1,2")
    return "groundtruth_rect.txt: not a text file"


def break_line(folder: Path, line: str, words: str) -> str:
    path = folder / "groundtruth_rect.txt"
    lines = path.read_text().splitlines()
    lines[2] = line
    path.write_text("\n".join(lines) + "\n")
    return words


FAULTS = {
    "missing frame": break_missing,
    "another size": break_size,
    "cut off": break_cut_off,
    "stray number": break_number,
    "no digit": break_digits,
    "no text": break_text,
    "empty line": lambda folder: break_line(folder, "", "lines of groundtruth_rect.txt are empty: 3"),
    "nan": lambda folder: break_line(folder, "nan,nan,nan,nan", "line 3 ('nan,nan,nan,nan')"),
    "words": lambda folder: break_line(folder, "1,2,3", "line 3 ('1,2,3')"),
    "negative": lambda folder: break_line(folder, "1,2,-3,4", "line 3 (size -3x4)"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_named_with_its_sequence(tmp_path: Path, kind: str) -> None:
    write_otb(tmp_path, ("Bad", "Good"))
    assert len(read_otb(tmp_path)) == 2
    words = FAULTS[kind](tmp_path / "Bad")
    with pytest.raises(ValueError, match="faults; correct the files") as error:
        read_otb(tmp_path)
    assert words in str(error.value)
    assert "- Bad: " in str(error.value)
    assert "- Good: " not in str(error.value)
    assert [sequence.name for sequence in read_otb(tmp_path, ["Good"])] == ["Good"]


def test_faults_of_all_sequences_come_in_one_message(tmp_path: Path) -> None:
    names = tuple(f"S{number}" for number in range(len(FAULTS)))
    write_otb(tmp_path, names)
    words = [break_it(tmp_path / name) for name, break_it in zip(names, FAULTS.values(), strict=True)]
    with pytest.raises(ValueError, match=r"12 faults") as error:  # a missing frame also lacks its box's frame
        read_otb(tmp_path)
    for name, word in zip(names, words, strict=True):
        assert any(name in line and word in line for line in str(error.value).splitlines())


def test_a_first_frame_without_a_target_is_refused(tmp_path: Path) -> None:
    truth = write_otb(tmp_path, num_frames=2) / "Square" / "groundtruth_rect.txt"
    truth.write_text("0,0,0,0\n7,7,16,16\n")
    with pytest.raises(ValueError, match="expected a target in the first frame"):
        read_otb(tmp_path)


def test_more_frames_than_boxes_are_refused(tmp_path: Path) -> None:
    write_otb(tmp_path, num_frames=3)
    write_frames(tmp_path / "Square" / "img", 4, digits=4)
    with pytest.raises(ValueError, match="a box for each of 4 frames, found 3"):
        read_otb(tmp_path)


def test_a_sequence_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_otb(tmp_path)
    with pytest.raises(ValueError, match="has no sequence Circle; it has Square"):
        read_otb(tmp_path, ["Circle"])
    with pytest.raises(FileNotFoundError, match="no such folder; set root"):
        read_otb(tmp_path / "nowhere")


def test_lasot_targets_are_absent_where_the_flags_say(tmp_path: Path) -> None:
    write_lasot(tmp_path, ("square-10", "square-2"), num_frames=3)
    folder = tmp_path / "square" / "square-2"
    (folder / "full_occlusion.txt").write_text("0,1,0\n")
    (folder / "out_of_view.txt").write_text("0,0,1\n")
    second, tenth = read_lasot(tmp_path)
    assert (second.name, tenth.name) == ("square-2", "square-10")
    assert np.isnan(second.boxes[:, 0]).tolist() == [False, True, True]
    assert not np.isnan(tenth.boxes).any()
    (folder / "out_of_view.txt").write_text("0,0\n")
    with pytest.raises(ValueError, match=r"out_of_view\.txt: expected 3 flags, 0 or 1, found 2"):
        read_lasot(tmp_path)


def test_a_lasot_sequence_in_both_layouts_is_refused(tmp_path: Path) -> None:
    write_lasot(tmp_path)
    assert len(read_lasot(tmp_path)) == 1
    shutil.copytree(tmp_path / "square" / "square-1", tmp_path / "square-1")
    with pytest.raises(ValueError, match="square-1: is there twice"):
        read_lasot(tmp_path)
