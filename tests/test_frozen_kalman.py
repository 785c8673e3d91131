"""The Kalman filter against a plain recursion of matrices, one box at a time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from transfer.track.frozen import kalman

Float = NDArray[np.float64]


class PlainFilter:
    """x' = F x, P' = F P F' + Q; K = P H' (H P H' + R)^-1, x + K (z - H x), (1 - K H) P."""

    def __init__(self, z: Float) -> None:
        self.x = np.concatenate([z, np.zeros(4)])
        h = z[3]
        self.p = np.diag([h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]) ** 2

    def predict(self) -> None:
        f = np.block([[np.eye(4), np.eye(4)], [np.zeros((4, 4)), np.eye(4)]])
        h = self.x[3]
        q = np.diag([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]) ** 2
        self.x, self.p = f @ self.x, f @ self.p @ f.T + q

    def expected(self) -> tuple[Float, Float]:
        observe = np.eye(4, 8)
        h = self.x[3]
        r = np.diag([h / 20, h / 20, 1e-1, h / 20]) ** 2
        return observe @ self.x, observe @ self.p @ observe.T + r

    def update(self, z: Float) -> None:
        observe = np.eye(4, 8)
        mean, s = self.expected()
        gain = self.p @ observe.T @ np.linalg.inv(s)
        self.x, self.p = self.x + gain @ (z - mean), (np.eye(8) - gain @ observe) @ self.p

    def distance(self, z: Float, dimensions: int) -> float:
        mean, s = self.expected()
        away = (z - mean)[:dimensions]
        return float(away @ np.linalg.inv(s[:dimensions, :dimensions]) @ away)


def walks(num_tracks: int, num_frames: int) -> Float:
    """(frames, tracks, 4) boxes that wander and change size."""
    rng = np.random.default_rng(0)
    start = rng.uniform([0, 0, 20, 40], [500, 300, 60, 150], (num_tracks, 4))
    steps = rng.normal(0, [4, 3, 0.5, 1.0], (num_frames, num_tracks, 4)).cumsum(axis=0)
    return np.asarray(start + steps)


def test_many_tracks_at_once_follow_the_plain_recursion() -> None:
    boxes = walks(5, 30)
    measured = kalman.to_measurement(boxes)
    means, covariances = kalman.initiate(measured[0])
    plain = [PlainFilter(z) for z in measured[0]]
    for z in measured[1:]:
        means, covariances = kalman.predict(means, covariances)
        for track in plain:
            track.predict()
        for dimensions in (2, 4):
            found = kalman.gating_distances(means, covariances, z, only_position=dimensions == 2)
            expected = [[track.distance(other, dimensions) for other in z] for track in plain]
            np.testing.assert_allclose(found, expected, rtol=1e-8)
        means, covariances = kalman.update(means, covariances, z)
        for track, one in zip(plain, z, strict=True):
            track.update(one)
        np.testing.assert_allclose(means, [track.x for track in plain], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariances, [track.p for track in plain], rtol=1e-7, atol=1e-10)


def test_the_comparison_notices_another_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kalman, "POSITION", 1 / 10)
    with pytest.raises(AssertionError):
        test_many_tracks_at_once_follow_the_plain_recursion()


def test_boxes_survive_the_way_to_a_state_and_back() -> None:
    boxes = walks(4, 1)[0]
    means, _ = kalman.initiate(kalman.to_measurement(boxes))
    np.testing.assert_allclose(kalman.to_box(means), boxes, rtol=1e-6)


def test_a_constant_velocity_is_learnt() -> None:
    measured = kalman.to_measurement(np.array([[[3.0 * frame, 10, 20, 50]] for frame in range(40)]))
    means, covariances = kalman.initiate(measured[0])
    for z in measured[1:]:
        means, covariances = kalman.update(*kalman.predict(means, covariances), z)
    assert means[0, 4] == pytest.approx(3.0, abs=0.01)
    assert means[0, 5] == pytest.approx(0.0, abs=0.01)
