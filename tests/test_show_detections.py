"""tools/show_detections.py: matching by hand and against pycocotools, the page, and what it refuses."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import detect_scene
import numpy as np
import pytest
import torch
import voc_scene
from browser import Browser, Page
from page_scene import Walk
from PIL import Image
from report_rows import MEC, of
from torch import nn

from transfer.detect.pictures import main
from transfer.detect.pictures.command import build, choose
from transfer.detect.pictures.contours import decode, draw, outline, simplify
from transfer.detect.pictures.match import Matching, Prediction, Truth, match, overlaps
from transfer.detect.pictures.page import COLOURS, MAX_PREDICTIONS, count
from transfer.detect.pictures.read import read_scene
from transfer.report.rows import write_rows

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 64, 48
# What detectron2 itself warns of.
QUIET = [mark.args[0] for mark in detect_scene.DETECTRON2 if mark.name == "filterwarnings"]
SCRIPT = "<script>"
CLASSES = {3: "cat", 7: SCRIPT}
# image -> (category, box, crowd); image 3 is empty
OBJECTS = {
    1: [(3, (10, 10, 20, 20), 0), (7, (40, 5, 20, 30), 0), (3, (0, 32, 30, 16), 1)],
    2: [(3, (4, 4, 30, 30), 0)],
    3: [],
}
# (image, category, box, score)
PREDICTIONS = [
    (1, 3, (10, 10, 20, 20), 0.9),  # right
    (1, 3, (11, 10, 20, 20), 0.8),  # the same cat a second time: false
    (1, 7, (40, 5, 20, 15), 0.7),  # half of it: IoU 0.5, right
    (1, 3, (2, 34, 10, 10), 0.6),  # in the crowd: ignored
    (2, 7, (4, 4, 30, 30), 0.95),  # the wrong class: false
    (2, 3, (4, 4, 30, 30), 0.3),  # right, but not at 0.5
    (3, 3, (0, 0, 8, 8), 0.2),  # false, but not at 0.5
]


def rectangle(box: tuple[int, int, int, int]) -> dict[str, Any]:
    """The RLE of a filled box, as detectron2 writes it."""
    from pycocotools import mask

    x, y, w, h = box
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    encoded = mask.encode(pixels)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def polygon(box: tuple[int, int, int, int]) -> list[list[int]]:
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def truth_json() -> dict[str, Any]:
    annotations = [
        {
            "id": 100 * image + k,
            "image_id": image,
            "category_id": category,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": crowd,
            "segmentation": rectangle(box) if crowd else polygon(box),
        }
        for image, objects in OBJECTS.items()
        for k, (category, box, crowd) in enumerate(objects, start=1)
    ]
    return {
        "images": [{"id": k, "file_name": f"{k:03d}.png", "width": WIDTH, "height": HEIGHT} for k in OBJECTS],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in CLASSES.items()],
    }


def results_json() -> list[dict[str, Any]]:
    return [
        {
            "image_id": image,
            "category_id": category,
            "bbox": list(box),
            "score": score,
            "segmentation": rectangle(box),
        }
        for image, category, box, score in PREDICTIONS
    ]


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's predictions folder on three images with a hostile class name."""
    images = tmp_path / "images"
    images.mkdir()
    for k in OBJECTS:
        Image.new("RGB", (WIDTH, HEIGHT), (40 * k, 90, 120)).save(images / f"{k:03d}.png")
    write(tmp_path / "val.json", truth_json())
    predictions = tmp_path / "run" / "predictions_val"
    predictions.mkdir(parents=True)
    write(predictions / "coco_instances_results.json", results_json())
    about = {"name": "scene_val", "kind": "coco", "annotations_path": str(tmp_path / "val.json")}
    about |= {"images_dir": str(images), "voc_dir": "", "split": "", "classes": list(CLASSES.values())}
    write(predictions / "set.json", about)
    return predictions


@pytest.fixture
def voc_folder(tmp_path: Path) -> Path:
    """VOC: one image with a cat, a difficult cat and a dog that is missed."""
    root = tmp_path / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT), "teal").save(root / "JPEGImages" / "000012.jpg")
    (root / "ImageSets" / "Main" / "test.txt").write_text("000012\n")
    objects = [("cat", 1, 1, 20, 20, 0), ("cat", 31, 1, 50, 20, 1), ("dog", 1, 31, 20, 40, 0)]
    xml = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin>"
        f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1, difficult in objects
    )
    (root / "Annotations" / "000012.xml").write_text(f"<annotation>{xml}</annotation>")
    predictions = tmp_path / "predictions_test"
    predictions.mkdir()
    about = {"name": "voc_2007_test", "kind": "voc", "annotations_path": "", "images_dir": ""}
    write(
        predictions / "set.json", about | {"voc_dir": str(root), "split": "test", "classes": ["cat", "dog"]}
    )
    entries = [(1, [0, 0, 20, 20], 0.9), (1, [30, 0, 20, 20], 0.8), (1, [30, 1, 20, 20], 0.7)]
    write(
        predictions / "coco_instances_results.json",
        [{"image_id": "000012", "category_id": c, "bbox": b, "score": s} for c, b, s in entries],
    )
    return predictions


def matchings(folder: Path) -> dict[Any, Matching]:
    scene = read_scene(folder)
    return {key: match(scene.truths[key], scene.predictions[key]) for key in scene.images}


# ------------------------------------------------------------------------------------------ matching


def test_overlaps_by_hand() -> None:
    square, shifted, half = (0.0, 0.0, 10.0, 10.0), (5.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 5.0)
    found = overlaps([square, half], [square, shifted, (20.0, 20.0, 1.0, 1.0)], [False, False, False])
    assert found == pytest.approx(np.array([[1.0, 50 / 150, 0.0], [50 / 100, 25 / 125, 0.0]]))
    assert overlaps([half], [square], [True]) == pytest.approx(np.array([[1.0]]))  # all of it in the crowd
    assert overlaps([(0.0, 0.0, 0.0, 0.0)], [(0.0, 0.0, 0.0, 0.0)], [False])[0, 0] == 0.0


def test_matching_by_hand(folder: Path) -> None:
    found = matchings(folder)
    assert found[1].verdicts == ("right", "false", "right", "ignored")
    assert found[1].taken == (0, None, 1, 2)
    assert found[1].found_at == (0.9, 0.7, None)
    assert found[2].verdicts == ("false", "right")
    assert found[2].found_at == (0.3,)
    assert found[3].verdicts == ("false",)


def test_the_score_decides_who_takes_an_object_not_the_order_or_the_overlap() -> None:
    truth = [Truth(1, (0, 0, 10, 10))]
    worse, better = Prediction(1, (0, 0, 10, 8), 0.9), Prediction(1, (0, 0, 10, 10), 0.8)
    assert match(truth, [better, worse]).verdicts == ("false", "right")
    assert match(truth, [replace(better, score=0.95), worse]).verdicts == ("right", "false")
    just_below = Prediction(1, (0, 0, 10, 4.999), 0.9)
    assert match(truth, [just_below]).verdicts == ("false",)
    assert match(truth, [replace(just_below, box=(0, 0, 10, 5))]).verdicts == ("right",)


def test_a_prediction_prefers_what_counts_to_a_crowd_around_it() -> None:
    truths = [Truth(1, (0, 0, 100, 100), crowd=True), Truth(1, (0, 0, 10, 10))]
    inside = Prediction(1, (0, 0, 10, 7), 0.9)  # IoU 0.7 with the object, wholly in the crowd
    assert match(truths, [inside, inside]).taken == (1, 0)
    assert match(truths, [inside, inside]).verdicts == ("right", "ignored")


def coco_says(truth: Any, results: list[dict[str, Any]]) -> dict[Any, tuple[str, float | None]]:
    """Verdict of every result by its place in the list, from COCOeval's own matching at 0.5."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.evaluate()
    verdicts = {}
    for per_image in evaluation.evalImgs:
        if per_image is None or per_image["aRng"] != evaluation.params.areaRng[0]:
            continue
        for k, identity in enumerate(per_image["dtIds"]):
            taken, ignored = per_image["dtMatches"][0, k], per_image["dtIgnore"][0, k]
            place = int(identity) - 1  # loadRes numbers the results from 1
            verdicts[place] = "ignored" if ignored else "right" if taken else "false"
    return verdicts


def crowded(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Many objects that overlap, crowds among them, and predictions with tied scores and overlaps."""
    rng = random.Random(seed)
    truth, results = truth_json(), []
    truth["annotations"] = []
    for image in OBJECTS:
        for _ in range(12):
            box = [rng.randrange(40), rng.randrange(30), rng.randrange(4, 20), rng.randrange(4, 16)]
            identity = len(truth["annotations"]) + 1
            rest = {"area": box[2] * box[3], "iscrowd": int(rng.random() < 0.2), "segmentation": []}
            category = rng.choice(list(CLASSES))
            truth["annotations"].append(
                {"id": identity, "image_id": image, "category_id": category, "bbox": box, **rest}
            )
            for _ in range(rng.randrange(4)):
                moved = [value + rng.choice([0, 0, 1, 2]) for value in box]
                score = rng.choice([0.3, 0.5, 0.5, round(rng.random(), 3)])
                results.append({"image_id": image, "category_id": category, "bbox": moved, "score": score})
    return truth, results


@pytest.mark.parametrize("seed", range(8))
def test_matching_agrees_with_pycocotools(
    folder: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, results = crowded(seed)
    write(folder.parents[1] / "val.json", truth)
    write(folder / "coco_instances_results.json", results)
    places = {key: iter(matching.verdicts) for key, matching in matchings(folder).items()}
    ours = {place: next(places[result["image_id"]]) for place, result in enumerate(results)}
    theirs = coco_says(truth, json.loads(json.dumps(results)))
    assert ours == theirs
    assert set(ours.values()) == {"right", "false", "ignored"}
    capsys.readouterr()


def test_that_comparison_can_fail(capsys: pytest.CaptureFixture[str]) -> None:
    truth, results = truth_json(), results_json()
    said = coco_says(truth, [dict(r) for r in results])
    results[0]["bbox"] = [11, 10, 20, 20]
    results[0]["score"] = 0.1
    assert coco_says(truth, results) != said
    capsys.readouterr()


# ------------------------------------------------------------------------------------------ masks


def fill(loops: list[np.ndarray[Any, Any]], shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Even-odd fill of loops at pixel centres, by counting vertical edges to the left."""
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    for loop in loops:
        for (x0, y0), (x1, y1) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            if x0 == x1:
                crossings[int(min(y0, y1)) : int(max(y0, y1)), int(x0)] += 1
    filled: np.ndarray[Any, Any] = np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
    return filled


@pytest.mark.parametrize("seed", range(6))
def test_outlines_give_the_mask_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((17, 23)) < (0.5, 0.1, 0.9, 0.6, 0.0, 1.0)[seed]
    loops = outline(pixels)
    assert np.array_equal(fill(loops, pixels.shape), pixels)
    for loop in loops:
        steps = np.roll(loop, -1, axis=0) - loop
        assert ((steps != 0).sum(axis=1) == 1).all()  # axis-parallel, and no step of length 0


def test_an_outline_by_hand() -> None:
    pixels = np.zeros((4, 5), bool)
    pixels[1:3, 1:4] = True
    (loop,) = outline(pixels)
    assert {tuple(point) for point in loop.tolist()} == {(1, 1), (4, 1), (4, 3), (1, 3)}


def test_simplification_stays_within_its_tolerance_and_loses_no_speck() -> None:
    y, x = np.mgrid[:60, :60]
    (circle,) = outline((x - 30) ** 2 + (y - 30) ** 2 < 25**2)
    shorter = simplify(circle, 1.0)
    assert len(shorter) < len(circle) / 2
    radii = np.hypot(*(shorter - [30.5, 30.5]).T)
    assert abs(radii - 25).max() < 1.5
    speck = np.zeros((9, 9), bool)
    speck[4, 4] = True
    assert len(simplify(outline(speck)[0], 5.0)) == 4


def test_the_shorter_of_path_and_picture_is_drawn() -> None:
    from pycocotools import mask

    noise = (np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5).astype(np.uint8)
    encoded = mask.encode(np.asfortranarray(noise))
    shape = draw(encoded, WIDTH, HEIGHT, 0.75, COLOURS["false"])
    assert shape.url
    assert not shape.path
    picture = Image.open(io.BytesIO(base64.b64decode(shape.url.split(",")[1]))).convert("RGBA")
    whole = np.zeros((HEIGHT, WIDTH), bool)
    whole[shape.y : shape.y + shape.height, shape.x : shape.x + shape.width] = np.asarray(picture)[..., 3] > 0
    assert np.array_equal(whole, noise.astype(bool))
    ys, xs = np.nonzero(np.asarray(picture)[..., 3])
    assert picture.getpixel((int(xs[0]), int(ys[0]))) == (0xFF, 0xA3, 0x1A, 255)
    flat = draw(rectangle((4, 5, 20, 10)), WIDTH, HEIGHT, 0.75, COLOURS["false"])
    assert re.fullmatch(r"M[\d ]+l[\d -]+z", flat.path)


def test_uncompressed_runs_are_read_as_pycocotools_reads_them() -> None:
    runs = {"size": [4, 3], "counts": [2, 3, 5, 2]}
    flat = np.array([0] * 2 + [1] * 3 + [0] * 5 + [1] * 2, bool)
    assert np.array_equal(decode(runs, 3, 4), flat.reshape(3, 4).T)
    with pytest.raises(ValueError, match=r"size \[3, 4\], found \[4, 3\]"):
        decode(runs, 4, 3)
    with pytest.raises(ValueError, match="runs of 11 pixels in 12"):
        decode({"size": [4, 3], "counts": [2, 3, 6]}, 3, 4)


# ------------------------------------------------------------------------------------------ the page


def page_of(folder: Path, **changes: Any) -> str:
    given = {"num_images": 24, "order": "first", "min_score": 0.5, "seed": 0, "max_side": 640}
    return build(folder, **(given | changes))


def captions(page: str) -> list[list[int]]:
    """Objects, predictions, found, missed, false of every image."""
    numbers = [int(text) for text in re.findall(r'data-n="\w+">(\d+)<', page)]
    return [numbers[k : k + 5] for k in range(0, len(numbers), 5)]


def test_captions_and_totals_by_hand(folder: Path) -> None:
    page = page_of(folder)
    assert captions(page) == [[2, 4, 2, 0, 1], [1, 1, 0, 1, 1], [0, 0, 0, 0, 0]]
    totals = dict(re.findall(r'data-total="(\w+)">(\d+)<', page))
    assert totals == {"objects": "3", "predictions": "5", "found": "2", "missed": "1", "false": "2"}
    lower = page_of(folder, min_score=0.0)
    assert captions(lower) == [[2, 4, 2, 0, 1], [1, 2, 1, 0, 1], [0, 1, 0, 0, 1]]
    steps = json.loads(re.findall(r'id="totals">(.*?)</script>', page)[0])
    assert [steps["right"][k] for k in (0, 30, 31, 70, 71, 90, 91, 100)] == [3, 3, 2, 2, 1, 1, 0, 0]


def test_boxes_and_masks_are_in_image_pixels(folder: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder.parents[1] / "images" / "001.png")
    page = build(folder, 1, "first", 0.5, 0, 32)
    svg = re.search(r'<svg class="scene".*?</svg>', page, re.S)
    assert svg is not None
    assert 'viewBox="0 0 64 48"' in svg[0]
    assert svg[0].count('<rect class="line" x="10" y="10" width="20" height="20"/>') == 2  # truth, prediction
    assert 'd="M10 10l20 0 0 20-20 0z"' in svg[0]  # the polygon
    jpeg = re.search(r"data:image/jpeg;base64,([^\"]+)", svg[0])
    assert jpeg is not None
    with Image.open(io.BytesIO(base64.b64decode(jpeg[1]))) as embedded:
        assert embedded.size == (32, 24)


def test_polygons_that_detectron2_leaves_out_are_not_drawn(folder: Path) -> None:
    page = page_of(folder)
    for short in ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], []):
        edit("val.json", lambda c, short=short: c["annotations"][0]["segmentation"].append(short) or c)(
            folder
        )
    assert page_of(folder) == page
    change = edit("val.json", lambda c: c["annotations"][0]["segmentation"].append([9, 9, 20, 9, 9, 20]) or c)
    change(folder)
    assert page_of(folder) != page


def test_a_rotated_photograph_is_turned_as_detectron2_turns_it(folder: Path) -> None:
    path = folder.parents[1] / "images" / "001.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (HEIGHT, WIDTH)).save(path.with_suffix(".jpg"), exif=exif)
    path.with_suffix(".jpg").replace(path)
    assert 'viewBox="0 0 64 48"' in page_of(folder, num_images=1)


def test_names_are_text_and_nothing_is_asked_of_a_network(folder: Path) -> None:
    about = json.loads((folder / "set.json").read_text())
    write(folder / "set.json", about | {"name": '"><img src=x onerror=alert(1)>'})
    page = page_of(folder, min_score=0.0)
    walk = Walk(page)
    assert len(walk.of("script")) == 2
    assert "&lt;script&gt; 0.70" in page
    assert not walk.of("img")
    for tag, attributes, _ in walk.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src"):
                assert (value or "").startswith(("#", "data:")), (tag, value)
    assert not re.search(r"https?:|url\(|@import|fetch\(", page)
    script = re.findall(r"<script>(.*?)</script>", page, re.S)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        a["content"] for a, _ in walk.of("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")


def test_the_run_is_named_by_its_rows(folder: Path) -> None:
    row = replace(of(MEC, "box_ap", 12.34), task="detect", split="val", protocol="mini-protocol", n=3)
    rows = [row, replace(of(row, "mask_ap50", 7.8), task="detect"), replace(row, split="train", value=99.9)]
    write_rows(folder.parent / "results.csv", rows)
    page = page_of(folder)
    for text in (row.method, row.backbone_sha256, "mini-protocol", "<td>12.3</td>", "<td>7.8</td>"):
        assert text in page
    assert "99.9" not in page
    (folder.parent / "results.csv").unlink()
    assert "mini-protocol" not in page_of(folder)
    (folder.parent / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"results\.csv:1: expected the columns of a results file"):
        page_of(folder)


def test_an_image_s_own_ap_is_shown_where_the_run_left_it(folder: Path) -> None:
    assert "of this image alone" not in page_of(folder)
    (folder / "per_image.csv").write_text("image_id,file_name,box_ap\n1,001.png,43.21\n3,003.png,\n")
    assert re.findall(r"box AP of this image alone, at any score: ([\d.]+)", page_of(folder)) == ["43.2"]
    line = "image_id,file_name,box_ap\n1,0\u2028\x1c01.png,43.21\n"  # of a name that str.splitlines() parts
    (folder / "per_image.csv").write_text(line, encoding="utf-8")
    assert "any score: 43.2" in page_of(folder)
    (folder / "per_image.csv").write_text("image_id,file_name,box_ap\n1,001.png,much\n")
    with pytest.raises(ValueError, match=r"per_image\.csv:2: box_ap: could not convert"):
        page_of(folder)
    (folder / "per_image.csv").write_text("image_id,file_name\n1,001.png\n")
    with pytest.raises(ValueError, match=r"per_image\.csv: lacks the column 'box_ap'"):
        page_of(folder)


def test_voc_boxes_and_difficult_objects(voc_folder: Path) -> None:
    scene = read_scene(voc_folder)
    assert [truth.box for truth in scene.truths["000012"]] == [
        (0, 0, 20, 20),  # pixels 1 to 20 of VOC's counting
        (30, 0, 20, 20),
        (0, 30, 20, 10),
    ]
    assert matchings(voc_folder)["000012"].verdicts == ("right", "ignored", "ignored")
    page = page_of(voc_folder)
    assert captions(page) == [[2, 3, 1, 1, 0]]
    assert "difficult, does not count" in page
    assert "show-masks" not in page.split("<form")[1]  # there are none to show


def test_orders(folder: Path) -> None:
    scene, found = read_scene(folder), matchings(folder)

    def order(name: str, min_score: float = 0.5, n: int = 24, seed: int = 0) -> list[Any]:
        return choose(scene, found, n, name, min_score, seed)

    # 2 found / (objects + predictions): image 1 4/5, image 2 0/2; image 3 has nothing to judge
    assert order("worst") == [2, 1, 3]
    assert order("best") == [1, 2, 3]
    assert order("worst", 0.0) == [3, 2, 1]  # 0/1, 2/3, 4/5
    assert order("first", n=2) == [1, 2]
    assert order("random", n=2) == order("random", n=2)
    assert len({tuple(order("random", seed=seed)) for seed in range(20)}) > 1


def test_counts_of_one_image_sum_to_those_of_the_set(folder: Path) -> None:
    scene, found = read_scene(folder), matchings(folder)
    scores = {key: [p.score for p in scene.predictions[key]] for key in found}
    for min_score in (0.0, 0.5, 0.85):
        parts = [count([found[key]], [scores[key]], min_score) for key in found]
        whole = count(list(found.values()), list(scores.values()), min_score)
        assert whole == {name: sum(part[name] for part in parts) for name in whole}


def test_an_image_with_too_many_predictions_says_so(folder: Path) -> None:
    entry = results_json()[0]
    write(folder / "coco_instances_results.json", [entry | {"score": k / 200} for k in range(150)])
    page = page_of(folder, num_images=1, min_score=0.0)
    assert page.count('<g class="p ') == MAX_PREDICTIONS + 3  # and the legend's
    assert f"Only the {MAX_PREDICTIONS} predictions of highest score are here; 50 more are left out." in page


@pytest.mark.parametrize("results", [[], "low"])
def test_a_detector_without_predictions_has_a_page_that_says_so(folder: Path, results: Any) -> None:
    low = [entry | {"score": 0.123} for entry in results_json()]
    write(folder / "coco_instances_results.json", low if results else [])
    assert main([str(folder)]) == 0
    page = (folder / "detections.html").read_text()
    said = "No prediction reaches 0.50." if results else "No predictions at all."
    assert said in page
    assert ("0.123" in page) == bool(results)
    assert captions(page) == [[2, 0, 0, 2, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    assert (said in page_of(folder, min_score=0.1)) != bool(results)


# ------------------------------------------------------------------------------------------ what a run leaves


class Noisy(nn.Module):
    """A detector with twelve objects an image, some near the truth of the scene, some anywhere."""

    def __init__(self, near: list[tuple[int, int, int, int]]) -> None:
        super().__init__()
        self.near, self.rng = near, np.random.default_rng(0)

    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from detectron2.structures import Boxes, Instances

        found = []
        for image in inputs:
            size = image["height"], image["width"]
            boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in self.near * 6], float)
            boxes += self.rng.normal(0, 2, boxes.shape)
            boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
            instances = Instances(size)
            instances.pred_boxes = Boxes(torch.from_numpy(boxes).float())
            instances.scores = torch.from_numpy(self.rng.random(len(boxes)))
            instances.pred_classes = torch.tensor([0, 1] * (len(boxes) // 2))
            instances.pred_masks = torch.rand(len(boxes), *size) < 0.5
            found.append({"instances": instances})
        return found


@pytest.mark.detectron2
@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_what_the_task_leaves_is_read_and_counted_alike(kind: str, tmp_path: Path) -> None:
    from detectron2.config import get_cfg

    from transfer.detect.score import evaluate
    from transfer.detect.sets import SetFiles, register

    if kind == "coco":
        detect_scene.write_set(tmp_path, "val")
        files = SetFiles(str(tmp_path / "val.json"), str(tmp_path / "val"))
        near = [box for _, *box in detect_scene.OBJECTS]
    else:
        given = voc_scene.write_voc(tmp_path, 2007, {"test": 4}, every_class=True)["test"]
        files = SetFiles(**given)  # type: ignore[arg-type]
        near = [(x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1) for _, x0, y0, x1, y1 in voc_scene.EVERY_CLASS[:2]]
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = kind == "coco"
    cfg.DATALOADER.NUM_WORKERS = 0
    out = tmp_path / "run" / "predictions_val"
    evaluate(Noisy(near), cfg, register(f"shown_{kind}", files), out, "pycocotools")
    page = build(out, 24, "first", 0.0, 0, 640)
    with (out / "per_image.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    theirs = [[int(row[name]) for name in ("objects", "predictions", "box_tp50", "box_fp50")] for row in rows]
    ours = [[objects, shown, found, false] for objects, shown, found, _, false in captions(page)]
    assert ours == theirs
    assert sum(row[2] for row in ours) > 0
    assert sum(row[3] for row in ours) > 0
    shown_ap = re.findall(r"at any score: ([\d.]+)", page)
    assert shown_ap == [f"{float(row['box_ap']):.1f}" for row in rows]


# ------------------------------------------------------------------------------------------ refusals


def test_a_run_folder_and_a_predictions_folder_give_the_same_page(folder: Path, tmp_path: Path) -> None:
    assert main([str(folder.parent), "--out", str(tmp_path / "a.html")]) == 0
    assert main([str(folder), "--split", "val", "--out", str(tmp_path / "b" / "b.html")]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b" / "b.html").read_bytes()


Break = Callable[[Path], Any]


def edit(name: str, change: Callable[[Any], Any]) -> Break:
    def apply(folder: Path) -> None:
        path = folder.parents[1] / name if name == "val.json" else folder / name
        content = json.loads(path.read_text())
        changed = change(content)
        write(path, content if changed is None else changed)

    return apply


RESULTS = "coco_instances_results.json"
REFUSALS: dict[str, tuple[Break, str]] = {
    "no folder": (lambda f: shutil.rmtree(f), "predictions_val: no such folder; a run of the task detect"),
    "another split": (lambda f: f.rename(f.with_name("predictions_test")), "next: --split test"),
    "no run": (lambda f: shutil.rmtree(f.parent), "run: no such folder; expected a run of the task detect"),
    "no set.json": (lambda f: (f / "set.json").unlink(), "set.json: no such file; the task detect writes it"),
    "no predictions": (lambda f: (f / RESULTS).unlink(), f"{RESULTS}: no such file"),
    "half a file": (lambda f: (f / RESULTS).write_text("[{"), f"{RESULTS}: not JSON"),
    "not UTF-8": (lambda f: (f / RESULTS).write_bytes(b"\xff"), f"{RESULTS}: not UTF-8"),
    "not a list": (edit(RESULTS, lambda c: {"a": 1}), "expected a JSON list, found dict"),
    "not entries": (edit(RESULTS, lambda c: [3]), "predictions[0]: "),
    "no score": (edit(RESULTS, lambda c: c[1].pop("score") and None), "predictions[1]: lacks 'score'"),
    "score of 2": (edit(RESULTS, lambda c: c[2].update(score=2)), "[2]: score: expected 0 to 1, found 2"),
    "score NaN": (edit(RESULTS, lambda c: c[2].update(score=float("nan"))), "finite number, found nan"),
    "box of 3": (edit(RESULTS, lambda c: c[0].update(bbox=[1, 2, 3])), "box: expected [x, y, width, height]"),
    "negative box": (edit(RESULTS, lambda c: c[0].update(bbox=[1, 2, -3, 1])), "height of 0 or more, found"),
    "foreign image": (
        edit(RESULTS, lambda c: c[3].update(image_id=77)),
        "predictions[3]: image_id 77 does not belong to this set of 3: 1, 2, 3",
    ),
    "foreign class": (
        edit(RESULTS, lambda c: c[3].update(category_id=4)),
        "predictions[3]: category_id 4 does not belong to this set of 2: 3, 7",
    ),
    "mask of another size": (
        edit(RESULTS, lambda c: c[0]["segmentation"].update(size=[4, 4])),
        "001.png: mask: expected polygons or an RLE of size [48, 64], found [4, 4]",
    ),
    "mask that is none": (
        edit(RESULTS, lambda c: c[0]["segmentation"].update(counts=5)),
        "001.png: mask: no RLE under counts",
    ),
    "foreign kind": (edit("set.json", lambda c: c.update(kind="yolo")), "expected coco or voc, found 'yolo'"),
    "no classes": (edit("set.json", lambda c: c.update(classes=[])), "classes: expected a list of names"),
    "no path": (edit("set.json", lambda c: c.update(images_dir="")), "images_dir: expected a path, found ''"),
    "moved set": (edit("set.json", lambda c: c.update(images_dir="/gone")), "images_dir: /gone is not there"),
    "other classes": (
        edit("val.json", lambda c: c["categories"][0].update(name="dog")),
        "its 2 categories are not the 2 classes in",
    ),
    "foreign annotation": (
        edit("val.json", lambda c: c["annotations"][1].update(image_id=9)),
        "annotations[1]: image_id 9 does not belong",
    ),
    "no images": (edit("val.json", lambda c: c.pop("images") and None), "expected a list, found NoneType"),
    "empty set": (
        lambda f: (
            edit("val.json", lambda c: c.update(images=[], annotations=[]))(f),
            edit(RESULTS, lambda c: [])(f),
        ),
        "its set has no images",
    ),
    "image missing": (
        lambda f: (f.parents[1] / "images" / "002.png").unlink(),
        "002.png: no such image, but the annotations name it",
    ),
    "image broken": (
        lambda f: (f.parents[1] / "images" / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n"),
        "002.png: no image that can be read",
    ),
    "image of too many pixels": (
        lambda f: Image.new("1", (16384, 16384)).save(f.parents[1] / "images" / "002.png"),
        "002.png: no image that can be read: Image size (268435456 pixels) exceeds limit",
    ),
    "polygon that is not finite": (
        edit("val.json", lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, float("nan"), 5, 6]])),
        "001.png: mask: expected a polygon of finite numbers",
    ),
    "image of another size": (
        lambda f: Image.new("RGB", (9, 9)).save(f.parents[1] / "images" / "002.png"),
        "002.png: the annotations say 64x48 pixels, the file has 9x9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_leave_the_page_that_was_there(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.parents[1] / "pages"
    assert main([str(folder.parent), "--out", str(out / "page.html")]) == 0  # the negative control
    (out / "page.html").write_text("before")
    capsys.readouterr()
    change, message = REFUSALS[name]
    change(folder)
    assert main([str(folder.parent), "--out", str(out / "page.html")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("show_detections: ")
    assert message in said
    assert [path.name for path in out.iterdir()] == ["page.html"]
    assert (out / "page.html").read_text() == "before"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "Annotations" / "000012.xml").write_text("<annotation>"),
            "000012.xml: not XML",
        ),
        (lambda root: (root / "Annotations" / "000012.xml").unlink(), "000012.xml"),
        (lambda root: (root / "ImageSets" / "Main" / "test.txt").unlink(), "test.txt"),
        (
            lambda root: (root / "Annotations" / "000012.xml").write_text(
                "<a><object><name>cow</name></object></a>"
            ),
            "object 0: class 'cow' is none of cat, dog",
        ),
        (
            lambda root: (root / "Annotations" / "000012.xml").write_text(
                "<a><object><name>cat</name></object></a>"
            ),
            "object 0: bndbox: ",
        ),
    ],
)
def test_voc_refusals(
    voc_folder: Path, change: Callable[[Path], Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(voc_folder.parent / "VOC2007")
    assert main([str(voc_folder)]) == 2
    assert message in capsys.readouterr().err
    assert not (voc_folder / "detections.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-images", "0"], "--num-images: expected 1 or more, found 0"),
        (["--min-score", "1.5"], "--min-score: expected 0 to 1 in steps of 0.01, found 1.5"),
        (["--min-score", "0.555"], "in steps of 0.01"),
        (["--min-score", "nan"], "in steps of 0.01"),
        (["--max-side", "3"], "--max-side: expected 32 pixels or more"),
        (["--order", "worse"], "invalid choice"),
    ],
)
def test_wrong_arguments(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(folder), *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (folder / "detections.html").exists()


def test_a_split_that_is_not_the_folder_s_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), "--split", "test"]) == 2
    assert "--split test belongs to a run folder" in capsys.readouterr().err


def test_it_needs_neither_torch_nor_detectron2_nor_pandas(folder: Path) -> None:
    code = (
        "import sys; sys.argv[0] = 'tools/show_detections.py'; import runpy\n"
        "try: runpy.run_path('tools/show_detections.py', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print([name for name in ('torch', 'detectron2', 'pandas', 'cv2') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# ------------------------------------------------------------------------------------------ the browser


@pytest.fixture
def shown(folder: Path, browser: Browser) -> Iterator[Page]:
    """The page in Chromium, and the proof that nothing went wrong or out."""
    out = folder / "detections.html"
    assert main([str(folder), "--order", "first"]) == 0
    opened = browser.open(out.as_uri())
    yield opened
    for event in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
        assert opened.events(event) == []
    assert opened.events("Page.javascriptDialogOpening") == []
    asked = {event["request"]["url"].split("#")[0] for event in opened.events("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} <= {out.as_uri()}
    opened.close()


def counts_shown(page: Page) -> list[list[int]]:
    found: list[list[int]] = page.js(
        "[...document.querySelectorAll('.picture')].map(p => [...p.querySelectorAll('[data-n]')]"
        ".map(n => Number(n.textContent)))"
    )
    return found


def visible(page: Page, selector: str) -> int:
    all_such = f"[...document.querySelectorAll({json.dumps(selector)})]"
    number: int = page.js(f"{all_such}.filter(e => e.getClientRects().length).length")
    return number


@pytest.mark.browser
def test_the_slider_works_by_keys_and_counts_as_python_does(shown: Page, folder: Path) -> None:
    start = captions(page_of(folder))
    assert counts_shown(shown) == start
    assert visible(shown, ".scene g.p") == 5
    shown.js("document.getElementById('score').focus()")
    for _ in range(21):
        shown.press("ArrowLeft")
    assert shown.js("document.getElementById('score-now').textContent") == "0.29"
    assert counts_shown(shown) == captions(page_of(folder, min_score=0.29)) != start
    assert visible(shown, ".scene g.p") == 6
    totals = shown.js("[...document.querySelectorAll('[data-total]')].map(e => Number(e.textContent))")
    expected = page_of(folder, min_score=0.29)
    assert totals == [int(n) for n in re.findall(r'data-total="\w+">(\d+)<', expected)]
    for _ in range(2):
        shown.press("ArrowRight")
    assert counts_shown(shown) == start  # 0.31


@pytest.mark.browser
@pytest.mark.parametrize(
    ("control", "selector", "number"),
    [
        ("show-truth", ".scene g.t", 4),
        ("show-predictions", ".scene g.p", 5),
        ("show-masks", ".scene .mask", 9),
        ("show-labels", ".scene text", 9),
    ],
)
def test_toggles(shown: Page, control: str, selector: str, number: int) -> None:
    assert visible(shown, selector) == number
    shown.click(f"#{control}")
    assert visible(shown, selector) == 0
    assert visible(shown, ".scene image") >= 3
    shown.js(f"document.getElementById('{control}').focus()")
    shown.press(" ")
    assert visible(shown, selector) == number


@pytest.mark.browser
def test_only_mistakes(shown: Page) -> None:
    shown.click("#only-mistakes")
    assert visible(shown, ".scene g") == 1 + 2  # the second cat; the missed cat and the wrong class on it
    assert visible(shown, ".picture") == 2
    assert shown.js("document.getElementById('said').textContent") == "2 of 3 images"
    assert not shown.js("document.getElementById('nothing').checkVisibility()")
    for what in ("value = '0.25'", "dispatchEvent(new Event('input', { bubbles: true }))"):
        shown.js(f"document.getElementById('score').{what}")
    shown.settle()
    assert visible(shown, ".picture") == 2  # the cat of image 2 is found now, the wrong class is still there


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_the_screen_and_labels_keep_their_size(shown: Page, width: int) -> None:
    shown.resize(width, 900)
    shown.settle()
    assert shown.js("document.documentElement.scrollWidth <= innerWidth")
    sizes = shown.js(
        "[...document.querySelectorAll('.scene g text')].filter(t => t.getClientRects().length)"
        ".map(t => parseFloat(getComputedStyle(t).fontSize) * t.closest('svg').getScreenCTM().a)"
    )
    assert sizes == pytest.approx([12.5] * 9, rel=0.02)


@pytest.mark.browser
def test_a_box_says_what_it_is(shown: Page) -> None:
    titles = shown.js("[...document.querySelectorAll('.scene g > title')].map(t => t.textContent)")
    assert "cat 0.80: false; nearest true object: cat, IoU 0.90" in titles  # 19 x 20 of 21 x 20
    assert f"{SCRIPT} 0.95: false; nearest true object: cat, IoU 1.00" in titles
    assert "cat 0.20: false; nothing there" in titles
    assert "cat 0.60: ignored; nearest true object: cat, share inside 1.00" in titles
    assert f"{SCRIPT}: found at 0.70" in titles


@pytest.mark.browser
def test_without_scripts_everything_but_the_slider_works(folder: Path, browser: Browser) -> None:
    assert main([str(folder), "--order", "first"]) == 0
    page = browser.open((folder / "detections.html").as_uri(), scripts=False)
    assert visible(page, "#score") == 0
    assert visible(page, ".scene g.p") == 5
    assert visible(page, ".scene .mask") == 9
    page.js("document.getElementById('show-masks').checked = false")  # the page's styles do the rest
    assert visible(page, ".scene .mask") == 0
    page.close()


def test_colours_are_told_apart_without_red_and_green() -> None:
    """Right and false differ for each of the three kinds of dichromacy (Viénot 1999, Brettel for tritan)."""
    to_lms = np.array(
        [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
    )
    lost = {
        "protan": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
        "deutan": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
        "tritan": np.array([[1, 0, 0], [0, 1, 0], [-0.395913, 0.801109, 0]]),
    }  # fmt: skip

    def seen(colour: str, kind: str) -> Any:
        rgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]) ** 2.2
        return np.clip(np.linalg.inv(to_lms) @ lost[kind] @ to_lms @ rgb, 0, 1) ** (1 / 2.2)

    for kind in lost:
        assert np.abs(seen(COLOURS["right"], kind) - seen(COLOURS["false"], kind)).max() > 0.3
    assert np.abs(seen("#d04040", "deutan") - seen("#7f8020", "deutan")).max() < 0.3  # the control
