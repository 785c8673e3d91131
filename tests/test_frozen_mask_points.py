"""Features of masks and drawn poses against slow versions that work on whole maps and images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from transfer.data.posetrack import JOINTS
from transfer.track.frozen.mask_points import (
    find_positions,
    grid_coordinates,
    mask_boxes,
    random_points,
    take_points,
    without_duplicates,
)
from transfer.track.frozen.skeleton import LIMBS, TRUNK, draw_pose, draw_poses, line_width, pose_box

CPU = torch.device("cpu")


def points_of_whole_maps(features: Tensor, mask: Tensor, max_area: int) -> Tensor:
    """The formula: scale mask and masked features as images, then read the features where the mask is."""
    factor = math.sqrt(max_area / int(mask.sum())) if int(mask.sum()) > max_area else 1.0
    inside = (features * mask)[None]
    if factor < 1.0:
        inside = F.interpolate(inside, scale_factor=factor, mode="bilinear", align_corners=False)
        mask = F.interpolate(mask[None, None].float(), scale_factor=factor, mode="nearest")[0, 0] > 0.5
    return inside[0][:, mask].T


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(5, 30),
    width=st.integers(5, 30),
    max_area=st.integers(4, 60),
)
def test_points_equal_those_of_whole_scaled_maps(seed: int, height: int, width: int, max_area: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(7, height, width, generator=generator)
    mask = torch.zeros(height, width, dtype=torch.bool)
    top, left = int(torch.randint(height - 3, (1,), generator=generator)), 1
    mask[top:, left : left + width // 2] = torch.rand(height - top, width // 2, generator=generator) > 0.2
    positions = find_positions(mask, max_area)
    if positions is None:
        assert not mask.any()
        return
    expected = points_of_whole_maps(features, mask, max_area)
    if len(expected):  # else: the thin mask of a test of its own
        torch.testing.assert_close(take_points(features, positions), expected, rtol=1e-4, atol=1e-5)


def test_a_small_mask_gives_its_own_cells_and_a_large_one_fewer() -> None:
    features = torch.arange(2 * 400.0).reshape(2, 20, 20)
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[2:4, 5:8] = True
    few = find_positions(mask, 200)
    assert few is not None
    assert take_points(features, few).tolist() == features[:, mask].T.tolist()
    mask[:] = True
    many = find_positions(mask, 100)
    assert many is not None
    assert len(many.cells) == 100  # 20 x 20 scaled by one half
    # The middle of 2 x 2 cells: a plane's bilinear value is the plane's.
    torch.testing.assert_close(take_points(features, many)[0], features[:, :2, :2].mean(dim=(1, 2)))


def test_cells_outside_the_mask_count_as_zero() -> None:
    features = torch.ones(1, 4, 4)
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1, 1] = False
    positions = find_positions(mask, 4)
    assert positions is not None
    values = take_points(features, positions)[:, 0]
    assert values.min() == pytest.approx(0.75, abs=0.05)
    assert values.max() == pytest.approx(1.0)


def test_a_thin_mask_is_not_lost_by_scaling() -> None:
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[1::4] = True  # rows that a scaling by one half does not read
    factor = math.sqrt(100 / int(mask.sum()))
    assert factor == 0.5
    scaled = F.interpolate(mask[None, None].float(), scale_factor=factor, mode="nearest")
    assert not scaled.any()  # what the formula would have given
    positions = find_positions(mask, 100)
    assert positions is not None
    assert len(positions.cells) == int(mask.sum())


def test_an_empty_mask_has_no_positions() -> None:
    assert find_positions(torch.zeros(3, 3, dtype=torch.bool), 10) is None


def test_random_points_depend_on_their_place_alone() -> None:
    first = random_points(40, 8, (0, "A", 3, 1), CPU)
    torch.manual_seed(99)  # no other randomness moves them
    assert torch.equal(first, random_points(40, 8, (0, "A", 3, 1), CPU))
    for other in ((1, "A", 3, 1), (0, "B", 3, 1), (0, "A", 4, 1), (0, "A", 3, 2)):
        assert not torch.equal(first, random_points(40, 8, other, CPU))
    assert first.shape == (40, 8)


def test_the_box_of_a_mask_is_mean_and_twice_the_mean_deviation() -> None:
    masks = torch.zeros(3, 30, 30, dtype=torch.bool)
    masks[0, 10:18, 4:8] = True
    masks[1, 5, 5] = True
    left, top, width, height = mask_boxes(masks)[0]
    # Columns 4..7: mean 5.5, mean absolute deviation 1; rows 10..17: mean 13.5, deviation 2.
    assert (left, top, width, height) == (5.5 - 2, 13.5 - 4, 4, 8)
    assert mask_boxes(masks)[1].tolist() == [3, 3, 4, 4]  # the deviation is at least one cell
    assert np.isnan(mask_boxes(masks)[2]).all()


def test_duplicates_and_empty_masks_go() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [np.nan] * 4, [0, 0, 10, 6], [20, 0, 4, 4.0]])
    assert without_duplicates(boxes, 0.7) == [0, 3, 4]  # overlaps .9 and .6 with the first
    assert without_duplicates(boxes, 0.95) == [0, 1, 3, 4]
    assert without_duplicates(np.zeros((0, 4)), 0.7) == []


def test_the_grid_reads_masks_by_nearest_neighbour() -> None:
    for length, cells in ((16, 2), (20, 3), (205, 26), (300, 38), (1080, 135), (1081, 136)):
        mask = torch.rand(1, 1, length, 3, generator=torch.Generator().manual_seed(length))
        expected = F.interpolate(mask, size=(cells, 3), mode="nearest")
        assert torch.equal(mask[:, :, grid_coordinates(length, cells)], expected)


def standing(x: float, y: float, scale: float = 1.0) -> np.ndarray:
    """Joints of somebody who stands, about 100 pixels tall at scale 1."""
    place = {
        **{"head_top": (0, 0), "nose": (2, 10), "head_bottom": (0, 18)},
        **{"right_shoulder": (-12, 20), "left_shoulder": (12, 20), "right_elbow": (-20, 36)},
        **{"left_elbow": (20, 36), "right_wrist": (-22, 52), "left_wrist": (24, 50), "right_hip": (-8, 54)},
        **{"left_hip": (8, 54), "right_knee": (-9, 76), "left_knee": (10, 76)},
        **{"right_ankle": (-9, 100), "left_ankle": (11, 100)},
    }
    return np.array(
        [(x + scale * place[name][0], y + scale * place[name][1]) for name in JOINTS], dtype=float
    )


def test_a_drawn_pose_is_what_opencv_draws() -> None:
    cv2 = pytest.importorskip("cv2")
    for scale in (1.0, 2.5):
        joints = standing(90, 20, scale)
        expected = np.zeros((300, 200), dtype=np.uint8)
        found = {name: tuple(map(int, joint)) for name, joint in zip(JOINTS, joints, strict=True)}
        cv2.fillConvexPoly(expected, np.array([found[name] for name in TRUNK], dtype=np.int32), 1)
        for first, second in LIMBS:
            cv2.line(expected, found[first], found[second], 1, thickness=line_width(joints))
        drawn = draw_pose(joints, np.arange(300), np.arange(200))
        overlap = (drawn & (expected > 0)).sum() / (drawn | (expected > 0)).sum()
        assert overlap > 0.93  # OpenCV also draws the pixels that a slanting edge touches
        without_limbs = draw_pose(
            np.where(np.isin(JOINTS, TRUNK)[:, None], joints, np.nan), *map(np.arange, (300, 200))
        )
        assert (without_limbs & (expected > 0)).sum() / (expected > 0).sum() < 0.8  # the comparison can fail


def test_the_grid_of_a_pose_is_the_picture_of_it_resized() -> None:
    poses = np.stack([standing(90, 20), standing(30, 150, 0.7)])
    whole = np.stack([draw_pose(pose, np.arange(300), np.arange(205)) for pose in poses])
    grid = (math.ceil(300 / 8), math.ceil(205 / 8))
    expected = F.interpolate(torch.from_numpy(whole)[:, None].float(), size=grid, mode="nearest")[:, 0] > 0
    assert torch.equal(draw_poses(poses, (300, 205), grid), expected)
    assert draw_poses(poses, (300, 205), grid).any(dim=(1, 2)).all()


def test_missing_joints_take_their_limbs_with_them() -> None:
    joints = np.full((15, 2), np.nan)
    assert not draw_pose(joints, np.arange(50), np.arange(50)).any()
    assert np.isnan(pose_box(joints)).all()
    joints[JOINTS.index("left_elbow")] = (20.7, 30.2)
    assert not draw_pose(joints, np.arange(50), np.arange(50)).any()
    assert pose_box(joints).tolist() == [20, 30, 10, 10]  # a side of no length gets ten pixels
    joints[JOINTS.index("left_wrist")] = (20.7, 40.2)
    assert pose_box(joints).tolist() == [20, 30, 10, 10]
    drawn = draw_pose(joints, np.arange(50), np.arange(50))
    assert np.argwhere(drawn).min(axis=0).tolist() == [26, 16]  # four pixels around, rounded ends
    assert np.argwhere(drawn).max(axis=0).tolist() == [44, 24]


def test_a_pose_outside_the_image_has_an_empty_mask() -> None:
    assert not draw_pose(standing(-500, 20), np.arange(300), np.arange(200)).any()
    assert draw_pose(standing(0, 20), np.arange(300), np.arange(200)).any()
