"""The operations of the views against torchvision's, image by image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from pretrain.config import ViewsConfig
from pretrain.views import (
    MEAN,
    STD,
    Draws,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    apply,
    augment,
    blur_by_products,
    blur_by_shifts,
    draw,
    luma,
    shift_hue,
    transform,
)

PLAIN = ViewsConfig(size=8, jitter=(0, 0, 0, 0), jitter_p=0, gray_p=0, blur_p=(0, 0), solarize_p=(0, 0))
COLORS = (adjust_brightness, adjust_contrast, adjust_saturation, shift_hue)
REFERENCES = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)


def random_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def random_crops(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def normalised(images: Tensor) -> Tensor:
    """Of images in 0..1."""
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.parametrize("operation", range(4))
def test_color_operation_equals_torchvision(operation: int) -> None:
    images = random_images(5, 3, 12, 12)
    images[0] = 0.5  # no chroma
    images[1, :, 0] = 0  # black
    images[2, 0] = images[2, 1]  # ties between channels
    factors = torch.tensor([0.4, 0.0, -0.1, -0.5, 0.5]) + (operation < 3)
    ours = 255 * images
    COLORS[operation](ours, factors)
    for image, factor, result in zip(images, factors.tolist(), ours, strict=True):
        expected = REFERENCES[operation](image, factor)
        # torchvision's luma has four digits, ours the standard's three
        torch.testing.assert_close(result / 255, expected, atol=5e-4, rtol=0)


def test_luma_equals_torchvision() -> None:
    images = random_images(3, 3, 8, 8)
    torch.testing.assert_close(luma(images), reference.rgb_to_grayscale(images, 1), atol=2e-4, rtol=0)


@pytest.mark.parametrize("size", [32, 64, 96, 224])
@pytest.mark.parametrize(("blur", "tolerance"), [(blur_by_products, 1e-5), (blur_by_shifts, 1e-3)])
def test_blur_equals_torchvision_with_each_images_own_sigma(
    blur: Callable[[Tensor, Tensor], Tensor], tolerance: float, size: int
) -> None:
    images = random_images(4, 3, size, size)
    sigma = torch.tensor([0.0, 0.1, 0.9, 2.0]) * size / 224
    kernel = 2 * max(1, round(11 * size / 224)) + 1
    ours = blur(images, sigma)
    assert torch.equal(ours[0], images[0])
    for image, s, result in zip(images[1:], sigma.tolist()[1:], ours[1:], strict=True):
        expected = reference.gaussian_blur(image, [kernel] * 2, [s] * 2)
        # the shifts end at three sigma, which costs less than a grey level (1/255) even of noise
        torch.testing.assert_close(result, expected, atol=tolerance, rtol=0)
    assert float((ours[3] - images[3]).abs().max()) > 5 * tolerance


@pytest.mark.parametrize("size", [24, 224])
def test_views_equal_torchvisions_chain_image_by_image(size: int) -> None:
    """All operations together, whichever an image drew, in the order that was drawn."""
    config = ViewsConfig(size=size, jitter_p=0.7, gray_p=0.4, blur_p=(0.5, 0.5), solarize_p=(0.5, 0.5))
    crops = random_crops(24, 3, size, size)
    kernel = 2 * max(1, round(11 * size / 224)) + 1
    draws = draw(config, size, 0, 5, 24)
    for i, (crop, view) in enumerate(zip(crops, apply(crops, draws), strict=True)):
        image = crop.float() / 255
        if draws.flip[i]:
            image = image.flip(2)
        factors = [draws.brightness[i], draws.contrast[i], draws.saturation[i], draws.hue[i]]
        for operation in draws.order:
            image = REFERENCES[operation](image, float(factors[operation]))
        if draws.gray[i]:
            image = reference.rgb_to_grayscale(image, 3)
        if draws.sigma[i] > 0:
            image = reference.gaussian_blur(image, [kernel] * 2, [float(draws.sigma[i])] * 2)
        if draws.solarize[i]:
            image = reference.solarize(image, 0.5)
        torch.testing.assert_close(view, normalised(image), atol=5e-3, rtol=0)


def test_without_any_operation_a_view_is_the_normalised_crop_or_its_mirror() -> None:
    crops = random_crops(16, 2, 3, 8, 8)
    view = augment([crops], PLAIN, 0, slice(0, 16), 16)[0]
    plain = normalised(crops[:, 0].float() / 255)
    kept = [torch.allclose(a, b, atol=1e-6) for a, b in zip(view, plain, strict=True)]
    mirrored = [torch.allclose(a, b.flip(2), atol=1e-6) for a, b in zip(view, plain, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert any(mirrored)
    assert any(kept)


def test_views_are_float32_channels_last_and_of_their_crops_size() -> None:
    config = ViewsConfig(size=16, small_crops=3, small_size=8)
    views = augment([random_crops(4, 2, 3, 16, 16), random_crops(4, 3, 3, 8, 8)], config, 0, slice(0, 4), 4)
    assert [tuple(view.shape) for view in views] == [(4, 3, 16, 16)] * 2 + [(4, 3, 8, 8)] * 3
    assert all(view.dtype == torch.float32 for view in views)
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in views)


@pytest.mark.parametrize("size", [16, 224])
def test_a_ranks_views_are_its_rows_of_the_whole_batchs(size: int) -> None:
    config = ViewsConfig(size=size)
    crops = random_crops(13, 2, 3, size, size)
    whole = augment([crops], config, 7, slice(0, 13), 13)
    for rows in (slice(0, 5), slice(5, 9), slice(9, 13)):
        part = augment([crops[rows]], config, 7, rows, 13)
        for view, expected in zip(part, whole, strict=True):
            torch.testing.assert_close(view, expected[rows], atol=0, rtol=0)
    # and rows drawn as if they were another's differ, so the comparison can fail
    assert not torch.equal(augment([crops[:5]], config, 7, slice(5, 10), 13)[0], whole[0][:5])


def test_views_depend_on_the_seed_and_not_on_global_random_state() -> None:
    crops = [random_crops(6, 2, 3, 16, 16)]
    config = ViewsConfig(size=16)
    torch.manual_seed(1)
    first = augment(crops, config, 3, slice(0, 6), 6)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = augment(crops, config, 3, slice(0, 6), 6)
    other = augment(crops, config, 4, slice(0, 6), 6)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_batched_path_of_gpus_gives_the_same_views() -> None:
    """On a GPU the operations see the whole batch with neutral parameters; here the same on the CPU."""
    config = ViewsConfig(size=24, jitter_p=0.5, gray_p=0.5, blur_p=(0.5, 0.5), solarize_p=(0.5, 0.5))
    crops = random_crops(32, 3, 24, 24)
    draws = draw(config, 24, 0, 1, 32)
    assert isinstance(draws, Draws)
    torch.testing.assert_close(transform(crops.float(), draws), apply(crops, draws), atol=1e-4, rtol=0)
