"""The bundled set's masks and poses: run lengths, figures, and files that agree with each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from transfer.data.mini.figures import KEYPOINTS, Figure, stroke
from transfer.data.mini.mots import write_mots
from transfer.data.mini.posetrack import write_posetrack
from transfer.data.mini.sprites import generator
from transfer.data.run_lengths import encode_mask

# pycocotools 2.0 still has the array protocol of NumPy 1
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tracks")
    write_mots(place)
    write_posetrack(place)
    return place


def test_run_lengths_are_those_of_pycocotools() -> None:
    rng = generator(1)
    masks = [rng.integers(0, 5, size=(9, 11)) > limit for limit in (-1, 0, 2, 3, 4) for _ in range(20)]
    large = np.zeros((300, 500), dtype=bool)
    large[7:290, 20:480] = True  # runs that need several groups of bits
    for mask in [*masks, large]:
        expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert encode_mask(mask) == expected


def test_a_stroke_holds_the_pixels_within_its_radius_of_the_segment() -> None:
    found = stroke((3, 4), (12, 9), 3, 20, 16)
    start, end = np.array([3.0, 4.0]), np.array([12.0, 9.0])
    for y in range(16):
        for x in range(20):
            point = np.array([x, y])
            along = np.clip((point - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
            distance = float(np.hypot(*(point - start - along * (end - start))))
            assert found[y, x] == (distance <= 3), (x, y)
    assert stroke((5, 5), (5, 5), 0, 9, 9).sum() == 1  # a point is a segment, too


def test_a_figure_walks_and_its_joints_lie_on_it() -> None:
    colours = ((9, 9, 9), (99, 99, 99), (200, 200, 200))
    figure = Figure(100, (40, 10), 4, 0, 10, colours)
    first, later = figure.joints(0), figure.joints(10)  # one period later: the same pose, 40 px on
    assert {name: (x + 40, y) for name, (x, y) in first.items()} == later
    assert figure.joints(3) != {name: (x + 12, y) for name, (x, y) in first.items()}
    assert set(first) == set(KEYPOINTS) - {"left_ear", "right_ear"}
    body = np.logical_or.reduce([layer.mask for layer in figure.layers(0, 120, 130)])
    assert all(body[y, x] for x, y in first.values())
    assert not body[:, 100:].any()


def test_mask_files_have_one_owner_for_each_pixel_and_stable_identities(root: Path) -> None:
    names = {
        split: sorted(path.name for path in (root / "mots" / split).iterdir()) for split in ("train", "val")
    }
    assert names == {"train": ["MINI-05"], "val": ["MINI-06", "MINI-07"]}
    for split, sequences in names.items():
        for name in sequences:
            folder = root / "mots" / split / name
            frames = sorted((folder / "img1").iterdir())
            for kind in ("gt", "det"):
                covered = np.zeros((len(frames), 192, 256), dtype=np.int64)
                lines = [line.split(" ") for line in (folder / kind / f"{kind}.txt").read_text().splitlines()]
                for frame, identity, class_id, height, width, counts in lines:
                    decoded = coco_mask.decode({"size": [int(height), int(width)], "counts": counts.encode()})
                    assert decoded.any()
                    covered[int(frame) - 1] += np.asarray(decoded)
                    if kind == "gt":
                        assert (int(identity) // 1000, class_id) == (2, "2")
                assert covered.max() == 1
                assert len({(line[0], line[1]) for line in lines}) == len(lines)
                if kind == "gt":
                    assert 2 <= len(lines) / len(frames) <= 5
                    assert len({line[1] for line in lines}) >= 3


def test_given_masks_are_near_the_true_ones_but_not_the_same(root: Path) -> None:
    folder = root / "mots" / "val" / "MINI-06"
    masks: dict[str, list[tuple[str, np.ndarray]]] = {}  # type: ignore[type-arg]
    classes = set()
    for kind in ("gt", "det"):
        for line in (folder / kind / f"{kind}.txt").read_text().splitlines():
            frame, _, class_id, height, width, counts = line.split(" ")
            mask = coco_mask.decode({"size": [int(height), int(width)], "counts": counts.encode()})
            masks.setdefault(kind, []).append((frame, np.asarray(mask).astype(bool)))
            classes.add((kind, class_id))
    assert classes == {("gt", "2"), ("det", "1"), ("det", "2")}  # the class that a reader leaves out
    best = [
        max((float((m & t).sum() / (m | t).sum()) for g, m in masks["det"] if g == f), default=0.0)
        for f, t in masks["gt"]
    ]
    assert 0.5 < np.median(best) < 0.95
    assert min(best) < 0.2  # some are missed


def test_poses_lie_on_their_figures_and_images_are_there(root: Path) -> None:
    place = root / "posetrack"
    for path in sorted((place / "annotations" / "val").iterdir()):
        content = json.loads(path.read_text())
        assert content["categories"][0]["keypoints"] == list(KEYPOINTS)
        assert [image["nframes"] for image in content["images"]] == [len(content["images"])] * 20
        for image in content["images"]:
            with Image.open(place / image["file_name"]) as opened:
                assert opened.size == (240, 180)
        ids = {image["id"] for image in content["images"]}
        assert len(ids) == 20
        people = content["annotations"]
        assert {person["image_id"] for person in people} <= ids
        assert len({(person["image_id"], person["track_id"]) for person in people}) == len(people)
        assert len({person["track_id"] for person in people}) >= 3
        hidden = 0
        for person in people:
            left, top, width, height = person["bbox"]
            joints = np.array(person["keypoints"]).reshape(17, 3)
            seen = joints[joints[:, 2] == 1]
            hidden += int((joints[:, 2] == 0).sum()) - 2  # beside the ears
            assert len(seen) >= 6
            assert not joints[joints[:, 2] == 0].any()
            assert (seen[:, 0] >= left).all() and (seen[:, 0] < left + width).all()  # noqa: PT018
            assert (seen[:, 1] >= top).all() and (seen[:, 1] < top + height).all()  # noqa: PT018
            assert not joints[3:5].any()
        assert hidden > 0


def test_given_poses_keep_images_and_have_scores_but_no_identities(root: Path) -> None:
    for name in ("figures-a", "figures-b"):
        truth, given = (
            json.loads((root / "posetrack" / kind / "val" / f"{name}.json").read_text())
            for kind in ("annotations", "detections")
        )
        assert given["images"] == truth["images"]
        assert len(given["annotations"]) < len(truth["annotations"]) * 1.1
        for pose in given["annotations"]:
            assert "track_id" not in pose
            joints = np.array(pose["keypoints"]).reshape(17, 3)
            assert pose["scores"] == joints[:, 2].tolist()
            assert set(np.unique(joints[:, 2] >= 0.55)) <= {True, False}
            others = [p for p in truth["annotations"] if p["image_id"] == pose["image_id"]]
            assert others
