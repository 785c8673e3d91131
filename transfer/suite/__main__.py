"""Run a suite: every task on every backbone, then the tables.

    python -m transfer.suite configs/suite/mini.yaml
    python -m transfer.suite configs/suite/mini.yaml --backbone checkpoint_0099.pth.tar --seeds 0,1,2
    python -m transfer.suite configs/suite/mini.yaml --only detect --dry-run

Finished jobs (same backbone, configuration, seed and code) are skipped. Exit status 0 when every
job is done, 1 when one failed (the tables then say why), 2 for unusable input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from transfer.report.command import main as make_tables
from transfer.suite.backbones import prepare_backbones
from transfer.suite.plan import is_done, load_suite, plan
from transfer.suite.run import run_jobs
from transfer.tasks import TASKS


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m transfer.suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suite", type=Path, help="suite file under configs/suite/")
    parser.add_argument(
        "--backbone",
        type=Path,
        nargs="+",
        default=[],
        metavar="CKPT",
        help="backbone or checkpoint files to evaluate (default: the suite's own pre-training)",
    )
    parser.add_argument("--seeds", default="0", help="comma-separated seeds (default: 0)")
    parser.add_argument("--only", nargs="+", choices=list(TASKS), help="only these tasks")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/<suite name>)")
    parser.add_argument(
        "--num-gpus", type=int, default=1, metavar="N", help="for each job of a task that can share them"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the jobs and stop")
    args = parser.parse_args(argv)
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
        suite = load_suite(args.suite)
        chosen = [line.task for line in suite.tasks if args.only is None or line.task in args.only]
        if not chosen:
            raise ValueError(f"{args.suite}: has none of the tasks {', '.join(args.only)}")
        out = args.out or Path("runs") / suite.name
        if args.dry_run:
            source = ", ".join(map(str, args.backbone)) or suite.pretrain
            print(f"backbones: {source}" + (", and random ones" if suite.random else ""))
            for line in suite.tasks:
                if line.task in chosen:
                    print(f"{line.task} {line.config} seeds {args.seeds}")
            return 0
        planned = plan(suite, prepare_backbones(suite, args.backbone, out), seeds, out)
        jobs = [job for job in planned if job.task in chosen]
        print(f"{len(jobs)} jobs, {sum(map(is_done, jobs))} done before", flush=True)
        num_failed = run_jobs(jobs, args.num_gpus)
        # Only this plan's rows: the folder may hold runs of other backbones or older configurations.
        measured = [job.out / "results.csv" for job in planned if (job.out / "results.csv").exists()]
        if make_tables(["--measured", *map(str, measured), "--out", str(out / "tables")]) != 0:
            return 2
    except (FileNotFoundError, ValueError, RuntimeError, OmegaConfBaseException) as error:
        print(f"suite: {error}", file=sys.stderr)
        return 2
    if num_failed:
        print(f"suite: {num_failed} of {len(jobs)} jobs failed; run the same command to try them again")
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
