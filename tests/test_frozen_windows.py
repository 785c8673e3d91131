"""Features in windows against those of the whole frame."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.ops import roi_align

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.track.frozen.appearance import AppearanceModel, build_appearance
from transfer.track.frozen.windows import Window, choose_windows, features_in_boxes

BOXES = [
    torch.tensor([[5.0, 9.0, 60.0, 90.0], [610.0, 300.0, 645.0, 333.0], [-30.0, -40.0, 20.0, 30.0]]),
    torch.tensor([[300.0, 100.0, 330.5, 180.0], [310.0, 110.0, 340.0, 190.0], [700.0, 10.0, 740.0, 50.0]]),
]


def build(arch: str, layers: list[int]) -> AppearanceModel:
    torch.manual_seed(0)
    info = BackboneInfo("random", arch, "none", "random", "", "", "", "test")
    backbone = Backbone(info, dict(empty_resnet(arch).state_dict()), "0" * 64, Path("none"))
    return build_appearance(backbone, layers, torch.device("cpu"))


def pool(features: torch.Tensor) -> torch.Tensor:
    return roi_align(features, BOXES, (4, 10), spatial_scale=1 / 8)


@pytest.mark.parametrize(("arch", "layers"), [("resnet18", [3, 4]), ("resnet18", [3]), ("resnet50", [3, 4])])
def test_boxes_have_the_features_of_the_whole_frame(arch: str, layers: list[int]) -> None:
    model = build(arch, layers)
    pixels = model.prepare(torch.randint(0, 256, (2, 3, 328, 648), dtype=torch.uint8))
    assert all(len(choose_windows(boxes, 81, 41, model.reach)) > 1 for boxes in BOXES)
    found, whole = features_in_boxes(model, pixels, BOXES), model(pixels)
    for layer in layers:
        expected = pool(whole[layer])
        torch.testing.assert_close(pool(found[layer]), expected, atol=1e-4 * float(expected.max()), rtol=0)


def test_a_margin_too_small_is_noticed() -> None:
    model = build("resnet18", [3, 4])
    pixels = model.prepare(torch.randint(0, 256, (2, 3, 328, 648), dtype=torch.uint8))
    assert model.reach == 8  # four convolutions of 3x3 in each layer
    model.reach = 5
    expected = pool(model(pixels)[4])
    difference = pool(features_in_boxes(model, pixels, BOXES)[4]) - expected
    assert float(difference.abs().max()) > 1e-4 * float(expected.max())


def test_windows_that_overlap_become_one_and_many_the_whole_map() -> None:
    near = torch.tensor([[80.0, 80.0, 120.0, 160.0], [90.0, 90.0, 130.0, 170.0]])
    assert choose_windows(near, 100, 60, 4) == [Window(9, 9, 19, 24)]
    far = torch.tensor([[0.0, 0.0, 8.0, 8.0], [700.0, 400.0, 708.0, 408.0]])
    assert len(choose_windows(far, 100, 60, 4)) == 2
    assert choose_windows(far, 100, 60, 50) == [Window(0, 0, 100, 60)]
    assert choose_windows(torch.zeros(0, 4), 100, 60, 4) == []


def test_a_box_outside_the_frame_takes_a_cell_of_it() -> None:
    outside = torch.tensor([[900.0, 500.0, 950.0, 600.0], [-90.0, -90.0, -60.0, -60.0]])
    for window in choose_windows(outside, 100, 60, 1):
        assert window.area >= 1
        assert window == window.grown(0, 100, 60)
