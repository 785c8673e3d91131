"""The disk fills in the middle of a grid: it is said, nothing is lost, and the rest follows later."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from suite_scene import processes, rows_in, spawn, stand_in, write_scene, write_template

from transfer.suite.job import read_plan
from transfer.suite.state import DONE, state_of

SIZE_MB = 600  # a little more than the doctor asks for
# Of the third job, before it does anything.
FILL = """\
if seed == '2' and not os.path.exists('{disk}/filler'):
    with open('{disk}/filler', 'wb', buffering=0) as file:
        try:
            while True: file.write(bytes(1 << 16))
        except OSError: pass
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_grid_goes_on_once_there_is_room_again(disk: Path, tmp_path: Path) -> None:
    scene = replace(write_scene(tmp_path / "scene", configs=1, seeds=5), out=disk / "runs")
    write_template(scene, tmp_path / "rows.csv")
    log = tmp_path / "log.txt"
    variables = stand_in(tmp_path, 0.1, FILL.format(disk=disk))
    variables["STAND_IN_ROWS"] = str(tmp_path / "rows.csv")
    status = spawn(scene.command("--jobs", "1"), variables, log).wait(600)
    said = log.read_text()
    assert status == 1, said
    assert "Traceback" not in said
    assert "suite: 3 of 5 jobs are unfinished; the same command goes on\n" in said
    assert f"suite: {scene.out}: no space left on device (0.0 MB free); make some first\n" in said
    assert processes(scene.out) == []
    jobs = read_plan(scene.out)
    assert [state_of(job).name for job in jobs[:2]] == [DONE, DONE]
    before = {name: rows for name, rows in rows_in(scene.out).items() if rows}
    times = [(job.folder / "results.csv").stat().st_mtime_ns for job in jobs[:2]]

    (disk / "filler").write_bytes(b"")
    assert spawn(scene.command("--jobs", "1"), variables, log).wait(600) == 0, log.read_text()
    assert [state_of(job).name for job in jobs] == [DONE] * 5
    assert [(job.folder / "results.csv").stat().st_mtime_ns for job in jobs[:2]] == times
    after = rows_in(scene.out)
    assert len(after) == 5
    assert before.items() <= after.items()
    assert [path for path in scene.out.glob("*/*/.*") if path.name != ".claim"] == []
    assert (scene.out / "tables/knn.md").is_file()
