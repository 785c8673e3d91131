"""MOTChallenge folders: what is read, cut and listed for mmtrack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mot_scene import walk, write_scene
from PIL import Image

from transfer.data.motchallenge import (
    cut_sequence,
    decode_video,
    frame_numbers,
    read_boxes,
    read_sequence,
    to_coco_video,
)

DISTRACTOR = "1,7,40,30,8,8,1,8,1"
UNCONSIDERED = "2,8,40,30,8,8,0,1,1"
CAR = "3,9,40,30,8,8,1,3,1"


def test_targets_lookalikes_and_other_classes_are_told_apart(tmp_path: Path) -> None:
    lines = [*walk(1, 4), *walk(2, 28, frames=2), DISTRACTOR, UNCONSIDERED, CAR]
    to_coco_video([write_scene(tmp_path, "A", lines)], tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    targets = [a for a in content["annotations"] if not a["iscrowd"]]
    crowds = [a for a in content["annotations"] if a["iscrowd"]]
    assert len(targets) == 4 + 2
    assert [a["mot_instance_id"] for a in crowds] == [7, 8]  # the car is background
    assert targets[0]["bbox"] == [6, 4, 16, 16]
    assert targets[0]["area"] == 16 * 16
    assert content["categories"] == [{"id": 1, "name": "pedestrian"}]


def test_frames_count_from_zero_in_coco_video_and_from_one_in_motchallenge(tmp_path: Path) -> None:
    to_coco_video([write_scene(tmp_path, "A", walk(1, 4))], tmp_path / "a.json", slice(2, 4))
    content = json.loads((tmp_path / "a.json").read_text())
    assert [i["frame_id"] for i in content["images"]] == [0, 1]
    assert [i["mot_frame_id"] for i in content["images"]] == [3, 4]
    assert [i["file_name"] for i in content["images"]] == ["A/img1/000003.png", "A/img1/000004.png"]
    assert [a["bbox"][0] for a in content["annotations"]] == [10, 12]


def test_the_same_number_in_two_sequences_is_two_instances(tmp_path: Path) -> None:
    folders = [write_scene(tmp_path, name, walk(1, 4)) for name in ("A", "B")]
    to_coco_video(folders, tmp_path / "ab.json")
    content = json.loads((tmp_path / "ab.json").read_text())
    assert {(a["video_id"], a["instance_id"]) for a in content["annotations"]} == {(1, 1), (2, 2)}


def test_a_set_without_a_target_is_refused(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, "A", [DISTRACTOR, UNCONSIDERED])
    with pytest.raises(ValueError, match=r"a\.json: no target box in A"):
        to_coco_video([folder], tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


def test_old_ten_column_files_hold_pedestrians_only(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1,9,499.20,157.69,31.03,75.17,1,-1,-1,-1\n")
    (box,) = read_boxes(tmp_path / "gt.txt")
    assert box.is_target
    assert (box.left, box.height, box.visibility) == (499.20, 75.17, 1.0)
    (tmp_path / "gt.txt").write_text(
        "1,9,499.20,157.69,31.03,75.17,1,-1,-1\n"
    )  # nine columns: class -1 counts
    (box,) = read_boxes(tmp_path / "gt.txt")
    assert not box.is_target


@pytest.mark.parametrize(("line", "fault"), [("1,2,3", "at least 9 cells"), ("1,a,3,4,5,6,1,1,1", "'a'")])
def test_a_bad_line_is_named(tmp_path: Path, line: str, fault: str) -> None:
    (tmp_path / "gt.txt").write_text(f"{walk(1, 4)[0]}\n{line}\n")
    with pytest.raises(ValueError, match=rf"gt\.txt:2: .*{fault}"):
        read_boxes(tmp_path / "gt.txt")


def test_a_cut_is_a_sequence_of_its_own(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "whole", "A", [*walk(1, 4), CAR])
    cut = cut_sequence(folder, tmp_path / "cut", slice(2, 4))
    assert read_sequence(cut).num_frames == 2
    assert (cut / "gt" / "gt.txt").read_text() == (
        "1,1,10,4,16,16,1,1,1\n2,1,12,4,16,16,1,1,1\n1,9,40,30,8,8,1,3,1\n"
    )
    for number, source in ((1, 3), (2, 4)):
        pixels = np.asarray(Image.open(cut / "img1" / f"{number:06d}.png"))
        assert np.array_equal(pixels, np.asarray(Image.open(folder / "img1" / f"{source:06d}.png")))
    assert not (cut / "img1" / "000003.png").exists()
    cut_sequence(folder, tmp_path / "cut", slice(0, 1))  # again: replaced, not mixed
    assert [path.name for path in (cut / "img1").iterdir()] == ["000001.png"]


def test_a_missing_frame_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "whole", "A", walk(1, 4))
    (folder / "img1" / "000003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"000003\.png: missing"):
        cut_sequence(folder, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_a_slice_that_selects_nothing_is_refused(tmp_path: Path) -> None:
    info = read_sequence(write_scene(tmp_path, "A", walk(1, 4)))
    assert list(frame_numbers(info, slice(-2, None))) == [3, 4]
    with pytest.raises(ValueError, match="selects none of its 4 frames"):
        frame_numbers(info, slice(4, 8))


@pytest.mark.mmtrack  # OpenCV comes with mmcv
def test_frame_one_is_the_first_picture_of_a_video(tmp_path: Path) -> None:
    import cv2

    writer = cv2.VideoWriter(
        str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (WIDTH := 64, HEIGHT := 48)
    )
    for grey in (40, 120, 200):
        writer.write(np.full((HEIGHT, WIDTH, 3), grey, dtype=np.uint8))
    writer.release()
    gt_path = tmp_path / "gt.txt"
    gt_path.write_text("3,5,1,2,10,20,1,-1,-1,-1\n")
    folder = decode_video(tmp_path / "v.avi", gt_path, tmp_path / "V")
    greys = [np.asarray(Image.open(folder / "img1" / f"{n:06d}.jpg")).mean() for n in (1, 2, 3)]
    assert greys == pytest.approx([40, 120, 200], abs=2)
    assert (folder / "gt" / "gt.txt").read_text() == "3,5,1,2,10,20,1,1,1\n"
    assert read_sequence(folder).num_frames == 3
    gt_path.write_text("4,5,1,2,10,20,1,-1,-1,-1\n")
    with pytest.raises(ValueError, match=r"decoded 3 frames, but .* reaches frame 4"):
        decode_video(tmp_path / "v.avi", gt_path, tmp_path / "W")
    assert not (tmp_path / "W").exists()
