#!/usr/bin/env python3
"""What the suite itself takes for many trivial jobs: processor time, memory, and the time of --status.

    python benchmarks/suite_bookkeeping.py [--jobs 2000] [--at-once 32] [--seconds 2]

The jobs are kNN on a tiny set as python -m transfer.suite plans them; in place of each a process runs that
sleeps for ``--seconds`` and writes two rows. Processor time is what the kernel counts for the runner (with
start-up, planning and tables), for submitit's processes and for the workers, without the jobs' processes:
those of a worker are its children, which are counted apart. Beside it stands the jobs' time: how often a job
ran, times its seconds. Memory is resident (VmRSS), with a tenth and with all of the jobs done.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from machine import hardware  # noqa: E402
from suite_scene import Scene, processes, stand_in, starts, write_scene, write_template  # noqa: E402

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ROLES = ("runner", "controller", "worker")


def cpu_s(pid: int) -> float:
    """Processor time of a process, its children's not counted (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def rss_mb(pid: int) -> float:
    """Resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0]) / 1000


def watch(scene: Scene, runner: subprocess.Popen[bytes], num_jobs: int) -> dict[str, dict[int, float]]:
    """The processor time of each process of the suite until the runner has ended."""
    times: dict[str, dict[int, float]] = {role: {} for role in ROLES}
    ends = [1, num_jobs]  # of planning, and of the jobs
    marks = [num_jobs // 10, num_jobs - num_jobs // 50]  # before the last workers leave
    begun = time.perf_counter()
    while runner.poll() is None:
        found = {role: processes(scene.out, role) for role in ROLES}
        for role, pids in found.items():
            for pid in pids:
                with suppress(OSError, IndexError):  # it has just ended
                    times[role][pid] = cpu_s(pid)
        done = len(list(scene.out.glob("*/*/key.txt")))
        if ends and done >= ends[0]:
            part = "planning" if ends.pop(0) == 1 else "looking"
            times[part] = {0: sum(times["runner"].values()) - sum(times.get("planning", {}).values())}
        if marks and done >= marks[0]:
            marks.pop(0)
            with suppress(OSError, IndexError):
                most = {role: max(map(rss_mb, pids), default=0.0) for role, pids in found.items()}
                shown = ", ".join(f"{role} {megabytes:.1f}" for role, megabytes in most.items())
                print(f"{done} done after {time.perf_counter() - begun:.0f} s: resident MB at most: {shown}")
        time.sleep(1.0)
    return times


def time_status(scene: Scene, repeats: int = 5) -> list[float]:
    """Seconds that the whole command takes."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([*scene.command(), "--status"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return times


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    print(hardware())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = write_scene(folder, configs=1, seeds=args.jobs)
        write_template(scene, folder / "rows.csv")
        start = time.perf_counter()
        with (folder / "log.txt").open("wb") as log:
            runner = subprocess.Popen(
                scene.command("--jobs", str(args.at_once)),
                cwd=ROOT,
                env={**stand_in(folder, args.seconds), "STAND_IN_ROWS": str(folder / "rows.csv")},
                stdout=log,
                stderr=log,
            )
            times = watch(scene, runner, args.jobs)
        assert runner.returncode == 0, (folder / "log.txt").read_text()[-2000:]
        ran = starts(folder)
        assert len(ran) == len(set(ran)) == args.jobs
        jobs_s = len(ran) * args.seconds
        print(
            f"{args.jobs} jobs of {args.seconds:g} s, {args.at_once} at once: {jobs_s:.0f} s of jobs in "
            f"{time.perf_counter() - start:.0f} s"
        )
        seconds = {role: sum(each.values()) for role, each in times.items()}
        parts = {
            "runner: start and plan": seconds["planning"],
            "runner: while jobs ran": seconds["looking"],
            f"{len(times['controller'])} of submitit's": seconds["controller"],
            f"{len(times['worker'])} workers": seconds["worker"],
        }
        parts["together"] = sum(parts.values())
        parts["runner: tables, page, figures"] = seconds["runner"] - seconds["planning"] - seconds["looking"]
        for what, took in parts.items():
            print(f"{what:<30} {took:7.2f} s {took / jobs_s:7.3%} {took / args.jobs * 1000:6.2f} ms a job")
        status = time_status(scene)
        print(f"--status     {min(status):.3f} to {max(status):.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
