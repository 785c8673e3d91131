"""Few-shot: the draws are the same for every backbone, the value is their mean, and scikit-learn agrees."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from classify_images import make_backbone, write_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from transfer.classify import fewshot
from transfer.classify.features import extract_features
from transfer.data.folders import read_splits
from transfer.data.subsets import images_per_class


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> fewshot.Config:
    data_dir = write_digits(tmp_path_factory.mktemp("digits"), 9, 4)
    return fewshot.Config(
        dataset="digits",
        protocol="fewshot-3",
        data_dir=str(data_dir),
        resize_size=32,
        image_size=32,
        shots=3,
        draws=4,
    )


def read_draws(folder: Path) -> dict[int, float]:
    with (folder / "draws.csv").open(newline="") as handle:
        header, *lines = csv.reader(handle)
    assert header == ["draw", "top1"]
    return {int(number): float(value) for number, value in lines}


def test_the_value_is_the_mean_of_scikit_learns_at_c_1(config: fewshot.Config, tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path)
    (row,) = fewshot.run(backbone, config, tmp_path)
    assert (row.metric, row.protocol, row.split, row.n, row.items) == ("top1", "fewshot-3", "val", 40, None)

    train, val = read_splits(config)
    (features, labels), (val_features, val_labels) = extract_features(backbone, (train, val), config)
    expected = {}
    for number in range(4):
        shots = images_per_class(train, 3, number)
        assert np.bincount(labels[shots]).tolist() == [3] * 10
        model = LogisticRegression(max_iter=1000).fit(normalize(features[shots]), labels[shots])
        expected[number] = 100 * model.score(normalize(val_features), val_labels)
    assert read_draws(tmp_path) == pytest.approx(expected, abs=2.51)  # one of 40 images may tip over
    assert row.value == pytest.approx(np.mean(list(read_draws(tmp_path).values())))
    assert row.value == pytest.approx(np.mean(list(expected.values())), abs=1.0)
    assert row.value > 30.0  # chance is 10


def test_another_seed_draws_other_images(config: fewshot.Config, tmp_path: Path) -> None:
    list(fewshot.run(make_backbone(tmp_path), replace(config, seed=1), tmp_path))
    assert list(read_draws(tmp_path)) == [4, 5, 6, 7]
    train, _ = read_splits(config)
    drawn = {tuple(images_per_class(train, 3, number)) for number in range(8)}
    assert len(drawn) == 8


def test_a_class_with_too_few_images_is_named(config: fewshot.Config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 10 images of each class.*digit0"):
        list(fewshot.run(make_backbone(tmp_path), replace(config, shots=10, protocol="fewshot-10"), tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "fewshot-5"}, r"expected fewshot-3 or fewshot-3-\.\.\., found 'fewshot-5'"),
        ({"protocol": "fewshot-0", "shots": 0}, "shots, draws: expected at least 1, found 0 and 4"),
        ({"draws": 0}, "shots, draws: expected at least 1, found 3 and 0"),
        ({"metric": "map_voc07"}, "metric: expected"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    config: fewshot.Config, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(fewshot.run(make_backbone(tmp_path), replace(config, **changes), tmp_path))  # type: ignore[arg-type]
