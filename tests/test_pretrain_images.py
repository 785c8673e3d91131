"""Crops against torchvision's, decoding against Pillow's in full, and what cannot be decoded."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from pretrain.config import Config, DataConfig, ViewsConfig
from pretrain.images import (
    Box,
    Folder,
    Sample,
    UnlabelledImages,
    crop,
    decode,
    decode_scaled,
    draw_boxes,
    find_images,
    open_images,
)


def photograph(width: int, height: int) -> Image.Image:
    return Image.fromarray(data.astronaut()).resize((width, height), Image.Resampling.BICUBIC)


def test_items_are_two_crops_and_the_small_ones(tmp_path: Path) -> None:
    photograph(60, 40).save(tmp_path / "a.jpg")
    images = UnlabelledImages(Folder(tmp_path), ViewsConfig(size=16, small_crops=3, small_size=8))
    large, small = images[Sample(0, 1)]
    assert (large.shape, small.shape) == ((2, 3, 16, 16), (3, 3, 8, 8))
    assert large.dtype == small.dtype == torch.uint8
    assert not torch.equal(large[0], large[1])
    assert [
        tuple(part.shape) for part in UnlabelledImages(Folder(tmp_path), ViewsConfig(size=16))[Sample(0, 1)]
    ] == [(2, 3, 16, 16)]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_sample_decides_its_crops_and_memory_does_not(tmp_path: Path, suffix: str) -> None:
    photograph(60, 40).save(tmp_path / f"a.{suffix}")
    views = ViewsConfig(size=32)  # no crop is twice as large, so files are decoded in full
    images = UnlabelledImages(Folder(tmp_path), views)
    (first,) = images[Sample(0, 5)]
    torch.manual_seed(3)
    assert torch.equal(images[Sample(0, 5)][0], first)
    assert torch.equal(UnlabelledImages(Folder(tmp_path), views, in_memory=True)[Sample(0, 5)][0], first)
    assert not torch.equal(images[Sample(0, 6)][0], first)


@pytest.mark.parametrize("size", [64, 224])
def test_crop_equals_torchvisions(size: int) -> None:
    image = reference.pil_to_tensor(photograph(500, 375))
    mode = InterpolationMode.BICUBIC if size >= 96 else InterpolationMode.BILINEAR
    expected = reference.resized_crop(image, 30, 40, 200, 310, [size, size], mode, antialias=True)
    assert torch.equal(crop(image, Box(40, 30, 310, 200), size), expected)


def boxes_of(views: ViewsConfig, width: int, height: int, draws: int) -> np.ndarray:
    """Relative area, logarithm of the aspect ratio, relative centre ``(draws, 4)`` of first crops."""
    boxes = [draw_boxes(width, height, views, seed)[0] for seed in range(draws)]
    return relative([(box.top, box.left, box.height, box.width) for box in boxes], width, height)


def relative(boxes: list[tuple[int, int, int, int]], width: int, height: int) -> np.ndarray:
    return np.array(
        [
            (w * h / (width * height), math.log(w / h), (left + w / 2) / width, (top + h / 2) / height)
            for top, left, h, w in boxes
        ]
    )


def standard_errors_apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of the columns' means, variances and products with the area."""
    largest = 0.0
    for a, b in zip(ours.T, theirs.T, strict=True):
        centred = [(a, b), ((a - a.mean()) ** 2, (b - b.mean()) ** 2)]
        centred.append((a * ours[:, 0], b * theirs[:, 0]))
        for x, y in centred:
            error = math.sqrt(x.var() / len(x) + y.var() / len(y))
            largest = max(largest, abs(x.mean() - y.mean()) / error)
    return largest


@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (500, 200)])  # in the last many attempts fail
def test_boxes_are_distributed_like_random_resized_crops(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    blank = torch.empty(3, shape[1], shape[0], dtype=torch.uint8)
    draws = 4000
    theirs = relative(
        [transforms.RandomResizedCrop.get_params(blank, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(draws)],
        *shape,
    )
    assert standard_errors_apart(boxes_of(ViewsConfig(), *shape, draws), theirs) < 4
    # and another scale is told apart
    assert standard_errors_apart(boxes_of(ViewsConfig(crop_scale=(0.3, 1.0)), *shape, draws), theirs) > 6


def test_boxes_stay_inside_and_in_range() -> None:
    views = ViewsConfig(small_crops=2)
    for seed in range(500):
        boxes = draw_boxes(300, 200, views, seed)
        assert len(boxes) == 4
        for box, (low, high) in zip(boxes, [(0.2, 1.0)] * 2 + [(0.05, 0.2)] * 2, strict=True):
            assert 0 <= box.left <= 300 - box.width
            assert 0 <= box.top <= 200 - box.height
            assert 0.72 < box.width / box.height < 1.38  # 3/4 to 4/3 and rounding
            assert low - 0.02 < box.width * box.height / 60_000 < high + 0.02


def test_scaled_decoding_is_close_to_full_decoding_and_smaller() -> None:
    photo = photograph(1600, 1200)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    whole = reference.pil_to_tensor(Image.open(file).convert("RGB"))
    views = ViewsConfig(size=96)
    boxes = [Box(203, 101, 1001, 877), Box(10, 20, 800, 900)]
    scaled, scaled_boxes = decode_scaled(Image.open(file), boxes, views)
    assert scaled.shape == (3, 150, 200)  # 1/8: 800 / 8 is still above 96
    for box, scaled_box in zip(boxes, scaled_boxes, strict=True):
        edges = (box.left, box.top, box.left + box.width, box.top + box.height)
        left, top, width, height = (8 * pixels for pixels in scaled_box)
        for edge, rounded in zip(edges, (left, top, left + width, top + height), strict=True):
            assert abs(edge - rounded) <= 4  # half a pixel of the scaled image
        expected = crop(whole, Box(left, top, width, height), 96).float()
        moved = crop(whole, Box(left + 8, top, width, height), 96).float()
        difference = float((crop(scaled, scaled_box, 96).float() - expected).abs().mean())
        assert difference < 2.5  # grey levels
        assert difference < float((moved - expected).abs().mean()) / 4  # of a box one scaled pixel further


@pytest.mark.parametrize(
    ("side", "scale"), [(95, 1), (191, 1), (192, 2), (383, 2), (384, 4), (767, 4), (768, 8)]
)
def test_every_crop_keeps_a_pixel_for_each_of_its_view(side: int, scale: int) -> None:
    file = io.BytesIO()
    photograph(1001, 999).save(file, "JPEG")
    views = ViewsConfig(size=96, small_crops=1, small_size=8)
    boxes = [Box(5, 7, 900, 900), Box(3, 1, side, 900), Box(0, 0, 300, 300)]
    image, scaled = decode_scaled(Image.open(file), boxes, views)
    assert image.shape == (3, math.ceil(999 / scale), math.ceil(1001 / scale))
    assert all(box.left + box.width <= image.shape[2] for box in scaled)
    assert all(box.top + box.height <= image.shape[1] for box in scaled)
    assert scale == 1 or scaled[1].width >= 95  # an edge may round by half a pixel


def test_a_small_crop_of_a_large_image_limits_the_scale_too() -> None:
    file = io.BytesIO()
    photograph(1001, 999).save(file, "JPEG")
    views = ViewsConfig(size=96, small_crops=1, small_size=96)
    image, _ = decode_scaled(
        Image.open(file), [Box(0, 0, 900, 900), Box(0, 0, 900, 900), Box(0, 0, 200, 250)], views
    )
    assert image.shape == (3, 500, 501)


def test_all_kinds_of_pixels_become_rgb(tmp_path: Path) -> None:
    photo = photograph(40, 30)
    photo.convert("L").save(tmp_path / "gray.jpg", quality=95)
    photo.convert("CMYK").save(tmp_path / "cmyk.jpg")
    photo.convert("LA").save(tmp_path / "alpha.png")
    palette = photo.quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(16)))
    Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    colors = decode(tmp_path / "cmyk.jpg")
    assert float((colors.float() - reference.pil_to_tensor(photo).float()).abs().mean()) < 12
    expected = reference.pil_to_tensor(photo.convert("L")).expand(3, -1, -1)
    assert torch.equal(decode(tmp_path / "sixteen.png"), expected)
    assert float((decode(tmp_path / "gray.jpg").float() - expected.float()).abs().mean()) < 4
    for path in find_images(tmp_path):
        assert decode(path).shape == (3, 30, 40)
        assert decode(path).dtype == torch.uint8


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    photograph(40, 30).save(tmp_path / "a.jpg", exif=exif)
    assert decode(tmp_path / "a.jpg").shape == (3, 30, 40)


def test_images_are_found_at_any_depth_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a/x/3.jpeg", "top.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [str(path.relative_to(tmp_path)) for path in find_images(tmp_path)]
    assert names == ["a/x/3.jpeg", "b/1.JPG", "b/2.png", "top.png"]
    folder = Folder(tmp_path)
    assert [folder.name(i) for i in range(len(folder))] == [str(tmp_path / name) for name in names]


def test_names_outside_ascii_survive(tmp_path: Path) -> None:
    photograph(20, 20).save(tmp_path / "Übersicht 写真.png")
    folder = Folder(tmp_path)
    assert folder.name(0).endswith("Übersicht 写真.png")
    assert UnlabelledImages(folder, ViewsConfig(size=8))[Sample(0, 0)][0].shape == (2, 3, 8, 8)


@pytest.mark.parametrize("damage", ["nothing", "text", "half a JPEG", "half a PNG"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_undecodable_image_is_named(tmp_path: Path, damage: str, in_memory: bool) -> None:
    for suffix in ("jpg", "png"):
        photograph(200, 100).save(tmp_path / f"good.{suffix}")
    path = tmp_path / ("bad.png" if damage == "half a PNG" else "bad.jpg")
    good = (tmp_path / f"good{path.suffix}").read_bytes()
    path.write_bytes({"nothing": b"", "text": b"no image"}.get(damage, good[: len(good) // 2]))
    folder = Folder(tmp_path)
    with pytest.raises(ValueError, match=rf"{path.name}: cannot be decoded as an image \(.*remove it"):
        UnlabelledImages(folder, ViewsConfig(size=8), in_memory)[Sample(0, 0)]


@pytest.mark.parametrize("in_memory", [False, True])
def test_an_image_that_cannot_be_read_is_no_damaged_image(tmp_path: Path, in_memory: bool) -> None:
    photograph(20, 20).save(tmp_path / "gone.png")
    folder = Folder(tmp_path)
    (tmp_path / "gone.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        UnlabelledImages(folder, ViewsConfig(size=8), in_memory)[Sample(0, 0)]


def test_folder_or_shards_are_opened_as_the_recipe_says(tmp_path: Path) -> None:
    photograph(20, 20).save(tmp_path / "a.png")
    config = Config(out="", data=DataConfig(name="one", dir=str(tmp_path), in_memory=True))
    images = open_images(config)
    assert len(images) == 1
    assert images.decoded is not None
    config.data.dir = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        open_images(config)
    (tmp_path / "empty").mkdir()
    config.data.dir = str(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="empty: no images"):
        open_images(config)
    config.data.shards = str(tmp_path / "none.tar")
    with pytest.raises(FileNotFoundError, match=r"none\.tar: no such shard"):
        open_images(config)
