"""Costs by reconstruction against their formula, written out pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from transfer.track.frozen import similarity
from transfer.track.frozen.similarity import reconstruction_cost


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length if length else 0.0 for value in vector]


def padded(sets: list[Tensor]) -> list[list[list[float]]]:
    most = max(len(points) for points in sets)
    channels = sets[0].shape[1]
    return [
        [unit(row) for row in points.tolist()] + [[0.0] * channels] * (most - len(points)) for points in sets
    ]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def alike(
    target: list[list[float]],
    source: list[list[float]],
    sources: list[list[list[float]]],
    temperature: float,
) -> float:
    """Cosine of a set and what one source makes of it; the softmax is over the points of all sources."""
    flat: list[float] = []
    made: list[float] = []
    for point in target:
        total = sum(math.exp(temperature * dot(point, other)) for part in sources for other in part)
        weights = [math.exp(temperature * dot(point, other)) / total for other in source]
        made += [
            sum(w * other[channel] for w, other in zip(weights, source, strict=True))
            for channel in range(len(point))
        ]
        flat += point
    return dot(unit(flat), unit(made))


def by_formula(tracks: list[Tensor], detections: list[Tensor], temperature: float) -> Tensor:
    first, second = padded(tracks), padded(detections)
    return torch.tensor(
        [
            [1 - 0.5 * (alike(t, d, second, temperature) + alike(d, t, first, temperature)) for d in second]
            for t in first
        ]
    )


def draw(counts: list[int], seed: int, channels: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, channels, generator=generator) for count in counts]


@pytest.mark.parametrize("temperature", [1.0, 10.0, 100.0])
@pytest.mark.parametrize(
    ("first", "second"), [([4, 4, 4], [4, 4]), ([2, 5, 1], [3, 6]), ([3], [3]), ([1, 1], [4])]
)
def test_costs_are_those_of_the_formula(first: list[int], second: list[int], temperature: float) -> None:
    tracks, detections = draw(first, 1), draw(second, 2)
    expected = by_formula(tracks, detections, temperature)
    torch.testing.assert_close(
        reconstruction_cost(tracks, detections, temperature), expected, atol=2e-5, rtol=0
    )


def test_a_shared_point_makes_two_sets_closer_and_the_formula_sees_it() -> None:
    """Negative control: the comparison above would notice a point put into another set."""
    tracks, detections = draw([3, 3], 1), draw([3, 3], 2)
    before = by_formula(tracks, detections, 10.0)
    detections[1] = torch.cat([detections[1][:2], tracks[0][:1]])
    assert (by_formula(tracks, detections, 10.0) - before).abs().max() > 1e-2


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tracks, detections = draw([4] * 7, 3), draw([2, 4, 3], 4)
    whole = reconstruction_cost(tracks, detections)
    monkeypatch.setattr(similarity, "WEIGHTS_AT_ONCE", 100)
    torch.testing.assert_close(reconstruction_cost(tracks, detections), whole, atol=1e-6, rtol=0)


def test_a_set_costs_nothing_beside_itself_and_much_beside_another() -> None:
    sets = [torch.eye(8)[:4], torch.eye(8)[4:]]
    costs = reconstruction_cost(sets, sets)
    assert costs.diagonal().abs().max() < 1e-4
    assert costs[0, 1] == pytest.approx(1.0, abs=1e-4)


def test_the_length_of_a_feature_does_not_count() -> None:
    tracks, detections = draw([4, 4], 5), draw([4, 4], 6)
    scaled = [points * 1000 for points in detections]
    torch.testing.assert_close(
        reconstruction_cost(tracks, scaled), reconstruction_cost(tracks, detections), atol=1e-5, rtol=0
    )


def test_nothing_on_one_side_gives_an_empty_matrix() -> None:
    assert reconstruction_cost([], draw([4], 1)).shape == (0, 1)
    assert reconstruction_cost(draw([4, 4], 1), []).shape == (2, 0)
