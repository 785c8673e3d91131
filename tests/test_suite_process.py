"""Whether a worker lives: at once where it ran here, by its heartbeat where it ran elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from grid_scene import ROOT, job_at, start

from transfer.suite.job import Job
from transfer.suite.state import BEAT_NAME, DEAD_S, state_of


def test_a_worker_that_was_killed_here_is_interrupted_at_once(tmp_path: Path) -> None:
    job = job_at(tmp_path, 0)
    job.folder.mkdir(parents=True)
    code = (
        "import sys, time; from transfer.suite.job import Job; from transfer.suite.state import begin;"
        "begin(Job('knn', 'c', 'mec', 'r', 'b', 0, sys.argv[1], 'k0', ()), 'x'); print('at it', flush=True);"
        "time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, job.out], stdout=subprocess.PIPE, cwd=ROOT)
    assert worker.stdout is not None
    with worker.stdout:
        assert worker.stdout.readline() == b"at it\n"
        assert state_of(job).name == "running"
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # ended, and a zombie until wait()
        assert state_of(job).name == "interrupted"
        worker.wait()
    assert state_of(job).name == "interrupted"
    assert f"process {worker.pid}" in state_of(job).detail


def test_another_process_of_the_same_number_is_not_the_worker(tmp_path: Path) -> None:
    job = job_at(tmp_path, 0)
    start(job)
    assert state_of(job).name == "running"
    change_beat(job, birth="1")
    assert state_of(job).name == "interrupted"


def test_of_a_worker_elsewhere_only_the_heartbeat_tells(tmp_path: Path) -> None:
    job = job_at(tmp_path, 0)
    start(job)
    change_beat(job, kernel="another machine", birth="1", host="node7", pid=999_999_999)
    assert state_of(job).name == "running"
    long_ago = time.time() - DEAD_S - 1
    os.utime(job.folder / BEAT_NAME, (long_ago, long_ago))
    assert state_of(job).name == "interrupted"


def change_beat(job: Job, **changes: str | int) -> None:
    path = job.folder / BEAT_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
