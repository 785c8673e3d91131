"""Masks as text: run lengths against pycocotools, lines of tracks and detections, faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from track_sets import HEIGHT, WIDTH, draw_ids, write_mots

from transfer.data.mot_sequences import read_mots_sequences
from transfer.data.mots import MaskLine, decode, read_mots
from transfer.data.mots import write_mots as write_lines
from transfer.data.run_lengths import decode_mask, encode_mask, read_runs

MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(MASKS)
def test_masks_become_the_text_of_pycocotools_and_come_back(mask: NDArray[np.bool_]) -> None:
    from pycocotools import mask as coco

    text = encode_mask(mask)
    assert text == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(decode_mask(text, *mask.shape), mask)


@pytest.mark.parametrize("pixels", [15, 16, 511, 512, 1080 * 1920 - 1])
def test_long_runs_take_several_characters(pixels: int) -> None:
    from pycocotools import mask as coco

    mask = np.zeros((1080, 1920), dtype=np.bool_)
    mask.T.reshape(-1)[:pixels] = False
    flat = np.zeros(mask.size, dtype=np.bool_)
    flat[pixels:] = True
    mask = flat.reshape(1920, 1080).T
    text = encode_mask(mask)
    assert text == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert read_runs(text).tolist() == [pixels, mask.size - pixels]
    assert np.array_equal(decode_mask(text, 1080, 1920), mask)


@given(st.text(max_size=30))
def test_any_text_is_runs_or_refused(text: str) -> None:
    try:
        runs = read_runs(text)
    except ValueError:
        return
    assert (runs >= 0).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty text"),
        ("6 2", "characters of run lengths, found ' '"),
        ("6é", "characters of run lengths, found 'é'"),
        ("6o", "break off inside of a number"),
        ("6O", "expected lengths of runs, found -1"),
        ("o" * 9 + "1", "10 groups of bits"),
    ],
)
def test_damaged_run_lengths_are_refused(text: str, words: str) -> None:
    assert read_runs("6").tolist() == [6]
    with pytest.raises(ValueError, match=words):
        read_runs(text)


def test_tracks_are_read_and_written(tmp_path: Path) -> None:
    line = MaskLine(3, 2001, 2, HEIGHT, WIDTH, encode_mask(draw_ids(0) == 1))
    other = MaskLine(1, 2001, 2, HEIGHT, WIDTH, encode_mask(draw_ids(1) == 1))
    write_lines(tmp_path / "out" / "gt.txt", [line, other])
    assert read_mots(tmp_path / "out" / "gt.txt", 3, (WIDTH, HEIGHT)) == [other, line]
    assert np.array_equal(decode(line), draw_ids(0) == 1)


def test_detections_have_scores_or_a_file_a_frame(tmp_path: Path) -> None:
    text = encode_mask(draw_ids(0) == 1)
    (tmp_path / "det.txt").write_text(f"2 6.0 6.0 22.0 22.0 0.75 2 {HEIGHT} {WIDTH} {text} 0.1 0.2\n")
    assert read_mots(tmp_path / "det.txt") == [MaskLine(2, -1, 2, HEIGHT, WIDTH, text, 0.75)]
    folder = tmp_path / "frames"
    folder.mkdir()
    for frame in (1, 2):
        (folder / f"{frame:06d}.txt").write_text(f"{frame} 1 2 {HEIGHT} {WIDTH} {text}\n")
    assert [line.frame for line in read_mots(folder)] == [1, 2]


def test_a_sequence_has_its_masks_and_given_ones(tmp_path: Path) -> None:
    (sequence,) = read_mots_sequences(write_mots(tmp_path))
    assert [(line.frame, line.track_id) for line in sequence.masks][:3] == [(1, 2001), (1, 2002), (2, 2001)]
    assert np.array_equal(decode(sequence.detections[1]), draw_ids(0, 2) == 2)


GOOD = encode_mask(draw_ids(0) == 1)
EMPTY = encode_mask(draw_ids(0) == 9)
TALL = encode_mask(draw_ids(0).T == 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            f"9 2003 2 {HEIGHT} {WIDTH} {GOOD}",
            "gt.txt: 1 masks are of frames that do not exist (there are 4): 9",
        ),
        (f"4 2003 2 {WIDTH} {HEIGHT} {TALL}", "not of the size 96x64: frame 4 (64x96)"),
        (f"4 2003 2 {HEIGHT} {WIDTH} {GOOD[:-1]}", "gt.txt:9 ("),
        (f"4 2003 2 {HEIGHT} {WIDTH + 1} {GOOD}", "gt.txt:9 (6144 pixels in a mask of 97x64)"),
        (f"inf 1 1 2 2 0.5 2 {HEIGHT} {WIDTH} {EMPTY}", "gt.txt:9 (cannot convert float infinity"),
        (f"4 2003 2 {HEIGHT} {WIDTH}", "gt.txt:9 (5 cells, expected 6 of a track or 10 of a detection)"),
        (f"4 2001 2 {HEIGHT} {WIDTH} {EMPTY}", "frames of gt.txt have an id twice: frame 4 (2001)"),
        (f"1 2003 2 {HEIGHT} {WIDTH} {GOOD}", "frames of gt.txt have masks that share pixels: frame 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    write_mots(tmp_path, ("bad", "good"))
    assert len(read_mots_sequences(tmp_path)) == 2
    with (tmp_path / "bad" / "gt" / "gt.txt").open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(ValueError, match="1 faults; correct the files") as error:
        read_mots_sequences(tmp_path)
    assert words in str(error.value)
    assert "- bad: " in str(error.value)


def test_masks_that_only_touch_share_no_pixel(tmp_path: Path) -> None:
    write_mots(tmp_path, num_targets=1)
    beside = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    beside[6:22, 22:30] = True  # right of the square of frame 1, and in its rows
    beside[22:30, 6:22] = True
    with (tmp_path / "TINY-05" / "gt" / "gt.txt").open("a") as handle:
        handle.write(f"1 2009 2 {HEIGHT} {WIDTH} {encode_mask(beside)}\n")
        handle.write(f"1 2010 2 {HEIGHT} {WIDTH} {encode_mask(np.zeros_like(beside))}\n")
    assert len(read_mots_sequences(tmp_path)[0].masks) == 6
