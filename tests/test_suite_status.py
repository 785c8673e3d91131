"""The status of a grid: from real run folders, on real terminals (pty), without PyTorch."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from grid_scene import ROOT, grid, job_at, on_terminal, read_until, run, start
from rich.cells import cell_len
from rich.console import Console

from transfer.suite.job import Job, write_plan
from transfer.suite.state import State
from transfer.suite.status import main, read_states
from transfer.suite.view import allot, view

HEAVY = ("torch", "numpy", "pandas", "omegaconf", "submitit")


def test_plain_status_names_what_runs_what_failed_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid(tmp_path)
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    counts = "1 done, 1 running, 1 failed, 1 interrupted, 1 waiting, 2 not-run"
    assert lines[0].startswith(f"{tmp_path}: {counts}; about ")
    shown = {line.strip(): lines[i + 1] for i, line in enumerate(lines[:-1]) if not line.startswith(" ")}
    assert shown["running"].startswith("  mec knn (knn_mini) seed 2  ")
    assert shown["running"].endswith("  epoch 2 loss 3.1")
    assert shown["failed"] == "  mec knn (knn_mini) seed 1  temperature must be positive, found -50"
    assert shown["interrupted"] == "  mec knn (knn_mini) seed 3  the process was killed by SIGKILL"
    assert shown["not-run"] == "  2 × sot  mmtrack not installed"


def test_exit_status_is_zero_where_nothing_failed(tmp_path: Path) -> None:
    jobs = [job_at(tmp_path, 0), job_at(tmp_path, 1)]
    write_plan(tmp_path, jobs)
    run(jobs[0])
    assert main([str(tmp_path)]) == 0
    run(jobs[1], "failed: x")
    assert main([str(tmp_path)]) == 1


@pytest.mark.parametrize("text", [None, "{", "[1]", '[{"task": "knn"}]', "[" * 100_000])
def test_without_a_plan_one_line_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        (tmp_path / "plan.json").write_text(text)
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert ("nothing was started" in error) == (text is None)
    assert ("start the suite again" in error) == (text is not None)


def test_json_holds_every_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = grid(tmp_path)
    assert main([str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {
        **{"done": 1, "running": 1, "failed": 1, "interrupted": 1, "waiting": 1, "not-run": 2}
    }
    assert [entry["out"] for entry in told["jobs"]] == [job.out for job in jobs]
    assert told["jobs"][0] | {"state": "done", "seconds": 31.0} == told["jobs"][0]


def test_what_was_done_is_not_read_again(tmp_path: Path) -> None:
    jobs = grid(tmp_path)
    before = read_states(jobs)
    (jobs[0].folder / "results.csv").unlink()
    run(jobs[1])
    after = read_states(jobs, before)
    assert [state.name for state in after[:2]] == ["done", "done"]
    assert read_states(jobs)[0].name == "waiting"


def heavy_modules(code: str) -> set[str]:
    """Of the heavy ones, those that are imported once ``code`` has run."""
    code += f"\nimport sys; print('loaded', *(set({HEAVY!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_neither_status_nor_progress_waits_for_pytorch(tmp_path: Path) -> None:
    grid(tmp_path)
    assert heavy_modules("import transfer.suite.status, transfer.suite.progress") == set()
    command = (
        f"from transfer.suite.__main__ import main; main(['x.yaml', '--status', '--out', {str(tmp_path)!r}])"
    )
    assert heavy_modules(command) == set()
    assert "omegaconf" in heavy_modules("import transfer.suite.plan")  # it would be noticed


def test_the_view_on_a_terminal_ends_when_all_is_settled(tmp_path: Path) -> None:
    job = job_at(tmp_path, 0)
    start(job, "epoch 1\n")
    write_plan(tmp_path, [job])
    with on_terminal("-m", "transfer.suite.status", str(tmp_path)) as (process, ours):
        read_until(ours, b"epoch 1")
        (job.folder / "console.txt").write_text("epoch 1\nepoch 2\n")
        read_until(ours, b"epoch 2")
        run(job)
        rest = read_until(ours, b"")
        assert process.wait(30) == 0
    assert b"1 done" in rest
    assert b"1/1" in rest


def test_ctrl_c_leaves_the_view_without_a_traceback(tmp_path: Path) -> None:
    grid(tmp_path)
    with on_terminal("-m", "transfer.suite.status", str(tmp_path)) as (process, ours):
        read_until(ours, b"Ctrl-C leaves this view")
        process.send_signal(signal.SIGINT)
        rest = read_until(ours, b"")
        assert process.wait(30) == 1  # one job failed
    assert b"Traceback" not in rest
    assert rest.rstrip().endswith(b"\x1b[?25h")  # the cursor is shown again


def test_a_suite_that_is_started_again_is_followed(tmp_path: Path) -> None:
    first, second = job_at(tmp_path, 0), job_at(tmp_path, 1)
    start(first, "epoch 1\n")
    write_plan(tmp_path, [first])
    with on_terminal("-m", "transfer.suite.status", str(tmp_path)) as (_, ours):
        read_until(ours, b"epoch 1")
        start(second, "another plan\n")
        write_plan(tmp_path, [second])
        read_until(ours, b"another plan")


def drawn(jobs: Sequence[Job], states: Sequence[State], width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(view(jobs, states, "mini", "31 s elapsed, about 8 min left", width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(20, 4), (40, 8), (80, 24), (200, 50)])
def test_thousands_of_jobs_fit_any_terminal(tmp_path: Path, width: int, height: int) -> None:
    jobs = [job_at(tmp_path, seed, method="方法[red]") for seed in range(5000)]
    names = ("done", "running", "failed", "interrupted", "waiting")
    states = [State(names[i % 5], "failed: " + "很長的 reason " * 30, 5.0) for i in range(5000)]
    lines = drawn(jobs, states, width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert "2,000/5,000" in lines[0] or width == 20
    if height >= 24:
        assert len(lines) == height
        assert any(line.startswith("failed (") and line.endswith("of 1,000)") for line in lines)
        assert any("方法[red] knn" in line for line in lines)  # as it is: no markup


def test_room_is_shared_and_the_first_sections_come_first() -> None:
    assert allot([3, 1000, 1], None) == [3, 1000, 1]
    assert allot([3, 1000, 1], 20) == [3, 20 - 3 - 3 - 1, 1]
    assert allot([3, 1000, 1], 4) == [1, 1, 0]
    assert allot([3, 1000, 1], 1) == [0, 0, 0]
