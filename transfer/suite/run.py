"""Run a suite from its command line's options: backbones, plan, jobs, tables."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf.errors import OmegaConfBaseException

from transfer.report.command import main as make_tables
from transfer.suite.backbones import expected_backbones, import_given, prepare_backbones
from transfer.suite.claims import claim
from transfer.suite.dry_run import print_plan
from transfer.suite.executors import run_jobs, submission_folder
from transfer.suite.job import Job, write_plan
from transfer.suite.local import Local
from transfer.suite.plan import Candidate, Suite, check_jobs, load_suite, plan, write_rows_without_values
from transfer.suite.progress import Progress
from transfer.suite.slurm import Slurm
from transfer.suite.state import (
    DONE,
    FAILED,
    INTERRUPTED,
    KEY_NAME,
    NOT_RUN,
    State,
    read_rows,
    state_of,
)
from transfer.suite.words import check_count, check_path, check_seeds, check_slurm_word, one_line
from transfer.trust import trusting

FULL = 10_000_000  # bytes; with less, a job that was interrupted most likely could not write


def run(args: argparse.Namespace) -> int:
    """Run what the options say; returns the exit status."""
    try:
        with trusting(args.trust_config):
            return _run(args)
    except (
        OSError,
        ValueError,
        RuntimeError,
        RecursionError,
        OmegaConfBaseException,
        yaml.YAMLError,
    ) as error:
        print(f"suite: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("suite: stopped; the same command goes on", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    seeds = [int(seed) for seed in args.seeds.split(",")] if args.seeds else []
    check_seeds(seeds, "--seeds")
    for option in ("num_gpus", "num_machines", "array_parallelism"):
        check_count(getattr(args, option), f"--{option.replace('_', '-')}")
    for path in args.backbone:
        check_path(path, "--backbone")
    suite = load_suite(args.suite)
    if args.only and not any(line.task in args.only for line in suite.tasks):
        raise ValueError(f"{args.suite}: has none of the tasks {', '.join(args.only)}")
    out = args.out or Path("runs") / suite.name
    check_path(out, "--out")
    executor = make_executor(args, suite, out)
    elsewhere = isinstance(executor, Slurm)

    def plan_with(candidates: Sequence[Candidate], promised: str = "") -> tuple[list[Job], list[Job]]:
        """All jobs, whose rows the tables are made of, and those of them that were asked for, checked."""
        planned = plan(
            suite,
            candidates,
            seeds,
            out,
            num_gpus=args.num_gpus,
            num_machines=args.num_machines,
            trust_config=args.trust_config,
            elsewhere=elsewhere,
        )
        jobs = [job for job in planned if not args.only or job.task in args.only]
        return planned, check_jobs(
            jobs, elsewhere=elsewhere, retry_failed=args.retry_failed, promised=promised
        )

    given = args.backbone if args.dry_run else import_given(args.backbone, out)
    # First as far as it can be told before hours of pre-training, for which nothing may then be able to run.
    planned, jobs = plan_with(expected_backbones(suite, given, out), suite.bundled_data)
    if args.dry_run:
        print_plan(jobs, executor.describe(jobs))
        return 0
    write_plan(out, jobs)
    if not all(job.obstacle for job in jobs):
        planned, jobs = plan_with(prepare_backbones(suite, given, out))
        write_plan(out, jobs)
    if args.retry_failed:
        retry_failed(jobs)
    for job in jobs:
        state_that_it_cannot_run(job)
    with Progress(jobs, suite.name) as progress:
        states = run_jobs(jobs, executor, progress.update, stop_file=executor.stop_file)
    tables = _write_tables(planned, jobs, states, out)
    return conclude(jobs, states, out) or (0 if tables else 2)


def _write_tables(planned: Sequence[Job], jobs: Sequence[Job], states: Sequence[State], out: Path) -> bool:
    try:
        for job, state in zip(jobs, states, strict=True):
            state_why_it_ended(job, state)
    except OSError as error:  # a full disk: what is unfinished is said all the same
        print(f"suite: {one_line(error)}", file=sys.stderr)
        return False
    measured = [job.folder / "results.csv" for job in planned if has_rows(job)]
    return not measured or make_tables(["--measured", *map(str, measured), "--out", str(out / "tables")]) == 0


def has_rows(job: Job) -> bool:
    """Whether the rows in its run folder are this job's, or say why it has none.

    The folder may hold measured ones of another configuration, other data or other code.
    """
    if state_of(job).name in (DONE, FAILED):
        return True
    rows = read_rows(job.folder / "results.csv")
    return bool(rows) and all(row["status"] != "ok" for row in rows)


def make_executor(args: argparse.Namespace, suite: Suite, out: Path) -> Local | Slurm:
    """The executor that the options ask for.

    Raises:
        ValueError: an option that is SLURM's alone, or a value that is not fit for a batch script.
    """
    folder = submission_folder(out)
    stop = None if args.keep_going else folder / "stop"
    parameters = dict(_pair(word) for word in args.slurm)
    for key in ("partition", "account"):
        if getattr(args, key) is not None:
            parameters[key] = getattr(args, key)
    if args.executor == "local":
        if parameters or args.num_machines > 1:
            raise ValueError("--partition, --account, --slurm and --num-machines are for --executor slurm")
        if args.jobs is not None and args.jobs < 1:
            raise ValueError(f"--jobs: expected at least 1, found {args.jobs}")
        return Local(folder.absolute(), args.jobs or 0, args.num_gpus, stop)
    for key, value in parameters.items():
        check_slurm_word(key, value, named=key in ("partition", "account"))
    minutes = minutes_of(args.time)
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise FileNotFoundError(f"--executor slurm: no {program} on PATH; start where SLURM is installed")
    return Slurm(folder.absolute(), suite.name, minutes, args.array_parallelism, parameters, stop)


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"--slurm: expected KEY=VALUE, found {word!r}")
    return key, value


def minutes_of(text: str) -> int:
    """Minutes of ``HH:MM:SS`` or of a number of minutes, rounded up.

    Raises:
        ValueError: neither of the two, or no time at all.
    """
    parts = text.split(":")
    if len(parts) in (1, 3) and all(part.isdecimal() for part in parts):
        numbers = [int(part) for part in parts]
        minutes = numbers[0] if len(parts) == 1 else numbers[0] * 60 + numbers[1] + (numbers[2] > 0)
        if minutes:
            return minutes
    raise ValueError(f"--time: expected HH:MM:SS or minutes, found {text!r}")


def retry_failed(jobs: Sequence[Job]) -> None:
    """Take their verdicts back from failed jobs, unless somebody works there."""
    for job in jobs:
        if state_of(job).name == FAILED:
            with claim(job.folder) as held:
                if held is not None:
                    (job.folder / KEY_NAME).unlink(missing_ok=True)


def state_that_it_cannot_run(job: Job) -> None:
    """Rows of a job that cannot run here say why; those of an earlier, finished run stay in its folder."""
    if state_of(job).name != NOT_RUN:
        return
    with claim(job.folder) as held:
        if held is not None and not (job.folder / KEY_NAME).exists():
            write_rows_without_values(job, "not-run", job.obstacle)


def state_why_it_ended(job: Job, state: State) -> None:
    """Rows of a job that was killed or crashed say so, for the tables; it will run again all the same."""
    if state.name != INTERRUPTED:
        return
    with claim(job.folder) as held:
        if held is not None and state_of(job).name not in (DONE, FAILED):
            write_rows_without_values(job, "failed", state.detail)


def conclude(jobs: Sequence[Job], states: Sequence[State], out: Path) -> int:
    """Say what is left to do; returns the exit status."""
    names = [state.name for state in states]
    failed, unfinished = names.count(FAILED), len(names) - names.count(DONE) - names.count(FAILED)
    unfinished -= names.count(NOT_RUN)
    if failed:
        print(f"suite: {failed} of {len(jobs)} jobs failed; --retry-failed runs them again")
    if unfinished:
        print(f"suite: {unfinished} of {len(jobs)} jobs are unfinished; the same command goes on")
        free = shutil.disk_usage(out).free
        if free < FULL:
            print(
                f"suite: {out}: no space left on device ({free / 1e6:.1f} MB free); make some first",
                file=sys.stderr,
            )
    if names.count(NOT_RUN):
        print(f"suite: {names.count(NOT_RUN)} of {len(jobs)} jobs cannot run here; --status says why")
    return 1 if failed or unfinished or not names.count(DONE) else 0
