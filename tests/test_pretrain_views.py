"""Batch augmentation against torchvision's per-image operations."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from pretrain.config import ViewsConfig
from pretrain.views import MEAN, STD, TwoCrops, augment, gaussian_blur, grayscale, shift_hue


@pytest.mark.parametrize("shift", [-0.4, -0.1, 0.0, 0.2, 0.5])
def test_hue_equals_torchvision(shift: float) -> None:
    images = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    images[0] = 0.5  # no chroma
    ours = shift_hue(images, torch.full((5, 1, 1, 1), shift))
    torch.testing.assert_close(ours, reference.adjust_hue(images, shift), atol=1e-5, rtol=0)


def test_grayscale_equals_torchvision() -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        grayscale(images), reference.rgb_to_grayscale(images, 3), atol=2e-4, rtol=0
    )  # torchvision's weights have four digits, ours the standard's three


def test_blur_keeps_constant_images_and_smooths_others() -> None:
    torch.manual_seed(0)
    constant = torch.full((2, 3, 32, 32), 0.7)
    torch.testing.assert_close(gaussian_blur(constant), constant)
    noise = torch.rand(4, 3, 224, 224)
    assert float(gaussian_blur(noise).std()) < float(noise.std())


def test_without_any_operation_a_view_is_the_normalised_crop_or_its_mirror() -> None:
    config = ViewsConfig(size=8, jitter=(0, 0, 0, 0), jitter_p=0, gray_p=0, blur_p=(0, 0), solarize_p=(0, 0))
    crops = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    views = augment(crops, config, 0)
    plain = (crops.float() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    mirrored = [torch.equal(view, image.flip(2)) for view, image in zip(views, plain, strict=True)]
    kept = [torch.equal(view, image) for view, image in zip(views, plain, strict=True)]
    assert all(a or b for a, b in zip(mirrored, kept, strict=True))
    assert any(mirrored)
    assert any(kept)


def test_two_crops_differ_and_have_the_size() -> None:
    torch.manual_seed(0)
    crops = TwoCrops(ViewsConfig(size=16))(torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8))
    assert crops.shape == (2, 3, 16, 16)
    assert crops.dtype == torch.uint8
    assert not torch.equal(crops[0], crops[1])
