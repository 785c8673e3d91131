"""What is wrong with a set's files is said before anything is computed, all of it at once."""

from __future__ import annotations

import logging
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classify_images import write_digits
from numpy.typing import NDArray
from PIL import Image

from transfer.data.batches import train_batches
from transfer.data.folders import ImageSetConfig, read_split, read_splits
from transfer.data.images import Images, eval_transform
from transfer.data.pixels import decode


def config_for(data_dir: Path, **changes: Any) -> ImageSetConfig:
    settings: dict[str, Any] = {
        "dataset": "digits",
        "protocol": "knn-k20",
        "data_dir": str(data_dir),
        "resize_size": 32,
        "image_size": 32,
        "batch_size": 8,
        "device": "cpu",
        **changes,
    }
    return ImageSetConfig(**settings)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return write_digits(tmp_path / "digits", 12, 4, num_classes=3)


def test_sound_files_are_read_without_a_word(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train, val = read_splits(config_for(data_dir))
    assert (len(train), len(val)) == (36, 12)
    assert caplog.messages == []


def test_every_unusable_file_is_named_at_once(data_dir: Path) -> None:
    train, val = data_dir / "train" / "digit0", data_dir / "val" / "digit2"
    (train / "digit0_0.png").write_bytes(b"")
    (train / "digit0_1.png").write_bytes(b"<html>404 Not Found</html>")
    (train / "digit0_2.png").write_bytes((train / "digit0_3.png").read_bytes()[:20])  # cut within the header
    Image.fromarray(np.full((32, 32), 1e6, dtype=np.float32)).save(train / "float.tif")
    (val / "broken.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match="5 of 50 image files cannot be used") as caught:
        read_splits(config_for(data_dir))
    lines = sorted(str(caught.value).splitlines()[1:])
    assert [line.split(": ", 1)[0] for line in lines] == sorted(
        f"  {path}"
        for path in (
            train / "digit0_0.png",
            train / "digit0_1.png",
            train / "digit0_2.png",
            train / "float.tif",
            val / "broken.png",
        )
    )
    reasons = " ".join(line.split(": ", 1)[1] for line in lines)
    for reason in ("empty", "not an image", "pixels of 32 bits (F)", "No such file or directory"):
        assert reason in reasons


def test_long_list_of_unusable_files_is_cut(data_dir: Path) -> None:
    for path in (data_dir / "train").glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="36 of 48 image files") as caught:
        read_splits(config_for(data_dir))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "  and 16 more"


def test_scan_can_be_switched_off_and_the_file_is_then_named_when_it_is_read(data_dir: Path) -> None:
    (data_dir / "train" / "digit1" / "digit1_0.png").write_bytes(b"")
    train, _ = read_splits(config_for(data_dir, check_images=False))
    with pytest.raises(ValueError, match=r"digit1_0.png: not a readable image .*; replace or remove it"):
        list(train_batches(train, config_for(data_dir), 0.2))


def test_file_damaged_behind_its_header_is_named_when_it_is_read(data_dir: Path) -> None:
    path = data_dir / "train" / "digit1" / "digit1_0.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:6000])
    train, _ = read_splits(config_for(data_dir))
    with pytest.raises(ValueError, match=r"digit1_0.png: not a readable image \(image file is truncated"):
        Images(train, eval_transform(32, 32), cache=True)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_one_file_under_two_names_in_train_and_val_is_refused(data_dir: Path, link: Any) -> None:
    link(data_dir / "val" / "digit0" / "digit0_12.png", data_dir / "train" / "digit0" / "other.png")
    with pytest.raises(
        ValueError, match=r"1 images are in both .*'digit0/other.png \(there digit0/digit0_12"
    ):
        read_splits(config_for(data_dir))


def test_one_folder_for_train_and_val_is_refused(data_dir: Path) -> None:
    for config in (
        config_for(data_dir, val_split="train"),
        config_for(data_dir, val_split="../digits/train", check_images=False),
    ):
        with pytest.raises(ValueError, match=r"36 images of .* are listed for training and for validation"):
            read_splits(config)
    # the same name within the class, but another file, is what CIFAR-10 and others have
    name = "digit0/digit0_0.png"
    (data_dir / "val" / name).write_bytes((data_dir / "train" / "digit0" / "digit0_1.png").read_bytes())
    train, val = read_splits(config_for(data_dir))
    assert name in train.names
    assert name in val.names


def test_cmyk_and_16_bit_images_are_counted_and_shown(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = data_dir / "train" / "digit0"
    for i in range(5):
        Image.new("CMYK", (32, 32), (0, 200, 200, 0)).save(folder / f"print{i}.jpg")
    deep = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(deep).save(data_dir / "val" / "digit1" / "deep.png")
    with caplog.at_level(logging.WARNING):
        train, val = read_splits(config_for(data_dir))
    assert len(caplog.messages) == 2
    shown = ", ".join(str(folder / f"print{i}.jpg") for i in range(3))
    expected = f"5 images are CMYK and are converted to RGB without their colour profile, such as {shown}"
    assert caplog.messages[0] == expected
    assert caplog.messages[1].startswith("1 images have 16 bits of grey and are divided by 256, such as ")

    pixels = np.asarray(decode(val.split_dir / "digit1" / "deep.png"))
    assert np.array_equal(pixels, np.repeat((deep // 256).astype(np.uint8)[..., None], 3, axis=2))
    with Image.open(val.split_dir / "digit1" / "deep.png") as image:
        clipped = np.asarray(image.convert("RGB"))  # the control: what Pillow alone makes of it
    assert (clipped == 255).mean() > 0.99
    red = np.asarray(decode(train.split_dir / "digit0" / "print0.jpg"))[0, 0]
    assert red[0] > 240
    assert red[1] < 80


def write_deep_png(path: Path, pixels: NDArray[np.uint16]) -> None:
    """16 bits a colour, ``(H, W, 3)``, which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with path.open("ab") as handle:
        for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
            check = zlib.crc32(kind + content)
            handle.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check))


def test_16_bit_colour_images_are_counted_and_lose_their_lower_bits(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (32, 32, 3)).astype(np.uint16)
    path = data_dir / "val" / "digit1" / "deep.png"
    write_deep_png(path, pixels)
    with caplog.at_level(logging.WARNING):
        read_splits(config_for(data_dir))
    expected = f"1 images have 16 bits a colour, of which Pillow keeps the upper 8, such as {path}"
    assert caplog.messages == [expected]
    assert np.array_equal(np.asarray(decode(path)), pixels // 256)


def test_every_format_is_known_before_threads_look(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that one thread registers while another looks for it would be missed there."""
    called: list[str] = []
    for name in ("init", "open"):
        real = getattr(Image, name)

        def watched(*arguments: Any, name: str = name, real: Any = real) -> Any:
            called.append(name)
            return real(*arguments)

        monkeypatch.setattr(Image, name, watched)
    read_splits(config_for(data_dir))
    assert called[:2] == ["init", "open"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "P"])
def test_other_kinds_are_read_as_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    image.save(tmp_path / "image.png", **({"transparency": bytes([0, 128])} if mode == "P" else {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns of transparency in bytes when it is asked for RGB
        found = decode(tmp_path / "image.png")
    assert found.mode == "RGB"
    assert np.asarray(found).min() == 255


def test_class_without_an_image_is_named(data_dir: Path) -> None:
    (data_dir / "train" / "digit7").mkdir()
    (data_dir / "val" / "digit7").mkdir()
    with pytest.raises(FileNotFoundError, match="digit7"):
        read_split(data_dir, "train")
