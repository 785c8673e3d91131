"""DAVIS's layouts and masks: what is read, what is written, and every fault of all sequences at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from track_sets import draw_ids, write_davis

from transfer.data.davis import colours, read_davis, read_mask, write_mask


def test_a_sequence_has_its_frames_masks_and_objects(tmp_path: Path) -> None:
    (sequence,) = read_davis(write_davis(tmp_path), "val")
    assert (sequence.name, sequence.object_ids, sequence.size) == ("square", (1, 2), (96, 64))
    assert [path.name for path in sequence.frames] == [f"{number:05d}.png" for number in range(4)]
    first = sequence.masks[0]
    assert first is not None
    assert np.array_equal(read_mask(first), draw_ids(0, 2))


def test_a_split_is_a_list_of_either_year(tmp_path: Path) -> None:
    write_davis(tmp_path, ("a", "b"))
    (tmp_path / "ImageSets" / "2017" / "val.txt").write_text("b\n")
    assert [sequence.name for sequence in read_davis(tmp_path)] == ["a", "b"]
    assert [sequence.name for sequence in read_davis(tmp_path, "val")] == ["b"]
    old = tmp_path / "ImageSets" / "480p" / "val.txt"
    old.parent.mkdir()
    old.write_text(
        "".join(f"/JPEGImages/480p/a/{n:05d}.jpg /Annotations/480p/a/{n:05d}.png\n" for n in range(4))
    )
    assert [sequence.name for sequence in read_davis(tmp_path, "480p/val")] == ["a"]
    with pytest.raises(FileNotFoundError, match="no list of the split 'test'"):
        read_davis(tmp_path, "test")
    with pytest.raises(ValueError, match="names are not in its list: a"):
        read_davis(tmp_path, "val", ["a"])


def test_a_written_mask_has_daviss_colours_and_reads_back(tmp_path: Path) -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "mask.png", ids)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), ids)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        assert image.getpalette() == colours().ravel().tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


def test_colours_are_those_of_the_published_palette() -> None:
    published = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert colours()[:6].tolist() == published
    assert colours()[[8, 22, 255]].tolist() == [[64, 0, 0], [0, 192, 128], [224, 224, 192]]


def test_black_and_white_is_one_object(tmp_path: Path) -> None:
    white = np.where(draw_ids(0) > 0, 255, 0).astype(np.uint8)
    Image.fromarray(white).save(tmp_path / "grey.png")
    assert np.array_equal(read_mask(tmp_path / "grey.png"), draw_ids(0))
    Image.fromarray(white).convert("1").save(tmp_path / "bits.png")
    assert np.array_equal(read_mask(tmp_path / "bits.png"), draw_ids(0))
    write_mask(tmp_path / "palette.png", white)  # there 255 is the void, whatever else is in it
    assert np.array_equal(read_mask(tmp_path / "palette.png"), white)


def test_shades_of_grey_are_refused(tmp_path: Path) -> None:
    shades = np.array([[0, 3, 250, 255]], dtype=np.uint8)
    Image.fromarray(shades).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match="such shades"):
        read_mask(tmp_path / "mask.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match="an image of mode RGB"):
        read_mask(tmp_path / "colour.png")


def masks_of(root: Path, name: str = "bad") -> Path:
    return root / "Annotations" / "480p" / name


def break_ids(root: Path) -> str:
    ids = draw_ids(2, 2)
    ids[0, :3] = (7, 255, 9)
    write_mask(masks_of(root) / "00002.png", ids)
    return "1 masks have objects that the first, with [1, 2], lacks: 00002.png (7, 9)"


def break_mask_size(root: Path) -> str:
    write_mask(masks_of(root) / "00001.png", draw_ids(1, 2)[:-1])
    return "masks are not of the frames' size 96x64: 00001.png (96x63)"


def break_mask_bytes(root: Path) -> str:
    (masks_of(root) / "00001.png").write_bytes(b"none")
    return "masks cannot be read: "


def break_frame(root: Path) -> str:
    (root / "JPEGImages" / "480p" / "bad" / "00002.png").unlink()
    return "frames are missing from the numbering: 2"


def break_first(root: Path) -> str:
    (masks_of(root) / "00000.png").unlink()
    return "expected a mask of the first frame"


def break_later(root: Path) -> str:
    (masks_of(root) / "00002.png").unlink()
    return "1 frames have no mask: 00002.png"


def break_empty(root: Path) -> str:
    write_mask(masks_of(root) / "00000.png", draw_ids(0, 0))
    return "expected an object in the first mask, found none"


def break_twice(root: Path) -> str:
    write_mask(masks_of(root) / "1.png", draw_ids(1, 2))
    return "masks 00001.png and 1.png have the same number"


BREAKS = [break_ids, break_mask_size, break_mask_bytes, break_frame, break_first, break_later, break_empty]


@pytest.mark.parametrize("break_it", [*BREAKS, break_twice])
def test_a_fault_is_named_with_its_sequence(tmp_path: Path, break_it: Callable[[Path], str]) -> None:
    write_davis(tmp_path, ("bad", "good"))
    assert len(read_davis(tmp_path)) == 2
    words = break_it(tmp_path)
    with pytest.raises(ValueError, match="correct the files") as error:
        read_davis(tmp_path)
    assert words in str(error.value)
    assert "- good: " not in str(error.value)


def test_void_is_no_unknown_object(tmp_path: Path) -> None:
    ids = draw_ids(2, 2)
    ids[0, :3] = 255
    write_davis(tmp_path, ("bad",))
    write_mask(masks_of(tmp_path) / "00002.png", ids)
    assert read_davis(tmp_path)[0].object_ids == (1, 2)


def test_the_first_mask_alone_is_enough(tmp_path: Path) -> None:
    write_davis(tmp_path)
    for number in (1, 2, 3):
        (masks_of(tmp_path, "square") / f"{number:05d}.png").unlink()
    assert read_davis(tmp_path)[0].masks[1:] == (None, None, None)
