"""The lint goes through every configuration that the frameworks package."""

from __future__ import annotations

from pathlib import Path

import pytest
from detect_scene import DETECTRON2
from lint_scene import findings_of, names
from sot_scene import FRAMEWORK_WARNINGS

from transfer.config_files import KINDS, kind_of

pytestmark = [*DETECTRON2, pytest.mark.mmtrack, *FRAMEWORK_WARNINGS, pytest.mark.slow]


@pytest.mark.parametrize(
    ("package", "folder", "at_least"),
    [("detectron2", "model_zoo/configs", 80), ("mmtrack", ".mim/configs", 80)],
)
def test_every_packaged_configuration_has_findings_and_none_is_unreadable(
    package: str, folder: str, at_least: int
) -> None:
    root = Path(__import__(package).__file__).parent / folder
    checked = 0
    for path in sorted([*root.rglob("*.yaml"), *root.rglob("*.py")]):
        if path.suffix == ".py" and not {"model", "_base_"} & set(path.read_text().replace("(", " ").split()):
            continue  # a fragment: data or schedule for others to import
        kind = KINDS[kind_of(path)]
        try:
            found = findings_of(path, f"mec{kind.suffix}")
        except ValueError as error:
            if "with 'model'" in str(error):
                continue  # a fragment too
            raise
        assert {"pretrained-url", "no-weights"} & set(names(found)), f"{path} names no weights of ours"
        checked += 1
    assert checked >= at_least
