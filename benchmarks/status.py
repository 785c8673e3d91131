#!/usr/bin/env python3
"""Time of ``python -m transfer.suite.status`` on a grid of many jobs, start of Python included.

    python benchmarks/status.py [--jobs 2000]

Of fifty jobs one waits, one runs, one was interrupted, two failed, the others are done. The best and the
worst of ``--repeats`` are shown, and how long the states and the plan alone take to read. Where jobs run on
every core, which is when one asks, the clock shows more than the processor.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from transfer.suite.job import Job, read_plan, write_plan  # noqa: E402
from transfer.suite.state import begin, finish, give_up  # noqa: E402
from transfer.suite.status import read_states  # noqa: E402

COLUMNS = (
    "method,arch,pretrain_data,pretrain_epochs,backbone_sha256,branch,task,dataset,split,protocol,backend,metric,"
    "value,unit,higher_is_better,seed,n,selection,status,source,config_sha256,code_version,hardware,wall_s"
)
ROW = (
    f"mec,resnet18,mini,40,{'0' * 64},,knn,mini,val,knn-k20,torch,top1,43.7,percent,true,0,2000,last,STATUS,"
    f"python -m transfer knn configs/classify/knn_mini.yaml --seed 0,{'0' * 64},0.1.0,2 cores,31.0"
)


def write_grid(out: Path, num_jobs: int) -> None:
    """Run folders as workers leave them."""
    config = "configs/classify/knn_mini.yaml"
    jobs = [
        Job(
            "knn",
            config,
            "mec",
            "resnet18",
            "b",
            i,
            str(out / f"mec-1/knn_mini-seed{i}"),
            f"{i:064}",
            ("knn",),
        )
        for i in range(num_jobs)
    ]
    for i, job in enumerate(jobs):
        kind = i % 50
        if kind == 0:  # waits
            continue
        job.folder.mkdir(parents=True)
        begin(job, "python -m transfer knn")
        (job.folder / "console.txt").write_text("mec knn mini val top1: 43.70\n")
        if kind == 1:
            give_up(job, "the process was killed by SIGKILL")
        elif kind > 2:  # 2 runs
            row = ROW.replace("STATUS", "failed: no memory" if kind < 5 else "ok")
            (job.folder / "results.csv").write_text(f"{COLUMNS}\n{row}\n{row}\n")
            finish(job)
    write_plan(out, jobs)


def show(what: str, repeats: int, work: Callable[[], object]) -> None:
    """Print the times of ``work``."""
    times, on_processor = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), _processor_s()
        work()
        times.append(time.perf_counter() - start)
        on_processor.append(_processor_s() - used)
    print(f"{what:<28} {min(times):6.3f} to {max(times):.3f} s, of the processor {min(on_processor):.3f} s")


def _processor_s() -> float:
    """Seconds of the processor, of this process and of the children that have ended."""
    return sum(os.times()[:4])


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_grid(out, args.jobs)
        command = [sys.executable, "-m", "transfer.suite.status", str(out)]
        print(f"{args.jobs:,} jobs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        show("status, the whole command", args.repeats, lambda: _run(command))
        show("Python and nothing else", args.repeats, lambda: _run([sys.executable, "-c", ""]))
        jobs = read_plan(out)
        states = read_states(jobs)
        show("plan", args.repeats, lambda: read_plan(out))
        show("states, for the first time", args.repeats, lambda: read_states(jobs))
        show("states, again", args.repeats, lambda: read_states(jobs, states))
    return 0


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode in (0, 1), done


if __name__ == "__main__":
    sys.exit(main())
