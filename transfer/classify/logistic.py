"""Logistic regression on features by L-BFGS: the whole set in every step, so no learning rate to choose.

Shapes: N images, D features, C classes. What is minimised is the mean cross-entropy + l2 / 2 * |W|^2 with
the bias free; scikit-learn's LogisticRegression does the same with C = 1 / (l2 * N). (Its model of two
classes has one weight vector where this one has two of opposite sign; there C = 2 / (l2 * N).)
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Array = NDArray[np.float64]
logger = logging.getLogger(__name__)
LOGITS_AT_ONCE = 1 << 24  # 128 MiB of float64
GRADIENT = 1e-6  # the largest entry at which the minimum counts as reached; scikit-learn stops at 1e-4
CLOSE = 1e-2  # and at this times l2, because a gradient g leaves weights up to g / l2 away from the minimum
TOLERATED = 10.0  # times the wanted gradient: where float32 products end a line search, no warning
REDUCTION = 1e-13  # relative, of the loss in one step; below this float64 has nothing left to say


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    l2: float,
    num_classes: int,
    max_iter: int = 1000,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Weight ``(C, D)`` and bias ``(C,)`` for ``features`` ``(N, D)``, in their type and on their device.

    ``labels`` ``(N,)`` are class numbers: one softmax over the classes. Or they are targets ``(N, C)`` of
    1, 0 and -1: a classifier of its own for each class, trained on the images that are not -1, with the mean
    over those. Products are made in the features' type, of a centred copy; sums and parameters are float64.
    ``start`` is the result for another l2, from which a neighbouring one is reached in fewer steps.

    Warns, with the size of the gradient, where ``max_iter`` steps do not reach the minimum.

    Raises:
        ValueError: an l2 that is not positive, no image, shapes that do not fit, or a feature that is not
            finite.
    """
    if not 0.0 < l2 < float("inf"):
        raise ValueError(
            f"l2: expected a positive number (at 0 separable classes have no minimum), found {l2}"
        )
    num_images, num_features = features.shape
    if num_images == 0 or labels.shape not in ((num_images,), (num_images, num_classes)):
        raise ValueError(
            f"expected labels ({num_images},) or targets ({num_images}, {num_classes}), at least one, "
            f"found {tuple(labels.shape)}"
        )
    if not torch.isfinite(features).all():
        raise ValueError("features hold NaN or infinity")
    objective = Objective(features, labels, l2, num_classes)
    first = np.zeros(num_classes * (num_features + 1))
    if start is not None:
        first = objective.pack(*start)
    return objective.unpack(_minimise(objective, first, max_iter, min(GRADIENT, CLOSE * objective.l2)))


class Objective:
    """Loss and gradient of packed parameters, float64: W ``(C, D)``, then the bias, of features that are
    centred and of length 1 (root mean square).

    Neither changes the minimum, because the bias is free and l2 is scaled along, but without them weights and
    bias pull at one another: L-BFGS then needs many times the steps, and float32 products lose what differs
    between images.
    """

    def __init__(self, features: Tensor, labels: Tensor, l2: float, num_classes: int) -> None:
        self.dtype = features.dtype
        self.mean = features.mean(0, dtype=torch.float64).to(features.dtype)
        self.features = features - self.mean
        length = float(torch.linalg.vector_norm(self.features, dtype=torch.float64)) / len(features) ** 0.5
        self.scale = length or 1.0  # nothing differs: any scale does
        self.features /= self.scale
        self.labels = labels
        self.l2 = l2 / self.scale**2
        self.num_classes = num_classes
        self.rows = max(1, LOGITS_AT_ONCE // num_classes)
        if labels.dim() == 2:  # what each entry weighs: nothing where it is -1
            self.counts = (labels >= 0).sum(0).clamp(min=1).double()

    def pack(self, weight: Tensor, bias: Tensor) -> Array:
        """The parameters that stand for a weight ``(C, D)`` and a bias ``(C,)`` of features as they are."""
        weight, bias = weight.double(), bias.double()
        packed = torch.cat([(weight * self.scale).flatten(), bias + weight @ self.mean.double()])
        return packed.cpu().numpy()

    def unpack(self, packed: Array) -> tuple[Tensor, Tensor]:
        """The opposite of :meth:`pack`, in the features' type."""
        weight, bias = self._split(packed)
        weight = weight / self.scale
        return weight.to(self.dtype), (bias - weight @ self.mean.double()).to(self.dtype)

    def __call__(self, packed: Array) -> tuple[float, Array]:
        """The objective and its gradient."""
        weight, bias = self._split(packed)
        factors = weight.to(self.dtype).T
        loss = self.l2 / 2 * weight.square().sum()
        weight_gradient, bias_gradient = self.l2 * weight, torch.zeros_like(bias)
        for start in range(0, len(self.features), self.rows):
            rows = slice(start, start + self.rows)
            logits = (self.features[rows] @ factors).double() + bias
            part, slopes = self._loss(logits, self.labels[rows])
            loss += part
            bias_gradient += slopes.sum(0)
            weight_gradient += (slopes.to(self.dtype).T @ self.features[rows]).double()
        return float(loss), torch.cat([weight_gradient.flatten(), bias_gradient]).cpu().numpy()

    def _split(self, packed: Array) -> tuple[Tensor, Tensor]:
        parameters = torch.from_numpy(packed).to(self.mean.device)
        num_weights = self.num_classes * len(self.mean)
        return parameters[:num_weights].view(self.num_classes, -1), parameters[num_weights:]

    def _loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """This part's share of the mean loss, and its slope by each logit."""
        if labels.dim() == 1:
            num_images = len(self.features)
            log_shares = F.log_softmax(logits, dim=1)
            slopes = log_shares.exp()
            slopes[torch.arange(len(labels), device=labels.device), labels] -= 1.0
            return F.nll_loss(log_shares, labels, reduction="sum") / num_images, slopes / num_images
        held = (labels >= 0) / self.counts
        truth = labels.clamp(min=0).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return (losses * held).sum(), (logits.sigmoid() - truth) * held


@torch.no_grad()
def _minimise(
    objective: Callable[[Array], tuple[float, Array]], first: Array, max_iter: int, gradient: float
) -> Array:
    from scipy.optimize import minimize  # here: other tasks need not wait for it

    options = {"maxiter": max_iter, "maxfun": 20 * max_iter, "maxls": 50, "gtol": gradient, "ftol": REDUCTION}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    largest = float(np.abs(found.jac).max())
    logger.info("logistic regression: %d steps, loss %.6f, gradient %.3g", found.nit, found.fun, largest)
    if not found.success and largest > TOLERATED * gradient:
        logger.warning(
            "logistic regression stopped after %d steps at a gradient of %.3g, wanted %.3g: %s",
            found.nit, largest, gradient, found.message,
        )  # fmt: skip
    return np.asarray(found.x)
