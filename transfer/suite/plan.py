"""A suite: which tasks run, on which backbones, with which seeds; from that, its jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from transfer import __version__
from transfer.backbone.contract import Backbone, BackboneInfo, read_backbone
from transfer.evaluate import check_protocol, failures, load_config, to_rows
from transfer.keys import job_key
from transfer.plain_yaml import load_yaml
from transfer.report.rows import write_rows
from transfer.suite.job import Job, short_name
from transfer.suite.needs import needs_of
from transfer.suite.preflight import try_packages, unset_variable, what_stops
from transfer.suite.state import DONE, FAILED, state_of
from transfer.suite.words import as_folder, as_word, check_inside, check_name, check_path, check_seeds
from transfer.tasks import TASKS


@dataclass
class TaskConfig:
    """One line of a suite: a task id, its configuration file, and what is not as in the rest of the suite."""

    task: str = MISSING
    config: str = MISSING
    seeds: list[int] = field(default_factory=list)  # in place of the suite's
    supervised: bool = True  # False: of the supervised backbone this would say nothing


@dataclass
class Suite:
    """A suite file."""

    name: str = MISSING
    tasks: list[TaskConfig] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    bundled_data: str = ""  # where to build the bundled set; empty when no task needs it
    pretrain: str = ""  # recipe of the backbone to train when none is given
    random: bool = True  # also evaluate a random backbone of the same arch
    supervised: str = ""  # also evaluate this one: a checkpoint, or a configuration that trains it
    cores: int = 0  # threads of each job; 0: all of the machine's
    memory_gb: float = 0.0  # of each job; 0: not known


@dataclass(frozen=True)
class Candidate:
    """A backbone to evaluate, or what is known of one that is not made yet or cannot be had.

    Attributes:
        path: of its contract file.
        backbone: None where there is no such file.
        info: what stands, or will stand, in its header.
        obstacle: why it cannot be had; "" where it can.
    """

    path: Path
    backbone: Backbone | None
    info: BackboneInfo
    obstacle: str = ""


@dataclass(frozen=True)
class Options:
    """What the command line says of all jobs; as in :func:`plan`."""

    num_gpus: int
    num_machines: int
    trust_config: bool
    elsewhere: bool


def header(method: str, arch: str) -> BackboneInfo:
    """The header of a backbone of which no more is known: one that is not made yet, or cannot be had."""
    return BackboneInfo(method, arch, "", "", "", "", "", __version__)


def load_suite(path: Path) -> Suite:
    """Read a suite file.

    Raises:
        FileNotFoundError: no such file.
        OmegaConfBaseException: an unknown key or a missing value, here or in a task's configuration:
            better now than after hours.
        ValueError: no task, an unknown one, an unknown protocol, a file that is not there, two that would
            share a run folder, or a name or path that is not fit for one.
    """
    check_path(path, "suite")
    suite = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Suite), load_yaml(path)))
    assert isinstance(suite, Suite)
    check_name(suite.name)
    check_seeds([*suite.seeds, *(seed for line in suite.tasks for seed in line.seeds)], f"{path}: seeds")
    for file in (suite.pretrain, suite.supervised if suite.supervised.endswith(".yaml") else ""):
        if file and not Path(file).is_file():
            raise ValueError(f"{path}: {file} is not there; paths are relative to the checkout's root")
    for line in suite.tasks:
        if line.task not in TASKS:
            raise ValueError(f"{path}: task {line.task!r} is unknown; known: {', '.join(TASKS)}")
        check_path(line.config, f"{path}: config")
        if not Path(line.config).is_file():
            raise ValueError(f"{path}: {line.config} is not there; paths are relative to the checkout's root")
        check_protocol(line.task, load_even_unset(line.task, Path(line.config)), Path(line.config))
    names = [short_name(Path(line.config)) for line in suite.tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: expected tasks whose configuration files have different names, found {names}"
        )
    return suite


def load_even_unset(task: str, path: Path) -> Any:
    """A configuration; where it names an environment variable that is not set, that name stands for it."""
    with _standing_for_itself(unset_variable(path)):
        return load_config(TASKS[task], path)


@contextmanager
def _standing_for_itself(variable: str) -> Iterator[None]:
    if not variable:
        yield
        return
    os.environ[variable] = f"${variable}"
    try:
        yield
    finally:
        del os.environ[variable]


def plan(
    suite: Suite,
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    out: Path,
    *,
    num_gpus: int = 1,
    num_machines: int = 1,
    trust_config: bool = False,
    elsewhere: bool = False,
) -> list[Job]:
    """All jobs of a suite, one backbone after the other, each with a run folder of its own.

    Args:
        seeds: in place of the suite's own; none: the suite's.
        num_gpus, num_machines: for each job of a task whose processes can share them.
        trust_config: let jobs execute mm configurations that lie outside the checkout.
        elsewhere: jobs run on other machines than this one, whose GPUs are not looked at.
    """
    options = Options(num_gpus, num_machines, trust_config, elsewhere)
    return [
        job
        for candidate in candidates
        for line in suite.tasks
        if line.supervised or candidate.info.method != "supervised"
        for job in _jobs(line, seeds or line.seeds or suite.seeds, candidate, suite, out, options)
    ]


def check_jobs(
    jobs: Sequence[Job], *, elsewhere: bool = False, retry_failed: bool = False, promised: str = ""
) -> list[Job]:
    """The same jobs; those that are left to do and cannot run say why.

    Args:
        elsewhere: as for :func:`plan`.
        retry_failed: failed jobs are left to do, too.
        promised: a folder whose data will be there by then.
    """
    # What is finished needs nothing, and to try packages takes seconds.
    settled = (DONE,) if retry_failed else (DONE, FAILED)
    left = {job.out for job in jobs if not job.obstacle and state_of(job).name not in settled}
    try_packages({job.task for job in jobs if job.out in left})

    def obstacle(job: Job) -> str:
        data = tuple(path for path in job.needs.data if not promised or not path.startswith(f"{promised}/"))
        needs = replace(job.needs, data=data)
        return what_stops(job.task, needs, job.folder, elsewhere=elsewhere)

    return [replace(job, obstacle=obstacle(job)) if job.out in left else job for job in jobs]


def _jobs(
    line: TaskConfig,
    seeds: Sequence[int],
    candidate: Candidate,
    suite: Suite,
    out: Path,
    options: Options,
) -> Iterator[Job]:
    """A job for each seed, of which nothing but key and folder depends."""
    path, info = Path(line.config), candidate.info
    shared = TASKS[line.task].shared
    unset = unset_variable(path)
    config = load_even_unset(line.task, path)
    needs = needs_of(
        line.task,
        path,
        config,
        cores=suite.cores,
        memory_gb=suite.memory_gb,
        num_gpus=options.num_gpus if shared else 1,
        num_machines=options.num_machines if shared else 1,
        elsewhere=options.elsewhere,
    )
    digest = candidate.backbone.sha256[:8] if candidate.backbone else "absent"
    more = ["--num-gpus", str(options.num_gpus)] if shared and options.num_gpus > 1 else []
    if options.trust_config:
        more.append("--trust-config")
    for seed in seeds:
        folder = out / f"{as_folder(info.method)}-{digest}" / f"{short_name(path)}-seed{seed}"
        check_inside(folder, out)
        words = [line.task, as_word(path), "--backbone", as_word(candidate.path), "--out", as_word(folder)]
        yield Job(
            task=line.task,
            config=str(path),
            method=info.method,
            arch=info.arch,
            backbone=str(candidate.path),
            seed=seed,
            out=str(folder),
            key=""
            if unset or not candidate.backbone
            else job_key(line.task, config, candidate.backbone, seed),
            words=(*words, "--seed", str(seed), *more),
            needs=needs,
            obstacle=candidate.obstacle or (f"{unset} is not set" if unset else ""),
        )


def write_rows_without_values(job: Job, kind: str, why: str, wall_s: float = 0.0) -> None:
    """Rows of a job that gave none: one for each protocol and metric that it would have given.

    Args:
        kind: ``failed`` or ``not-run``.
        why: the reason that the rows state.
    """
    with _standing_for_itself(unset_variable(Path(job.config))):
        config = load_config(TASKS[job.task], Path(job.config), [f"seed={job.seed}"])
        path = Path(job.backbone)
        backbone = (
            read_backbone(path) if path.is_file() else Backbone(header(job.method, job.arch), {}, "", path)
        )
        measurements = failures(job.task, config, why, kind=kind)
        command_line = " ".join(["python", "-m", "transfer", *job.words])
        rows = to_rows(job.task, config, backbone, measurements, command_line, wall_s)
    job.folder.mkdir(parents=True, exist_ok=True)
    write_rows(job.folder / "results.csv", rows)
