"""Every fault of a set has its name before training; what COCO and VOC really contain is none."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detect_scene import write_set
from PIL import Image
from voc_scene import write_voc, write_voc_image

from transfer.detect.faults import find_faults
from transfer.detect.sets import VOC_CLASSES, Registered, SetFiles
from transfer.findings import ERROR, FAULTS, NAMES, WARNING, Finding, refuse

SQUARE = [4, 6, 28, 6, 28, 26]  # a polygon of three points, in the first object
Json = dict[str, Any]


def faults_of_coco(folder: Path, training: bool = False, check_images: bool = True) -> dict[str, str]:
    files = SetFiles(annotations_path=str(folder / "val.json"), images_dir=str(folder / "val"))
    return found(Registered("scene", "coco", 0, 0, (), files), training, check_images)


def faults_of_voc(folder: Path, training: bool = False, check_images: bool = True) -> dict[str, str]:
    files = SetFiles(voc_dir=str(folder / "VOC2007"), split="test")
    return found(Registered("scene", "voc", 0, 0, VOC_CLASSES, files), training, check_images)


def found(images: Registered, training: bool, check_images: bool) -> dict[str, str]:
    findings = find_faults(images, training, check_images)
    assert all(finding.setting == "sets.scene" for finding in findings)
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: str(finding.found) for finding in findings}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Without gaps, so that nothing is found in it."""
    write_set(tmp_path, "val")
    change(tmp_path, lambda content: None)
    return tmp_path


def change(folder: Path, edit: Callable[[Json], object]) -> None:
    path = folder / "val.json"
    content = json.loads(path.read_text())
    for entry in (*content["categories"], *content["annotations"]):
        key = "category_id" if "category_id" in entry else "id"
        entry[key] = {3: 1, 7: 2}.get(entry[key], entry[key])
    edit(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    write_voc(tmp_path, 2007, {"test": 3}, every_class=True)
    return tmp_path


def test_clean_sets_have_no_fault(coco: Path, voc: Path) -> None:
    for training in (False, True):
        assert faults_of_coco(coco, training) == {}
        assert faults_of_voc(voc, training) == {}


def first(**fields: object) -> Callable[[Json], object]:
    return lambda content: content["annotations"][0].update(fields)


def lose(key: str) -> Callable[[Json], object]:
    return lambda content: content["annotations"][0].pop(key)


def rle(height: int, width: int, counts: object) -> Json:
    return {"iscrowd": 1, "segmentation": {"size": [height, width], "counts": counts}}


COCO_FAULTS: list[tuple[str, Callable[[Json], object], str]] = [
    ("unknown-image", first(image_id=99), "1 annotations, the first: id 1 of image id 99"),
    ("unknown-category", first(category_id=5), "1 annotations, the first: id 1 of image 1.png: category 5"),
    ("lost-object", first(segmentation=[[4, 6, 28, 26]]), "1 annotations, the first: id 1 of image 1.png"),
    ("lost-object", first(segmentation=[[4, 6, 28, 6, 28, 26, 4]]), "id 1 of image 1.png"),
    ("short-polygon", first(segmentation=[SQUARE, [4, 6, 28, 26]]), "id 1 of image 1.png: 1 of its 2"),
    ("invalid-mask", first(segmentation=[[*SQUARE[:5], float("nan")]]), "a number that is not finite"),
    ("invalid-mask", first(segmentation=SQUARE), "neither polygons nor run lengths"),
    ("invalid-mask", first(**rle(64, 32, [64 * 32])), r"run lengths of \[64, 32\], not \[64, 64\]"),
    ("invalid-mask", first(**rle(64, 64, [64])), "run lengths that do not sum to its pixels"),
    ("invalid-mask", first(**rle(64, 64, None)), "no run lengths"),
    ("no-mask", first(segmentation=[]), "1 annotations, the first: id 1 of image 1.png"),
    ("box-outside", first(bbox=[64, 0, 10, 10]), "id 1 of image 1.png: 64 0 to 74 10 in 64 x 64"),
    ("box-outside", first(bbox=[0, -20, 10, 10]), "0 -20 to 10 -10 in 64 x 64"),
    ("box-over-edge", first(bbox=[50, 0, 15.5, 10]), r"id 1 of image 1.png by 1.5 pixels"),
    ("empty-box", first(bbox=[5, 5, 3, 0.0]), "id 1 of image 1.png: 3 x 0"),
    ("invalid-box", first(bbox=[5, 5, -3, 4]), "5 5 to 2 9"),
    ("invalid-box", first(bbox=[5, float("nan"), 3, 4]), "5 nan to 8 nan"),
    ("invalid-box", first(bbox=[5, 5, float("inf"), 4]), "5 5 to inf 9"),
    ("annotation-fields", first(bbox=[]), r"annotation 1 has \[\] as its box"),
    ("annotation-fields", first(bbox=[1, 2, "3", 4]), "as its box"),
    ("annotation-fields", lose("bbox"), "annotation 1 lacks bbox"),
    ("annotation-fields", lose("area"), "annotation 1 lacks area"),
    ("annotation-fields", lose("iscrowd"), "annotation 1 lacks iscrowd"),
    ("annotation-fields", first(area=None), "annotation 1 has None as its area"),
    ("annotation-fields", first(ignore=1), "annotation 1 is to be ignored"),
    ("annotation-fields", first(category_id="1"), "annotation 1 has '1' as its category"),
    ("annotation-fields", first(id="1"), "has '1' and 1 as its id"),
    ("annotation-fields", first(iscrowd="0"), "annotation 1 has '0' as its iscrowd"),
    (
        "annotation-fields",
        lambda content: content["images"][0].update(id="1"),
        "image 1.png has '1' as its id",
    ),
    ("annotation-fields", lambda content: content["images"][0].update(id=-1), "image 1.png has -1 as its id"),
    ("annotation-fields", lambda content: content["images"][0].pop("width"), "image 1 lacks width"),
    ("annotation-fields", lambda content: content["images"][0].update(width=0), "image 1 is of 0 x 64"),
    ("annotation-fields", lambda content: content["images"][0].update(file_name=3), "has 3 as its name"),
    ("annotation-id", first(id=0), "1 annotations, the first: id 0 of image 1.png"),
    ("duplicate-id", first(id=2), "1 entries, the first: annotation 2"),
    ("duplicate-id", lambda content: content["images"][0].update(id=2), r"image 2 \(2.png\)"),
    ("duplicate-id", lambda content: content["images"][0].update(file_name="2.png"), r"image 2 \(2.png\)"),
    ("duplicate-id", lambda content: content["categories"][0].update(id=2), "category 2"),
    ("category-gaps", lambda content: content["categories"][0].update(id=7), "2 categories of ids 2 to 7"),
    ("empty-set", lambda content: content.update(images=[]), "no image in .*val.json"),
    ("empty-set", lambda content: content.update(annotations=[]), "no object in .*val.json"),
    (
        "empty-set",
        lambda content: [entry.update(iscrowd=1) for entry in content["annotations"]],
        "no object in .*val.json but crowds or unusable ones, 8",
    ),
]


@pytest.mark.parametrize(("name", "edit", "message"), COCO_FAULTS)
def test_a_fault_of_coco_is_found(
    coco: Path, name: str, edit: Callable[[Json], object], message: str
) -> None:
    change(coco, edit)
    assert re.search(message, faults_of_coco(coco)[name])


def test_a_fault_is_counted_and_its_first_cases_are_named(coco: Path) -> None:
    change(coco, lambda content: [entry.update(bbox=[70, 0, 9, 9]) for entry in content["annotations"][:5]])
    text = faults_of_coco(coco)["box-outside"]
    assert text.startswith("5 annotations, the first: id 1 of image 1.png: ")
    assert re.findall(r"id (\d) of", text) == ["1", "2", "3"]


def test_training_needs_fewer_fields_than_a_test(coco: Path) -> None:
    for edit in (lose("area"), lose("iscrowd"), first(id=0)):
        write_set_again(coco)
        change(coco, edit)
        assert faults_of_coco(coco, training=True) == {}
        assert faults_of_coco(coco)


def write_set_again(folder: Path) -> None:
    for path in (folder / "val").iterdir():
        path.unlink()
    (folder / "val").rmdir()
    write_set(folder, "val")


def test_boxes_without_any_mask_are_a_set_of_boxes(coco: Path) -> None:
    change(coco, lambda content: [entry.pop("segmentation") for entry in content["annotations"]])
    assert faults_of_coco(coco) == {}


def test_what_coco_2017_contains_is_no_error(coco: Path) -> None:
    """Gaps, a crowd in run lengths, an image without objects, a box of no height with a flat polygon."""

    def edit(content: Json) -> None:
        for entry in content["categories"]:
            entry["id"] += 17
        for entry in content["annotations"]:
            entry["category_id"] += 17
        annotations = content["annotations"]
        annotations[0].update(rle(64, 64, [10, 100, 64 * 64 - 110]))
        flat = [29.65, 38.33, 29.65, 38.33, 30.68, 38.33, 30.68, 38.33]
        annotations[1].update(area=0.0, bbox=[29.65, 38.33, 1.03, 0.0], segmentation=[flat])
        annotations[2].update(bbox=[-0.5, 0, 64.9, 64.99])
        annotations[3].update(bbox=[3, 3, 0.4, 0.3], area=0.05)
        del annotations[6:]

    change(coco, edit)
    levels = {FAULTS[name].level for name in faults_of_coco(coco)}
    assert levels == {WARNING}
    assert set(faults_of_coco(coco)) == {"category-gaps", "empty-box"}


def test_faults_of_image_files_are_found(coco: Path) -> None:
    whole = (coco / "val" / "1.png").read_bytes()
    for content, name in (
        (whole[: len(whole) // 2], "unreadable-image"),
        (b"", "unreadable-image"),
        (b"<html>404</html>", "unreadable-image"),
        (None, "missing-image"),
    ):
        path = coco / "val" / "2.png"
        path.unlink() if content is None else path.write_bytes(content)
        assert faults_of_coco(coco)[name].startswith(f"1 images, the first: {path}")
    assert "missing-image" in faults_of_coco(coco, check_images=False)
    Image.new("RGB", (32, 64)).save(coco / "val" / "2.png")
    assert faults_of_coco(coco)["image-size"].endswith("2.png of 32 x 64, not 64 x 64")
    assert faults_of_coco(coco, check_images=False) == {}  # only that it is there


def write_jpeg(folder: Path, size: tuple[int, int], orientation: int = 1, tail: bytes = b"") -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    path = folder / "val" / "1.jpg"
    Image.effect_noise(size, 40).convert("RGB").save(path, exif=exif)
    path.write_bytes(path.read_bytes() + tail)
    change(folder, lambda content: content["images"][0].update(file_name="1.jpg", width=48, height=64))
    return path


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.detectron2
def test_sizes_are_those_that_detectron2_reads(coco: Path, orientation: int) -> None:
    from detectron2.data.detection_utils import read_image

    change(coco, lambda content: content.update(annotations=content["annotations"][2:]))
    for size in ((48, 64), (64, 48)):
        path = write_jpeg(coco, size, orientation)
        agrees = read_image(str(path)).shape[:2] == (64, 48)
        assert ("image-size" in faults_of_coco(coco)) != agrees


def test_bytes_behind_the_end_are_no_fault_and_a_cut_is(coco: Path) -> None:
    change(coco, lambda content: content.update(annotations=content["annotations"][2:]))
    path = write_jpeg(coco, (48, 64), tail=b"\0" * 7)
    assert faults_of_coco(coco) == {}
    path.write_bytes(path.read_bytes()[:-400])
    assert "image file is truncated" in faults_of_coco(coco)["unreadable-image"]


def edit_xml(*pairs: str) -> Callable[[Path], object]:
    """Of the second image: the first time that each of the even ones stands there becomes the next."""

    def edit(folder: Path) -> None:
        path = folder / "Annotations" / "000002.xml"
        text = path.read_text()
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text)

    return edit


def write_list(*names: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "ImageSets" / "Main" / "test.txt").write_text("\n".join(names))


VOC_FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "unreadable-annotations",
        lambda folder: (folder / "Annotations/000002.xml").unlink(),
        "1 images.*000002.xml: No such file",
    ),
    ("unreadable-annotations", edit_xml("</annotation>", ""), r"000002.xml: no element found"),
    ("unreadable-annotations", edit_xml("<width>64</width>", ""), "000002.xml: lacks size/width"),
    ("unreadable-annotations", edit_xml("<width>64<", "<width>wide<"), "has 'wide' as its size/width"),
    ("unreadable-annotations", write_list("000001", "000009"), "000009.xml: No such file"),
    ("missing-image", write_list("000001", "000009"), "1 images, the first: .*JPEGImages/000009.jpg"),
    ("missing-image", lambda folder: (folder / "JPEGImages/000002.jpg").unlink(), "1 images.*000002.jpg"),
    ("unreadable-image", lambda folder: (folder / "JPEGImages/000002.jpg").write_bytes(b""), "empty"),
    ("image-size", edit_xml("<width>64<", "<width>63<"), "000002.jpg of 64 x 64, not 63 x 64"),
    ("unknown-category", edit_xml("<name>cat<", "<name>tiger<"), "1 annotations.*object 1 of 000002: tiger"),
    ("annotation-fields", edit_xml("<xmin>5</xmin>", ""), "object 1 of 000002 lacks bndbox/xmin"),
    ("annotation-fields", edit_xml("<xmin>5<", "<xmin>five<"), "has 'five' as its bndbox/xmin"),
    ("annotation-fields", edit_xml("<name>cat</name>", ""), "object 1 of 000002 lacks name"),
    ("box-outside", edit_xml("<xmax>28<", "<xmax>0<", "<xmin>5<", "<xmin>-8<"), "2: -9 6 to 0 26 in 64 x 64"),
    ("box-over-edge", edit_xml("<xmax>28<", "<xmax>66<"), "object 1 of 000002 by 2 pixels"),
    ("invalid-box", edit_xml("<xmax>28<", "<xmax>2<"), "object 1 of 000002: 4 6 to 2 26"),
    ("invalid-box", edit_xml("<xmax>28<", "<xmax>nan<"), "object 1 of 000002: 4 6 to nan 26"),
    ("empty-box", edit_xml("<xmax>28<", "<xmax>4<"), "object 1 of 000002: 0 x 20"),
    ("duplicate-id", write_list("000001", "000002", "000002"), "1 entries, the first: image 000002, 2 times"),
    ("empty-set", write_list(), "no image in .*test.txt"),
    (
        "empty-set",
        lambda folder: [write_voc_image(folder, f"{number:06d}", []) for number in (1, 2, 3)],
        "no object that counts in the 3 images",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "edit", "message"), VOC_FAULTS)
def test_a_fault_of_voc_is_found(voc: Path, name: str, edit: Callable[[Path], object], message: str) -> None:
    edit(voc / "VOC2007")
    assert re.search(message, faults_of_voc(voc, training=True)[name])


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("annotation-fields", edit_xml("<pose>Frontal</pose>", ""), "object 1 of 000002 lacks pose"),
        ("annotation-fields", edit_xml("<difficult>0</difficult>", ""), "object 1 of 000002 lacks difficult"),
        ("annotation-fields", edit_xml("<xmin>5<", "<xmin>5.2<"), "has '5.2' as its bndbox/xmin"),
        ("absent-class", write_list("000002"), "18 classes, the first: aeroplane, bicycle, bird"),
    ],
)
def test_a_test_of_voc_needs_more(voc: Path, name: str, edit: Callable[[Path], object], message: str) -> None:
    edit(voc / "VOC2007")
    assert faults_of_voc(voc, training=True) == {}
    assert re.search(message, faults_of_voc(voc)[name])


def test_what_voc_contains_is_no_fault(voc: Path) -> None:
    """Difficult objects, parts of persons, boxes that start at 0 or end behind the last pixel."""
    part = "<part><name>head</name><bndbox><xmin>900</xmin></bndbox></part>"
    edit_xml("<difficult>0", f"{part}<difficult>1")(voc / "VOC2007")
    edit_xml("<xmin>5<", "<xmin>0<")(voc / "VOC2007")
    edit_xml("<xmax>56<", "<xmax>65<")(voc / "VOC2007")
    assert faults_of_voc(voc) == {}


@pytest.mark.parametrize("name", ["lost-object", "unknown-image", "category-gaps"])
def test_a_run_stops_by_an_error_and_an_exception_is_made_by_name(name: str) -> None:
    finding = Finding(name, "sets.scene", "3 annotations, the first: id 17 of image 123.jpg", "none")
    if finding.level == WARNING:
        refuse([finding], [], "run")
        return
    with pytest.raises(ValueError, match=rf"(?s)run: 1 findings stop this run.*{name}: sets.scene=3 ann"):
        refuse([finding], [], "run")
    refuse([finding], [f"{name}:sets.scene"], "run")


def test_every_fault_is_tried_and_in_the_document() -> None:
    tried = {name for name, *_ in (*COCO_FAULTS, *VOC_FAULTS)} | {"absent-class"}
    assert tried | {"image-size", "missing-image", "unreadable-image"} == set(FAULTS)
    assert not set(FAULTS) & set(NAMES)
    text = (Path(__file__).parent.parent / "docs" / "detection_data.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning) \|", text, flags=re.MULTILINE)
    assert rows == [(name, entry.level) for name, entry in FAULTS.items()]


@pytest.mark.skipif("MEC_TRANSFER_DATA" not in os.environ, reason="MEC_TRANSFER_DATA is not set")
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_coco_images_have_no_error(split: str) -> None:
    root = Path(os.environ["MEC_TRANSFER_DATA"]) / "coco200"
    files = SetFiles(str(root / "annotations" / f"instances_{split}2017.json"), str(root / f"{split}2017"))
    images = Registered(f"coco_2017_{split}", "coco", 100, 0, (), files)
    for training in (False, True):
        found = find_faults(images, training, check_images=True)
        assert [finding for finding in found if finding.level == ERROR] == []
        assert [finding.name for finding in found] == ["category-gaps"]
