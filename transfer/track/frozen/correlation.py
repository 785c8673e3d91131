"""Correlation of many-channelled features with a small template, as one product of matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def correlate(search: Tensor, template: Tensor) -> Tensor:
    """The sum over channels of products at every displacement at which the two overlap.

    The matrix says what each feature of the template contributes at each position; its diagonals are summed.
    A convolution with a single output channel, or a Fourier transform of each channel, does the same several
    times slower.

    Args:
        search: ``(S, C, n, n)``; quickest where channels lie last.
        template: ``(1, C, k, k)``.

    Returns:
        ``(S, n+k-1, n+k-1)``; the template's first feature on the search's first is at ``[k-1, k-1]``.
    """
    (num, channels, n, _), k = search.shape, template.shape[-1]
    features = search.permute(0, 2, 3, 1).reshape(-1, channels)
    products = (template[0].flatten(1).T @ features.T).view(k, k, num, n, n)
    side = n + k - 1
    response = products.new_zeros(num, side, side)
    for row in range(k):
        for column in range(k):
            top, left = k - 1 - row, k - 1 - column
            response[:, top : top + n, left : left + n] += products[row, column]
    return response


def wrap(response: Tensor, origin: int, side: int) -> Tensor:
    """``(S, m, m)`` on a grid of which both ends meet: index ``origin + d`` goes to ``d`` modulo ``side``."""
    places = (torch.arange(response.shape[-1], device=response.device) - origin) % side
    rows = response.new_zeros(len(response), side, response.shape[-1]).index_add_(1, places, response)
    return response.new_zeros(len(response), side, side).index_add_(2, places, rows)
