"""kNN votes: against scikit-learn's classifier, against arithmetic, and end to end."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classify_images import make_backbone, write_digits
from hypothesis import given, settings
from hypothesis import strategies as st
from ranks import run_ranks
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from transfer.classify import knn, neighbours
from transfer.classify.neighbours import nearest, normalise_
from transfer.report.rows import Measurement


def predict(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int, temperature: float
) -> np.ndarray:
    """Our votes as probabilities, of a set of ten classes."""
    similarities, found = nearest(normalise_(torch.tensor(bank)), normalise_(torch.tensor(queries)), k)
    votes = knn.vote(similarities, torch.tensor(labels)[found], 10, temperature)
    return (votes / votes.sum(1, keepdim=True)).numpy()


def reference(k: int, temperature: float) -> KNeighborsClassifier:
    """The same classifier by scikit-learn."""

    def weights(distances: np.ndarray) -> np.ndarray:
        return np.exp((1.0 - distances) / temperature)

    return KNeighborsClassifier(k, weights=weights, algorithm="brute", metric="cosine")


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (200, 0.5)])
def test_votes_of_real_digits_agree_with_scikit_learn(k: int, temperature: float) -> None:
    images, labels = load_digits(return_X_y=True)
    # with a little noise, so that no two distances tie
    features = images + np.random.default_rng(0).normal(scale=0.01, size=images.shape)
    expected = reference(k, temperature).fit(features[:1000], labels[:1000])
    probabilities = expected.predict_proba(features[1000:])
    found = predict(features[:1000].copy(), labels[:1000], features[1000:].copy(), k, temperature)
    np.testing.assert_allclose(found, probabilities, atol=1e-9)
    np.testing.assert_array_equal(found.argmax(1), expected.predict(features[1000:]))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_votes_of_any_sizes_agree_with_scikit_learn(data: st.DataObject) -> None:
    num_bank, num_queries = data.draw(st.integers(10, 120)), data.draw(st.integers(1, 30))
    k = data.draw(st.integers(1, num_bank))
    temperature = data.draw(st.sampled_from([0.05, 0.07, 0.2, 1.0]))
    generator = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    bank, queries = generator.normal(size=(num_bank, 6)), generator.normal(size=(num_queries, 6))
    labels = np.concatenate([np.arange(10), generator.integers(0, 10, num_bank - 10)])
    expected = reference(k, temperature).fit(bank, labels)
    probabilities = expected.predict_proba(queries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BANK_ROWS", data.draw(st.integers(1, 50)))
        patch.setattr(neighbours, "QUERY_ROWS", data.draw(st.integers(1, 50)))
        found = predict(bank.copy(), labels, queries.copy(), k, temperature)
    np.testing.assert_allclose(found, probabilities, atol=1e-9)
    np.testing.assert_array_equal(found.argmax(1), expected.predict(queries))


def test_a_wrong_weight_would_be_seen() -> None:
    """Negative control: the same neighbours with another temperature are other probabilities."""
    generator = np.random.default_rng(0)
    bank, queries, labels = generator.normal(size=(60, 6)), generator.normal(size=(9, 6)), np.arange(60) % 10
    expected = reference(20, 0.07).fit(bank, labels).predict_proba(queries)
    found = predict(bank.copy(), labels, queries.copy(), 20, 0.08)
    assert np.abs(found - expected).max() > 1e-3


def test_votes_of_two_neighbours_by_hand() -> None:
    bank = normalise_(torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]]))
    query = normalise_(torch.tensor([[3.0, 4.0]]))  # (0.6, 0.8): similarities 0.6, 0.8, -0.6
    similarities, found = nearest(bank, query, 2)
    votes = knn.vote(similarities, torch.tensor([1, 0, 2])[found], 3, temperature=0.5)
    expected = torch.tensor([[math.exp((0.8 - 1) / 0.5), math.exp((0.6 - 1) / 0.5), 0.0]])
    torch.testing.assert_close(votes.float(), expected)


def config_for(data_dir: Path) -> knn.Config:
    return knn.Config(
        dataset="digits",
        protocol="knn",
        data_dir=str(data_dir),
        resize_size=32,
        image_size=32,
        ks=[5, 20, 200],
    )


def test_one_search_gives_the_rows_of_every_k(tmp_path: Path) -> None:
    config = config_for(write_digits(tmp_path / "digits", 8, 3))
    backbone = make_backbone(tmp_path)
    rows = list(knn.run(backbone, config, tmp_path))
    assert [(row.protocol, row.metric) for row in rows] == [
        (f"knn-k{k}", metric) for k in (5, 20, 200) for metric in ("top1", "top5")
    ]
    top1, top5 = rows[:2]
    assert (top1.split, top1.n, top1.selection, top1.status) == ("val", 30, "last", "ok")
    assert top1.value is not None
    assert top5.value is not None
    assert 30.0 < top1.value <= top5.value  # digits are easy even for random filters; chance is 10
    assert [path.name for path in sorted(tmp_path.glob("*.npz"))] == [
        "predictions-knn-k20.npz",
        "predictions-knn-k5.npz",
    ]
    alone = replace(config, k=5, protocol="knn-k5")  # as the configurations of earlier rows say it
    assert list(knn.run(backbone, alone, tmp_path)) == rows[:2]


def test_more_neighbours_than_training_images_are_not_run(tmp_path: Path) -> None:
    config = replace(config_for(write_digits(tmp_path / "digits", 2, 1)), ks=[20, 21], accuracy=True)
    rows = list(knn.run(make_backbone(tmp_path), config, tmp_path))
    assert [(row.protocol, row.metric, row.status) for row in rows] == [
        *(("knn-k20", metric, "ok") for metric in ("top1", "top5", "accuracy")),
        *(
            ("knn-k21", metric, "not-run: k = 21, but there are 20 training images")
            for metric in ("top1", "top5", "accuracy")
        ),
    ]
    assert [row.value is None for row in rows] == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "knn-k20", "k": 200}, r"expected knn-k200 or knn-\.\.\.-k200, found 'knn-k20'"),
        ({"protocol": "linear-sgd"}, r"expected knn or knn-\.\.\. .*, found 'linear-sgd'"),
        ({"ks": []}, r"ks: expected different numbers of at least 1, found \[\]"),
        ({"ks": [5, 5]}, r"ks: .* found \[5, 5\]"),
        ({"ks": [0, 5]}, r"ks: .* found \[0, 5\]"),
        ({"temperature": 0.0}, "temperature: expected a positive number, found 0.0"),
    ],
)
def test_settings_that_contradict_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    config = replace(config_for(tmp_path), **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        list(knn.run(make_backbone(tmp_path), config, tmp_path))


def rows_of_a_rank(world: Any, folder: Path) -> list[Measurement]:
    os.environ["WORLD_SIZE"] = str(world.size)  # as torchrun says it
    return list(knn.run(make_backbone(folder / str(world.rank)), config_for(folder / "digits"), folder))


def test_two_processes_give_the_rows_of_one(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits", 8, 3, num_classes=7)  # 21 images: shares of 11 and 10
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
    (alone,) = run_ranks(1, rows_of_a_rank, tmp_path)
    first, second = run_ranks(2, rows_of_a_rank, tmp_path)
    assert first == alone
    assert [row.n for row in alone[:4]] == [21] * 4
    assert second == []  # only the first process writes and reports
