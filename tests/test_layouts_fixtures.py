"""The checkpoints of tests/layouts.py are written, named, filled and shared out as their code bases do."""

from __future__ import annotations

from pathlib import Path

import pytest
from layouts import FIXTURES, load_carelessly

LIGHTWEIGHT = {"epoch", "arch", "state_dict", "optimizer"}
KEYS = {  # what lies at the top of the file
    "mec": LIGHTWEIGHT,
    "simsiam": LIGHTWEIGHT,
    "moco-v1": LIGHTWEIGHT,
    "moco-v2": LIGHTWEIGHT,
    "moco-v2-released": {"epoch", "arch", "state_dict"},
    "moco-v3": LIGHTWEIGHT | {"scaler"},
    "swav": {"epoch", "state_dict", "optimizer", "amp"},
    "deepcluster-v2": {"epoch", "state_dict", "optimizer"},
    "barlow-twins": {"epoch", "model", "optimizer"},
    "vicreg": {"epoch", "model", "optimizer"},
    "dino": {"student", "teacher", "optimizer", "epoch", "args", "dino_loss", "fp16_scaler"},
    "simclr": LIGHTWEIGHT,
}


@pytest.mark.parametrize("name", FIXTURES)
def test_fixture_is_written_as_its_code_base_writes(name: str, tmp_path: Path) -> None:
    path = FIXTURES[name].write(tmp_path, "resnet18")
    assert path.is_file()
    content, _ = load_carelessly(path)
    if name in KEYS:
        assert set(content) == KEYS[name]
