"""Cross-correlation and crops, each against a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from transfer.track.frozen.correlation import correlate, wrap
from transfer.track.frozen.search_region import SearchSettings, Target, TemplatePart, crop
from transfer.track.frozen.xcorr import XCorr

PUBLISHED = SearchSettings(520, 3.5, 3, 1.0275, 0.985, 0.2, 5.0, 4.0)


def test_the_response_is_that_of_a_dense_loop() -> None:
    torch.manual_seed(0)
    search, template = torch.randn(2, 5, 9, 9), torch.randn(1, 5, 4, 4)
    expected = torch.zeros(2, 12, 12)
    for row in range(12):
        for column in range(12):
            for r in range(4):
                for c in range(4):
                    y, x = row - 3 + r, column - 3 + c
                    if 0 <= y < 9 and 0 <= x < 9:
                        expected[:, row, column] += (search[:, :, y, x] * template[0, :, r, c]).sum(1)
    torch.testing.assert_close(correlate(search, template), expected)
    head = XCorr(PUBLISHED, 0.1)
    head.update(template)
    response = head.respond(search.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(response, 0.1 * expected[:, 3:9, 3:9])
    torch.testing.assert_close(response, 0.1 * F.conv2d(search, template)[:, 0])
    head.update(torch.zeros_like(template))  # learns from the first frame only
    assert head.respond(search).abs().max() > 0


def test_a_grid_whose_ends_meet() -> None:
    response = torch.arange(49.0).view(1, 7, 7)
    expected = torch.zeros(1, 5, 5)
    for row in range(7):
        for column in range(7):
            expected[0, (row - 3) % 5, (column - 3) % 5] += response[0, row, column]
    assert torch.equal(wrap(response, 3, 5), expected)


def test_shifts_are_counted_as_published() -> None:
    head = XCorr(PUBLISHED, 0.1)
    assert PUBLISHED.template_cells == slice(25, 39)
    np.testing.assert_allclose(head.shift(26, 26, 52), [0, 0])
    np.testing.assert_allclose(head.shift(26, 30, 52), [4 / 52, 0])
    np.testing.assert_allclose(head.shift(25, 26, 52), [0, -1 / 52])  # the template's own row


def test_a_crop_is_bilinear_and_zero_outside() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 12, 15))
    centre, window, size = np.array([2.3, 6.1]), np.array([11.0, 7.5]), 9
    expected = np.zeros((3, size, size))
    for row in range(size):
        for column in range(size):
            x = centre[0] - window[0] / 2 + column * window[0] / (size - 1)
            y = centre[1] - window[1] / 2 + row * window[1] / (size - 1)
            for y0 in (int(np.floor(y)), int(np.floor(y)) + 1):
                for x0 in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= y0 < 12 and 0 <= x0 < 15:
                        weight = (1 - abs(y - y0)) * (1 - abs(x - x0))
                        expected[:, row, column] += weight * image[:, y0, x0]
    tensor = torch.from_numpy(image).float()[None]
    found = crop(tensor, [(centre, window), (centre + 1, window)], size)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)
    assert not expected[:, :, :2].any()  # columns beyond the border
    assert expected[:, 2:, 4:].all()
    assert not torch.allclose(found[1], found[0])
    part = crop(tensor, [(centre, window)], size, slice(2, 6))
    assert torch.equal(part[0], found[0, :, 2:6, 2:6])


def test_where_a_target_goes() -> None:
    target = Target.from_box(np.array([11.0, 21.0, 10.0, 20.0]), (100, 50), PUBLISHED)
    np.testing.assert_allclose(target.centre, [15, 30])
    np.testing.assert_allclose(target.smallest, [4, 4])
    np.testing.assert_allclose(target.largest, [50, 100])  # width against the image's height, as published
    moved = target.moved(np.array([0.1, -0.2]), 1.0275, 3.5)
    np.testing.assert_allclose(moved.size, [10.275, 20.55])
    np.testing.assert_allclose(moved.centre, [15 + 4.62375, 30 - 18.495])
    np.testing.assert_allclose(target.box(), [11, 21, 10, 20])
    for _ in range(200):
        target = target.moved(np.zeros(2), 1 / 1.0275, 3.5)
    np.testing.assert_allclose(target.size, [4, 4])


@pytest.mark.parametrize("radius", [0, 7, 93, 1000])
def test_the_part_of_a_crop_that_a_template_needs(radius: int) -> None:
    part, whole = TemplatePart.of(PUBLISHED, radius), PUBLISHED.template_cells
    first = part.pixels.start // 8
    assert (first + part.cells.start, first + part.cells.stop) == (whole.start, whole.stop)
    assert part.pixels.start in (0, *range(0, 8 * whole.start - radius + 1))
    assert part.pixels.stop == 520 or part.pixels.stop > 8 * (whole.stop - 1) + radius
