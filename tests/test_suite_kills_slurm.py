"""On SLURM, too: runner, worker, job and node daemon are killed at random, and every row is there once."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from slurm import Slurm
from suite_scene import RUNNER, plan_stand_ins, processes, rows_in, spawn, stand_in, starts

from transfer.suite.job import Needs, write_plan

KILLS, JOBS = 30, 40
ROLES = ("runner", "worker", "job", "daemon")
ON_SLURM = RUNNER.replace("suite.local import Local", "suite.slurm import Slurm").replace(
    "Local(submission_folder(out), int(sys.argv[2]))", "Slurm(submission_folder(out), 'kills', 30, 4)"
)


@pytest.fixture
def cluster() -> Iterator[Slurm]:
    with tempfile.TemporaryDirectory() as folder, Slurm(Path(folder) / "cluster", nodes=2, cpus=2) as started:
        yield started


@pytest.mark.slurm
@pytest.mark.slow
def test_thirty_kills_on_slurm_leave_every_row_once(tmp_path: Path, cluster: Slurm) -> None:
    out = tmp_path / "runs"
    jobs = [replace(job, needs=Needs(cores=1)) for job in plan_stand_ins(out, JOBS)]
    write_plan(out, jobs)
    changes = {name: value for name, value in cluster.env.items() if os.environ.get(name) != value}
    variables = {**stand_in(tmp_path, seconds=1.5), **changes}
    command = [sys.executable, "-c", ON_SLURM, str(out)]
    draw, done = random.Random(0), []
    runner = spawn(command, variables, tmp_path / "log.txt")
    while len(done) < KILLS:
        rows_in(out)  # none of them half a file at any moment
        if runner.poll() is not None:
            runner = spawn(command, variables, tmp_path / "log.txt")
        finished = len(list(out.glob("*/*/key.txt")))
        if finished < JOBS * len(done) // KILLS:
            time.sleep(0.05)
            continue
        time.sleep(draw.uniform(0, 1.5))
        role = draw.choice(ROLES)
        if role == "daemon":
            node = draw.randrange(2)
            cluster.stop_node(node, signal.SIGKILL)
            time.sleep(draw.uniform(0, 3))
            cluster.start_node(node)
        else:
            found = processes(out, role) if role != "runner" else [runner.pid]
            if not found:
                if finished == JOBS:
                    break
                continue
            with suppress(ProcessLookupError):
                os.kill(draw.choice(found), draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
        done.append(f"{role} at {finished}")
    print("\n".join(done))
    for _ in range(5):
        if runner.wait(900) == 0:
            break
        runner = spawn(command, variables, tmp_path / "log.txt")
    assert runner.returncode == 0, (tmp_path / "log.txt").read_text()
    rows = rows_in(out)
    assert len(rows) == JOBS
    for job in jobs:
        found_rows = rows[str(job.folder.relative_to(out))]
        assert [row["value"] for row in found_rows] == [str(job.seed / 7)] * 2
        assert (job.folder / "key.txt").read_text() == f"{job.key}\n"
    assert list(out.glob("*/*/running.json")) == []
    assert set(starts(tmp_path)) == {job.out for job in jobs}
    assert len(done) == KILLS
