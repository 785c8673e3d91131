"""The exact search: against sorting all similarities, whatever the blocks, ties and sizes."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from transfer.classify import neighbours
from transfer.classify.neighbours import nearest, normalise_


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that divide nothing."""
    monkeypatch.setattr(neighbours, "BANK_ROWS", 37)
    monkeypatch.setattr(neighbours, "QUERY_ROWS", 11)
    monkeypatch.setattr(neighbours, "SORTED_ROWS", 4)


def whole(num: int, seed: int, levels: int = 3) -> Tensor:
    """Rows ``(num, 4)`` of small whole numbers: products are exact in any order, and many are equal."""
    return torch.randint(-levels, levels + 1, (num, 4), generator=torch.Generator().manual_seed(seed)).float()


def by_sorting(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """All similarities, sorted; among equal ones the lower index first."""
    values, indices = (queries @ bank.T).sort(dim=1, descending=True, stable=True)
    return values[:, :k], indices[:, :k]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_the_search_is_that_of_a_stable_sort(data: st.DataObject) -> None:
    num_bank, num_queries = data.draw(st.integers(1, 90)), data.draw(st.integers(0, 20))
    k = data.draw(st.integers(1, num_bank))
    seed, levels = data.draw(st.integers(0, 10**6)), data.draw(st.integers(0, 9))
    bank, queries = whole(num_bank, seed, levels), whole(num_queries, seed + 1, levels)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BANK_ROWS", "QUERY_ROWS", "SORTED_ROWS", "CROWDED", "GROUP"):
            patch.setattr(neighbours, name, data.draw(st.integers(1, 40)))
        values, indices = nearest(bank, queries, k)
    expected_values, expected_indices = by_sorting(bank, queries, k)
    assert torch.equal(values, expected_values)
    assert torch.equal(indices, expected_indices)


@pytest.mark.usefixtures("blocks")
def test_each_row_of_the_bank_can_beat_those_before_it() -> None:
    """Rising similarities are the worst order: every block replaces all that was found."""
    bank = torch.arange(200.0).view(-1, 1)
    values, indices = nearest(bank, torch.ones(13, 1), 20)
    assert indices.tolist() == [list(range(199, 179, -1))] * 13
    assert torch.equal(values, indices.float())


@pytest.mark.usefixtures("blocks")
def test_of_equal_rows_the_first_are_taken() -> None:
    values, indices = nearest(torch.ones(200, 1), torch.ones(13, 1), 20)
    assert indices.tolist() == [list(range(20))] * 13
    assert torch.equal(values, torch.ones(13, 20))


@pytest.mark.usefixtures("blocks")
def test_real_features_give_scikit_learns_neighbours() -> None:
    generator = np.random.default_rng(0)
    bank, queries = generator.normal(size=(300, 24)), generator.normal(size=(50, 24))
    distances, expected = (
        NearestNeighbors(n_neighbors=40, metric="cosine", algorithm="brute").fit(bank).kneighbors(queries)
    )
    values, indices = nearest(normalise_(torch.tensor(bank)), normalise_(torch.tensor(queries)), 40)
    np.testing.assert_array_equal(indices.numpy(), expected)
    np.testing.assert_allclose(values.numpy(), 1 - distances, atol=1e-12)


def test_memory_is_bounded_whatever_the_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    """No product is larger than one block; negative control: with larger blocks it is."""
    shapes: list[tuple[int, ...]] = []
    real = neighbours._candidates

    def watched(similarities: Tensor, *arguments: object) -> tuple[Tensor, Tensor]:
        shapes.append(tuple(similarities.shape))
        return real(similarities, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(neighbours, "_candidates", watched)
    monkeypatch.setattr(neighbours, "BANK_ROWS", 32)
    monkeypatch.setattr(neighbours, "QUERY_ROWS", 8)
    nearest(whole(1000, 0), whole(100, 1), 5)
    assert max(rows * columns for rows, columns in shapes) == 32 * 8
    monkeypatch.setattr(neighbours, "BANK_ROWS", 1000)
    nearest(whole(1000, 0), whole(100, 1), 5)
    assert max(rows * columns for rows, columns in shapes) == 1000 * 8


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_bank_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k: expected 1\.\.3, .*, found {k}"):
        nearest(torch.eye(3), torch.eye(3), k)


def test_rows_get_length_one_in_place_and_zeros_stay(caplog: pytest.LogCaptureFixture) -> None:
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0], [0.0, -1e30]])
    with caplog.at_level(logging.WARNING):
        assert normalise_(features) is features
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(features, expected)
    assert "1 of 4 features are zero: similar to nothing" in caplog.text


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="features hold NaN or infinity"):
        normalise_(torch.tensor([[1.0, float("nan")]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.usefixtures("blocks")
def test_a_bank_on_the_cpu_travels_to_queries_on_the_gpu() -> None:
    bank, queries = whole(200, 0), whole(30, 1)
    values, indices = nearest(bank, queries.cuda(), 20)
    expected_values, expected_indices = by_sorting(bank, queries, 20)
    assert values.is_cuda
    assert torch.equal(values.cpu(), expected_values)
    assert torch.equal(indices.cpu(), expected_indices)
