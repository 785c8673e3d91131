"""Reading OTB's layout: every separator it was published with, and a refusal for everything crooked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sot_scene import write_sequence

from transfer.track.mm.sot_sequences import read_boxes, read_names, sequence_info


@pytest.mark.parametrize("separator", [",", "\t", " ", ", "])
def test_every_separator_gives_the_same_boxes(separator: str, tmp_path: Path) -> None:
    folder = write_sequence(tmp_path, "A", separator=separator)
    expected = np.array([[30, 25, 20, 20], [32, 25, 20, 20], [34, 25, 20, 20]], dtype=float)
    np.testing.assert_array_equal(read_boxes(folder / "groundtruth_rect.txt"), expected)


def test_fractions_stay_fractions(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("1.5,2.25,3,4\n")
    np.testing.assert_array_equal(read_boxes(tmp_path / "b.txt"), [[1.5, 2.25, 3, 4]])


@pytest.mark.parametrize("line", ["1,2,3", "1,2,3,4,5", "1,2,x,4", "1,2,nan,4", ""])
def test_a_crooked_line_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text(f"1,2,3,4\n{line}\n5,6,7,8\n")
    with pytest.raises(ValueError, match=r"b\.txt:2: expected four finite numbers"):
        read_boxes(tmp_path / "b.txt")


def test_a_sequence_is_described_as_mmtrack_wants_it(tmp_path: Path) -> None:
    write_sequence(tmp_path, "A")
    assert sequence_info(tmp_path, "A") == {
        "video_path": "A/img",
        "ann_path": "A/groundtruth_rect.txt",
        "start_frame_id": 1,
        "end_frame_id": 3,
        "framename_template": "%04d.png",
    }


def test_a_missing_frame_is_a_gap(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path, "A")
    (folder / "img" / "0002.png").unlink()
    with pytest.raises(ValueError, match=r"0003\.png: expected 0002\.png"):
        sequence_info(tmp_path, "A")


def test_more_frames_than_boxes_is_refused(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path, "A")
    (folder / "groundtruth_rect.txt").write_text("1,2,3,4\n1,2,3,4\n")
    with pytest.raises(ValueError, match="3 frames but 2 boxes"):
        sequence_info(tmp_path, "A")


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"list\.txt: no such list"):
        read_names(tmp_path / "list.txt")
    with pytest.raises(FileNotFoundError, match=r"B/img: no such folder"):
        sequence_info(tmp_path, "B")
