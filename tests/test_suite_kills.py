"""Runner, worker, submitit's process and job are killed at random, and nothing is lost or done by halves."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import pytest
from suite_scene import RUNNER, plan_stand_ins, processes, rows_in, spawn, stand_in, starts, write_scene

ROLES = ("runner", "controller", "worker", "job")


@dataclass
class Chaos:
    """Kills processes of a grid while its runner, which it starts again and again, works.

    Attributes:
        out: run folder of the grid.
        start: starts a runner.
        total: jobs of the grid.
        wait_s: the longest wait before a kill, once it is due.
        grace_s: for all processes to be gone once the runner is.
        done: what was killed, in order.
    """

    out: Path
    start: Callable[[], Popen[bytes]]
    total: int
    wait_s: float
    grace_s: float
    seed: int
    done: list[str] = field(default_factory=list)

    def finished(self) -> int:
        return len(list(self.out.glob("*/*/key.txt")))

    def kill(self, count: int) -> None:
        """Kill ``count`` processes, spread over the grid: the i-th once i / count of its jobs are done."""
        draw = random.Random(self.seed)
        runner = self.start()
        while len(self.done) < count:
            if runner.poll() is not None:  # done but for jobs that were killed
                assert runner.returncode in (0, 1), self.done
                self._all_gone()
                runner = self.start()
            rows_in(self.out)  # none of them half a file at any moment
            if self.finished() < self.total * len(self.done) // count:
                time.sleep(0.02)
                continue
            time.sleep(draw.uniform(0, self.wait_s))
            role = draw.choice(ROLES)
            found = processes(self.out, role)
            if not found or runner.poll() is not None:
                continue
            number = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            with suppress(ProcessLookupError):
                if role == "runner" and number == signal.SIGINT:  # as Ctrl-C does
                    os.killpg(runner.pid, number)
                else:
                    os.kill(draw.choice(found), number)
                self.done.append(f"{role} {number.name} at {self.finished()}")
            if role == "runner":
                runner.wait(self.grace_s)
                self._all_gone()
                runner = self.start()
        self._end(runner)

    def _end(self, runner: Popen[bytes]) -> None:
        assert runner.wait(1800) in (0, 1)
        self._all_gone()
        again = self.start()
        assert again.wait(1800) == 0, self.done
        self._all_gone()

    def _all_gone(self) -> None:
        deadline = time.monotonic() + self.grace_s
        while left := processes(self.out):
            assert time.monotonic() < deadline, f"left after {self.done[-1:]}: {left}"
            time.sleep(0.05)


def nothing_half_written(out: Path) -> None:
    left = [path for path in out.glob("*/*/.*") if path.name != ".claim"]
    assert left == []
    assert list(out.glob("*/*/running.json")) == []


def test_stand_ins_survive_fifteen_kills(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    jobs = plan_stand_ins(out, 40)
    variables = stand_in(tmp_path, seconds=0.15)
    command = [sys.executable, "-c", RUNNER, str(out), "3"]
    chaos = Chaos(out, lambda: spawn(command, variables), 40, wait_s=0.3, grace_s=60, seed=0)
    chaos.kill(15)
    rows = rows_in(out)
    assert len(rows) == 40
    for job in jobs:
        found = rows[str(job.folder.relative_to(out))]
        assert [(row["metric"], row["value"]) for row in found] == [
            (metric, str(job.seed / 7)) for metric in ("top1", "top5")
        ]
        assert (job.folder / "key.txt").read_text() == f"{job.key}\n"
    nothing_half_written(out)
    begun = starts(tmp_path)
    assert set(begun) == {job.out for job in jobs}
    assert 40 < len(begun) <= 40 + 3 * 15  # what was done is not done again: a kill costs the jobs at work


@pytest.mark.slow
def test_thirty_kills_leave_the_rows_of_an_undisturbed_run(tmp_path: Path) -> None:
    scene = write_scene(tmp_path, configs=4, seeds=10)
    assert scene.start(log=tmp_path / "log.txt").wait(3600) == 0
    undisturbed = rows_in(scene.out)
    assert len(undisturbed) == 40
    assert len({row["value"] for rows in undisturbed.values() for row in rows}) > 2
    scene.out.rename(tmp_path / "undisturbed")

    chaos = Chaos(
        scene.out, lambda: scene.start(log=tmp_path / "log.txt"), 40, wait_s=5.0, grace_s=120, seed=0
    )
    chaos.kill(30)
    print("\n".join(chaos.done))
    assert rows_in(scene.out) == undisturbed
    nothing_half_written(scene.out)
    assert "tiny" in (scene.out / "tables/knn.md").read_text()
