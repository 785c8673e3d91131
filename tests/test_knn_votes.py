"""kNN votes: against scikit-learn's classifier, against arithmetic, and end to end."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from classify_images import make_backbone, write_digits
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from transfer.classify import knn


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (200, 0.5)])
def test_votes_agree_with_scikit_learn(k: int, temperature: float) -> None:
    images, labels = load_digits(return_X_y=True)
    # real features with a little noise, so that no two distances tie
    features = images + np.random.default_rng(0).normal(scale=0.01, size=images.shape)
    reference = KNeighborsClassifier(
        k, weights=lambda distance: np.exp((1.0 - distance) / temperature), metric="cosine"
    ).fit(features[:1000], labels[:1000])
    expected = reference.predict_proba(features[1000:])

    votes = knn.vote(
        torch.tensor(features[:1000]),
        torch.tensor(labels[:1000]),
        torch.tensor(features[1000:]),
        10,
        k,
        temperature,
    )
    found = votes / votes.sum(1, keepdim=True)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_votes_of_two_neighbours_by_hand() -> None:
    train = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])  # unit vectors after normalisation
    query = torch.tensor([[3.0, 4.0]])  # (0.6, 0.8): similarities 0.6, 0.8, -0.6
    votes = knn.vote(train, torch.tensor([1, 0, 2]), query, 3, k=2, temperature=0.5)
    expected = torch.tensor([[math.exp((0.8 - 1) / 0.5), math.exp((0.6 - 1) / 0.5), 0.0]])
    torch.testing.assert_close(votes, expected)


def test_votes_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    arguments = (torch.randn(50, 4), torch.randint(0, 3, (50,)), torch.randn(7, 4), 3, 5, 0.07)
    whole = knn.vote(*arguments)
    monkeypatch.setattr(knn, "MAX_SIMILARITIES", 100)  # chunks of two queries
    torch.testing.assert_close(knn.vote(*arguments), whole)


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_training_images_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k: expected 1\.\.3, .*, found {k}"):
        knn.vote(torch.eye(3), torch.arange(3), torch.eye(3), 3, k, 0.07)


def test_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="temperature"):
        knn.vote(torch.eye(3), torch.arange(3), torch.eye(3), 3, 1, 0.0)


def test_run_measures_the_validation_images(tmp_path: Path) -> None:
    data_dir = write_digits(tmp_path / "digits", 8, 3)
    config = knn.Config(
        dataset="digits",
        protocol="knn-k5",
        data_dir=str(data_dir),
        resize_size=32,
        image_size=32,
        k=5,
    )
    top1, top5 = knn.run(make_backbone(tmp_path), config, tmp_path)
    assert (top1.metric, top5.metric) == ("top1", "top5")
    assert top1.n == 30
    assert (top1.split, top1.protocol, top1.selection, top1.status) == ("val", "knn-k5", "last", "ok")
    assert top1.value is not None
    assert top5.value is not None
    assert 30.0 < top1.value <= top5.value  # digits are easy even for random filters; chance is 10


def test_protocol_that_contradicts_k_is_refused(tmp_path: Path) -> None:
    config = knn.Config(dataset="digits", protocol="knn-k20", data_dir=str(tmp_path), k=200)
    with pytest.raises(ValueError, match="expected knn-k200"):
        list(knn.run(make_backbone(tmp_path), config, tmp_path))
