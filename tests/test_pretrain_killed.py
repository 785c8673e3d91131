"""Runs that are killed, told to stop or damaged end with the weights of the run that nothing happened to."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forkserver import ROOT
from killable import start
from noise_recipe import write_recipe

from pretrain.__main__ import DONE, STOPPED
from pretrain.checkpoint import list_checkpoints

EPOCHS = 10  # 30 steps, a checkpoint after each
OFTEN = "save_every_epochs=0.34"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A recipe and the backbone of its uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = write_recipe(folder, EPOCHS)
    assert finish(recipe, folder / "run") == DONE
    return recipe, (folder / "run/backbone.safetensors").read_bytes()


def finish(recipe: Path, out: Path) -> int | None:
    process = start(recipe, f"out={out}", OFTEN)
    process.join()
    return process.exitcode


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within two minutes"
        time.sleep(0.005)


def wait_for_checkpoint(out: Path, number: int = 1) -> None:
    wait_for(lambda: len(list_checkpoints(out / "checkpoints")) >= number)


def kill_at_random(recipe: Path, out: Path, times: int, expected: bytes) -> None:
    """Kill a run again and again; whenever one comes to its end compare it and start the next folder."""
    moments, kills, runs, late = random.Random(0), 0, 0, 0
    while kills < times:
        folder = out / str(runs)
        process = start(recipe, f"out={folder}", OFTEN)
        process.join(moments.uniform(0.0, 1.5))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            late += bool(list_checkpoints(folder / "checkpoints"))
            continue
        assert process.exitcode == DONE
        assert (folder / "backbone.safetensors").read_bytes() == expected
        runs += 1
    assert late, "every kill came before the first checkpoint"
    folder = out / str(runs)
    assert finish(recipe, folder) == DONE
    assert (folder / "backbone.safetensors").read_bytes() == expected
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 3 * EPOCHS + 1)), "every step is logged once"
    assert not [path for path in folder.rglob(".*") if path.is_file()], "no half-written file is left"


def test_killed_at_random_moments(whole: tuple[Path, bytes], tmp_path: Path) -> None:
    kill_at_random(whole[0], tmp_path, 5, whole[1])


@pytest.mark.slow
def test_killed_at_twenty_random_moments(whole: tuple[Path, bytes], tmp_path: Path) -> None:
    kill_at_random(whole[0], tmp_path, 20, whole[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_says_so(
    whole: tuple[Path, bytes], tmp_path: Path, number: signal.Signals
) -> None:
    recipe, expected = whole
    process = start(recipe, f"out={tmp_path}", "save_every_epochs=100")  # no checkpoint but the signal's
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists() and (tmp_path / "metrics.jsonl").read_text())
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == STOPPED
    (checkpoint,) = list_checkpoints(tmp_path / "checkpoints")
    assert not (tmp_path / "backbone.safetensors").exists()
    process = start(recipe, f"out={tmp_path}", OFTEN)
    process.join()
    assert process.exitcode == DONE
    assert (tmp_path / "backbone.safetensors").read_bytes() == expected
    assert 1 <= int(checkpoint.name[11:19]) < 3 * EPOCHS


def test_a_truncated_newest_checkpoint_costs_one_interval_and_nothing_else(
    whole: tuple[Path, bytes], tmp_path: Path
) -> None:
    recipe, expected = whole
    process = start(recipe, f"out={tmp_path}", OFTEN)
    wait_for_checkpoint(tmp_path, 2)
    process.kill()
    process.join()
    newest = list_checkpoints(tmp_path / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert finish(recipe, tmp_path) == DONE
    assert (tmp_path / "backbone.safetensors").read_bytes() == expected
    assert newest.with_name(newest.name + ".damaged").exists()


def test_killed_with_workers_it_goes_on_at_once(whole: tuple[Path, bytes], tmp_path: Path) -> None:
    """Workers outlive a killed process for seconds; they must not hold its folder."""
    recipe, expected = whole
    workers = ("data.workers=2", "data.in_memory=false")
    process = start(recipe, f"out={tmp_path}", OFTEN, *workers)
    wait_for_checkpoint(tmp_path)
    process.kill()
    process.join()
    process = start(recipe, f"out={tmp_path}", OFTEN, *workers)
    process.join()
    assert process.exitcode == DONE
    assert (tmp_path / "backbone.safetensors").read_bytes() == expected


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_launcher_reaches_all_processes(
    whole: tuple[Path, bytes], tmp_path: Path, number: signal.Signals
) -> None:
    command = ["tools/pretrain.sh", "--standalone", "--nproc-per-node", "2", str(whole[0])]
    with subprocess.Popen(
        [*command, f"out={tmp_path}", "save_every_epochs=100"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: (tmp_path / "metrics.jsonl").exists() and (tmp_path / "metrics.jsonl").read_text())
        process.send_signal(number)
        said = process.communicate()[1]
    assert process.returncode == 1
    assert said.count(f"stopped by {number.name} after step") == 1
    assert len(list_checkpoints(tmp_path / "checkpoints")) == 1


def test_another_seed_gives_other_weights_so_that_equal_means_something(
    whole: tuple[Path, bytes], tmp_path: Path
) -> None:
    process = start(whole[0], f"out={tmp_path}", OFTEN, "seed=1")
    process.join()
    assert process.exitcode == DONE
    assert (tmp_path / "backbone.safetensors").read_bytes() != whole[1]


def test_a_second_process_on_the_folder_is_refused(whole: tuple[Path, bytes], tmp_path: Path) -> None:
    first = start(whole[0], f"out={tmp_path}", OFTEN)
    wait_for_checkpoint(tmp_path)
    second = start(whole[0], f"out={tmp_path}", OFTEN)
    second.join()
    assert second.exitcode == 2
    first.join()
    assert first.exitcode == DONE
    assert (tmp_path / "backbone.safetensors").read_bytes() == whole[1]
