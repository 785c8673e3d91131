"""Every classification config loads against its task, says what it is, and names its own command."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer.evaluate import load_config
from transfer.tasks import TASKS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs" / "classify").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_complete(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "elsewhere")
    task = path.stem.split("_")[0]
    config = load_config(TASKS[task], path)
    assert config.dataset.split("-")[0] == path.stem.split("_")[1]
    assert config.protocol.startswith({"semisup": "semisup-ft"}.get(task, task))
    comment = path.read_text(encoding="utf-8").split("dataset:")[0]
    for part in ("# Protocol: ", "# Hardware and time: ", "# Expected: "):
        assert part in comment
    assert f"python -m transfer {task} configs/classify/{path.name} " in comment


def test_all_configs_are_found() -> None:
    assert len(CONFIGS) == 11


def test_mini_and_published_configs_differ_where_their_comments_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "elsewhere")
    folder = ROOT / "configs" / "classify"
    published = load_config(TASKS["linear"], folder / "linear_imagenet_mec.yaml")
    # MEC's released code: 0.03 x 4096 / 256 = 0.48
    assert published.base_lr * published.batch_size / 256 == pytest.approx(0.48)
    assert (published.augment, published.feature_norm, published.epochs) == (True, True, 100)
    semisup = load_config(TASKS["semisup"], folder / "semisup_imagenet_1pct_mec.yaml")
    assert semisup.data_dir == "elsewhere/imagenet"
    assert semisup.subset_sha256.startswith("71e82a48")
    assert semisup.label_fraction is None
