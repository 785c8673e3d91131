"""Cross-correlation with the first frame's target, as in SiamFC (Bertinetto et al. 2016) and UniTrack.

The template stays the first frame's: in UniTrack (commit a83e782) the line that would update it is a comment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transfer.track.frozen.search_region import SearchSettings


class XCorr:
    """Tracks by the sum of products of template and search features at every displacement."""

    learns = False

    def __init__(self, settings: SearchSettings, response_scale: float) -> None:
        self.settings = settings
        self.response_scale = response_scale
        self.template: Tensor | None = None

    def update(self, template: Tensor) -> None:
        """Take the first features ``(1, C, k, k)`` on the target; later ones change nothing."""
        if self.template is None:
            self.template = template

    def respond(self, search: Tensor) -> Tensor:
        """Windowed features ``(S, C, n, n)`` -> response ``(S, n-k+1, n-k+1)``."""
        assert self.template is not None, "update with the first frame's target before searching"
        return self.response_scale * correlate(search, self.template)

    def shift(self, row: int, column: int, side: int) -> NDArray[np.float64]:
        """The displacement that a peak means, ``x, y`` as a fraction of the window.

        As the original counts: from half of the response's side, in units of that side. The template's own
        place is one less than that half, and the response is narrower than the crop: a target at rest settles
        about one feature up and left of its place, and a move of one feature counts for 65/52.
        """
        return (np.array([column, row]) - side * 0.5) / side


def correlate(search: Tensor, template: Tensor) -> Tensor:
    """Cross-correlation without padding: ``(S, C, n, n)`` and ``(1, C, k, k)`` -> ``(S, n-k+1, n-k+1)``.

    One product of matrices gives what each feature of the template says of each position; their diagonals are
    summed. A convolution with a single output channel does the same sums several times slower.
    """
    k, n = template.shape[-1], search.shape[-1]
    side = n - k + 1
    weights = template[0].flatten(1).T  # (k*k, C)
    products = (weights @ search.flatten(2)).view(len(search), k, k, n, n)
    response = products.new_zeros(len(search), side, side)
    for row in range(k):
        for column in range(k):
            response += products[:, row, column, row : row + side, column : column + side]
    return response
