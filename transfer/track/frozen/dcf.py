"""A discriminative correlation filter: ridge regression over all cyclic shifts of the target's features.

DCFNet's (Wang et al. 2017, arXiv 1704.04057), as in UniTrack: a linear kernel, solved in the Fourier
domain, where the shifts' normal equations are diagonal. With z the template, y a Gaussian on its place and a
the dual weights::

    a^ = y^ / (sum over channels of |z^|^2 + lambda0),    response^ = a^ * sum over channels of x^ conj(z^)

Both z and a^ are averaged over frames, with the same rate. Since z is 0 but for a few features on the target,
the sums over channels are small correlations in space (:func:`correlate`), and only they
are transformed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer.track.frozen.correlation import correlate, wrap
from transfer.track.frozen.search_region import SearchSettings


class DCF:
    """Tracks by a filter that is fitted to every frame."""

    learns = True

    def __init__(
        self, settings: SearchSettings, lambda0: float, output_sigma_factor: float, interp_factor: float
    ) -> None:
        self.settings = settings
        self.lambda0 = lambda0
        self.rate = interp_factor
        self.sigma = settings.num_cells / (1.0 + settings.padding) * output_sigma_factor
        self.weights: Tensor | None = None  # a^, (1, n, n//2+1)
        self.template: Tensor | None = None  # z on the target, (1, C, k, k)

    def update(self, template: Tensor) -> None:
        """Fit to features ``(1, C, k, k)`` on the target: wholly to the first, by ``interp_factor`` later."""
        n, k = self.settings.num_cells, template.shape[-1]
        power = torch.fft.rfft2(wrap(correlate(template, template), k - 1, n)).real
        label = torch.fft.rfft2(gaussian_label(n, self.sigma).to(template.device))
        weights = label / (power + self.lambda0)
        if self.template is None or self.weights is None:
            self.template, self.weights = template.clone(), weights
        else:
            self.template.lerp_(template, self.rate)
            self.weights.lerp_(weights, self.rate)

    def respond(self, search: Tensor) -> Tensor:
        """Windowed features ``(S, C, n, n)`` -> response ``(S, n, n)``; no displacement is at ``[0, 0]``."""
        assert self.template is not None, "update with the first frame's target before searching"
        assert self.weights is not None
        n, k = self.settings.num_cells, self.template.shape[-1]
        origin = self.settings.template_cells.start + k - 1  # the template on its own place
        spectrum = torch.fft.rfft2(wrap(correlate(search, self.template), origin, n))
        response: Tensor = torch.fft.irfft2(spectrum * self.weights, s=(n, n))
        return response

    def shift(self, row: int, column: int, side: int) -> NDArray[np.float64]:
        """The displacement that a peak means, ``x, y`` in windows; the far half is negative."""
        at = np.array([column, row], dtype=np.float64)
        return np.where(at > side / 2, at - side, at) / side


def gaussian_label(side: int, sigma: float) -> Tensor:
    """``(side, side)`` float32: 1 at ``[0, 0]``, falling with the cyclic distance from there."""
    steps = torch.arange(side, dtype=torch.float64)
    distances = torch.minimum(steps, side - steps).square()
    return (-0.5 / sigma**2 * (distances[:, None] + distances[None, :])).exp().float()
