"""COCO's numbers from both evaluators against pycocotools called directly; each image alone, too."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detect_scene import write_set
from detection_sets import Predictions, Truth, jitter, make_set, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.detect.coco_score import EVALUATORS, STATISTICS, TASKS, Score, score
from transfer.detect.per_image import COCO_RECALLS, match_coco, score_images

REAL = os.environ.get("MEC_TRANSFER_DATA", "")
WITHIN = 1e-12  # of numbers in 0..1
AREAS = {"APs": (0, 32**2), "APm": (32**2, 96**2), "APl": (96**2, 1e10)}


def differences(found: Score, evaluation: Any) -> list[str]:
    """Which numbers are not pycocotools'."""
    wrong = []
    for name, value in zip(STATISTICS, evaluation.stats, strict=True):
        mine = found.statistics[name]
        if (mine is None) != (value < 0) or (mine is not None and abs(mine / 100 - value) > WITHIN):
            wrong.append(f"{name}: {mine} against {value}")
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    for k, category_id in enumerate(evaluation.params.catIds):
        for name, rows in (("ap", slice(None)), ("ap50", slice(0, 1)), ("ap75", slice(5, 6))):
            counted = precision[rows, :, k][precision[rows, :, k] > -1]
            mine = getattr(found.per_class[category_id], name)
            if (mine is None) != (not counted.size) or (
                mine is not None and abs(mine / 100 - counted.mean()) > WITHIN
            ):
                wrong.append(f"class {category_id} {name}: {mine}")
    return wrong


def compare(truth: Truth, predictions: Predictions) -> None:
    for task in TASKS:
        evaluation = reference(truth, predictions, task)
        for evaluator in EVALUATORS:
            assert differences(score(truth, predictions, task, evaluator), evaluation) == [], (
                task,
                evaluator,
            )


@pytest.mark.parametrize("seed", range(6))
def test_moved_objects_score_as_pycocotools_says(seed: int) -> None:
    """Scores of one decimal: most predictions share theirs with others, also within a class and image."""
    truth = make_set(seed)
    predictions = jitter(truth, seed)
    same = [(entry["image_id"], entry["category_id"], entry["score"]) for entry in predictions]
    assert len(set(same)) < len(same)
    compare(truth, predictions)


def test_the_tests_own_set_scores_as_pycocotools_says(tmp_path: Path) -> None:
    write_set(tmp_path, "val")
    truth = json.loads((tmp_path / "val.json").read_text())
    compare(truth, jitter(truth, 3, made_up=3))


@pytest.mark.skipif(not REAL, reason="MEC_TRANSFER_DATA is not set")
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_objects_score_as_pycocotools_says(split: str) -> None:
    (path,) = Path(REAL, "coco200", "annotations").glob(f"*{split}*.json")
    truth = json.loads(path.read_text())
    assert any(entry["iscrowd"] for entry in truth["annotations"])
    compare(truth, jitter(truth, 0, decimals=2, made_up=8))


def test_more_than_a_hundred_predictions_of_a_class_on_an_image() -> None:
    truth = make_set(1, num_images=3)
    box, image = truth["annotations"][0], truth["images"][0]
    alike = [dict(box, image_id=box["image_id"], score=0.5) for _ in range(120)]
    predictions = jitter(truth, 1) + [
        {
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "bbox": [k % 90, k % 70, 40, 30],
            "score": round(0.1 * (k % 9), 1),
            "segmentation": jitter(truth, 1)[0]["segmentation"],
        }
        for k, entry in enumerate(alike)
    ]
    assert image["width"] == 200
    compare(truth, predictions)
    check_images(truth, predictions, "bbox")


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 8),
    num_classes=st.integers(2, 5),
    decimals=st.sampled_from([0, 1, 17]),
    made_up=st.integers(0, 4),
    crowds=st.sampled_from([0.0, 0.5]),
)
def test_random_sets(
    seed: int, num_images: int, num_classes: int, decimals: int, made_up: int, crowds: float
) -> None:
    truth = make_set(seed, num_images, num_classes, crowds)
    predictions = jitter(truth, seed + 1, decimals, made_up)
    if predictions:
        compare(truth, predictions)
        check_images(truth, predictions, "bbox")
    else:
        for task in TASKS:
            check_nothing_found(truth, task)


def test_a_changed_prediction_is_seen() -> None:
    """The comparison can fail: by one score, one box, one class or one image of one prediction."""
    truth = make_set(0)
    thing = next(entry for entry in truth["annotations"] if not entry["iscrowd"])
    best = {key: thing[key] for key in ("image_id", "category_id", "bbox")} | {"score": 2.0}
    predictions = [best, *jitter(truth, 0)]
    evaluation = reference(truth, predictions, "bbox")
    x, y, width, height = thing["bbox"]
    other = next(c["id"] for c in truth["categories"] if c["id"] != thing["category_id"])
    elsewhere = next(image["id"] for image in truth["images"] if image["id"] != thing["image_id"])
    for evaluator in EVALUATORS:
        assert differences(score(truth, predictions, "bbox", evaluator), evaluation) == []
        for change in (
            {"score": -1.0},
            {"bbox": [x + 0.3 * width, y, width, height]},
            {"category_id": other},
            {"image_id": elsewhere},
        ):
            changed = [best | change, *predictions[1:]]
            assert differences(score(truth, changed, "bbox", evaluator), evaluation), change


def test_the_order_of_equal_scores_decides_and_both_keep_the_order_given() -> None:
    """Of two equal scores the first counts first: a hit before a miss gives AP 1, after it 1/2."""
    image = {"id": 1, "file_name": "1.jpg", "width": 100, "height": 100}
    outline = [[10, 10, 30, 10, 30, 30, 10, 30]]
    thing = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
    truth: Truth = {
        "images": [image],
        "annotations": [thing | {"segmentation": outline}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    hit = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.5}
    miss = hit | {"bbox": [70, 70, 20, 20]}
    for evaluator in EVALUATORS:
        assert score(truth, [hit, miss], "bbox", evaluator).statistics["AP"] == pytest.approx(100, abs=1e-9)
        assert score(truth, [miss, hit], "bbox", evaluator).statistics["AP"] == pytest.approx(50, abs=1e-9)


def check_nothing_found(truth: Truth, task: str) -> None:
    counted = [entry for entry in truth["annotations"] if not entry["iscrowd"]]
    for evaluator in EVALUATORS:
        found = score(truth, [], task, evaluator)
        for name in ("AP", "AP50", "AP75"):
            assert found.statistics[name] == (0.0 if counted else None)
        for name, (low, high) in AREAS.items():
            there = any(low <= entry["area"] <= high for entry in counted)
            assert found.statistics[name] == (0.0 if there else None)
        for key, value in found.per_class.items():
            assert value.ap == (0.0 if any(entry["category_id"] == key for entry in counted) else None)


@pytest.mark.parametrize("task", TASKS)
def test_no_predictions_score_0_and_no_objects_nothing(task: str) -> None:
    truth = make_set(2)
    check_nothing_found(truth, task)
    truth["annotations"] = [entry for entry in truth["annotations"] if entry["area"] < 32**2]
    assert truth["annotations"]
    check_nothing_found(truth, task)
    truth["annotations"] = []
    check_nothing_found(truth, task)


def check_images(truth: Truth, predictions: Predictions, task: str) -> None:
    """Each image's counts and AP are those of pycocotools on that image alone."""
    matches = match_coco(truth, predictions, task)
    mine = score_images(matches, COCO_RECALLS)
    for i, image in enumerate(truth["images"]):
        alone = reference(truth, predictions, task, [image["id"]])
        expected = math.nan if alone.stats[0] < 0 else 100 * alone.stats[0]
        np.testing.assert_allclose(mine.ap[i], expected, rtol=0, atol=1e-7)
        all_areas = [e for e in alone.evalImgs if e is not None and e["aRng"] == alone.params.areaRng[0]]
        for place, hits, wrong in ((0, mine.hits_50, mine.wrong_50), (5, mine.hits_75, mine.wrong_75)):
            counted = [(e["dtMatches"][place] > 0, ~e["dtIgnore"][place].astype(bool)) for e in all_areas]
            assert hits[i] == sum((found & seen).sum() for found, seen in counted)
            assert wrong[i] == sum((~found & seen).sum() for found, seen in counted)
        objects = [a for a in truth["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        assert matches.objects[i].sum() == len(objects)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [0, 4])
def test_an_image_scores_as_pycocotools_scores_it_alone(seed: int, task: str) -> None:
    truth = make_set(seed)
    check_images(truth, jitter(truth, seed), task)


def test_an_unknown_evaluator_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluator: expected hotcoco or pycocotools, found 'fast'"):
        score(make_set(0), [], "bbox", "fast")


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_an_evaluator_that_is_not_installed_is_named(evaluator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == evaluator]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, evaluator, None)  # type: ignore[arg-type]  # so Python refuses to import it
    with pytest.raises(ModuleNotFoundError, match=f"pip install {evaluator}"):
        score(make_set(0), [], "bbox", evaluator)


def test_an_object_with_the_id_0_is_refused_because_it_cannot_be_found() -> None:
    """pycocotools, called directly, scores a perfect answer 0 when the only object's id is 0."""
    truth = make_set(5, crowds=0.0)
    truth["annotations"] = [truth["annotations"][0] | {"id": 0}]
    perfect = [
        {key: truth["annotations"][0][key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0}
    ]
    assert reference(truth, perfect, "bbox").stats[0] == 0
    with pytest.raises(ValueError, match=r"expected ids from 1, each once, found 1 others, the first 0"):
        score(truth, perfect, "bbox", "pycocotools")
    truth["annotations"][0]["id"] = 1
    assert score(truth, perfect, "bbox", "hotcoco").statistics["AP"] == pytest.approx(100)
    truth["annotations"] *= 2
    with pytest.raises(ValueError, match=r"the first 1 \(2 times\)"):
        score(truth, perfect, "bbox", "hotcoco")


@pytest.mark.parametrize(
    ("change", "task", "message"),
    [
        ({"image_id": 999}, "bbox", "on image 999, which the set has not"),
        ({"category_id": 999}, "segm", "of category 999, which the set has not"),
        ({"score": math.nan}, "bbox", "the score nan"),
        ({"bbox": [1.0, 2.0, math.inf, 3.0]}, "bbox", "the box"),
        ({"bbox": [1.0, 2.0, 3.0]}, "bbox", "the box"),
        ({"segmentation": [[1, 1, 5, 1, 5, 5]]}, "segm", "not run-length encoded"),
    ],
)
def test_predictions_that_do_not_belong_are_refused(change: dict[str, Any], task: str, message: str) -> None:
    truth = make_set(0)
    predictions = jitter(truth, 0)
    score(truth, predictions, task, "hotcoco")
    predictions[2] |= change
    with pytest.raises(ValueError, match=rf"prediction 2 of \d+ .*{message}"):
        score(truth, predictions, task, "hotcoco")


def test_what_is_given_stays_as_it_is() -> None:
    truth = make_set(0)
    predictions = jitter(truth, 0)
    before = json.dumps([truth, predictions])
    for task in TASKS:
        for evaluator in EVALUATORS:
            score(truth, predictions, task, evaluator)
        match_coco(truth, predictions, task)
    assert json.dumps([truth, predictions]) == before
