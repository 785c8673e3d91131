"""How alike two sets of point features are: each is reconstructed from the other (UniTrack's RSM)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

TEMPERATURE = 100.0
TINY = 1e-12
WEIGHTS_AT_ONCE = 2**24


@torch.no_grad()
def reconstruction_cost(
    tracks: Sequence[Tensor], detections: Sequence[Tensor], temperature: float = TEMPERATURE
) -> Tensor:
    """Costs (T, D), 0 for equal sets and 1 for what has nothing in common.

    Point features are normalised. The affinities of a track's point with the points of *all* detections are
    turned into weights by a softmax; those of one detection reconstruct the track, and the cosine of the
    flattened track and its reconstruction says how alike they are. The same the other way round; the cost is
    1 minus the mean of both. Where the sets differ in size the smaller ones are filled up with points of
    zeros, which take part in the softmax and in the length of a reconstruction: so did the code that
    published numbers are from.

    A reconstruction is never made: with weights w and the features F of a detection, its product with the
    track needs the affinities alone and its length is that of w F, from the Gram matrix F F'. This saves a
    factor of channels over points, in time and memory.

    Args:
        tracks: (P_i, C) float32 each, on one device.
        detections: (Q_j, C) each.
        temperature: factor of the affinities in the softmax.
    """
    if not tracks or not detections:
        like = next(iter([*tracks, *detections]), torch.empty(0))
        return torch.zeros(len(tracks), len(detections), device=like.device)
    first = normalize(pad_sequence(list(tracks), batch_first=True), dim=2, eps=TINY)  # (T, P, C)
    second = normalize(pad_sequence(list(detections), batch_first=True), dim=2, eps=TINY)  # (D, Q, C)
    affinities = first.flatten(0, 1) @ second.flatten(0, 1).T  # (T P, D Q)
    forward = _alike(affinities, first, second, temperature)
    backward = _alike(affinities.T, second, first, temperature)
    return 1.0 - 0.5 * (forward + backward.T)


def _alike(affinities: Tensor, sets: Tensor, sources: Tensor, temperature: float) -> Tensor:
    """Cosines (N, M) of sets (N, P, C) with their reconstruction from each of the sources (M, Q, C)."""
    (num_sets, num_points, _), (num_sources, num_source_points, _) = sets.shape, sources.shape
    gram = sources @ sources.transpose(1, 2)  # (M, Q, Q)
    lengths = sets.square().sum(dim=(1, 2)).sqrt().clamp_min(TINY)
    at_once = max(1, WEIGHTS_AT_ONCE // (num_points * num_sources * num_source_points))
    cosines = []
    for start in range(0, num_sets, at_once):
        rows = affinities[start * num_points : (start + at_once) * num_points]
        shape = (-1, num_points, num_sources, num_source_points)
        weights = (temperature * rows).softmax(dim=1)
        by_source = weights.view(len(rows), num_sources, num_source_points).transpose(0, 1)  # (M, N P, Q)
        squares = ((by_source @ gram) * by_source).sum(dim=2)  # (M, N P)
        squares = squares.view(num_sources, -1, num_points).sum(dim=2).T  # (N, M)
        products = (weights * rows).view(shape).sum(dim=(1, 3))
        found = squares.clamp_min(0.0).sqrt().clamp_min(TINY)
        cosines.append(products / (found * lengths[start : start + at_once, None]))
    return torch.cat(cosines)
