"""PoseTrack's two formats of JSON: joints by name and by number, and every fault at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from track_sets import keypoints, write_posetrack

from transfer.data.posetrack import (
    JOINTS,
    KEYPOINTS_2018,
    collect_poses,
    read_given_poses,
    read_posetrack,
)
from transfer.data.video_faults import VideoFaults

NAME = "000001_tiny"


def change(root: Path, edit: Callable[[Any], object], kind: str = "annotations", name: str = NAME) -> None:
    path = root / kind / "val" / f"{name}.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_joints_come_in_the_order_of_the_evaluation(tmp_path: Path) -> None:
    (sequence,) = read_posetrack(write_posetrack(tmp_path))
    assert (sequence.name, sequence.size, len(sequence.frames)) == (NAME, (96, 64), 4)
    first, second = sequence.frames[1].people
    assert (first.track_id, second.track_id) == (0, 1)
    listed = dict(zip(KEYPOINTS_2018, np.reshape(keypoints(1, 1), (17, 3)).tolist(), strict=True))
    assert second.points.tolist() == [listed[name] for name in JOINTS]
    assert second.head.tolist() == [13, 34, 8, 4]


def test_a_joint_is_absent_where_place_and_flag_are_zero(tmp_path: Path) -> None:
    write_posetrack(tmp_path)

    def hide(content: Any) -> None:
        cells = content["annotations"][0]["keypoints"]
        cells[:3] = 0, 0, 0  # nose
        cells[5] = 0  # head_bottom: hidden, but where it is was annotated

    change(tmp_path, hide)
    points = read_posetrack(tmp_path)[0].frames[0].people[0].points
    assert np.isnan(points[JOINTS.index("nose")]).all()
    assert points[JOINTS.index("head_bottom")].tolist() == [14, 20, 0]


def test_fifteen_points_without_names_leave_out_the_ears(tmp_path: Path) -> None:
    write_posetrack(tmp_path)
    whole = read_posetrack(tmp_path)[0].frames[0].people[0].points

    def shorten(content: Any) -> None:
        content["categories"] = []
        for person in content["annotations"]:
            del person["keypoints"][9:15]

    change(tmp_path, shorten)
    assert np.array_equal(read_posetrack(tmp_path)[0].frames[0].people[0].points, whole)


def test_regions_that_are_not_scored_are_polygons(tmp_path: Path) -> None:
    write_posetrack(tmp_path)

    def add(content: Any) -> None:
        content["images"][0] |= {
            "ignore_regions_x": [[1, 2, 3], [4, 5]],
            "ignore_regions_y": [[4, 5, 6], [7, 8]],
        }
        content["images"][1] |= {"ignore_regions_x": [1, 2, 3], "ignore_regions_y": [4, 5, 6]}

    change(tmp_path, add)
    frames = read_posetrack(tmp_path)[0].frames
    assert [region.tolist() for region in frames[0].ignored] == [[[1, 4], [2, 5], [3, 6]], [[4, 7], [5, 8]]]
    assert [region.tolist() for region in frames[1].ignored] == [[[1, 4], [2, 5], [3, 6]]]


def to_annolist(content: Any) -> dict[str, Any]:
    """The same given poses as the evaluation's own format has them."""
    frames = []
    for image in content["images"]:
        people = []
        for person in content["annotations"]:
            if person["image_id"] == image["id"]:
                cells = np.reshape(person["keypoints"], (17, 3))
                points = [
                    {
                        "id": [JOINTS.index(name)],
                        "x": [float(cell[0])],
                        "y": [float(cell[1])],
                        "score": [score],
                    }
                    for name, cell, score in zip(KEYPOINTS_2018, cells, person["scores"], strict=True)
                    if name in JOINTS
                ]
                people.append({"annopoints": [{"point": points}], "score": [person["score"]]})
        frames.append({"image": [{"name": f"elsewhere/{image['file_name']}"}], "annorect": people})
    return {"annolist": frames}


def test_given_poses_of_both_formats_are_equal(tmp_path: Path) -> None:
    (sequence,) = read_posetrack(write_posetrack(tmp_path))
    path = tmp_path / "detections" / "val" / f"{NAME}.json"
    of_2018 = read_given_poses(path, sequence, tmp_path)
    path.write_text(json.dumps(to_annolist(json.loads(path.read_text()))))
    of_annolist = read_given_poses(path, sequence, tmp_path)
    assert list(of_2018) == list(of_annolist) == [frame.path for frame in sequence.frames]
    for frame, people in of_2018.items():
        assert [person.track_id for person in people] == [-1, -1]
        for person, same in zip(people, of_annolist[frame], strict=True):
            assert np.array_equal(person.points, same.points)
            assert (person.points[:, 2] == 0.9).all()
            assert person.score == same.score == 0.9


def test_regions_of_the_evaluations_format(tmp_path: Path) -> None:
    corners = [{"x": [float(x)], "y": [float(y)]} for x, y in ((1, 4), (2, 5), (3, 6))]
    frame = {"image": [{"name": "images/a.png"}], "imgnum": [7], "is_labeled": [0], "annorect": []}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"annolist": [{**frame, "ignore_regions": [{"point": corners}]}]}))
    faults = VideoFaults()
    (found,) = collect_poses(path, tmp_path, "a", faults, tracks=True)
    assert faults.lines == []
    assert (found.path, found.image_id, found.labelled) == (tmp_path / "images" / "a.png", 7, False)
    assert [region.tolist() for region in found.ignored] == [[[1, 4], [2, 5], [3, 6]]]


def test_given_poses_of_frames_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    (sequence,) = read_posetrack(write_posetrack(tmp_path))
    path = tmp_path / "detections" / "val" / f"{NAME}.json"
    change(
        tmp_path,
        lambda content: content["images"][2].update(file_name=f"images/val/{NAME}/000099.png"),
        "detections",
    )
    with pytest.raises(ValueError, match=r"1 frames of 000001_tiny\.json do not exist: 000099\.png"):
        read_given_poses(path, sequence, tmp_path)


def break_frame(root: Path) -> str:
    (root / "images" / "val" / NAME / "000001.png").unlink()
    return "1 frames are missing: 000001.png"


def break_json(root: Path) -> str:
    (root / "annotations" / "val" / f"{NAME}.json").write_text("{")
    return "not the JSON of PoseTrack"


def break_field(root: Path) -> str:
    change(root, lambda content: content["annotations"][0].pop("track_id"))
    return "not the JSON of PoseTrack (no 'track_id' in it)"


def break_nan(root: Path) -> str:
    change(root, lambda content: content["annotations"][0]["keypoints"].__setitem__(0, float("nan")))
    return "have points that are not finite: 000000.png id 0"


def break_id(root: Path) -> str:
    change(root, lambda content: content["annotations"][1].update(track_id=0))
    return "frames of 000001_tiny.json have an id twice: 000000.png (0)"


def break_image(root: Path) -> str:
    change(root, lambda content: content["annotations"][0].update(image_id=5))
    return "1 people are in images that do not exist: 5"


def break_joint(root: Path) -> str:
    change(root, lambda content: content["categories"][0]["keypoints"].__setitem__(0, "nose_tip"))
    return "1 joints are unknown: nose_tip"


def break_box(root: Path) -> str:
    change(root, lambda content: content["annotations"][0].update(bbox=[float("nan")] * 4))
    return "have boxes that are not finite, or of negative size: 000000.png id 0"


def break_twice(root: Path) -> str:
    change(root, lambda content: content["images"].append(content["images"][0]))
    return "1 frames of 000001_tiny.json are listed twice: 000000.png"


def break_kind(root: Path) -> str:
    (root / "annotations" / "val" / f"{NAME}.json").write_text("[1, 2]")
    return "not the JSON of PoseTrack"


def break_infinite_id(root: Path) -> str:
    change(root, lambda content: content["annotations"][0].update(track_id=float("inf")))
    return "not the JSON of PoseTrack (cannot convert float infinity"


def break_none(root: Path) -> str:
    change(root, lambda content: content.update(images=[], annotations=[]))
    return "000001_tiny.json: expected frames, found none"


BREAKS = [break_frame, break_json, break_field, break_nan, break_id, break_image, break_joint]
BREAKS += [break_box, break_twice, break_kind, break_infinite_id, break_none]


@pytest.mark.parametrize("break_it", BREAKS)
def test_a_fault_is_named_with_its_sequence(tmp_path: Path, break_it: Callable[[Path], str]) -> None:
    write_posetrack(tmp_path, (NAME, "000002_good"))
    assert len(read_posetrack(tmp_path)) == 2
    words = break_it(tmp_path)
    with pytest.raises(ValueError, match="1 faults; correct the files") as error:
        read_posetrack(tmp_path)
    assert words in str(error.value)
    assert f"- {NAME}: " in str(error.value)
    assert [sequence.name for sequence in read_posetrack(tmp_path, names=["000002_good"])] == ["000002_good"]
