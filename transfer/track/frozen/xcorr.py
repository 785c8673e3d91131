"""Cross-correlation with the first frame's target, as in SiamFC (Bertinetto et al. 2016) and UniTrack.

The template stays the first frame's: in UniTrack (commit a83e782) the line that would update it is a comment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transfer.track.frozen.correlation import correlate
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
        k, n = self.template.shape[-1], search.shape[-1]
        whole = slice(k - 1, n)  # displacements at which all of the template lies inside the crop
        return self.response_scale * correlate(search, self.template)[:, whole, whole]

    def shift(self, row: int, column: int, side: int) -> NDArray[np.float64]:
        """The displacement that a peak means, ``x, y`` as a fraction of the window.

        As the original counts: from half of the response's side, in units of that side. The template's own
        place is one less than that half, and the response is narrower than the crop: a target at rest settles
        about one feature up and left of its place, and a move of one feature counts for 65/52.
        """
        return (np.array([column, row]) - side * 0.5) / side
