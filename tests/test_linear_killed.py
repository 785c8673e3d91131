"""A linear probe that is killed at any moment and started again writes the rows of one that was not."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from classify_images import make_backbone, write_digits
from killable import kill_after
from shared_run import run, start

from transfer.report.rows import read_rows

SETTINGS = """
dataset: digits
protocol: linear-lars
data_dir: {data_dir}
resize_size: 32
image_size: 32
batch_size: 16
device: cpu
augment: true
optimiser: lars
lrs: [3.0, 30.0, 100.0]
weight_decays: [0.0, 1.0e-4]
layers: [avgpool, layer3]
holdout: 0.2
epochs: 12
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("killed")
    (made / "linear.yaml").write_text(SETTINGS.format(data_dir=write_digits(made / "digits", 8, 4, 5)))
    make_backbone(made)
    return made


def save_each_epoch() -> None:
    from transfer.classify import loop

    loop.SECONDS_BETWEEN_SAVES = 0.0


def command(folder: Path, name: str, *overrides: str) -> list[str]:
    config, backbone = folder / "linear.yaml", folder / "backbone.safetensors"
    return ["linear", str(config), "--backbone", str(backbone), "--out", str(folder / name), *overrides]


def outcome(out: Path) -> tuple[list[dict[str, Any]], str, str]:
    """Rows without what names the run, their items without the rows' digests, and the selection."""
    rows = [asdict(row) | {"wall_s": None, "source": None} for row in read_rows(out / "results.csv")]
    return rows, (out / "items.csv").read_text(), (out / "selection.csv").read_text()


def kill_after_an_epoch(size: int, argv: list[str], out: Path, wait_s: float) -> int:
    """Kill all processes ``wait_s`` after the first checkpoint; the epochs that the newest one has seen."""
    processes = start(size, argv, save_each_epoch)
    checkpoint = out / "linear.pt"
    kill_after(checkpoint, wait_s, processes)
    return int(torch.load(checkpoint, weights_only=True)["epoch"]) if checkpoint.exists() else 0


@pytest.mark.parametrize("size", [1, 2])
def test_killed_and_started_again_gives_the_same_rows(folder: Path, size: int) -> None:
    assert run(size, command(folder, "whole")) == [0] * size
    whole = outcome(folder / "whole")
    assert all(row["status"] == "ok" and row["selection"] == "best-val" for row in whole[0])
    moments = random.Random(size)
    out = folder / f"killed-{size}"
    argv = command(folder, out.name)
    seen = [kill_after_an_epoch(size, argv, out, moments.uniform(0.0, 0.5)) for _ in range(2)]
    assert 1 <= seen[0] <= seen[1] <= 12
    assert run(size, argv) == [0] * size
    assert outcome(out) == whole
    assert not list(out.glob("*.pt"))
    assert not (out / "resume.txt").exists()


def test_checkpoints_of_another_run_are_not_resumed(folder: Path) -> None:
    out = folder / "other"
    assert kill_after_an_epoch(1, command(folder, "other", "seed=1"), out, 0.0) >= 1
    (out / "selection.csv").write_text("of the run before\n")
    assert run(1, command(folder, "whole")) == run(1, command(folder, "other")) == [0]
    assert outcome(out) == outcome(folder / "whole")  # seed 0, from its first epoch


def test_a_checkpoint_that_changed_changes_the_rows(folder: Path) -> None:
    """The control: what is resumed decides the rows."""
    out = folder / "changed"
    kill_after_an_epoch(1, command(folder, "changed"), out, 0.0)
    state = torch.load(out / "linear.pt", weights_only=True)
    for key, tensor in state["model"].items():
        if key.startswith("weights"):
            tensor.neg_()
    state["epoch"] = 12
    torch.save(state, out / "linear.pt")
    assert run(1, command(folder, "changed")) == run(1, command(folder, "whole")) == [0]
    assert outcome(out)[1] != outcome(folder / "whole")[1]
