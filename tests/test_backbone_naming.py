"""Renaming tables: complete, one-to-one, and read in both directions."""

from __future__ import annotations

import pytest
import torch

from transfer.backbone.architecture import ARCHS, expected_shapes
from transfer.backbone.naming import (
    DETECTRON2,
    MMCV,
    SEQUENTIAL,
    TORCHVISION,
    TRANSFORMERS,
    inverse,
    rename,
    rename_key,
)

TABLES = {
    "detectron2": DETECTRON2,
    "mmcv": MMCV,
    "sequential": SEQUENTIAL,
    "torchvision": TORCHVISION,
    "transformers": TRANSFORMERS,
}


@pytest.mark.parametrize("arch", list(ARCHS))
@pytest.mark.parametrize("table", list(TABLES))
def test_every_name_goes_there_and_back(table: str, arch: str) -> None:
    state = {key: torch.empty(0) for key in expected_shapes(arch)}
    renamed = rename(state, TABLES[table])
    assert len(renamed) == len(state)
    back = rename(renamed, inverse(TABLES[table]))
    assert list(back) == list(state)
    assert all(back[key] is state[key] for key in state)


@pytest.mark.parametrize(
    ("table", "here", "there"),
    [
        ("detectron2", "conv1.weight", "stem.conv1.weight"),
        ("detectron2", "layer1.0.downsample.1.running_var", "res2.0.shortcut.norm.running_var"),
        ("detectron2", "layer4.2.bn3.bias", "res5.2.conv3.norm.bias"),
        ("mmcv", "layer2.3.conv1.weight", "backbone.layer2.3.conv1.weight"),
        ("sequential", "layer1.0.conv1.weight", "4.0.conv1.weight"),
        ("sequential", "bn1.running_mean", "1.running_mean"),
        (
            "transformers",
            "layer3.22.conv2.weight",
            "encoder.stages.2.layers.22.layer.1.convolution.weight",
        ),
        (
            "transformers",
            "layer2.0.downsample.1.weight",
            "encoder.stages.1.layers.0.shortcut.normalization.weight",
        ),
    ],
)
def test_names_as_the_frameworks_write_them(table: str, here: str, there: str) -> None:
    assert rename_key(here, TABLES[table]) == there
    assert rename_key(there, inverse(TABLES[table])) == here


@pytest.mark.parametrize(
    "stranger", ["fc.weight", "layer5.0.conv1.weight", "layer1.0.conv4.weight", "layer1.x.conv1.weight", ""]
)
def test_a_name_that_no_rule_knows_has_no_new_name(stranger: str) -> None:
    for rules in TABLES.values():
        assert rename_key(stranger, rules) is None
    assert rename_key("res6.0.conv1.weight", inverse(DETECTRON2)) is None  # would be layer5
    assert rename_key("3.0.conv1.weight", inverse(SEQUENTIAL)) is None  # would be layer0
    with pytest.raises(ValueError, match="no renaming rule matches"):
        rename({stranger: torch.empty(0)}, DETECTRON2)


def test_two_rules_for_one_name_and_two_tensors_with_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="2 renaming rules match"):
        rename_key("bn1.weight", {"bn1.{norm}": "a.{norm}", "bn1.weight": "b"})
    with pytest.raises(ValueError, match="already taken"):
        rename({"x": torch.empty(0), "y": torch.empty(0)}, {"x": "z", "y": "z"})
