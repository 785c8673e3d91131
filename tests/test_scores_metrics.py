"""Scores to metrics: against torchmetrics and scikit-learn, against arithmetic, and what is kept of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, top_k_accuracy_score
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from transfer.classify import scores as module
from transfer.classify.scores import map_voc07, mean_per_class, measure, metric_names, top_k_hits, value_of
from transfer.data.folders import ImageSetConfig, ImageSplit
from transfer.report.items import name_items

NAMES = ("a/1.png", "a/2.png", "b/1.png", "b/2.png")
SPLIT = ImageSplit(Path("set/val"), ("a", "b"), NAMES, (0, 0, 1, 1))
SCORES = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.5, 0.5]])  # the last one ties
CONFIG = ImageSetConfig(dataset="tiny", protocol="linear-sgd", data_dir="set")


def random_scores(num: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores without ties, and labels in which every class occurs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num)[torch.randperm(num, generator=generator)] % num_classes
    return torch.rand(num, num_classes, generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_agrees_with_torchmetrics(k: int) -> None:
    scores, labels = random_scores(300, 8)
    expected = MulticlassAccuracy(8, average="micro", top_k=k)(scores, labels)
    assert top_k_hits(scores, labels, k).double().mean().item() == pytest.approx(expected.item())
    assert 0.0 < expected < 1.0


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_agrees_with_scikit_learn(k: int) -> None:
    scores, labels = random_scores(200, 8, seed=1)
    expected = top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k, labels=range(8))
    assert top_k_hits(scores, labels, k).double().mean().item() == pytest.approx(expected)


def test_top_k_gives_a_constant_model_nothing() -> None:
    assert not top_k_hits(torch.zeros(4, 10), torch.tensor([0, 1, 2, 9]), 5).any()


def test_top_k_refuses_scores_that_are_not_numbers() -> None:
    scores = torch.tensor([[0.0, float("nan")], [1.0, 0.0]])
    with pytest.raises(ValueError, match="NaN"):
        top_k_hits(scores, torch.tensor([0, 0]), 1)


def test_mean_per_class_agrees_with_torchmetrics() -> None:
    scores, labels = random_scores(301, 7)
    scores[labels == 2, 2] += 1.0  # one class is easy, so that the mean over images is another
    labels[200:] = 2
    expected = 100 * MulticlassAccuracy(7, average="macro")(scores, labels).item()
    assert mean_per_class(scores, labels) == pytest.approx(expected)
    assert mean_per_class(scores, labels) != pytest.approx(
        100 * top_k_hits(scores, labels, 1).double().mean().item(), abs=1.0
    )


def test_mean_per_class_leaves_out_a_class_without_images() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0], [0.0, 0.1, 0.9]])
    assert mean_per_class(scores, torch.tensor([0, 0, 0, 1])) == pytest.approx(100 * (2 / 3 + 0 / 1) / 2)


def test_map_of_a_worked_example() -> None:
    """Six images in falling order: right, wrong, (difficult), right, wrong, right; three positives.

    Recall and precision: 1/3 at 1/1, 1/3 at 1/2, 2/3 at 2/3, 2/3 at 2/4, 3/3 at 3/5. Of the eleven points
    0 to 0.3 see 1, 0.4 to 0.6 see 2/3, 0.7 to 1 see 3/5.
    """
    first = (4 * 1 + 3 * (2 / 3) + 4 * (3 / 5)) / 11
    targets = torch.tensor([[1, 0], [0, 1], [-1, 0], [1, 0], [0, 0], [1, -1]]).float()
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.9], [0.7, 0.2], [0.6, 0.3], [0.5, 0.4], [0.4, 0.95]])
    second = 1.0  # its only positive is first once the difficult image is out
    assert map_voc07(scores, targets) == pytest.approx(100 * (first + second) / 2)
    wrong = targets.clone()
    wrong[wrong == -1] = 0  # negative control: difficult images counted as wrong ones
    assert map_voc07(scores, wrong) < map_voc07(scores, targets) - 1


def test_recalls_are_compared_exactly() -> None:
    """Of ten positives the third is at recall 0.3, which 3 * 0.1 is above: 3/3 belongs to four points."""
    right = torch.tensor([1, 1, 1, *[0] * 10, *[1] * 7]).view(-1, 1)
    scores = torch.linspace(1, 0, 20).view(-1, 1)
    # recall 0.4 ... 1.0: the highest precision is the last one, 10 of 20
    assert map_voc07(scores, right) == pytest.approx(100 * (4 * 1 + 7 * 10 / 20) / 11)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 6))
def test_map_agrees_with_scikit_learns_curve(seed: int, num: int, levels: int) -> None:
    """Also where scores tie: the curve has a point for each different score."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, levels, (num, 3)) / levels
    targets = generator.integers(-1, 2, (num, 3))
    targets[0] = 1
    expected = []
    for column in range(3):
        kept = targets[:, column] >= 0
        precision, recall, _ = precision_recall_curve(targets[kept, column], scores[kept, column])
        precision, recall = precision[:-1], recall[:-1]  # the point (1, 0) is scikit-learn's own addition
        expected.append(np.mean([precision[recall >= i / 10 - 1e-9].max() for i in range(11)]))
    found = map_voc07(torch.tensor(scores), torch.tensor(targets))
    assert found == pytest.approx(100 * np.mean(expected))


@pytest.mark.parametrize("targets", [torch.tensor([[1.0], [0.5]]), torch.tensor([[1], [0], [0]])])
def test_other_targets_than_voc_has_are_refused(targets: Tensor) -> None:
    with pytest.raises(ValueError, match="targets: expected 1, 0 and -1 of shape"):
        map_voc07(torch.zeros(2, 1), targets)


def test_map_without_positives_is_refused() -> None:
    with pytest.raises(ValueError, match="no class has a positive image"):
        map_voc07(torch.zeros(2, 1), torch.tensor([[0], [-1]]))


def test_a_set_of_single_labels_gives_both_hits_image_by_image(tmp_path: Path) -> None:
    top1, top5 = measure(SCORES, SPLIT, CONFIG, tmp_path)
    assert top1.items == name_items(NAMES, [1.0, 1.0, 0.0, 0.0])  # a tie is an error
    assert top5.items == name_items(NAMES, [1.0] * 4)
    assert (top1.metric, top1.value, top5.metric, top5.value) == ("top1", 50.0, "top5", 100.0)
    assert (top1.dataset, top1.split, top1.protocol, top1.n) == ("tiny", "val", "linear-sgd", 4)
    assert (top1.backend, top1.selection, top1.status) == ("torch", "last", "ok")


def test_the_sets_own_metric_and_its_double_follow(tmp_path: Path) -> None:
    split = replace(SPLIT, labels=(0, 0, 0, 1))
    config = replace(CONFIG, metric="mean_per_class", accuracy=True)
    rows = list(measure(SCORES, split, config, tmp_path, selection="best-val"))
    assert [row.metric for row in rows] == ["top1", "top5", "mean_per_class", "accuracy"]
    assert [row.value for row in rows] == [75.0, 100.0, 50.0, 50.0]
    assert [row.items is not None for row in rows] == [True, True, False, False]
    assert {row.selection for row in rows} == {"best-val"}


def test_a_set_of_several_labels_gives_its_map_alone(tmp_path: Path) -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [1.0, 0.0]])
    config = replace(CONFIG, metric="map_voc07")
    (row,) = measure(SCORES, replace(SPLIT, targets=targets), config, tmp_path)
    assert (row.metric, row.value, row.n, row.items) == ("map_voc07", map_voc07(SCORES, targets), 4, None)


@pytest.mark.parametrize(("metric", "multi"), [("map_voc07", False), ("top1", True), ("top2", False)])
def test_a_metric_that_does_not_fit_the_labels_is_refused(metric: str, multi: bool, tmp_path: Path) -> None:
    split = replace(SPLIT, targets=torch.ones(4, 2)) if multi else SPLIT
    with pytest.raises(ValueError, match=f"metric: expected .* for set/val, found '{metric}'"):
        list(measure(SCORES, split, replace(CONFIG, metric=metric), tmp_path))
    with pytest.raises(ValueError, match="metric: expected"):
        value_of(SCORES, split, metric)


def test_a_sets_own_metric_is_that_of_its_row(tmp_path: Path) -> None:
    split = replace(SPLIT, labels=(0, 0, 0, 1))
    several = replace(split, targets=torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [1.0, 0.0]]))
    for which, metric in ((split, "top1"), (split, "mean_per_class"), (several, "map_voc07")):
        config = replace(CONFIG, metric=metric, accuracy=True)
        rows = {row.metric: row.value for row in measure(SCORES, which, config, tmp_path)}
        assert tuple(rows) == metric_names(config)
        assert rows["accuracy"] == rows[metric] == value_of(SCORES, which, metric)


def test_scores_of_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected scores \(4, 2\) of images and classes, found \(3, 2\)"):
        list(measure(SCORES[:3], SPLIT, CONFIG, tmp_path))


def test_diverged_scores_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="diverged"):
        list(measure(SCORES * float("inf"), SPLIT, CONFIG, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_predictions_are_kept_without_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    scores, labels = random_scores(20, 8)
    names = tuple(f"{i:02}.png" for i in range(20))
    split = ImageSplit(Path("val"), tuple("abcdefgh"), names, tuple(labels.tolist()))
    list(measure(scores, split, CONFIG, tmp_path, protocol="knn-k10"))
    assert [path.name for path in tmp_path.iterdir()] == ["predictions-knn-k10.npz"]
    with np.load(tmp_path / "predictions-knn-k10.npz", allow_pickle=False) as kept:
        assert kept["names"].tolist() == list(names)
        assert kept["classes"].tolist() == list("abcdefgh")
        assert kept["labels"].tolist() == labels.tolist()
        order = np.argsort(-scores.numpy(), axis=1)[:, :5]
        np.testing.assert_array_equal(kept["top_classes"], order)
        np.testing.assert_allclose(
            kept["top_scores"], np.take_along_axis(scores.numpy(), order, 1), rtol=1e-6
        )


def test_equal_scores_are_kept_in_the_order_of_the_classes(tmp_path: Path) -> None:
    split = ImageSplit(Path("val"), tuple("abcdefgh"), ("x",), (0,))
    list(measure(torch.zeros(1, 8), split, CONFIG, tmp_path))
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as kept:
        assert kept["top_classes"].tolist() == [[0, 1, 2, 3, 4]]


def test_several_labels_are_kept_whole(tmp_path: Path) -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [1.0, 0.0]])
    list(measure(SCORES, replace(SPLIT, targets=targets), replace(CONFIG, metric="map_voc07"), tmp_path))
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as kept:
        np.testing.assert_array_equal(kept["labels"], targets.numpy())
        assert kept["top_classes"].shape == (4, 2)
