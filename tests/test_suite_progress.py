"""What a runner tells of its grid, the remaining time, the last lines of consoles; flat in memory."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from pathlib import Path

import pytest
from grid_scene import job_at, on_terminal, read_until, run, start

from transfer.suite import progress
from transfer.suite.job import Job, Needs, write_plan
from transfer.suite.progress import Progress
from transfer.suite.remaining import remaining_s, span
from transfer.suite.state import State
from transfer.suite.status import read_states
from transfer.suite.view import last_line


def test_lines_tell_each_event_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job_at(tmp_path, seed) for seed in range(12)]
    for job in jobs[:3]:
        run(job)
    states = read_states(jobs)
    with Progress(jobs, "mini") as shown:
        shown.update(states)
        states[3:5] = [State("running", "here, process 1", 1.0)] * 2
        shown.update(states)
        shown.update(states)
        states[3:7] = [
            State("done", "", 31.0),
            State("failed", "failed: no\nsuch \x1b[31mthing"),
            State("interrupted", "killed"),
            State("not-run", "no GPU"),
        ]
        shown.update(states)
    lines = capsys.readouterr().out.splitlines()
    name = "mec knn (knn_mini) seed"
    folder = tmp_path / "mec-12345678"
    assert lines[:-1] == [
        "3 of 12 done before",
        f"[ 4/12] {name} 3: started (progress: {folder / 'knn_mini-seed3/console.txt'})",
        f"[ 5/12] {name} 4: started (progress: {folder / 'knn_mini-seed4/console.txt'})",
        f"[ 4/12] {name} 3: ok, 31 s",
        f"[ 5/12] {name} 4: FAILED: no such \\x1b[31mthing (see {folder / 'knn_mini-seed4/console.txt'})",
        f"[ 6/12] {name} 5: interrupted: killed",
        f"[ 7/12] {name} 6: not-run: no GPU",
    ]
    assert lines[-1].startswith("mini: 4 done, 1 failed, 1 interrupted, 5 waiting, 1 not-run; 0 s elapsed")


def test_counts_come_once_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job_at(tmp_path, seed) for seed in range(2)]
    shown = Progress(jobs, "mini")
    states = [State("done", "", 40.0), State("running", "", 10.0)]
    shown.update(states)
    shown.update(states)
    assert ", about" not in capsys.readouterr().out
    monkeypatch.setattr(progress, "SUMMARY_S", -1.0)
    shown.update(states)
    assert capsys.readouterr().out == ("mini: 1 done, 1 running, 0 waiting; 0 s elapsed, about 30 s left\n")


def test_a_job_took_as_long_as_it_was_seen_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress([job_at(tmp_path, 0)], "mini")
    for state in (State("running", "", 9.0), State("done", "", 4.0), State("done", "", 4.0)):
        shown.update([state])
    assert ": ok, 9 s" in capsys.readouterr().out
    assert shown.before[0].seconds == 9


@pytest.mark.parametrize("drawable", [True, False])
def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawable: bool) -> None:
    jobs = [job_at(tmp_path, seed) for seed in range(200)]
    start(jobs[0], "epoch 1\n")
    monkeypatch.setattr(progress, "is_drawable", lambda: drawable)
    sizes = []
    with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink), Progress(jobs, "mini") as shown:
        tracemalloc.start()
        for i in range(300):
            states = [State("running", "", i)] + [State("failed", f"failed: {i}", i)] * (i % 150)
            shown.update([*states, *[State("waiting")] * (len(jobs) - len(states))])
            if i % 150 == 149:
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 100_000  # bytes; 300 states of 200 jobs would be 5 MB


def test_a_runner_on_a_terminal_draws_and_its_own_output_stays(tmp_path: Path) -> None:
    job = job_at(tmp_path, 0)
    start(job, "epoch 1\n")
    write_plan(tmp_path, [job])
    code = (
        "import sys; from pathlib import Path; from transfer.suite.job import read_plan;"
        "from transfer.suite.progress import Progress; from transfer.suite.state import state_of\n"
        "jobs = read_plan(Path(sys.argv[1]))\n"
        "with Progress(jobs, 'mini [red]') as progress:\n"
        "    progress.update([state_of(job) for job in jobs]); print('a word'); input()\n"
    )
    with on_terminal("-c", code, str(tmp_path)) as (process, ours):
        drawn = read_until(ours, b"a word")
        assert b"mini [red]" in drawn
        assert b"epoch 1" in drawn
        os.write(ours, b"\n")
        read_until(ours, b"")
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("one\ntwo\n\n  \n", "two"),
        ("10 %\r20 %\r30 %", "30 %"),
        ("\x1b[1;32mgreen\x1b[0m \x1b]0;title\x07text\x1b[2K\x1b[1A\n", "green text"),
        ("[bold]text[/bold] \u202ereversed\x9b1m\x00", "[bold]text[/bold] \\u202ereversed\\x9b1m\\x00"),
    ],
)  # fmt: skip
def test_the_last_line_of_a_console_is_one_line_without_controls(
    tmp_path: Path, text: str, line: str
) -> None:
    job = job_at(tmp_path, 0)
    start(job, text)
    assert last_line(job) == line


def test_only_the_end_of_a_console_is_read(tmp_path: Path) -> None:
    job = job_at(tmp_path, 0)
    start(job)
    with (job.folder / "console.txt").open("wb") as file:
        file.seek(1 << 32)  # sparse: to read all of it would take 4 GB
        file.write(b"\nepoch 3\n")
    tracemalloc.start()
    assert last_line(job) == "epoch 3"
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["nothing", "link", "pipe", "folder"])
def test_what_is_no_file_says_nothing_and_blocks_nobody(tmp_path: Path, kind: str) -> None:
    job = job_at(tmp_path, 0)
    job.folder.mkdir(parents=True)
    path = job.folder / "console.txt"
    if kind == "link":
        (tmp_path / "secret").write_text("secret\n")
        path.symlink_to(tmp_path / "secret")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    assert last_line(job) == ""
    assert len(os.listdir("/proc/self/fd")) == before


def test_remaining_time_follows_the_finished_jobs_of_a_configuration(tmp_path: Path) -> None:
    jobs = [job_at(tmp_path, seed) for seed in range(6)]
    states = [State("done", "", 20), State("done", "", 40), State("running", "", 10)]
    states += [State("waiting")] * 2 + [State("failed", "failed: x", 1)]
    assert remaining_s(jobs, states, 1) == (30 - 10) + 30 + 30
    assert remaining_s(jobs, states, 2) == (20 + 30 + 30) / 2
    assert remaining_s(jobs, states, 100) == 30  # no sooner than the longest job
    assert remaining_s(jobs, [State("done", "", 1)] * 6, 1) == 0


def test_remaining_time_of_what_never_ran_is_its_need_corrected(tmp_path: Path) -> None:
    knn, sot = job_at(tmp_path, 0), job_at(tmp_path, 1, task="sot")
    waiting = [State("done", "", 60), State("waiting")]
    assert remaining_s([knn, sot], [State("waiting")] * 2, 1) is None
    assert remaining_s([knn, sot], waiting, 1) == 60
    needs = [with_hours(knn, 0.05), with_hours(sot, 1.0)]
    assert remaining_s(needs, [State("waiting")] * 2, 1) == pytest.approx(1.05 * 3600)
    # 60 s where 180 s were expected: this machine is three times as fast
    assert remaining_s(needs, waiting, 1) == pytest.approx(3600 / 3)


def with_hours(job: Job, hours: float) -> Job:
    return Job(**{**vars(job), "needs": Needs(hours=hours)})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (31.4, "31 s"), (99.6, "2 min"), (480, "8 min"), (11_100, "3 h 05 min"), (1e6, "12 days")],
)
def test_spans_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert span(seconds) == text
