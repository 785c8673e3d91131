"""The pieces of the bundled set: outlines, painting, motion, sources."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from transfer.data.mini.mot import Truth, add_video, detections
from transfer.data.mini.motion import Mover, crossing_path, inside_path
from transfer.data.mini.outlines import mask_box, mask_polygons
from transfer.data.mini.sprites import (
    OPAQUE,
    PHOTOGRAPHS,
    Layer,
    Mask,
    generator,
    glyphs,
    half_photograph,
    luminance,
    owners_of,
    package_file,
    paint,
    place,
    random_colour,
    stamp,
)

# pycocotools 2.0 still has the array protocol of NumPy 1
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _filled(polygons: list[list[int]], mask: Mask) -> Mask:
    encoded = coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape))
    return np.asarray(coco_mask.decode(encoded)).astype(bool)


def test_box_of_a_mask_counts_pixels_from_zero() -> None:
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:3, 2:6] = True
    assert mask_box(mask) == (2, 1, 4, 2)
    with pytest.raises(ValueError, match="empty"):
        mask_box(np.zeros((5, 7), dtype=bool))


def test_polygon_of_a_rectangle_is_its_four_corners() -> None:
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:3, 2:6] = True
    (polygon,) = mask_polygons(mask)
    assert set(zip(polygon[::2], polygon[1::2], strict=True)) == {(2, 1), (6, 1), (6, 3), (2, 3)}


def test_polygons_fill_exactly_the_mask_with_holes_and_parts() -> None:
    mask = np.zeros((12, 14), dtype=bool)
    mask[1:10, 1:9] = True
    mask[3:5, 3:5] = mask[6:8, 4:8] = False  # two holes
    mask[10, 9] = mask[11, 11] = True  # parts that touch at a corner, and apart
    polygons = mask_polygons(mask)
    assert len(polygons) == 3
    np.testing.assert_array_equal(_filled(polygons, mask), mask)


def test_polygon_without_the_slit_would_fill_the_hole() -> None:
    mask = np.ones((6, 6), dtype=bool)
    mask[2:4, 2:4] = False
    outline = [0, 0, 6, 0, 6, 6, 0, 6]
    assert _filled([outline], mask).sum() == 36
    assert _filled(mask_polygons(mask), mask).sum() == 36 - 4


def test_polygons_fill_exactly_random_masks() -> None:
    rng = generator(1)
    for _ in range(50):
        mask = rng.integers(0, 5, size=(9, 11)) > 1
        np.testing.assert_array_equal(_filled(mask_polygons(mask), mask), mask)


def test_no_digit_belongs_to_both_splits() -> None:
    indices = {split: {g.index for d in range(10) for g in glyphs(split, d)} for split in ("train", "val")}
    assert len(indices["train"]) == 1300
    assert len(indices["val"]) == 497
    assert indices["train"].isdisjoint(indices["val"])


def test_glyphs_are_scikit_learns_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    for split, digit in itertools.product(("train", "val"), range(10)):
        for glyph in glyphs(split, digit)[::20]:
            assert digits.target[glyph.index] == glyph.label == digit
            np.testing.assert_array_equal(digits.images[glyph.index].astype(int) * 255 // 16, glyph.ink)


def test_halves_of_a_photograph_do_not_share_pixels() -> None:
    for name in PHOTOGRAPHS:
        train, val = half_photograph(name, "train"), half_photograph(name, "val")
        assert train.mode == val.mode == "RGB"
        assert train.height == val.height
        assert val.width - train.width in (0, 1)


def test_missing_file_names_file_and_next_step() -> None:
    with pytest.raises(FileNotFoundError, match=r"no_such\.png.*lacks a file.*install"):
        package_file("skimage", "data/no_such.png")
    with pytest.raises(FileNotFoundError, match="no_such_package is not installed"):
        package_file("no_such_package", "data/x.png")


def test_front_layer_owns_the_overlap_and_colours_blend() -> None:
    background = np.full((4, 6, 3), 100, dtype=np.uint8)
    back = place(np.full((2, 4), 255, dtype=np.uint8), (200, 0, 0), 0, 0, 6, 4)
    front = place(np.full((2, 4), 153, dtype=np.uint8), (0, 50, 255), 2, 1, 6, 4)
    image, owners = paint(background, [back, front]), owners_of([back, front], 4, 6)
    assert owners.tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 2, 2, 2, 2], [0, 0, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0]]
    assert image[0, 0].tolist() == [200, 0, 0]
    assert image[3, 0].tolist() == [100, 100, 100]
    # alpha 153 of 255 is 3/5: 2/5 of what lies below and 3/5 of the colour
    assert image[2, 3].tolist() == [40, 40 + 30, 40 + 153]
    assert image[1, 2].tolist() == [80, 30, 153]


def test_layer_is_cut_at_the_border_and_remembers_its_full_area() -> None:
    layer = place(np.full((4, 4), OPAQUE, dtype=np.uint8), (0, 0, 0), -3, 2, 8, 4)
    assert layer.full_area == 16
    assert mask_box(layer.mask) == (0, 2, 1, 2)
    gone = place(np.full((4, 4), OPAQUE, dtype=np.uint8), (0, 0, 0), 9, 0, 8, 4)
    assert gone.mask.sum() == 0


def test_colours_stand_out_from_the_ground() -> None:
    assert luminance((255, 255, 255)) == 255
    assert luminance((0, 255, 0)) == 587 * 255 // 1000
    rng = generator(2)
    for ground in (0, 60, 128, 255):
        for _ in range(20):
            assert abs(luminance(random_colour(rng, ground)) - ground) >= 70


def test_mover_starts_and_ends_where_its_path_does() -> None:
    glyph = glyphs("train", 1)[0]
    path = ((20 * 16, 30 * 16), (60 * 16, 30 * 16), (100 * 16, 70 * 16))
    mover = Mover(glyph, (9, 9, 9), 100, (20, 40), path, (3, 13))
    assert mover.layer(2, 120, 100) is None
    assert mover.layer(14, 120, 100) is None
    for frame, (x, y), size in ((3, (20, 30), 20), (8, (60, 40), 30), (13, (100, 70), 40)):
        # halfway the curve is at (start + 2 control + end) / 4
        expected = place(stamp(glyph, size, size), (9, 9, 9), x - size // 2, y - size // 2, 120, 100)
        layer = mover.layer(frame, 120, 100)
        assert isinstance(layer, Layer)
        np.testing.assert_array_equal(layer.alpha, expected.alpha)


def test_paths_stay_inside_or_cross() -> None:
    rng = generator(3)
    for _ in range(40):
        assert all(10 <= x <= 90 and 10 <= y <= 50 for x, y in inside_path(rng, 100, 60, 10))
        start, middle, end = crossing_path(rng, 100, 60, 10)
        assert all(x in (-10, 110) or y in (-10, 70) for x, y in (start, end))
        assert start != end
        assert 0 <= middle[0] <= 100


def test_detections_miss_some_and_stay_near_the_truth() -> None:
    truths = [Truth(frame, 1, (50, 60, 40, 30), 100) for frame in range(1, 301)]
    rows = [line.split(",") for line in detections(generator(4), truths, 300)]
    assert {len(row) for row in rows} == {10}
    boxes = [[int(cell) for cell in row[2:6]] for row in rows if float(row[6]) > 0.6]
    # of 300 true boxes 12 % are missed and a fifth of the rest has a confidence of 0.6 or less
    assert 170 <= len(boxes) <= 250
    assert all(abs(x - 50) <= 4 and abs(y - 60) <= 3 for x, y, _, _ in boxes)
    assert len({row[0] for row in rows}) < 300


def test_instances_of_two_videos_get_different_ids() -> None:
    content: dict[str, list[dict[str, int]]] = {"videos": [], "images": [], "annotations": []}
    add_video(content, "A", 2, [Truth(1, 1, (0, 0, 4, 5), 100), Truth(2, 2, (0, 0, 4, 5), 50)])
    add_video(content, "B", 1, [Truth(1, 1, (0, 0, 4, 5), 100)])
    assert [a["instance_id"] for a in content["annotations"]] == [0, 1, 2]
    assert [a["image_id"] for a in content["annotations"]] == [1, 2, 3]
    assert [i["frame_id"] for i in content["images"]] == [0, 1, 0]
