"""A suite on a real SLURM: the same rows as here, and nothing lost to what happens on a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import slurm
import slurm_config
from compare_executors import differences
from grid_on_slurm import ROOT, Grid
from slurm import Slurm

from transfer.report.rows import Row, read_rows
from transfer.suite.__main__ import main

pytestmark = pytest.mark.slurm
MakeGrid = Callable[..., Grid]
EXCEPTED = ("wall_s", "code_version")  # timings; and the commit, since somebody may commit between two runs


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm_config, "KILL_WAIT", 30)  # SLURM's default: a worker has time to judge wrongly
        with Slurm(tmp_path_factory.mktemp("slurm") / "c") as started:
            yield started


@pytest.fixture
def cluster(running: Slurm) -> Iterator[Slurm]:
    yield running
    running.run("scancel", "--user=root")
    running.wait_idle()
    running.wait_for(lambda: running.node_states() == ["idle", "idle"], "both nodes to be idle")


@pytest.fixture
def make_grid(cluster: Slurm, tmp_path: Path) -> Iterator[MakeGrid]:
    made: list[Grid] = []

    def make(seeds: int = 1, *, held: bool = True) -> Grid:
        made.append(Grid(tmp_path, cluster, seeds, held=held))
        return made[-1]

    yield make
    for grid in made:
        grid.close()


def comparable(rows: list[Row]) -> list[dict[str, object]]:
    return [{key: value for key, value in asdict(row).items() if key not in EXCEPTED} for row in rows]


def assert_all_there_once(grid: Grid) -> None:
    """Every job has its rows, none of them failed, and one process of each came to its end."""
    assert [(row.seed, row.metric, row.status) for row in grid.rows()] == [
        (seed, metric, "ok") for seed in range(len(grid.jobs)) for metric in ("top1", "top5")
    ]
    assert grid.count("ended") == dict.fromkeys(grid.jobs, 1)
    assert len(list(grid.out.rglob("key.txt"))) == len(grid.jobs)
    assert not list(grid.out.rglob("running.json"))


def test_rows_are_those_of_this_machine(make_grid: MakeGrid, tmp_path: Path) -> None:
    grid = make_grid(seeds=3, held=False)
    assert grid.run() == 0, grid.said()
    assert_all_there_once(grid)
    on_slurm = comparable(grid.rows())
    grid.out.rename(tmp_path / "slurm")  # rows name the folder they were written to
    (tmp_path / "ended").unlink()
    assert grid.run("--jobs", "2", executor="local") == 0, grid.said()
    assert_all_there_once(grid)
    assert comparable(grid.rows()) == on_slurm
    assert len(on_slurm) == 6


def test_a_cancelled_job_is_submitted_again(make_grid: MakeGrid, cluster: Slurm) -> None:
    grid = make_grid()
    runner = grid.start()
    grid.wait_begun(1)
    first = grid.element()
    cluster.run("scancel", first)
    grid.wait_begun(2)
    assert cluster.squeue()[first] == "CANCELLED"
    assert grid.element() != first
    grid.release()
    assert runner.wait(120) == 0, grid.said()
    assert_all_there_once(grid)


@pytest.mark.slow
def test_a_preempted_job_is_queued_again(make_grid: MakeGrid, cluster: Slurm) -> None:
    grid = make_grid()
    runner = grid.start()
    grid.wait_begun(1)
    element = grid.element()
    high = cluster.sbatch("true", "--partition=high", "--nodes=2", "--exclusive")
    cluster.wait_state(high, "COMPLETED")
    grid.wait_begun(2)
    assert grid.element() == element
    assert cluster.job(element)["Restarts"] == "1"
    grid.release()
    assert runner.wait(120) == 0, grid.said()
    assert_all_there_once(grid)


@pytest.mark.slow
def test_a_job_whose_time_is_up_is_queued_again(make_grid: MakeGrid, cluster: Slurm) -> None:
    """At a limit of ten minutes at most submitit takes each warning for the end of the time."""
    grid = make_grid()
    runner = grid.start("--time", "10")
    grid.wait_begun(1)
    element = grid.element()
    cluster.run("scancel", "--signal=USR2", element)
    grid.wait_begun(2)
    assert grid.element() == element
    assert cluster.job(element)["Restarts"] == "1"
    grid.release()
    assert runner.wait(120) == 0, grid.said()
    assert_all_there_once(grid)


@pytest.mark.slow
def test_a_controller_that_is_killed_loses_nothing(make_grid: MakeGrid, cluster: Slurm) -> None:
    grid = make_grid(seeds=6)
    runner = grid.start()
    grid.wait_begun(1)
    time.sleep(slurm.SAVE_WAIT)
    cluster.stop_controller(signal.SIGKILL)
    time.sleep(12)  # in which the runner asks for the queue in vain
    cluster.start_controller()
    grid.release()
    assert runner.wait(240) == 0, grid.said()
    assert_all_there_once(grid)


@pytest.mark.slow
def test_a_runner_waits_for_a_controller_to_submit(make_grid: MakeGrid, cluster: Slurm) -> None:
    grid = make_grid(held=False)
    cluster.stop_controller(signal.SIGTERM)
    runner = grid.start()
    deadline = time.monotonic() + 120
    while not (grid.out / "plan.json").exists():
        assert time.monotonic() < deadline, grid.said()
        time.sleep(0.1)
    time.sleep(20)  # in which sbatch finds nobody
    cluster.start_controller()
    assert runner.wait(240) == 0, grid.said()
    assert_all_there_once(grid)


@pytest.mark.slow
def test_a_node_that_crashes_takes_no_job_with_it(make_grid: MakeGrid, cluster: Slurm) -> None:
    grid = make_grid()
    runner = grid.start()
    grid.wait_begun(1)
    index = cluster.names.index(cluster.job(grid.element())["NodeList"])
    cluster.crash_node(index)
    grid.wait_begun(2)
    cluster.start_node(index)
    grid.release()
    assert runner.wait(120) == 0, grid.said()
    assert_all_there_once(grid)


@pytest.mark.slow
def test_two_do_not_run_where_a_daemon_was_killed(make_grid: MakeGrid, cluster: Slurm) -> None:
    """SLURM gives the job to the other node while the first one still runs it: the claim keeps that out."""
    grid = make_grid()
    runner = grid.start()
    grid.wait_begun(1)
    element = grid.element()
    index = cluster.names.index(cluster.job(element)["NodeList"])
    cluster.stop_node(index, signal.SIGKILL)
    cluster.wait_for(lambda: cluster.job(element)["Restarts"] == "1", "SLURM to miss the node")
    cluster.wait_state(element, "COMPLETED")
    assert grid.count("begun").total() == 1
    grid.release()
    assert runner.wait(120) == 0, grid.said()
    cluster.start_node(index)
    assert_all_there_once(grid)


@pytest.mark.slow
def test_a_runner_that_is_killed_leaves_its_jobs_to_slurm(make_grid: MakeGrid, cluster: Slurm) -> None:
    grid = make_grid(seeds=6)
    first = grid.start()
    grid.wait_begun(4)  # two nodes of two processors; two jobs wait
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = grid.start()
    waiting = ["PENDING"] * 4
    cluster.wait_for(
        lambda: [state for state in cluster.squeue().values() if state == "PENDING"] == waiting,
        "the second to submit those that wait once more",
        120,
    )
    grid.release()
    assert second.wait(240) == 0, grid.said()
    cluster.wait_idle()
    assert_all_there_once(grid)
    assert grid.count("begun") == dict.fromkeys(grid.jobs, 1)


@pytest.mark.slow
def test_a_failure_stops_what_still_waits_without_keep_going(make_grid: MakeGrid, tmp_path: Path) -> None:
    grid = make_grid(seeds=6)
    bad = (tmp_path / "near.yaml").read_text().replace("temperature: 0.07", "temperature: -1")
    (tmp_path / "near.yaml").write_text(bad)
    runner = grid.start("--no-keep-going", "--array-parallelism", "1")
    grid.wait_begun(1)
    grid.release()
    assert runner.wait(240) == 1, grid.said()
    assert grid.count("begun").total() == 1
    assert "5 of 6 jobs are unfinished" in grid.said()


@pytest.mark.slow
def test_machines_share_a_job(make_grid: MakeGrid, tmp_path: Path) -> None:
    grid = make_grid(held=False)
    config = tmp_path / "line.yaml"
    config.write_text(
        f"dataset: tiny\nprotocol: linear-cached-lars\ndata_dir: {tmp_path}/set\nresize_size: 32\n"
        "image_size: 32\nbatch_size: 4\naugment: false\nepochs: 3\nbase_lr: 1.0\n"
    )
    grid.write_suite(f"{{task: linear, config: {config}}}")
    assert grid.run("--num-machines", "2") == 0, grid.said()
    on_two = comparable(grid.rows())
    assert [row["status"] for row in on_two] == ["ok", "ok"]
    consoles = sorted(path.name for path in grid.out.rglob("console*.txt"))
    assert consoles == ["console-1.txt", "console.txt"]
    alone = [sys.executable, "-m", "transfer", "linear", str(config), "--num-gpus", "2"]
    alone += ["--backbone", str(tmp_path / "given.safetensors"), "--out", str(tmp_path / "alone")]
    subprocess.run(alone, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=300)
    on_one = comparable(list(read_rows(tmp_path / "alone/results.csv")))
    for row in (*on_one, *on_two):
        del row["source"], row["hardware"]  # the command, and how many machines
    assert on_one == on_two


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--partition", "low\ntouch x"), "slurm parameter partition: expected at most 200 letters"),
        (("--slurm", "qos=$(touch x)"), "slurm parameter qos: expected"),
        (("--slurm", "setup=touch"), "slurm parameter setup: refused"),
        (("--slurm", "qos"), "--slurm: expected KEY=VALUE, found 'qos'"),
        (("--time", "1 day"), "--time: expected HH:MM:SS or minutes, found '1 day'"),
        (("--partition", "nowhere"), "invalid partition specified: nowhere"),
    ],
)
def test_values_that_no_batch_script_may_hold_are_refused(
    cluster: Slurm,
    make_grid: MakeGrid,
    options: tuple[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.env[name])
    grid = make_grid(held=False)
    jobs_before = len(cluster.squeue())
    assert main([*grid.words("slurm"), *options]) == 2
    said = capfd.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert grid.rows() == []
    assert len(cluster.squeue()) == jobs_before


def test_rows_that_differ_are_named() -> None:
    row = {"metric": "top1", "value": "50.0"}
    one, other = {("a", 0): row, ("b", 0): row}, {("a", 0): {**row, "value": "51.0"}, ("c", 0): row}
    assert differences(one, one) == []
    assert differences(one, other) == [
        "a row 0, value: '50.0' by SLURM, '51.0' here",
        "b row 0: only by SLURM",
        "c row 0: only here",
    ]
