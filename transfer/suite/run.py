"""Run a suite on this machine: one job after the other, each in a process of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from transfer.backbone.contract import Backbone, read_backbone
from transfer.backbone.sources import import_checkpoint, write_random
from transfer.evaluate import failures, load_config, to_rows
from transfer.report.rows import write_rows
from transfer.suite.plan import Job, Suite, is_done
from transfer.tasks import TASKS


def prepare_backbones(suite: Suite, checkpoints: Sequence[Path], out: Path) -> list[Backbone]:
    """The backbones to evaluate: those given, or else the suite's own pre-training, and a random one.

    Raises:
        FileNotFoundError, ValueError: a checkpoint that cannot be used.
        RuntimeError: pre-training failed; its own message stands above.
    """
    if suite.bundled_data:
        from transfer.data.mini.build import build

        build(Path(suite.bundled_data))
    paths = [_contract_file(path, out) for path in checkpoints]
    if not paths and suite.pretrain:
        run_dir = out / "pretrain"
        command = [sys.executable, "-m", "pretrain", suite.pretrain, f"out={run_dir}"]
        print(f"pre-training: {shlex.join(command[1:])}", flush=True)
        if subprocess.run(command, check=False).returncode != 0:
            raise RuntimeError(f"pre-training by {suite.pretrain} failed; the same command resumes it")
        paths.append(run_dir / "backbone.safetensors")
    if suite.random_arch:
        random_path = out / "backbones" / f"random-{suite.random_arch}.safetensors"
        write_random(random_path, suite.random_arch, seed=0)
        paths.append(random_path)
    return [read_backbone(path) for path in paths]


def run_jobs(jobs: Sequence[Job]) -> int:
    """Run what is not done, go on after a failure, return the number of jobs that failed."""
    num_failed = 0
    for i, job in enumerate(jobs, 1):
        place = f"[{i:>{len(str(len(jobs)))}}/{len(jobs)}] {job.label}"
        if is_done(job):
            print(f"{place}: done before", flush=True)
            continue
        print(f"{place} …", flush=True)
        start = time.perf_counter()
        ok = run_job(job)
        num_failed += not ok
        state = "ok" if ok else f"FAILED, see {job.out / 'console.txt'}"
        print(f"{place}: {state}, {time.perf_counter() - start:.0f} s", flush=True)
    return num_failed


def run_job(job: Job) -> bool:
    """Run one job in a fresh process; its output goes to ``console.txt``, its rows to ``results.csv``.

    A process that dies without rows (killed, crashed) leaves ``failed: …`` rows. ``key.txt`` is
    written last, so a run folder with it is complete.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    results, key_path = job.out / "results.csv", job.out / "key.txt"
    key_path.unlink(missing_ok=True)
    results.unlink(missing_ok=True)
    arguments = [job.task, str(job.config_path), "--backbone", str(job.backbone.path)]
    arguments += ["--out", str(job.out), "--seed", str(job.seed)]
    start = time.perf_counter()
    with (job.out / "console.txt").open("w") as log:
        code = subprocess.run(
            [sys.executable, "-m", "transfer", *arguments], stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    if not results.exists():
        config = load_config(TASKS[job.task], job.config_path, [f"seed={job.seed}"])
        reason = f"the process ended with status {code} and no rows"
        command_line = shlex.join(["python", "-m", "transfer", *arguments])
        wall_s = time.perf_counter() - start
        measurements = failures(job.task, config, reason)
        write_rows(results, to_rows(job.task, config, job.backbone, measurements, command_line, wall_s))
    if code == 0:
        temporary = key_path.with_name(f".{key_path.name}.{os.getpid()}")
        temporary.write_text(job.key + "\n")
        temporary.replace(key_path)
    return code == 0


def _contract_file(path: Path, out: Path) -> Path:
    if path.suffix == ".safetensors":
        return path
    imported = out / "backbones" / f"{path.name}.safetensors"
    import_checkpoint(path, imported)
    return imported
