"""Run a suite: every task on every backbone, then the tables.

    python -m transfer.suite configs/suite/mini.yaml
    python -m transfer.suite configs/suite/mini.yaml --backbone checkpoint_0099.pth.tar --seeds 0,1,2
    python -m transfer.suite configs/suite/mini.yaml --only detect --dry-run
    python -m transfer.suite configs/suite/mini.yaml --status
    python -m transfer.suite configs/suite/paper.yaml --backbone F --executor slurm --partition gpu \\
      --num-gpus 8 --time 24:00:00 --array-parallelism 4

Finished jobs (same backbone, configuration, seed, data and code) are skipped, killed ones run again,
failed ones too with --retry-failed. The same command may run several times at once, on one machine or on
several that share a disk: no job runs twice. Exit status 0 when every job that can run here is done, 1 when
one failed or is unfinished (the tables then say why) or none can run, 2 for unusable input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transfer.suite.words import check_name, one_line
from transfer.tasks import TASKS


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    # Imported here: the status of a grid must not wait for PyTorch.
    if args.status:
        from transfer.suite.status import show_status

        try:
            return show_status(args.out or default_out(args.suite), watch=sys.stdout.isatty())
        except (OSError, ValueError) as error:
            print(f"suite: {one_line(error)}", file=sys.stderr)
            return 2
    from transfer.suite.run import run

    return run(args)


def default_out(suite: Path) -> Path:
    """The run folder of a suite: ``runs/<its name>``.

    Raises:
        FileNotFoundError, ValueError: no such suite, or one without a name.
    """
    import yaml

    from transfer.plain_yaml import compose

    compose(suite)  # refuses what is not plain
    suite_file = yaml.safe_load(suite.read_text(encoding="utf-8"))
    if not isinstance(suite_file, dict) or "name" not in suite_file:
        raise ValueError(f"{suite}: expected a suite with a name, found none")
    return Path("runs") / check_name(str(suite_file["name"]))


def _parser() -> argparse.ArgumentParser:
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
    parser.add_argument("--seeds", default="", help="comma-separated seeds (default: the suite's)")
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=[], help="only these tasks")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/<suite name>)")
    parser.add_argument("--dry-run", action="store_true", help="print the jobs and what they need, and stop")
    parser.add_argument("--status", action="store_true", help="what has become of each job; starts nothing")
    parser.add_argument("--retry-failed", action="store_true", help="run failed jobs again")
    parser.add_argument(
        "--keep-going",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="start further jobs after one failed (default: yes)",
    )
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="execute mm configurations (Python) that lie outside this checkout",
    )
    jobs = parser.add_argument_group("how jobs run")
    jobs.add_argument(
        "--executor", choices=("local", "slurm"), default="local", help="where (default: this machine)"
    )
    jobs.add_argument(
        "--jobs", type=int, metavar="N", help="at once on this machine (default: as many as it carries)"
    )
    jobs.add_argument(
        "--num-gpus", type=int, default=1, metavar="N", help="for each job of a task that can share them"
    )
    jobs.add_argument(
        "--num-machines", type=int, default=1, metavar="M", help="of --num-gpus each (SLURM; default: 1)"
    )
    slurm = parser.add_argument_group("SLURM")
    slurm.add_argument("--partition", metavar="P")
    slurm.add_argument("--account", metavar="A")
    slurm.add_argument(
        "--time",
        default="24:00:00",
        metavar="T",
        help="for each job, HH:MM:SS or minutes (default: 24:00:00)",
    )
    slurm.add_argument(
        "--array-parallelism", type=int, default=256, metavar="N", help="jobs at once (default: 256)"
    )
    slurm.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other option of sbatch: qos=high, constraint=a100, mem_per_gpu=40G",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
