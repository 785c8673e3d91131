"""PASCAL VOC's metric worked out by hand, through detectron2's evaluator; classes against its function."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detect_scene import DETECTRON2
from torch import nn
from voc_scene import write_voc

from transfer.detect.per_image import score_images
from transfer.detect.score import evaluate, score_pascal
from transfer.detect.sets import VOC_CLASSES, Registered, SetFiles, register
from transfer.detect.voc_score import RECALLS, THRESHOLDS, score_voc

pytestmark = DETECTRON2
CAT, DOG = VOC_CLASSES.index("cat"), VOC_CLASSES.index("dog")
Box = tuple[
    float, float, float, float
]  # xmin, ymin, xmax, ymax as VOC counts: from 1, both ends belong to it
Found = dict[str, list[tuple[int, Box, float]]]  # image -> class, box, score


class Told(nn.Module):
    """A detector that says of each image what it was told to."""

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found

    def forward(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from detectron2.structures import Boxes, Instances

        outputs = []
        for image in inputs:
            here = self.found.get(image["image_id"], [])
            instances = Instances((image["height"], image["width"]))
            corners = torch.tensor([box for _, box, _ in here]).reshape(-1, 4).float()
            # detectron2's pixels: from 0, and the far end does not belong to it
            instances.pred_boxes = Boxes(corners - torch.tensor([1.0, 1.0, 0.0, 0.0]))
            instances.scores = torch.tensor([score for *_, score in here])
            instances.pred_classes = torch.tensor([label for label, *_ in here], dtype=torch.int64)
            outputs.append({"instances": instances})
        return outputs


def write_xml(folder: Path, name: str, objects: list[tuple[str, Box, int]]) -> None:
    parts = "".join(
        f"<object><name>{label}</name><pose>Left</pose><truncated>0</truncated><difficult>{difficult}</difficult>"
        f"<bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for label, (a, b, c, d), difficult in objects
    )
    size = "<size><width>100</width><height>100</height><depth>3</depth></size>"
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{parts}</annotation>")


def make(root: Path, objects: dict[str, list[tuple[str, Box, int]]], year: int = 2007) -> SetFiles:
    """A VOC set of white images of 100 x 100 pixels."""
    from PIL import Image

    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / "test.txt").write_text("".join(f"{name}\n" for name in objects))
    for name, listed in objects.items():
        write_xml(root, name, listed)
        Image.new("RGB", (100, 100), "white").save(root / "JPEGImages" / f"{name}.jpg")
    return SetFiles(voc_dir=str(root), split="test", year=year)


def run(files: SetFiles, found: Found, folder: Path) -> dict[str, float | None]:
    from detectron2.config import get_cfg

    cfg = get_cfg()
    cfg.DATALOADER.NUM_WORKERS = 0
    images = register("voc-by-hand", files)
    return evaluate(Told(found), cfg, images, folder, "hotcoco")


def boxes(folder: Path) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((folder / "coco_instances_results.json").read_text())
    return content


def per_class(folder: Path, name: str) -> dict[str, str]:
    with (folder / "per_class.csv").open() as handle:
        return next(line for line in csv.DictReader(handle) if line["class"] == name)


# Every other class: one object, found exactly, so that its AP is 100 at every threshold.
REST: list[tuple[str, Box, int]] = [
    (label, (1 + 20 * (k % 5), 1 + 20 * (k // 5), 10 + 20 * (k % 5), 10 + 20 * (k // 5)), 0)
    for k, label in enumerate(VOC_CLASSES)
    if label not in ("cat", "dog")
]
FOUND_REST = [(VOC_CLASSES.index(label), box, 0.99) for label, box, _ in REST]


def test_a_hand_worked_example(tmp_path: Path) -> None:
    """Cats, three images. Objects that count: A (a), B and C (b), D (c); Q (c) is difficult: 4 objects.

    Ranked by score, at an overlap of more than 0.5:
      .9 a, box of A           hit             recall 1/4, precision 1/1
      .8 b, nowhere            miss            recall 1/4, precision 1/2
      .7 c, box of Q           ignored         recall 1/4, precision 1/2
      .6 b, most of B          hit (0.7)       recall 2/4, precision 2/3
      .5 a, box of A again     miss            recall 2/4, precision 2/4
      .4 c, box of D           hit             recall 3/4, precision 3/5
    C is never found. Best precision at recall >= 0, .1, .2: 1; at >= .3, .4, .5: 2/3; at >= .6, .7: 3/5;
    at >= .8, .9, 1: 0. AP50 = (3 * 1 + 3 * 2/3 + 2 * 3/5) / 11 = 6.2 / 11.

    B's box overlaps by exactly 70 of 100 pixels, so from the threshold .70 on it is a miss (more than is
    asked). Then hits are at ranks 1 and 6 of 5 that count: recall 1/4 at precision 1, 2/4 at 2/5. Best at
    0, .1, .2: 1; at .3, .4, .5: 2/5. AP75 = (3 + 3 * 2/5) / 11 = 4.2 / 11.
    """
    B, C = (11, 11, 20, 20), (51, 51, 60, 60)
    A, D, Q = (1, 1, 10, 10), (31, 31, 50, 50), (71, 71, 90, 90)
    files = make(
        tmp_path,
        {
            "a": [("cat", A, 0)],
            "b": [("cat", B, 0), ("cat", C, 0), ("dog", (81, 81, 90, 90), 0)],
            "c": [("cat", D, 0), ("cat", Q, 1)],
            "rest": REST,
        },
    )
    most_of_b = (11, 11, 17, 20)  # 7 x 10 pixels of its 10 x 10: counted with the ends, 70 / 100
    found: Found = {
        "a": [(CAT, A, 0.9), (CAT, A, 0.5)],
        "b": [(CAT, (71, 1, 80, 10), 0.8), (CAT, most_of_b, 0.6)],
        "c": [(CAT, Q, 0.7), (CAT, D, 0.4)],
        "rest": FOUND_REST,
    }
    low, high = 100 * 6.2 / 11, 100 * 4.2 / 11
    mean = (4 * low + 6 * high) / 10  # .50 to .65 and .70 to .95
    # 18 classes are perfect, the dog is never found, the cat is as above.
    expected = {
        "box_ap": (18 * 100 + 0 + mean) / 20,
        "box_ap50": (18 * 100 + 0 + low) / 20,
        "box_ap75": (18 * 100 + 0 + high) / 20,
    }
    folder = tmp_path / "out"
    assert run(files, found, folder) == pytest.approx(expected, abs=1e-9)
    cat = per_class(folder, "cat")
    assert (cat["category_id"], cat["objects"], cat["predictions"]) == (str(CAT + 1), "4", "6")
    assert [float(cat[f"box_{name}"]) for name in ("ap", "ap50", "ap75")] == pytest.approx(
        [mean, low, high], rel=1e-5
    )
    assert per_class(folder, "dog")["box_ap"] == "0"
    with (folder / "per_image.csv").open() as handle:
        lines = {line["image_id"]: line for line in csv.DictReader(handle)}
    assert lines["a"]["file_name"] == "a.jpg"
    counts = {
        name: [
            int(line[key])
            for key in ("objects", "predictions", "box_tp50", "box_fp50", "box_tp75", "box_fp75")
        ]
        for name, line in lines.items()
    }
    assert counts == {
        "a": [1, 2, 1, 1, 1, 1],
        "b": [3, 2, 1, 1, 0, 2],
        "c": [1, 2, 1, 0, 1, 0],  # the difficult one is neither an object nor a mistake
        "rest": [18, 18, 18, 0, 18, 0],
    }
    assert float(lines["c"]["box_ap"]) == 100
    # b alone: of two cats one is found, at rank 2, up to .65: precision 1/2 at recall 0 to .5; no dog.
    assert float(lines["b"]["box_ap"]) == pytest.approx(100 * (0.4 * 6 / 11 / 2 + 0) / 2, rel=1e-5)
    about = json.loads((folder / "set.json").read_text())
    assert about == {
        "name": "voc-by-hand",
        "kind": "voc",
        "annotations_path": "",
        "images_dir": "",
        "voc_dir": str(tmp_path.resolve()),
        "split": "test",
        "classes": list(VOC_CLASSES),
    }
    first = boxes(folder)[0]
    assert (first["image_id"], first["category_id"]) == ("a", CAT + 1)
    assert first["bbox"] == [0, 0, 10, 10]
    assert first["score"] == pytest.approx(0.9)


def test_the_far_pixel_belongs_to_a_box(tmp_path: Path) -> None:
    """6 of 10 columns found are 60 of 100 pixels, .60; without the far pixels they were 5 of 9, .556."""
    files = make(tmp_path, {"a": [("cat", (1, 1, 10, 10), 0), *((n, b, 0) for n, b, _ in REST)]})
    found = [{"image_id": "a", "category_id": CAT + 1, "bbox": [0, 0, 6, 10], "score": 0.5}]
    ap = score_voc(files, VOC_CLASSES, found).ap[CAT]
    assert ap == pytest.approx([100, 100, *[0] * 8])  # more than .50 and .55, not more than .60


def random_case(root: Path, seed: int, year: int) -> tuple[SetFiles, Found]:
    rng = np.random.default_rng(seed)
    objects: dict[str, list[tuple[str, Box, int]]] = {"rest": [*REST, ("cat", (1, 91, 10, 99), 0)]}
    objects["rest"].append(("dog", (21, 91, 30, 99), 0))
    found: Found = {"rest": FOUND_REST[:9]}
    for k in range(12):
        listed: list[tuple[str, Box, int]] = []
        told: list[tuple[int, Box, float]] = []
        for _ in range(rng.integers(0, 4)):
            a, b = rng.integers(1, 60, 2)
            c, d = np.add((a, b), rng.integers(5, 40, 2))
            label = ("cat", "dog")[rng.integers(2)]
            listed.append((label, (int(a), int(b), int(c), int(d)), int(rng.random() < 0.25)))
            for _ in range(rng.integers(0, 4)):
                near = np.array([a, b, c, d]) + rng.normal(0, 2, 4)
                near[2:] = np.maximum(near[2:], near[:2] + 1)
                named = VOC_CLASSES.index(label) if rng.random() < 0.8 else int(rng.integers(20))
                told.append(
                    (named, tuple(near.tolist()), round(float(rng.random()), int(rng.integers(1, 6))))
                )
        objects[f"{k:06d}"], found[f"{k:06d}"] = listed, told
    return make(root, objects, year), found


@pytest.mark.parametrize("year", [2007, 2012])
@pytest.mark.parametrize("seed", range(4))
def test_each_class_scores_as_detectron2_scores_it(tmp_path: Path, seed: int, year: int) -> None:
    """Equal scores among them, which detectron2's sort orders as it likes."""
    from detectron2.evaluation.pascal_voc_evaluation import voc_eval

    files, found = random_case(tmp_path, seed, year)
    folder = tmp_path / "out"
    numbers = run(files, found, folder)
    mine = score_voc(files, VOC_CLASSES, boxes(folder))
    for k, label in enumerate(VOC_CLASSES):
        lines = []
        for name, told in found.items():
            for named, box, score in told:
                if named == k:
                    shifted = np.float32(box) - np.float32([1, 1, 0, 0]) + np.float32([1, 1, 0, 0])
                    lines.append(f"{name} {np.float32(score):.3f} " + " ".join(f"{x:.1f}" for x in shifted))
        (tmp_path / f"{label}.txt").write_text("\n".join(lines))
        for t, threshold in enumerate(THRESHOLDS):
            _, _, ap = voc_eval(
                str(tmp_path / "{}.txt"),
                str(tmp_path / "Annotations" / "{}.xml"),
                str(tmp_path / "ImageSets" / "Main" / "test.txt"),
                label,
                threshold,
                year == 2007,
            )
            assert mine.ap[k, t] == pytest.approx(100 * ap, abs=1e-9), (label, threshold)
    assert 0 < mine.ap[CAT].mean() < 100
    assert numbers["box_ap"] == pytest.approx(mine.ap.mean(), abs=1e-9)
    images = score_images(mine.matches, RECALLS[year])
    assert images.hits_50.sum() == mine.matches.hits[:, 0].sum()


def test_other_numbers_than_detectron2s_are_refused(tmp_path: Path) -> None:
    """The cross-check can fail: detectron2's answer changed by a thousandth of a percent."""
    files, found = random_case(tmp_path, 0, 2007)
    numbers = run(files, found, tmp_path / "out")
    images = register("voc-by-hand", files)
    results = {"AP": numbers["box_ap"], "AP50": numbers["box_ap50"], "AP75": numbers["box_ap75"]}
    predictions = boxes(tmp_path / "out")
    score_pascal(images, predictions, results, tmp_path / "out")  # type: ignore[arg-type]
    results["AP50"] += 0.001  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"detectron2's evaluator gives \{'AP50'"):
        score_pascal(images, predictions, results, tmp_path / "out")  # type: ignore[arg-type]


@pytest.mark.parametrize("year", [2007, 2012])
def test_the_mean_is_over_classes_that_have_objects(
    tmp_path: Path, year: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Two classes of 20 have objects, one of them found: 50, where detectron2 says 5 for 2007."""
    files = write_voc(tmp_path, 2007, {"test": 2})["test"]
    found: Found = {
        name: [(CAT, (5, 7, 28, 26), 0.9), (3, (1, 1, 9, 9), 0.8)] for name in ("000001", "000002")
    }
    with caplog.at_level(logging.WARNING, logger="transfer"):
        numbers = run(SetFiles(**{**files, "year": year}), found, tmp_path / "out")  # type: ignore[arg-type]
    assert numbers == pytest.approx({"box_ap": 50, "box_ap50": 50, "box_ap75": 50}, abs=1e-9)
    assert "AP is the mean over 2 of 20 classes, without those that have no object" in caplog.text
    assert "aeroplane" in caplog.text
    assert per_class(tmp_path / "out", "aeroplane")["box_ap"] == ""


def test_a_set_without_objects_is_refused(tmp_path: Path) -> None:
    files = make(tmp_path, {"a": [("cat", (1, 1, 10, 10), 1)], "b": []})
    with pytest.raises(ValueError, match="no class has an object that counts"):
        run(files, {"a": [(CAT, (1, 1, 10, 10), 0.5)]}, tmp_path / "out")


def test_no_predictions_score_0(tmp_path: Path) -> None:
    files = make(tmp_path, {"a": [*REST, ("cat", (1, 91, 9, 99), 0), ("dog", (21, 91, 30, 99), 0)]})
    assert run(files, {}, tmp_path / "out") == {"box_ap": 0.0, "box_ap50": 0.0, "box_ap75": 0.0}


@pytest.mark.parametrize("change", [{"image_id": "z"}, {"category_id": 0}, {"category_id": 21}])
def test_a_prediction_that_does_not_belong_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    files = make(tmp_path, {"a": REST})
    entry = {"image_id": "a", "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}
    score_voc(files, VOC_CLASSES, [entry])
    with pytest.raises(ValueError, match="prediction 0 of 1: expected one of the 1 images and 20 classes"):
        score_voc(files, VOC_CLASSES, [entry | change])


def test_a_registered_set_names_itself(tmp_path: Path) -> None:
    images = register("voc-by-hand", make(tmp_path, {"a": REST}))
    assert isinstance(images, Registered)
    assert images.num_objects == len(REST)
