"""tools/make_tables.py as a reviewer runs it: without torch, with a check that can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from transfer.report.rows import Row, read_rows, write_rows

ROOT = Path(__file__).resolve().parent.parent
COMMAND = ROOT / "tools" / "make_tables.py"
ROW = Row(
    *("mec", "resnet18", "mini", "40", "ab" * 32, "online", "linear", "mini", "val", "linear-cached-lars"),
    *("torch", "top1", 45.2, "percent", True, 0, 1000, "last", "ok", "python -m transfer linear c.yaml"),
    *("cd" * 32, "0.1.0", "2 cores", 12.0),
)
HEAVY = "torch, torchvision, detectron2, mmcv"
WATCHED = f"""
import runpy, sys
{{before}}
sys.argv = {[str(COMMAND), "--check"]!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    status = end.code
found = [name for name in "{HEAVY}".split(", ") if name in sys.modules]
print(status, found)
"""


def make_tables(*words: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, str(COMMAND), *map(str, words)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """A measured file and the tables made with it."""
    measured = tmp_path / "runs" / "mec" / "linear" / "results.csv"
    write_rows(measured, [ROW, replace(ROW, seed=1, value=46.0)])
    done = make_tables("--measured", tmp_path / "runs", "--out", tmp_path / "tables", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "runs", tmp_path / "tables"


def test_committed_tables_are_what_the_committed_rows_say() -> None:
    done = make_tables("--check")
    assert done.returncode == 0, done.stderr


def test_check_agrees_right_after_writing(tables: tuple[Path, Path]) -> None:
    runs, out = tables
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert make_tables("--measured", runs, "--out", out, "--check").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_check_sees_missing_and_foreign_files(tables: tuple[Path, Path]) -> None:
    runs, out = tables
    (out / "extra.md").touch()
    done = make_tables("--measured", runs, "--out", out, "--check")
    assert (done.returncode, "extra.md: not a file" in done.stderr) == (1, True)
    (out / "extra.md").unlink()
    (out / "knn.tex").unlink()
    done = make_tables("--measured", runs, "--out", out, "--check")
    assert (done.returncode, "knn.tex: missing" in done.stderr) == (1, True)


def test_unusable_rows_stop_the_command_and_write_nothing(tables: tuple[Path, Path], tmp_path: Path) -> None:
    runs, _ = tables
    results = runs / "mec" / "linear" / "results.csv"
    results.write_text(results.read_text().replace("45.2", "145.2"))
    done = make_tables("--measured", runs, "--out", tmp_path / "other")
    assert done.returncode == 2
    assert f"{results}:2: value: '145.2' lies outside 0..100 percent" in done.stderr
    assert not (tmp_path / "other").exists()


def test_collect_makes_one_file_that_gives_the_same_tables(tables: tuple[Path, Path], tmp_path: Path) -> None:
    runs, out = tables
    joined = tmp_path / "mini.csv"
    assert make_tables("--collect", runs, "--into", joined).returncode == 0
    assert [row.value for row in read_rows(joined)] == [45.2, 46.0]
    assert make_tables("--measured", joined, "--out", out, "--check").returncode == 0
    assert make_tables("--collect", runs).returncode == 2


def run_watched(before: str) -> str:
    code = WATCHED.format(before=before)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]  # fmt: skip


def test_making_tables_imports_no_torch() -> None:
    assert run_watched("import transfer.report") == "0 []"


def test_the_watch_for_torch_can_fail() -> None:
    assert "'torch'" in run_watched("import torch")
