"""What has become of a job is told by its files, and by who holds its folder."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from suite_scene import environment, plan_stand_ins

from transfer import keys, run_folder
from transfer.suite import child, state
from transfer.suite.claims import alone, claim
from transfer.suite.job import Job
from transfer.suite.state import (
    DEAD_S,
    DONE,
    FAILED,
    INTERRUPTED,
    NOT_RUN,
    RUNNING,
    WAITING,
    begin,
    finish,
    forget,
    give_up,
    read_beat,
    state_of,
)

ROWS = "method,status,wall_s\nmec,ok,31.0\nmec,ok,31.0\n"
HOLD = """\
import sys, time
from pathlib import Path
from transfer.suite.claims import claim
with claim(Path(sys.argv[1])) as held:
    print(held is not None, flush=True)
    time.sleep(600)
"""
HOLD_BY_A_CHILD = """\
import subprocess, sys, time
from pathlib import Path
from transfer.suite.claims import claim
with claim(Path(sys.argv[1])) as held:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[held.fileno()])
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (job,) = plan_stand_ins(tmp_path, 1)
    job.folder.mkdir(parents=True)
    return job


def write_rows(job: Job, text: str) -> None:
    (job.folder / "results.csv").write_text(text)


def run(job: Job, text: str = ROWS) -> None:
    begin(job, "python -m transfer knn")
    write_rows(job, text)
    finish(job)


def test_a_job_is_waiting_then_running_then_done(job: Job) -> None:
    assert state_of(job) == state.State(WAITING)
    begin(job, "python -m transfer knn")
    now = state_of(job)
    assert (now.name, now.ended) == (RUNNING, 0.0)
    assert f"process {os.getpid()}" in now.detail
    write_rows(job, ROWS)
    assert state_of(job).name == RUNNING  # rows alone say nothing
    finish(job)
    assert state_of(job) == state.State(DONE, "", 31.0)
    begin(job, "python -m transfer knn")
    assert state_of(job).name == RUNNING  # again: what an earlier run left is taken back


def test_the_keys_of_suite_and_run_folder_lie_in_one_file() -> None:
    assert state.KEY_NAME == run_folder.KEY_NAME
    assert child.KEY_VARIABLE == keys.KEY_VARIABLE


DAMAGE: dict[str, Callable[[Job], object]] = {
    "another key": lambda job: (job.folder / "key.txt").write_text("other\n"),
    "half a key": lambda job: (job.folder / "key.txt").write_text(job.key[:-1]),
    "no key": lambda job: (job.folder / "key.txt").unlink(),
    "key is a folder": lambda job: ((job.folder / "key.txt").unlink(), (job.folder / "key.txt").mkdir()),
    "no rows": lambda job: (job.folder / "results.csv").unlink(),
    "empty rows": lambda job: write_rows(job, ""),
    "header only": lambda job: write_rows(job, ROWS[:21]),
    "half a row": lambda job: write_rows(job, ROWS[:-4]),
    "half a number": lambda job: write_rows(job, ROWS[:-2]),
    "binary": lambda job: (job.folder / "results.csv").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_not_done(job: Job, damage: str) -> None:
    run(job)
    assert state_of(job).name == DONE
    DAMAGE[damage](job)
    assert state_of(job).name == WAITING


def test_a_job_of_another_key_or_without_one_is_not_done(job: Job) -> None:
    run(job)
    assert state_of(replace(job, key="other")).name == WAITING
    assert state_of(replace(job, key="")).name == WAITING


def test_a_failed_job_says_why(job: Job) -> None:
    run(job, "status,wall_s\nok,2.0\nfailed: ValueError: no,2.0\n")
    assert state_of(job) == state.State(FAILED, "failed: ValueError: no", 2.0)
    write_rows(job, "status,wall_s\nnot-run: too few images,2.0\n")
    assert state_of(job).name == DONE  # a number that cannot be is no failure


def test_a_job_that_cannot_run_is_stopped_unless_it_was_done_elsewhere(job: Job) -> None:
    stopped = replace(job, obstacle="mmtrack is not installed")
    assert state_of(stopped) == state.State(NOT_RUN, "mmtrack is not installed")
    run(job)
    assert state_of(stopped).name == DONE


def test_a_worker_that_ended_leaves_an_interrupted_job(job: Job) -> None:
    code = (
        "import sys; from pathlib import Path; from transfer.suite.job import read_plan; "
        "from transfer.suite.state import begin; begin(read_plan(Path(sys.argv[1]))[0], 'x')"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(job.folder.parents[1])], check=True, env=environment(), timeout=60
    )
    assert state_of(job).name == INTERRUPTED
    assert "has ended" in state_of(job).detail
    begin(job, "x")
    assert state_of(job).name == RUNNING


def test_a_worker_elsewhere_counts_as_dead_once_its_heart_stops(job: Job) -> None:
    begin(job, "x")
    about = read_beat(job)
    assert about is not None
    state._write(job, replace(about, host="elsewhere", kernel="another", pid=2**22, birth="1"))
    assert state_of(job).name == RUNNING
    then = time.time() - DEAD_S - 5
    os.utime(job.folder / state.BEAT_NAME, (then, then))
    assert state_of(job) == state.State(INTERRUPTED, "no sign of life from elsewhere, process 4194304")
    state.beat(job)
    assert state_of(job).name == RUNNING


def test_what_was_given_up_tells_how_and_when(job: Job) -> None:
    begin(job, "x")
    before = time.time()
    give_up(job, "the process was killed by SIGKILL")
    now = state_of(job)
    assert (now.name, now.detail) == (INTERRUPTED, "the process was killed by SIGKILL")
    assert before <= now.ended <= time.time()
    forget(job)
    assert state_of(job).name == WAITING


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', "[" * 100_000, "null"])
def test_a_heartbeat_that_is_none_of_ours_is_nobodys(job: Job, text: str) -> None:
    (job.folder / state.BEAT_NAME).write_text(text)
    assert state_of(job).name == WAITING
    state.beat(job)


@contextmanager
def holder(code: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that holds a folder, and the first line that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def is_free(folder: Path) -> bool:
    with claim(folder) as held:
        return held is not None


def wait_until_free(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not is_free(folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_folder_is_held_by_one_process_until_it_is_killed(tmp_path: Path) -> None:
    with holder(HOLD, tmp_path / "a/b") as (process, said):
        assert said == "True"
        assert not is_free(tmp_path / "a/b")
        assert is_free(tmp_path / "a/c")
        process.kill()
        process.wait()
        assert is_free(tmp_path / "a/b")


def test_within_one_process_a_folder_is_held_once(tmp_path: Path) -> None:
    with claim(tmp_path) as held:
        assert held is not None
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


def test_the_child_of_a_killed_worker_goes_on_holding_the_folder(tmp_path: Path) -> None:
    with holder(HOLD_BY_A_CHILD, tmp_path) as (process, child):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_free(tmp_path)
        os.kill(int(child), signal.SIGKILL)
        wait_until_free(tmp_path)


def test_a_job_runs_until_its_last_process_has_ended(job: Job) -> None:
    """A worker was killed, and its job takes its time to end: nobody may begin it again yet."""
    code = HOLD_BY_A_CHILD.replace(
        "    print(",
        "    from transfer.suite.job import read_plan\n"
        "    from transfer.suite.state import begin\n"
        "    begin(read_plan(Path(sys.argv[1]).parents[1])[0], 'x')\n"
        "    print(",
    )
    with holder(code, job.folder) as (process, child):
        process.kill()
        process.wait()
        now = state_of(job)
        assert now.name == RUNNING
        assert f"the job of process {process.pid}, which has ended" in now.detail
        os.kill(int(child), signal.SIGKILL)
        wait_until_free(job.folder)
        assert state_of(job).name == INTERRUPTED


def test_who_waits_is_told_and_goes_on_when_the_other_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with alone(tmp_path, "waiting"):
        pass
    assert capsys.readouterr().out == ""
    code = HOLD.replace("600", "0.5")
    with holder(code, tmp_path):
        start = time.monotonic()
        with alone(tmp_path, "waiting"):
            assert time.monotonic() - start > 0.2
    assert capsys.readouterr().out == "waiting\n"


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match=r"no locks .* --out"), claim(tmp_path):
        pass


def test_a_link_in_the_claims_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.claim").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"), claim(tmp_path / "a"):
        pass
    assert not (tmp_path / "target").exists()
