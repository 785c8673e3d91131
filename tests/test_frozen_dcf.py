"""The correlation filter against ridge regression solved as one linear system over all cyclic shifts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from transfer.track.frozen.dcf import DCF, gaussian_label
from transfer.track.frozen.search_region import SearchSettings

SIDE, CHANNELS = 9, 3
SETTINGS = SearchSettings(SIDE * 8, 1.0, 3, 1.0275, 0.985, 0.2, 5.0, 4.0)  # a template of 4x4 features


def mask(template: torch.Tensor) -> NDArray[np.float64]:
    """The features on the target, 0 elsewhere."""
    whole = np.zeros((CHANNELS, SIDE, SIDE))
    whole[:, SETTINGS.template_cells, SETTINGS.template_cells] = template[0].double().numpy()
    return whole


def shifts(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """All cyclic shifts, ``(SIDE * SIDE, C * SIDE * SIDE)``: row i, j is moved by -i, -j."""
    return np.stack([np.roll(features, (-i, -j), (1, 2)).ravel() for i in range(SIDE) for j in range(SIDE)])


def solve(template: NDArray[np.float64], lambda0: float, sigma: float) -> NDArray[np.float64]:
    """Dual weights of ridge regression from the shifts to a Gaussian of the shift."""
    samples = shifts(template)
    steps = [min(step, SIDE - step) for step in range(SIDE)]
    labels = [np.exp(-0.5 / sigma**2 * (i**2 + j**2)) for i in steps for j in steps]
    solved: NDArray[np.float64] = np.linalg.solve(samples @ samples.T + lambda0 * np.eye(SIDE**2), labels)
    return solved


def respond(
    weights: NDArray[np.float64], template: NDArray[np.float64], search: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The regression's value for every shift of the search features."""
    response: NDArray[np.float64] = shifts(search) @ (shifts(template).T @ weights)
    return response.reshape(SIDE, SIDE)


def features(seed: int, num: int, side: int) -> torch.Tensor:
    return torch.randn(num, CHANNELS, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lambda0", [1e-4, 0.5])
def test_it_solves_the_ridge_regression(lambda0: float) -> None:
    head, template, search = DCF(SETTINGS, lambda0, 0.2, 0.25), features(0, 1, 4), features(1, 2, SIDE)
    head.update(template)
    weights = solve(mask(template), lambda0, SIDE / 2 * 0.2)
    found = head.respond(search)
    for index in range(2):
        expected = respond(weights, mask(template), search[index].double().numpy())
        np.testing.assert_allclose(found[index].numpy(), expected, atol=2e-3 * np.abs(expected).max())
        other = respond(
            solve(mask(template), 2 * lambda0, 0.9), mask(template), search[index].double().numpy()
        )
        if lambda0 == 0.5:  # a check that can fail
            assert not np.allclose(found[index].numpy(), other, atol=2e-3 * np.abs(expected).max())


def test_it_learns_by_averages() -> None:
    head, first, second = DCF(SETTINGS, 0.5, 0.2, 0.25), features(0, 1, 4), features(2, 1, 4)
    head.update(first)
    head.update(second)
    sigma, search = SIDE / 2 * 0.2, features(1, 1, SIDE)
    weights = 0.75 * solve(mask(first), 0.5, sigma) + 0.25 * solve(mask(second), 0.5, sigma)
    template = 0.75 * mask(first) + 0.25 * mask(second)
    expected = respond(weights, template, search[0].double().numpy())
    np.testing.assert_allclose(head.respond(search)[0].numpy(), expected, atol=1e-4)
    assert torch.equal(first, features(0, 1, 4))  # a view of a batch is not written to


def test_the_published_way_by_transforms_of_every_channel() -> None:
    """DCFNet's own formulas, at the published size."""
    settings = SearchSettings(520, 3.5, 3, 1.0275, 0.985, 0.2, 5.0, 4.0)
    head, template, search = (
        DCF(settings, 1e-4, 0.1, 0.01),
        features(0, 1, 14).relu(),
        features(1, 3, 65).relu(),
    )
    head.update(template)
    masked = torch.zeros(1, CHANNELS, 65, 65)
    masked[..., 25:39, 25:39] = template
    spectrum = torch.fft.rfft2(masked.double())
    label = torch.fft.rfft2(gaussian_label(65, 65 / 4.5 * 0.1).double())
    weights = label / (spectrum.abs().square().sum(1) + 1e-4)
    product = (torch.fft.rfft2(search.double()) * spectrum.conj()).sum(1)
    expected = torch.fft.irfft2(weights * product, s=(65, 65))
    assert (head.respond(search) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_moved_target_is_found_where_it_went() -> None:
    head, template = DCF(SETTINGS, 1e-4, 0.2, 0.01), features(0, 1, 4)
    head.update(template)
    for move in ((0, 0), (2, 1), (-3, 4), (-1, -4)):
        search = np.roll(mask(template), move, (1, 2))
        response = head.respond(torch.from_numpy(search[None]).float())[0]
        row, column = divmod(int(response.argmax()), SIDE)
        np.testing.assert_allclose(head.shift(row, column, SIDE), np.array(move[::-1]) / SIDE)


def test_the_label_is_a_gaussian_on_no_displacement() -> None:
    label = gaussian_label(7, 1.5)
    assert label[0, 0] == 1.0
    assert torch.equal(label, label.T)
    torch.testing.assert_close(label[0, 6], label[0, 1])
    assert float(label[2, 3]) == pytest.approx(np.exp(-0.5 / 1.5**2 * 13))
