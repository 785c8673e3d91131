"""Label propagation against a dense loop over all positions, and what it must not accept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from transfer.track.frozen import propagation
from transfer.track.frozen.propagation import Constants, Propagation, lay_tiles

SMALL = Constants(topk=4, radius=2.5, num_context=3)


def propagate(features: Tensor, labels: Tensor, constants: Constants) -> Tensor:
    """Labels ``(T, L, H, W)`` from features ``(T, C, H, W)`` and the labels of the first frame."""
    state = Propagation(features[0], labels, constants)
    return torch.stack([labels, *(state(frame) for frame in features[1:])])


def propagate_slowly(features: Tensor, labels: Tensor, constants: Constants) -> Tensor:
    """The same from the description: one position at a time, all similarities, frames padded in front."""
    num_frames, _, height, width = features.shape
    if constants.normalise:
        features = features / features.norm(dim=1, keepdim=True)
    padding = constants.num_context
    frames = [features[0]] * padding + list(features)
    known = [labels] * (padding + 1)
    for now in range(padding + 1, padding + num_frames):
        predicted = torch.zeros_like(labels)
        for y in range(height):
            for x in range(width):
                similarities, votes = [], []
                sources = [(0, math.inf)] if constants.first_frame else []
                sources += [(now - back, constants.radius) for back in range(padding, 0, -1)]
                for source, radius in sources:
                    for j in range(height):
                        for i in range(width):
                            if math.sqrt((j - y) ** 2 + (i - x) ** 2) < radius:
                                similarities.append(float(frames[source][:, j, i] @ frames[now][:, y, x]))
                                votes.append(known[source][:, j, i])
                order = sorted(range(len(similarities)), key=lambda n: -similarities[n])[: constants.topk]
                weights = [math.exp(similarities[n] / constants.temperature) for n in order]
                for n, weight in zip(order, weights, strict=True):
                    predicted[:, y, x] += weight / sum(weights) * votes[n]
        known.append(predicted)
    return torch.stack(known[padding:])


def scene(num_frames: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random features ``(T, 6, H, W)`` and soft labels of three kinds ``(3, H, W)``."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_frames, 6, height, width, generator=generator)
    return features, torch.rand(3, height, width, generator=generator).softmax(dim=0)


@pytest.mark.parametrize(
    "constants",
    [
        SMALL,
        replace(SMALL, radius=3.0),  # whole: positions exactly 3 away do not belong
        replace(SMALL, num_context=0),
        replace(SMALL, first_frame=False),
        replace(SMALL, topk=1),
        replace(SMALL, normalise=False, temperature=1.0),
        replace(SMALL, radius=50.0, topk=30),
    ],
)
def test_propagation_equals_a_dense_loop(constants: Constants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "TILE", (3, 4))
    monkeypatch.setattr(propagation, "DIMENSIONS", 3)  # of 6: bounds leave something out
    lay_tiles.cache_clear()
    features, labels = scene(5, 7, 6)
    expected = propagate_slowly(features.double(), labels.double(), constants).float()
    torch.testing.assert_close(propagate(features, labels, constants), expected, rtol=1e-4, atol=1e-5)
    lay_tiles.cache_clear()


def test_a_wrong_radius_is_seen() -> None:
    """Negative control of the comparison."""
    features, labels = scene(3, 6, 6)
    expected = propagate_slowly(features, labels, replace(SMALL, radius=3.0))
    found = propagate(features, labels, replace(SMALL, radius=3.1))
    assert not torch.allclose(found, expected, rtol=1e-2)


@pytest.mark.parametrize("normalise", [True, False])
def test_positions_that_cannot_be_chosen_are_left_out_and_no_others(normalise: bool) -> None:
    """Smooth features as a network's: most of the first frame is never looked at, and nothing is missed."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 64, 4, 5, generator=generator)
    features = torch.nn.functional.interpolate(coarse, (24, 32), mode="bilinear")
    constants = Constants(topk=3, num_context=2, normalise=normalise)
    state = Propagation(features[0], torch.rand(2, 24, 32, generator=generator), constants)
    queries = state._prepare(features[0] + 0.02 * features[1])
    similarities = queries @ state.first.t()
    part, num_kept = similarities.topk(3).values[:, -1:], 0
    for first in range(0, len(queries), 32):
        rows = slice(first, first + 32)
        kept = set(state._reaching(queries[rows], part[rows]).tolist())
        needed = (similarities[rows] >= part[rows]).any(dim=0).nonzero()[:, 0].tolist()
        assert set(needed) <= kept
        num_kept += len(kept)
    assert num_kept < 0.5 * len(queries) * len(queries) / 32


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 40),
    radius=st.sampled_from([0.5, 1.0, 2.0, 2.5, 12.0]),
)
def test_tiles_hold_each_disc_once(height: int, width: int, radius: float) -> None:
    tiles = lay_tiles(height, width, radius, torch.device("cpu"))
    seen = torch.zeros(height, width, dtype=torch.int64)
    for tile in tiles:
        seen[tile.rows, tile.columns] += 1
        allowed = torch.zeros(height, width)
        y, x = tile.rows.start, tile.columns.start
        window = allowed[tile.window_rows, tile.window_columns]
        window += (~tile.outside[0]).view(window.shape)
        for j in range(height):
            for i in range(width):
                assert allowed[j, i] == (math.hypot(j - y, i - x) < radius)
    assert bool((seen == 1).all())


def test_shares_of_labels_stay_shares() -> None:
    features, labels = scene(8, 9, 11)
    found = propagate(features, labels, SMALL)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(8, 9, 11))
    assert float(found.min()) >= 0.0


def test_a_moving_square_is_followed() -> None:
    """Each position of square and ground has a code of its own; the labels move with it."""
    generator = torch.Generator().manual_seed(3)
    ground, square = torch.randn(16, 20, 20, generator=generator), torch.randn(16, 4, 4, generator=generator)
    frames, masks = [], []
    for frame in range(6):
        features, mask = ground.clone(), torch.zeros(20, 20)
        features[:, 8:12, 3 + 2 * frame : 7 + 2 * frame] = square
        mask[8:12, 3 + 2 * frame : 7 + 2 * frame] = 1.0
        frames.append(features)
        masks.append(mask)
    first = torch.stack([1.0 - masks[0], masks[0]])
    found = propagate(torch.stack(frames), first, Constants(topk=1, num_context=2)).argmax(dim=1)
    assert torch.equal(found[:, 8:12], torch.stack(masks).long()[:, 8:12])


def test_memory_does_not_grow_with_the_video() -> None:
    features, labels = scene(12, 5, 5)
    state = Propagation(features[0], labels, SMALL)
    before = sum(part.numel() for part in vars(state).values() if isinstance(part, Tensor))
    for frame in features[1:]:
        state(frame)
    after = sum(part.numel() for part in vars(state).values() if isinstance(part, Tensor))
    assert after == before


def test_what_is_not_finite_or_of_another_size_is_named() -> None:
    features, labels = scene(3, 5, 5)
    state = Propagation(features[0], labels, SMALL)
    state(features[1])
    broken = features[2].clone()
    broken[0, 2, 2] = math.nan
    with pytest.raises(ValueError, match="frame 2: its features are not finite"):
        state(broken)
    with pytest.raises(
        ValueError, match=r"frame 2: expected features of \(5, 5\) as frame 0, found \(5, 4\)"
    ):
        state(features[2, :, :, :4])
    with pytest.raises(ValueError, match=r"labels: expected \(5, 5\) as the features, found \(5, 4\)"):
        Propagation(features[0], labels[..., :4], SMALL)
    with pytest.raises(ValueError, match=r"topk: expected at most the 49 positions .* of 5x5, found 50"):
        Propagation(features[0], labels, replace(SMALL, topk=50))  # 25 + 3 frames of 8 around a corner
    Propagation(features[0], labels, replace(SMALL, topk=49))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature: expected a positive number, found 0.0"),
        ({"temperature": math.inf}, "temperature: expected a positive number, found inf"),
        ({"radius": 0.0}, "radius: expected a positive number, found 0.0"),
        ({"topk": 0}, "topk: expected at least 1, found 0"),
        ({"num_context": -1}, "num_context: expected at least 0, found -1"),
        ({"num_context": 0, "first_frame": False}, "num_context: expected at least 1, found 0"),
    ],
)
def test_constants_that_cannot_be_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Constants(**change)  # type: ignore[arg-type]
