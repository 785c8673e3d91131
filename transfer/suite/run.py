"""Run a suite's jobs on this machine: one after the other, each in a process of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from transfer.evaluate import failures, load_config, to_rows
from transfer.report.items import items_path
from transfer.report.rows import read_rows, write_rows
from transfer.run_folder import KEY_NAME
from transfer.suite.plan import Job, is_done
from transfer.tasks import TASKS


def run_jobs(jobs: Sequence[Job], num_gpus: int = 1) -> int:
    """Run what is not done, go on after a failure, return the number of jobs that failed."""
    num_failed = 0
    for i, job in enumerate(jobs, 1):
        place = f"[{i:>{len(str(len(jobs)))}}/{len(jobs)}] {job.label}"
        if is_done(job):
            print(f"{place}: done before", flush=True)
            continue
        print(f"{place} … (progress: {job.out / 'console.txt'})", flush=True)
        start = time.perf_counter()
        ok = run_job(job, num_gpus)
        num_failed += not ok
        print(f"{place}: {'ok' if ok else 'FAILED'}, {time.perf_counter() - start:.0f} s", flush=True)
    return num_failed


def run_job(job: Job, num_gpus: int = 1) -> bool:
    """Run one job in a fresh process; its output goes to ``console.txt``, its rows to ``results.csv``.

    A process that dies (killed, crashed) leaves ``failed: …`` rows, whatever it had written.
    ``key.txt`` is written last, so a run folder with it is complete.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    results, key_path, key = job.out / "results.csv", job.out / KEY_NAME, job.key
    for leftover in (key_path, results, items_path(results)):
        leftover.unlink(missing_ok=True)
    arguments = [job.task, str(job.config_path), "--backbone", str(job.backbone.path)]
    arguments += ["--out", str(job.out), "--seed", str(job.seed)]
    if num_gpus > 1 and TASKS[job.task].shared:
        arguments += ["--num-gpus", str(num_gpus)]
    start = time.perf_counter()
    with (job.out / "console.txt").open("w") as console:
        code = subprocess.run(
            [sys.executable, "-m", "transfer", *arguments],
            stdout=console,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code != 0 and not (results.exists() and any(row.failed for row in read_rows(results))):
        config = load_config(TASKS[job.task], job.config_path, [f"seed={job.seed}"])
        measurements = failures(job.task, config, f"the process ended with status {code} and no reason given")
        command_line = shlex.join(["python", "-m", "transfer", *arguments])
        wall_s = time.perf_counter() - start
        items_path(results).unlink(missing_ok=True)  # written, but the rows that they belong to were not
        write_rows(results, to_rows(job.task, config, job.backbone, measurements, command_line, wall_s))
    if code == 0:
        temporary = key_path.with_name(f".{KEY_NAME}.{os.getpid()}")
        temporary.write_text(key + "\n")
        temporary.replace(key_path)
    return code == 0
