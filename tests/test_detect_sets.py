"""Sets stand in detectron2's catalogues under the names of its configurations, wherever they lie."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from detect_scene import DETECTRON2, NUM_IMAGES, SIDE, write_set
from voc_scene import OBJECTS, write_voc

from transfer.detect.sets import VOC_CLASSES, SetFiles, read_names, register

pytestmark = DETECTRON2


@pytest.fixture
def coco(tmp_path: Path) -> SetFiles:
    write_set(tmp_path, "val")
    return SetFiles(annotations_path=str(tmp_path / "val.json"), images_dir=str(tmp_path / "val"))


def voc(root: Path, num_images: int = 3) -> SetFiles:
    fields: dict[str, Any] = write_voc(root, 2007, {"test": num_images})["test"]
    return SetFiles(**fields)


def test_coco_is_read_by_detectron2_with_its_ids_counted_through(coco: SetFiles) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    found = register("sets_scene", coco)
    assert (found.name, found.kind, found.num_images, found.num_objects) == (
        "sets_scene",
        "coco",
        NUM_IMAGES,
        2 * NUM_IMAGES,
    )
    assert found.classes == ("bright", "dark")
    images = DatasetCatalog.get("sets_scene")
    assert [len(image["annotations"]) for image in images] == [2] * NUM_IMAGES
    assert [entry["category_id"] for entry in images[0]["annotations"]] == [0, 1]  # of ids 3 and 7
    metadata = MetadataCatalog.get("sets_scene")
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}
    assert metadata.thing_classes == list(found.classes)
    assert metadata.evaluator_type == "coco"


def test_classes_are_in_the_order_of_their_ids(coco: SetFiles) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    path = Path(coco.annotations_path)
    content = json.loads(path.read_text())
    content["categories"].reverse()
    path.write_text(json.dumps(content))
    assert register("sets_reversed", coco).classes == ("bright", "dark")
    DatasetCatalog.get("sets_reversed")
    assert MetadataCatalog.get("sets_reversed").thing_classes == ["bright", "dark"]


def test_crowds_do_not_count(coco: SetFiles) -> None:
    path = Path(coco.annotations_path)
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    assert register("sets_crowd", coco).num_objects == 2 * NUM_IMAGES - 1


def test_a_built_in_name_and_an_older_entry_are_replaced(coco: SetFiles, tmp_path: Path) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    assert "coco_2017_val_100" in DatasetCatalog  # detectron2's own, of 80 classes
    assert len(MetadataCatalog.get("coco_2017_val_100").thing_classes) == 80
    register("coco_2017_val_100", coco)
    assert len(DatasetCatalog.get("coco_2017_val_100")) == NUM_IMAGES
    assert MetadataCatalog.get("coco_2017_val_100").thing_classes == ["bright", "dark"]

    for number in (3, 2):
        register("coco_2017_val_100", voc(tmp_path / str(number), number))
        assert len(DatasetCatalog.get("coco_2017_val_100")) == number
        assert MetadataCatalog.get("coco_2017_val_100").evaluator_type == "pascal_voc"
    register("voc_2007_test", voc(tmp_path / "own", 4))
    assert len(DatasetCatalog.get("voc_2007_test")) == 4


def test_voc_is_read_by_detectron2(tmp_path: Path) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets.pascal_voc import CLASS_NAMES

    assert tuple(CLASS_NAMES) == VOC_CLASSES
    files = voc(tmp_path)
    found = register("sets_voc", files)
    assert (found.kind, found.num_images, found.num_objects) == ("voc", 3, 6)
    assert found.classes == VOC_CLASSES
    [first, *_] = DatasetCatalog.get("sets_voc")
    assert (first["image_id"], first["height"], first["width"]) == ("000001", SIDE, SIDE)
    for entry, (label, xmin, ymin, xmax, ymax) in zip(first["annotations"], OBJECTS, strict=True):
        assert entry["category_id"] == CLASS_NAMES.index(label)
        assert entry["bbox"] == [xmin - 1, ymin - 1, xmax, ymax]
    metadata = MetadataCatalog.get("sets_voc")
    assert (metadata.dirname, metadata.split, metadata.year) == (files.voc_dir, "test", 2007)
    assert metadata.evaluator_type == "pascal_voc"

    path = tmp_path / "VOC2007" / "Annotations" / "000002.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    assert register("sets_voc", files).num_objects == 5
    assert len(DatasetCatalog.get("sets_voc")[1]["annotations"]) == 2  # detectron2 trains on them


@pytest.mark.parametrize("num_images", [1, 2])
def test_lists_elsewhere_and_lists_of_one_image_are_read(tmp_path: Path, num_images: int) -> None:
    from detectron2.data import DatasetCatalog
    from detectron2.data.datasets import load_voc_instances

    voc(tmp_path)
    split = str(tmp_path / "held_out")
    Path(f"{split}.txt").write_text("".join(f"{number:06d}\n" for number in range(2, 2 + num_images)))
    files = SetFiles(voc_dir=str(tmp_path / "VOC2007"), split=split)
    assert register("sets_held_out", files).num_images == num_images
    images = DatasetCatalog.get("sets_held_out")
    assert [image["image_id"] for image in images] == ["000002", "000003"][:num_images]
    if num_images == 1:
        with pytest.raises(TypeError, match="iteration over a 0-d array"):
            load_voc_instances(files.voc_dir, files.split, list(VOC_CLASSES))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "sets.scene: expected annotations_path and images_dir .* found none of them"),
        ({"annotations_path": "a.json"}, "found annotations_path$"),
        ({"voc_dir": "VOC2007"}, "found voc_dir$"),
        ({"annotations_path": "a", "images_dir": "b", "voc_dir": "c", "split": "d"}, "found .* and split"),
        ({"voc_dir": "c", "split": "d", "year": 2010}, r"sets.scene.year: expected one of \(2007, 2012\)"),
        ({"annotations_path": "a.json", "images_dir": "b"}, "a.json: no such annotation file"),
        ({"voc_dir": "c", "split": "d"}, "c/Annotations: no such folder"),
    ],
)
def test_half_a_set_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        register("scene", SetFiles(**fields))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected COCO's JSON, found Expecting"),
        ("[]", "found no list of objects under 'images'"),
        ('{"images": [], "annotations": [3]}', "found no list of objects under 'annotations'"),
        ('{"images": [], "annotations": [], "categories": []}', "expected categories with a name and an id"),
        ('{"images": [], "annotations": [], "categories": [{"id": "1", "name": "a"}]}', "found .*'1'"),
        ('{"images": [], "annotations": [], "categories": [{"id": -1, "name": "a"}]}', "an id from 0, found"),
    ],
)
def test_other_json_is_refused(coco: SetFiles, content: str, message: str) -> None:
    Path(coco.annotations_path).write_text(content)
    with pytest.raises(ValueError, match=message):
        register("sets_other", coco)


def test_missing_folders_and_lists_of_single_classes_are_refused(coco: SetFiles, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent: no such folder of images"):
        register("scene", SetFiles(coco.annotations_path, str(tmp_path / "absent")))
    files = voc(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"ImageSets/Main/val.txt: no such list"):
        register("scene", SetFiles(voc_dir=files.voc_dir, split="val"))
    path = tmp_path / "VOC2007" / "ImageSets" / "Main" / "cat_test.txt"
    path.write_text("000001  1\n000002 -1\n")
    with pytest.raises(ValueError, match="expected the name of one image a line, found '000001 1'"):
        read_names(SetFiles(voc_dir=files.voc_dir, split="cat_test"))


@pytest.mark.skipif("MEC_TRANSFER_DATA" not in os.environ, reason="MEC_TRANSFER_DATA is not set")
def test_real_coco_images_are_read(caplog: pytest.LogCaptureFixture) -> None:
    from detectron2.data import DatasetCatalog
    from pycocotools.coco import COCO

    root = Path(os.environ["MEC_TRANSFER_DATA"]) / "coco200"
    path = root / "annotations" / "instances_val2017.json"
    found = register("coco_2017_val", SetFiles(str(path), str(root / "val2017")))
    with caplog.at_level(logging.WARNING):
        images = DatasetCatalog.get("coco_2017_val")
    assert not caplog.messages
    reference = COCO(str(path))
    assert len(images) == found.num_images == len(reference.getImgIds()) == 100
    assert found.num_objects == len(reference.getAnnIds(iscrowd=False))
    assert len(found.classes) == 80
