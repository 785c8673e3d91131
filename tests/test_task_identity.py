"""What a row's config digest depends on, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer.evaluate import identity, load_config
from transfer.provenance import config_sha256
from transfer.tasks import TASKS

CONFIG = """
dataset: tiny
protocol: p
tracker_config: {tracker}
iterations: 3
test: {{root: val}}
train: {{root: "${{oc.env:MEC_TRANSFER_DATA}}/train"}}
"""


def digest(tmp_path: Path, *overrides: str, tracker: str = "configs/tracker.py") -> str:
    path = tmp_path / "mot.yaml"
    path.write_text(CONFIG.format(tracker=tracker))
    return config_sha256(identity(load_config(TASKS["mot"], path, overrides)))


def test_digest_follows_values_and_named_files_but_not_the_place_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = tmp_path / "configs/tracker.py"
    tracker.parent.mkdir()
    tracker.write_text("model = 1\n")
    monkeypatch.setenv("MEC_TRANSFER_DATA", "/here")
    first = digest(tmp_path)
    assert digest(tmp_path) == first
    monkeypatch.setenv("MEC_TRANSFER_DATA", "/there")
    assert digest(tmp_path) == first
    assert digest(tmp_path, "iterations=4") != first
    assert digest(tmp_path, "train.root=/elsewhere") != first
    tracker.write_text("model = 2\n")
    assert digest(tmp_path) != first
