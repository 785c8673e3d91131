"""Held-out images: the same every time, none lost or twice, each class with an image left to train on."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from detect_scene import DETECTRON2, write_set
from hypothesis import given
from hypothesis import strategies as st
from voc_scene import OBJECTS, write_voc, write_voc_image

from transfer.detect.holdout import Candidate, draw, hold_out
from transfer.detect.sets import SetFiles, read_names, register

pytestmark = DETECTRON2
CANDIDATES = st.lists(st.frozensets(st.sampled_from("abcdef"), max_size=3), max_size=25)


def named(classes: list[frozenset[str]]) -> list[Candidate]:
    return [Candidate(f"{index}.jpg", labels) for index, labels in enumerate(classes)]


def most(candidates: list[Candidate], seed: int) -> int:
    """How many can be held out at most."""
    for num_images in range(len(candidates), 0, -1):
        try:
            return len(draw(candidates, num_images, seed, "here"))
        except ValueError:
            continue
    return 0


@given(CANDIDATES, st.integers(0, 3))
def test_every_class_keeps_an_image_and_fewer_are_a_part_of_more(
    classes: list[frozenset[str]], seed: int
) -> None:
    candidates = named(classes)
    before: set[int] = set()
    for num_images in range(1, most(candidates, seed) + 1):
        held = draw(candidates, num_images, seed, "here")
        assert len(held) == num_images
        assert before < held
        before = held
        assert all(candidates[index].classes for index in held)
        rest = [candidate for index, candidate in enumerate(candidates) if index not in held]
        assert {x for c in rest for x in c.classes} == {x for c in candidates for x in c.classes}
    # What is left over could not be taken: each is the last image of a class.
    remaining = Counter(x for i, c in enumerate(candidates) if i not in before for x in c.classes)
    for index, candidate in enumerate(candidates):
        if index not in before and candidate.classes:
            assert any(remaining[label] == 1 for label in candidate.classes)


@given(st.lists(st.sampled_from("abcdef"), max_size=40), st.integers(0, 3))
def test_with_room_every_class_of_two_images_is_held_out(labels: list[str], seed: int) -> None:
    spare = {label for label, count in Counter(labels).items() if count > 1}
    candidates = named([frozenset(label) for label in labels])
    if spare:
        held = draw(candidates, len(spare), seed, "here")
        assert {label for index in held for label in candidates[index].classes} == spare


def test_the_draw_follows_names_and_seed_not_the_order() -> None:
    candidates = named([frozenset("ab")] * 40)

    def names(order: list[Candidate], seed: int) -> set[str]:
        return {order[index].name for index in draw(order, 10, seed, "here")}

    assert names(candidates, 0) == names(candidates[::-1], 0)
    assert names(candidates, 0) != names(candidates, 1)


def test_classes_without_a_held_out_image_are_named(caplog: pytest.LogCaptureFixture) -> None:
    draw(named([frozenset("a")] * 3 + [frozenset("b")] * 4 + [frozenset("c")]), 2, 0, "here")
    assert "here: no held-out image of 1 classes: c" in caplog.text
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    draw(named([frozenset("a")] * 3 + [frozenset("b")] * 4), 2, 0, "here")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("num_images", "said"),
    [(0, "at least 1, found 0"), (-1, "at least 1"), (3, "at most 2, found 3; 4 images")],
)
def test_an_impossible_number_is_refused(num_images: int, said: str) -> None:
    candidates = named([frozenset("a"), frozenset("a"), frozenset("a"), frozenset("b"), frozenset()])
    assert len(draw(candidates, 2, 0, "here")) == 2
    with pytest.raises(ValueError, match=f"^here: holdout_images: expected {said}"):
        draw(candidates, num_images, 0, "here")


def a_coco_set(root: Path) -> SetFiles:
    """12 images: three in four with rectangles, one of those a crowd beside, and one in four with nothing."""
    write_set(root, "train")
    content = json.loads((root / "train.json").read_text())
    first = [entry for entry in content["annotations"] if entry["image_id"] == 1]
    content["images"], content["annotations"] = [], []
    for k in range(1, 13):
        content["images"].append({"id": k, "file_name": f"{1 + k % 4}.png", "width": 64, "height": 64})
        if k % 4:
            content["annotations"] += [
                {**entry, "id": 10 * k + n, "image_id": k} for n, entry in enumerate(first)
            ]
        if k % 4 < 2:
            content["annotations"].append({**first[0], "id": 10 * k + 5, "image_id": k, "iscrowd": 1})
    path = root / "train.json"
    path.write_text(json.dumps({**content, "licenses": [{"id": 1}]}))
    return SetFiles(annotations_path=str(path), images_dir=str(root / "train"))


def test_a_coco_set_is_parted_as_pycocotools_counts(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    files = a_coco_set(tmp_path)
    whole = COCO(files.annotations_path)
    rest_files, held_files = hold_out(files, 4, 0, tmp_path / "holdout")
    rest, held = COCO(rest_files.annotations_path), COCO(held_files.annotations_path)
    assert (len(held.imgs), len(rest.imgs)) == (4, 8)
    assert held.imgs.keys().isdisjoint(rest.imgs)
    assert {**held.imgs, **rest.imgs} == whole.imgs
    assert held.anns.keys().isdisjoint(rest.anns)
    assert {**held.anns, **rest.anns} == whole.anns
    assert held.cats == rest.cats == whole.cats
    for part in (held, rest):
        assert {entry["image_id"] for entry in part.anns.values()} <= part.imgs.keys()
    # Only images with an object that is no crowd, and they bring their crowds along.
    assert all(held.getAnnIds(imgIds=image, iscrowd=False) for image in held.imgs)
    assert (held_files.images_dir, rest_files.images_dir) == (files.images_dir, files.images_dir)
    content = json.loads(Path(held_files.annotations_path).read_text())
    assert content["licenses"] == [{"id": 1}]


def test_detectron2_reads_both_parts_of_a_coco_set(tmp_path: Path) -> None:
    from detectron2.data import DatasetCatalog

    files = a_coco_set(tmp_path)
    counts = []
    for name, part in zip(("part_rest", "part_held"), hold_out(files, 4, 0, tmp_path / "h"), strict=True):
        found = register(name, part)
        counts.append((found.num_images, len(DatasetCatalog.get(name)), found.classes))
    assert counts == [(8, 8, ("bright", "dark")), (4, 4, ("bright", "dark"))]
    assert register("whole", files).num_objects == sum(
        register(name, part).num_objects
        for name, part in zip(("r", "h"), hold_out(files, 4, 0, tmp_path / "h"), strict=True)
    )


@pytest.mark.parametrize("num_held", [1, 3, 5])
def test_a_voc_set_is_parted_as_detectron2_reads_it(num_held: int, tmp_path: Path) -> None:
    from detectron2.data import DatasetCatalog

    fields: dict[str, Any] = write_voc(tmp_path, 2007, {"trainval": 6, "test": 2})["trainval"]
    files = SetFiles(**fields)
    rest_files, held_files = hold_out(files, num_held, 0, tmp_path / "holdout")
    rest, held = read_names(rest_files), read_names(held_files)
    assert (len(rest), len(held)) == (6 - num_held, num_held)
    assert sorted([*rest, *held]) == read_names(files)
    assert rest == sorted(rest)  # the set's order
    assert held == sorted(held)
    assert (held_files.voc_dir, held_files.year) == (files.voc_dir, 2007)
    for name, part, names in (("part_rest", rest_files, rest), ("part_held", held_files, held)):
        register(name, part)
        assert [entry["image_id"] for entry in DatasetCatalog.get(name)] == names
    assert sorted(path.name for path in (tmp_path / "holdout").iterdir()) == ["holdout.txt", "rest.txt"]


def test_difficult_objects_are_no_reason_to_hold_a_voc_image_out(tmp_path: Path) -> None:
    fields: dict[str, Any] = write_voc(tmp_path, 2007, {"trainval": 5})["trainval"]
    files = SetFiles(**fields)
    folder = Path(files.voc_dir)
    write_voc_image(folder, "000001", OBJECTS[:1])
    path = folder / "Annotations" / "000001.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    _, held = hold_out(files, 3, 0, tmp_path / "holdout")
    assert "000001" not in read_names(held)
    with pytest.raises(ValueError, match="at most 3, found 4; 4 images have objects"):
        hold_out(files, 4, 0, tmp_path / "holdout")


def test_the_files_are_the_same_bytes_every_time_and_whole(tmp_path: Path) -> None:
    files = a_coco_set(tmp_path)
    hold_out(files, 4, 0, tmp_path / "a")
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    hold_out(files, 4, 0, tmp_path / "a")
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == first
    assert sorted(first) == ["holdout.json", "rest.json"]
    hold_out(files, 4, 1, tmp_path / "a")
    assert (tmp_path / "a" / "holdout.json").read_bytes() != first["holdout.json"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.json: no such annotation file"):
        hold_out(SetFiles(annotations_path="absent.json", images_dir="i"), 1, 0, tmp_path / "h")
    with pytest.raises(ValueError, match="expected annotations_path and images_dir"):
        hold_out(SetFiles(), 1, 0, tmp_path / "h")
    fields: dict[str, Any] = write_voc(tmp_path, 2007, {"trainval": 3})["trainval"]
    annotation = Path(fields["voc_dir"]) / "Annotations" / "000002.xml"
    annotation.write_text("<annotation>")
    with pytest.raises(ValueError, match=r"000002\.xml: expected XML, found"):
        hold_out(SetFiles(**fields), 1, 0, tmp_path / "h")
    annotation.unlink()
    with pytest.raises(FileNotFoundError, match=r"000002\.xml: no such annotation file"):
        hold_out(SetFiles(**fields), 1, 0, tmp_path / "h")
    assert list((tmp_path / "h").iterdir()) == []
