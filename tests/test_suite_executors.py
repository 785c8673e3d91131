"""How many jobs run at once, on which GPUs, and what a run does when its workers are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from suite_scene import RUNNER, plan_stand_ins, processes, spawn, stand_in, starts

from transfer.suite import executors, local
from transfer.suite.executors import run_jobs
from transfer.suite.job import Job, Needs
from transfer.suite.local import Local, places
from transfer.suite.state import DONE, INTERRUPTED, WAITING, State, begin, finish, read_beat, state_of

UNTIL = RUNNER.replace(
    "lambda states: None)",
    "lambda states: None, stop_file=stop)",
).replace("Local(submission_folder(out), int(sys.argv[2]))", "Local(folder, 1, stop_file=stop)")
NO_KEEP_GOING = UNTIL.replace(
    "states = ", "folder = submission_folder(out)\nstop = folder / 'stop'\nstates = "
)


def job_with(needs: Needs) -> Job:
    return Job("knn", "c.yaml", "mec", "resnet18", "b", 0, "out", "key", (), needs)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make this machine one of other size."""

    def set_up(cores: int = 8, memory_gb: float = 32.0, gpus: str = "") -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        monkeypatch.setattr(local, "_memory_gb", lambda: memory_gb)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)

    return set_up


@pytest.mark.parametrize(
    ("needs", "at_once"),
    [
        ([Needs()], 1),  # all cores
        ([Needs(cores=1)], 8),
        ([Needs(cores=3)], 2),
        ([Needs(cores=16)], 1),
        ([Needs(cores=1), Needs(cores=4)], 2),
        ([Needs(cores=1, memory_gb=8)], 3),  # 0.9 * 32 / 8
        ([Needs(cores=1, memory_gb=1000)], 1),
        ([], 1),
    ],
)
def test_as_many_at_once_as_cores_and_memory_carry(
    machine: Callable[..., None], needs: Sequence[Needs], at_once: int
) -> None:
    machine()
    assert places([job_with(need) for need in needs]) == at_once


@pytest.mark.parametrize(
    ("visible", "needs", "at_once"),
    [
        ("0,1,2,3", Needs(gpus=1), 4),
        ("2,5", Needs(gpus=1), 2),
        ("0,1,2,3", Needs(gpus=2), 2),
        ("0", Needs(gpus=2), 1),
        ("0,1,2,3", Needs(gpus=1, memory_gb=14), 2),
        ("", Needs(cores=2, gpus=1), 4),
    ],
)
def test_as_many_at_once_as_there_are_gpus(
    machine: Callable[..., None], visible: str, needs: Needs, at_once: int
) -> None:
    machine(gpus=visible)
    assert places([job_with(needs)]) == at_once


def test_gpus_that_have_no_number_are_refused(machine: Callable[..., None]) -> None:
    machine(gpus="GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES: expected numbers"):
        places([job_with(Needs(gpus=1))])


@pytest.mark.parametrize(
    ("visible", "gpus", "at_once", "expected"),
    [
        ("4,6", 1, 2, {"4", "6"}),
        ("4,6,7,9", 2, 2, {"4,6", "7,9"}),
        ("4", 1, 2, {"4"}),  # two were asked for: they share it
        ("", 1, 2, {""}),
    ],
)
def test_each_worker_sees_its_own_gpus(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    gpus: int,
    at_once: int,
    expected: set[str],
) -> None:
    jobs = plan_stand_ins(tmp_path / "runs", 4)
    for name, value in stand_in(tmp_path, 2.0).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    states = run_jobs(jobs, Local(tmp_path / "submitit", at_once, gpus), lambda _: None)
    assert [state.name for state in states] == [DONE] * 4
    seen = {line.rsplit(" ", 1)[1] for line in (tmp_path / "starts.txt").read_text().splitlines()}
    assert seen == expected


def test_without_keep_going_nothing_starts_after_a_failure(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    jobs = plan_stand_ins(out, 4)
    variables = stand_in(tmp_path, 0.0, "if seed == '1': os._exit(9)")
    assert spawn([sys.executable, "-c", NO_KEEP_GOING, str(out)], variables).wait(120) == 1
    assert [state_of(job).name for job in jobs] == [DONE, INTERRUPTED, WAITING, WAITING]
    assert spawn([sys.executable, "-c", RUNNER, str(out), "1"], variables).wait(120) == 1
    assert [state_of(job).name for job in jobs] == [DONE, INTERRUPTED, DONE, DONE]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_place_of_a_killed_worker_is_filled_while_the_others_work(tmp_path: Path) -> None:
    """Job 0 takes the first worker until the end of the test; job 1 takes the second one, which is killed."""
    out, gate = tmp_path / "runs", tmp_path / "gate"
    jobs = plan_stand_ins(out, 6)
    first = (
        f"while seed == '0' and not os.path.exists('{gate}'): time.sleep(0.02)\n"
        f"while seed == '1' and not os.path.exists('{out}/killed'): time.sleep(0.02)"
    )
    runner = spawn([sys.executable, "-c", RUNNER, str(out), "2"], stand_in(tmp_path, 0.0, first))
    wait_for(lambda: {jobs[0].out, jobs[1].out} <= set(starts(tmp_path)))
    (victim,) = (pid for pid in processes(out, "worker") if pid == beat_pid(jobs[1]))
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: state_of(jobs[1]).name != "running")
    (out / "killed").touch()
    wait_for(lambda: [state_of(job).name for job in jobs[1:]] == [DONE] * 5)
    assert state_of(jobs[0]).name == "running"
    gate.touch()
    assert runner.wait(120) == 0
    assert starts(tmp_path).count(jobs[0].out) == 1


def beat_pid(job: Job) -> int:
    about = read_beat(job)
    assert about is not None
    return about.pid


def test_a_run_waits_for_the_last_process_of_a_killed_worker(tmp_path: Path) -> None:
    """The job takes longer to end than the attempts at it would."""
    out = tmp_path / "runs"
    jobs = plan_stand_ins(out, 1)
    first = (
        f"import signal\nif not os.path.exists('{tmp_path}/first'):\n"
        f"    open('{tmp_path}/first', 'w').close()\n"
        "    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(8), os._exit(1)))\n    time.sleep(600)"
    )
    runner = spawn([sys.executable, "-c", RUNNER, str(out), "1"], stand_in(tmp_path, 0.0, first))
    wait_for((tmp_path / "first").exists)
    time.sleep(0.3)  # until it listens
    os.kill(beat_pid(jobs[0]), signal.SIGKILL)
    assert runner.wait(120) == 0
    assert starts(tmp_path) == [jobs[0].out] * 2


class Broken:
    """An executor whose workers are gone before they do anything."""

    def __init__(self, jobs_each: int = 0) -> None:
        self.started: list[int] = []
        self.jobs_each = jobs_each

    def start(self, jobs: Sequence[Job]) -> bool:
        self.started.append(len(jobs))
        for job in jobs[: self.jobs_each]:
            job.folder.mkdir(parents=True)
            begin(job, "x")
            (job.folder / "results.csv").write_text("status,wall_s\nok,1.0\n")
            finish(job)
        return True

    def describe(self, jobs: Sequence[Job]) -> str:
        return f"{len(jobs)} nowhere"

    def alive(self) -> set[str] | None:
        return set()

    def wait(self) -> None:
        pass

    def cancel(self) -> None:
        raise AssertionError("nothing was interrupted")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors.time, "sleep", lambda _: None)


@pytest.mark.usefixtures("quick")
def test_a_run_gives_up_on_workers_that_never_begin(tmp_path: Path) -> None:
    executor = Broken()
    states = run_jobs(plan_stand_ins(tmp_path, 2), executor, lambda _: None)
    assert states == [State(WAITING)] * 2
    assert executor.started == [2, 2, 2]


@pytest.mark.usefixtures("quick")
def test_a_run_does_not_give_up_while_jobs_get_done(tmp_path: Path) -> None:
    executor = Broken(jobs_each=1)
    states = run_jobs(plan_stand_ins(tmp_path, 8), executor, lambda _: None)
    assert [state.name for state in states] == [DONE] * 8
    assert executor.started == [8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.usefixtures("quick")
def test_what_cannot_run_or_failed_is_left_alone(tmp_path: Path) -> None:
    jobs = [replace(job, obstacle="no GPU") for job in plan_stand_ins(tmp_path, 2)]
    executor = Broken()
    run_jobs(jobs, executor, lambda _: None)
    assert executor.started == []


def test_ctrl_c_ends_the_workers_and_their_jobs(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    jobs = plan_stand_ins(out, 3)
    runner = spawn([sys.executable, "-c", RUNNER, str(out), "2"], stand_in(tmp_path, 600))
    wait_for(lambda: len(starts(tmp_path)) == 2)
    os.kill(runner.pid, signal.SIGINT)  # the runner alone: it ends the others
    assert runner.wait(60) != 0
    wait_for(lambda: processes(out) == [])
    assert sorted(state_of(job).name for job in jobs) == [INTERRUPTED, INTERRUPTED, WAITING]


def test_workers_end_with_a_run_that_breaks_where_ctrl_c_is_ignored(tmp_path: Path) -> None:
    """A shell's background processes inherit that; so do theirs."""
    out = tmp_path / "runs"
    plan_stand_ins(out, 3)
    breaks = "lambda states: 1 // ([state.name for state in states].count('running') < 2)"
    code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{RUNNER}"
    code = code.replace("lambda states: None", breaks)
    log = tmp_path / "log.txt"
    runner = spawn([sys.executable, "-c", code, str(out), "2"], stand_in(tmp_path, 600), log)
    assert runner.wait(60) == 1
    assert "ZeroDivisionError" in log.read_text()
    assert processes(out) == []


def test_importing_the_executors_needs_neither_submitit_nor_pytorch() -> None:
    code = "import sys, transfer.suite.executors; print({'torch', 'submitit'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
