"""What a worker makes of the ways in which a job's process can end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from suite_scene import ROOT, plan_stand_ins, processes, spawn, stand_in, starts

from transfer.suite.claims import claim
from transfer.suite.job import Job, Needs
from transfer.suite.run import retry_failed
from transfer.suite.state import (
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    WAITING,
    begin,
    read_rows,
    state_of,
)
from transfer.suite.work import Work, run_job

# Statements of a stand-in, in place of its rows; out is its run folder.
ROWS = "open(f'{{out}}/results.csv', 'w').write('status,wall_s\\n{status},2.0\\n'); os._exit({code})"
FAILS = ROWS.format(status="failed: ValueError: no", code=1)
FULL = ROWS.format(status="failed: OSError: [Errno 28] No space left on device", code=1)
KILLED = "os.kill(os.getpid(), 9)"
KILLED_AFTER_ROWS = ROWS.format(status="ok", code=9)
NO_ROWS = "os._exit(0)"
REFUSED = "print('log'); print('transfer knn: no such image\\n', flush=True); os._exit(2)"
WORKER = """\
import sys
from pathlib import Path
from transfer.suite.job import read_plan
from transfer.suite.work import Work
Work(tuple(read_plan(Path(sys.argv[1]))), None, eval(sys.argv[2]))()
"""


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return plan_stand_ins(tmp_path / "runs", 3)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make the jobs' processes stand-ins that begin with a statement."""

    def set_up(first: str) -> None:
        for name, value in stand_in(tmp_path, 0.0, first).items():
            monkeypatch.setenv(name, value)

    monkeypatch.chdir(ROOT)
    before = signal.getsignal(signal.SIGTERM)
    set_up("")
    yield set_up
    signal.signal(signal.SIGTERM, before)


def run_once(job: Job) -> bool:
    with claim(job.folder) as held:
        assert held is not None
        return run_job(job, held)


def test_jobs_are_run_once_in_their_order(
    jobs: list[Job], tmp_path: Path, stand: Callable[[str], None]
) -> None:
    Work(tuple(jobs))()
    assert [state_of(job).name for job in jobs] == [DONE] * 3
    Work(tuple(jobs))()
    assert starts(tmp_path) == [job.out for job in jobs]


def test_a_verdict_is_not_repeated_unless_asked_for(
    jobs: list[Job], tmp_path: Path, stand: Callable[[str], None]
) -> None:
    stand(FAILS)
    Work(tuple(jobs[:1]))()
    assert state_of(jobs[0]).name == FAILED
    assert state_of(jobs[0]).detail == "failed: ValueError: no"
    stand("")
    Work(tuple(jobs[:1]))()
    assert starts(tmp_path) == [jobs[0].out]
    retry_failed(jobs)
    assert state_of(jobs[0]).name == WAITING
    Work(tuple(jobs[:1]))()
    assert state_of(jobs[0]).name == DONE
    assert starts(tmp_path) == [jobs[0].out] * 2


def test_a_failed_job_that_runs_again_elsewhere_keeps_its_claim(
    jobs: list[Job], stand: Callable[[str], None]
) -> None:
    stand(FAILS)
    run_once(jobs[0])
    with claim(jobs[0].folder):
        retry_failed(jobs[:1])
        assert state_of(jobs[0]).name == FAILED


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (KILLED, "the process was killed by SIGKILL"),
        ("os._exit(9)", "the process ended with status 9 and no reason given"),
        (KILLED_AFTER_ROWS, "the process ended with status 9 and no reason given"),
        (NO_ROWS, "the process ended with status 0 and no reason given"),
        (FULL, "OSError: [Errno 28] No space left on device"),
    ],
)
def test_what_was_killed_or_crashed_or_had_no_room_runs_again(
    jobs: list[Job], tmp_path: Path, stand: Callable[[str], None], first: str, why: str
) -> None:
    stand(first)
    assert not run_once(jobs[0])
    state = state_of(jobs[0])
    assert (state.name, state.detail) == (INTERRUPTED, why)
    assert state.ended > time.time() - 60
    assert first == FULL or not (jobs[0].folder / "results.csv").exists()
    stand("")
    Work(tuple(jobs[:1]))()
    assert state_of(jobs[0]).name == DONE
    assert len(starts(tmp_path)) == 2


def test_input_that_a_task_refuses_is_a_verdict_in_its_words(
    jobs: list[Job], stand: Callable[[str], None]
) -> None:
    stand(REFUSED)
    assert not run_once(jobs[0])
    assert state_of(jobs[0]).name == FAILED
    rows = read_rows(jobs[0].folder / "results.csv")
    assert {row["status"] for row in rows} == {"failed: transfer knn: no such image"}
    assert {row["seed"] for row in rows} == {"0"}


def test_without_rows_there_is_no_verdict(jobs: list[Job], stand: Callable[[str], None]) -> None:
    """The configuration, from which the rows would be made, is gone as well."""
    stand(REFUSED)
    assert not run_once(replace(jobs[0], config="gone.yaml"))
    state = state_of(jobs[0])
    assert (state.name, state.detail) == (INTERRUPTED, "transfer knn: no such image")


def test_a_worker_does_without_pytorch(jobs: list[Job], tmp_path: Path) -> None:
    """Also where a job crashes and another one is refused."""
    variables = stand_in(tmp_path, 0.0, KILLED)
    code = f"{WORKER}\nprint('torch' in sys.modules, 'transfer.suite.work' in sys.modules)"
    out = str(tmp_path / "runs")
    done = subprocess.run(
        [sys.executable, "-c", code, out, "None"], env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "False True\n", done.stderr
    assert [state_of(job).name for job in jobs] == [INTERRUPTED] * 3


def test_results_of_an_earlier_run_are_gone_before_the_next(
    jobs: list[Job], stand: Callable[[str], None]
) -> None:
    names = ("results.csv", "items.csv", "run.json", "code.diff", "resume.txt", "key.txt", "mine.txt")
    begin_in = replace(jobs[0], key="older")
    begin_in.folder.mkdir(parents=True)
    begin(begin_in, "x")
    for name in names:
        (jobs[0].folder / name).write_text("old")
    (jobs[0].folder / "console.txt").symlink_to(jobs[0].folder / "mine.txt")
    stand(f"open(f'{{out}}/seen.txt', 'w').write(' '.join(sorted(os.listdir(out)))); {KILLED}")
    run_once(jobs[0])
    seen = (jobs[0].folder / "seen.txt").read_text().split()
    assert seen == [".claim", "console.txt", "mine.txt", "running.json", "seen.txt"]
    assert (jobs[0].folder / "mine.txt").read_text() == "old"


def test_checkpoints_of_the_same_job_stay(jobs: list[Job], stand: Callable[[str], None]) -> None:
    stand(KILLED)
    run_once(jobs[0])
    (jobs[0].folder / "resume.txt").write_text("same")
    run_once(jobs[0])
    assert (jobs[0].folder / "resume.txt").read_text() == "same"


def test_a_job_computes_with_the_threads_that_it_asked_for(
    jobs: list[Job], stand: Callable[[str], None]
) -> None:
    stand("print(os.environ['OMP_NUM_THREADS'], os.environ.get('MEC_TRANSFER_KEY'), flush=True)")
    run_once(replace(jobs[0], needs=Needs(cores=3)))
    assert (jobs[0].folder / "console.txt").read_text() == f"3 {jobs[0].key}\n"


def test_no_further_job_starts_after_a_failure_where_that_was_asked_for(
    jobs: list[Job], tmp_path: Path, stand: Callable[[str], None]
) -> None:
    stand(f"if seed == '1': {KILLED}")
    Work(tuple(jobs), tmp_path / "stop")()
    assert [state_of(job).name for job in jobs] == [DONE, INTERRUPTED, WAITING]
    Work(tuple(jobs))()
    assert [state_of(job).name for job in jobs] == [DONE, INTERRUPTED, DONE]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_job_ends_with_its_worker(jobs: list[Job], tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "runs"
    worker = spawn([sys.executable, "-c", WORKER, str(out), "None"], stand_in(tmp_path, 600))
    wait_for(lambda: starts(tmp_path))
    assert state_of(jobs[0]).name == RUNNING
    worker.send_signal(number)
    assert worker.wait(60) != 0
    wait_for(lambda: processes(out) == [])
    assert state_of(jobs[0]).name == INTERRUPTED
    with claim(jobs[0].folder) as held:
        assert held is not None
    assert len(starts(tmp_path)) == 1


@pytest.mark.parametrize("lives", [True, False])
def test_a_local_worker_ends_with_its_runner(jobs: list[Job], tmp_path: Path, lives: bool) -> None:
    out = tmp_path / "runs"
    runner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    about = f"({runner.pid}, __import__('transfer.suite.process').suite.process.birth({runner.pid}))"
    worker = spawn([sys.executable, "-c", WORKER, str(out), about], stand_in(tmp_path, 600))
    wait_for(lambda: starts(tmp_path))
    if lives:
        time.sleep(3)
        assert worker.poll() is None
        worker.kill()
    runner.kill()
    runner.wait()
    worker.wait(60)
    wait_for(lambda: processes(out) == [])
    assert len(starts(tmp_path)) == 1  # it did not go on to the next job
    assert state_of(jobs[0]).name == INTERRUPTED
