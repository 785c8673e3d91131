"""Kalman filter of boxes with constant velocity, for many tracks at once.

A state is (centre x, centre y, aspect = width / height, height) and the velocity of each per frame; only
the first four are measured. The noise grows with the height of the box, as in DeepSORT (Wojke et al.,
arXiv 1703.07402) and what followed it. All arrays are float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
POSITION = 1 / 20  # standard deviations, as parts of the height
VELOCITY = 1 / 160
CHI2_95 = {2: 5.9915, 4: 9.4877}  # 95 % quantiles of the chi-square distribution
TRANSITION = np.eye(8) + np.eye(8, k=4)


def to_measurement(boxes: Float) -> Float:
    """(..., 4) left, top, width, height -> centre x, centre y, aspect, height."""
    left, top, width, height = np.moveaxis(np.asarray(boxes, dtype=np.float64), -1, 0)
    return np.stack([left + width / 2, top + height / 2, width / (height + 1e-6), height], axis=-1)


def to_box(means: Float) -> Float:
    """(..., 8) states -> (..., 4) left, top, width, height."""
    x, y, aspect, height = np.moveaxis(means[..., :4], -1, 0)
    width = aspect * height
    return np.stack([x - width / 2, y - height / 2, width, height], axis=-1)


def initiate(measurements: Float) -> tuple[Float, Float]:
    """States (T, 8) and covariances (T, 8, 8) of new tracks from measurements (T, 4); they stand still."""
    means = np.concatenate([measurements, np.zeros_like(measurements)], axis=1)
    deviations = _deviations(measurements[:, 3], 2 * POSITION, 1e-2, 10 * VELOCITY, 1e-5)
    return means, _diagonal(deviations**2)


def predict(means: Float, covariances: Float) -> tuple[Float, Float]:
    """States and covariances one frame later."""
    noise = _diagonal(_deviations(means[:, 3], POSITION, 1e-2, VELOCITY, 1e-5) ** 2)
    return means @ TRANSITION.T, TRANSITION @ covariances @ TRANSITION.T + noise


def update(means: Float, covariances: Float, measurements: Float) -> tuple[Float, Float]:
    """States and covariances after a measurement (T, 4) of each track."""
    projected, innovation = _project(means, covariances)
    gain = np.linalg.solve(innovation, covariances[:, :4]).transpose(0, 2, 1)  # (T, 8, 4)
    corrected = means + np.einsum("tij,tj->ti", gain, measurements - projected)
    return corrected, covariances - gain @ innovation @ gain.transpose(0, 2, 1)


def gating_distances(
    means: Float, covariances: Float, measurements: Float, only_position: bool = False
) -> Float:
    """Squared Mahalanobis distances (T, D) of measurements (D, 4) from T tracks, or of x and y alone."""
    dimensions = 2 if only_position else 4
    projected, innovation = _project(means, covariances)
    away = (measurements[None] - projected[:, None])[..., :dimensions]  # (T, D, 2 or 4)
    factors = np.linalg.cholesky(innovation[:, :dimensions, :dimensions])
    whitened = np.linalg.solve(factors, away.transpose(0, 2, 1))
    return np.asarray((whitened**2).sum(axis=1))


def _project(means: Float, covariances: Float) -> tuple[Float, Float]:
    """What is expected to be measured (T, 4), and its covariance (T, 4, 4)."""
    height = POSITION * means[:, 3]
    noise = _diagonal(np.stack([height, height, np.full_like(height, 1e-1), height], axis=1) ** 2)
    return means[:, :4], covariances[:, :4, :4] + noise


def _deviations(
    heights: Float, position: float, aspect: float, velocity: float, aspect_velocity: float
) -> Float:
    """Standard deviations (T, 8)."""
    ones = np.ones_like(heights)
    moving, still = velocity * heights, position * heights
    return np.stack(
        [still, still, aspect * ones, still, moving, moving, aspect_velocity * ones, moving], axis=1
    )


def _diagonal(values: Float) -> Float:
    return values[:, :, None] * np.eye(values.shape[1])
