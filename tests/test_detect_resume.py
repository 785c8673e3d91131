"""A detection run that is killed at any moment and started again ends as one that was not."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from detect_scene import CHECKOUT, DETECTRON2, make_backbone
from detect_tiny import write_images
from forkserver import PRELOAD
from killable import kill_after
from shared_run import run, start

from transfer.report.rows import read_rows

pytestmark = DETECTRON2
PRELOAD += ["detectron2.engine", "detectron2.modeling"]
DETECTOR = CHECKOUT / "configs/detect/detectron2/mask_rcnn_r18_fpn_mini.yaml"
CONFIG = """
dataset: tiny
protocol: mask-rcnn-r18-fpn-mini
detectron2_path: {root}/detector.yaml
sets:
  mini_train: {{annotations_path: {root}/set.json, images_dir: {root}/images}}
  mini_val: {{annotations_path: {root}/set.json, images_dir: {root}/images}}
device: cpu
checkpoint_period: 2
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("resume")
    write_images(made)
    settings = {
        "INPUT": {"MIN_SIZE_TRAIN": [64], "MAX_SIZE_TRAIN": 96, "MIN_SIZE_TEST": 64, "MAX_SIZE_TEST": 96},
        "MODEL": {"ROI_HEADS": {"NUM_CLASSES": 2}},
        "SOLVER": {"IMS_PER_BATCH": 2, "BASE_LR": 0.001, "MAX_ITER": 12, "STEPS": [9], "WARMUP_ITERS": 2},
        "VERSION": 2,
    }
    (made / "detector.yaml").write_text(yaml.dump({"_BASE_": str(DETECTOR), **settings}))
    (made / "tiny.yaml").write_text(CONFIG.format(root=made))
    make_backbone(made / "backbone.safetensors", "resnet18")
    return made


def command(root: Path, name: str, *overrides: str) -> list[str]:
    backbone = root / "backbone.safetensors"
    return [
        "detect",
        str(root / "tiny.yaml"),
        "--backbone",
        str(backbone),
        "--out",
        str(root / name),
        *overrides,
    ]


def more_lines() -> None:
    from transfer.detect import trainer

    trainer.PERIOD = 3


def outcome(out: Path) -> tuple[list[dict[str, Any]], list[tuple[int, float]], bytes]:
    """Rows without what names the run; iterations and learning rates of the log; the trained weights."""
    rows = [asdict(row) | {"wall_s": None, "source": None} for row in read_rows(out / "results.csv")]
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    return rows, [(line["iteration"], line["lr"]) for line in lines], (out / "model_final.pth").read_bytes()


def kill_after_a_checkpoint(size: int, argv: list[str], out: Path, wait_s: float) -> int:
    """Kill all processes ``wait_s`` after the first checkpoint; the iterations that the newest one saw."""
    processes = start(size, argv, more_lines)
    kill_after(out / "last_checkpoint", wait_s, processes)
    newest = out / (out / "last_checkpoint").read_text()
    return int(torch.load(newest, weights_only=True)["iteration"]) + 1


@pytest.mark.parametrize("size", [1, 2])
def test_killed_and_started_again_it_gives_the_same_bytes(root: Path, size: int) -> None:
    whole, out = root / f"whole-{size}", root / f"killed-{size}"
    assert run(size, command(root, whole.name), more_lines) == [0] * size
    rows, lines, _ = outcome(whole)
    assert {row["status"].split(":")[0] for row in rows} == {"ok", "not-run"}  # there are no large objects
    assert [iteration for iteration, _ in lines] == [2, 5, 8, 11]
    seen = kill_after_a_checkpoint(size, command(root, out.name), out, random.Random(size).uniform(0.0, 2.0))
    assert 2 <= seen <= 12
    assert run(size, command(root, out.name), more_lines) == [0] * size
    assert outcome(out) == outcome(whole)
    assert f"Starting training from iteration {seen}" in (out / "log.txt").read_text() or seen == 12
    left = {path.name for path in out.iterdir()}
    assert not [
        name for name in left if name.startswith("model_0") or name in ("last_checkpoint", "resume.txt")
    ]
    assert "model_final.pth" in left


def test_checkpoints_of_another_seed_are_removed_not_gone_on_with(root: Path) -> None:
    out = root / "other"
    assert kill_after_a_checkpoint(1, command(root, "other", "seed=1"), out, 0.0) >= 2
    (out / "model_final.pth").write_text("of the run before")
    (out / "notes.txt").write_text("mine")
    for name in ("whole-again", "other"):
        assert run(1, command(root, name), more_lines) == [0]
    assert outcome(out) == outcome(root / "whole-again")
    assert "Starting training from iteration 0" in (out / "log.txt").read_text()
    assert (out / "notes.txt").read_text() == "mine"
