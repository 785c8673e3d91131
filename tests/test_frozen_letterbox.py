"""Frames fitted into a rectangle, against areas summed by hand and OpenCV."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from transfer.track.frozen.letterbox import FILL, Letterbox, resize


def draw(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8))


def by_areas(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float64]:
    """The mean of the area that each new pixel covers, every old pixel in turn."""
    _, old_height, old_width = image.shape
    down, across = old_height / height, old_width / width
    result = np.zeros((3, height, width))
    for y in range(height):
        for x in range(width):
            for v in range(old_height):
                for u in range(old_width):
                    tall = min(v + 1, (y + 1) * down) - max(v, y * down)
                    wide = min(u + 1, (x + 1) * across) - max(u, x * across)
                    if tall > 0 and wide > 0:
                        result[:, y, x] += image[:, v, u] * tall * wide / (down * across)
    return result


@pytest.mark.parametrize("size", [(10, 6), (7, 5), (20, 12), (13, 12)])
def test_a_smaller_image_has_the_means_of_areas(size: tuple[int, int]) -> None:
    image = draw(12, 20)
    found = resize(image, *size).numpy()
    assert np.abs(found - by_areas(image.numpy(), *size)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("size", [(544, 306), (401, 77), (811, 456), (1088, 608), (700, 800)])
def test_sizes_are_changed_as_opencv_does(size: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    image = draw(360, 640)
    expected = cv2.resize(image.permute(1, 2, 0).numpy(), size, interpolation=cv2.INTER_AREA)
    difference = np.abs(resize(image, *size).permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.15  # OpenCV's weights have eleven bits where a side grows
    other = cv2.resize(image.permute(1, 2, 0).numpy(), size, interpolation=cv2.INTER_CUBIC)
    assert np.abs(other.astype(int) - expected).max() > 1  # the comparison can fail


@pytest.mark.parametrize(
    ("frame", "inner", "margins"),
    [
        ((1920, 1080), (1081, 608), (3.5, 0.0)),
        ((640, 480), (811, 608), (138.5, 0.0)),
        ((300, 100), (1088, 363), (0.0, 122.5)),
    ],
)
def test_frames_lie_in_the_middle(
    frame: tuple[int, int], inner: tuple[int, int], margins: tuple[float, float]
) -> None:
    box = Letterbox(frame, (1088, 608))
    assert box.inner == inner
    assert box.margins == margins
    fitted = box.fit_image(torch.zeros(3, frame[1], frame[0], dtype=torch.uint8))
    left, top = (round(margin - 0.1) for margin in margins)
    assert fitted.shape == (3, 608, 1088)
    assert (fitted[:, top : top + inner[1], left : left + inner[0]] == 0).all()
    assert int((fitted == FILL).sum()) == 3 * (1088 * 608 - inner[0] * inner[1])


def test_boxes_move_with_the_pixels() -> None:
    box = Letterbox((640, 480), (1088, 608))
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    image[:, 100:200, 300:360] = 255
    corners = box.fit_boxes(np.array([[300.0, 100, 60, 100]]))[0]
    rows, columns = (box.fit_image(image)[0] > 250).nonzero(as_tuple=True)
    found = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
    np.testing.assert_allclose(corners, found, atol=1.5)
