"""Two runners that start together on one folder: every job runs once, and both see all of it done."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from suite_scene import (
    RUNNER,
    Scene,
    environment,
    plan_stand_ins,
    processes,
    rows_in,
    spawn,
    stand_in,
    starts,
    write_scene,
)

from transfer.report.rows import read_rows


def run_together(commands: list[list[str]], variables: dict[str, str], folder: Path) -> list[int]:
    runners = [spawn(command, variables, folder / f"runner{i}.txt") for i, command in enumerate(commands)]
    return [runner.wait(600) for runner in runners]


def test_forty_jobs_run_once_under_three_runners(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    jobs = plan_stand_ins(out, 40)
    command = [sys.executable, "-c", RUNNER, str(out), "2"]
    assert run_together([command] * 3, stand_in(tmp_path, seconds=0.05), tmp_path) == [0, 0, 0]
    assert Counter(starts(tmp_path)) == {job.out: 1 for job in jobs}
    assert len(rows_in(out)) == 40
    assert processes(out) == []


def test_without_the_claim_jobs_would_run_twice(tmp_path: Path) -> None:
    """The test above would notice: the same, but every claim is granted."""
    out = tmp_path / "runs"
    jobs = plan_stand_ins(out, 4)
    variables = stand_in(tmp_path, seconds=0.3)
    site = tmp_path / "site/sitecustomize.py"
    site.write_text("import fcntl\nfcntl.flock = lambda *_: None\n" + site.read_text())
    command = [sys.executable, "-c", RUNNER, str(out), "2"]
    run_together([command] * 2, variables, tmp_path)
    assert len(starts(tmp_path)) > len(jobs)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Four jobs, and a checkpoint to import: the backbone is not there when the runners start."""
    scene = write_scene(tmp_path, configs=2, seeds=2)
    from checkpoints import write_mec_checkpoint

    checkpoint = write_mec_checkpoint(tmp_path / "checkpoint_0099.pth.tar", "resnet18")
    scene.suite.write_text(scene.suite.read_text().replace("random: false", "random: true"))
    return Scene(scene.suite, checkpoint, scene.out)


@pytest.mark.slow
def test_two_commands_prepare_backbones_run_jobs_and_write_tables_together(
    scene: Scene, tmp_path: Path
) -> None:
    variables = environment(PYTHONDONTWRITEBYTECODE="1")
    assert run_together([scene.command()] * 2, variables, tmp_path) == [0, 0]
    said = "".join((tmp_path / f"runner{i}.txt").read_text() for i in range(2))
    assert "Traceback" not in said
    for path in scene.out.glob("*/*/results.csv"):
        assert [row.status for row in read_rows(path)] == ["ok", "ok"]
    assert len(rows_in(scene.out)) == 8
    assert sorted(path.name for path in (scene.out / "backbones").glob("*")) == [
        ".claim",
        *sorted(path.name for path in (scene.out / "backbones").glob("*.safetensors")),
    ]
    together = {path.name: path.read_bytes() for path in (scene.out / "tables").glob("*.csv")}
    assert together
    assert scene.start().wait(600) == 0  # alone, and nothing is left to do: the same tables
    assert {path.name: path.read_bytes() for path in (scene.out / "tables").glob("*.csv")} == together
    assert processes(scene.out) == []
