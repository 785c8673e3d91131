"""A suite: which tasks run, on which backbones, with which seeds, and what of it is done already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING, OmegaConf

from transfer.backbone.contract import Backbone
from transfer.evaluate import check_protocol, load_config, run_key
from transfer.report.rows import read_rows
from transfer.run_folder import KEY_NAME
from transfer.tasks import TASKS


@dataclass
class TaskConfig:
    """One line of a suite: a task id and its configuration file."""

    task: str = MISSING
    config: str = MISSING


@dataclass
class Suite:
    """A suite file."""

    name: str = MISSING
    tasks: list[TaskConfig] = field(default_factory=list)
    bundled_data: str = ""  # where to build the bundled set; empty when no task needs it
    pretrain: str = ""  # recipe of the backbone to train when none is given
    random: bool = True  # also evaluate a random backbone of the same arch


@dataclass(frozen=True)
class Job:
    """One task on one backbone with one seed."""

    task: str
    config_path: Path
    backbone: Backbone
    seed: int
    out: Path

    @property
    def key(self) -> str:
        """Digest of all that decides the result: backbone, configuration, seed and code."""
        config = load_config(TASKS[self.task], self.config_path)
        return run_key(self.task, config, self.backbone, self.seed)

    @property
    def label(self) -> str:
        """How a person names this job."""
        return f"{self.backbone.info.method} {self.task} ({short_name(self.config_path)}) seed {self.seed}"


def load_suite(path: Path) -> Suite:
    """Read a suite file.

    Raises:
        FileNotFoundError: no such file.
        OmegaConfBaseException: an unknown key or a missing value, here or in a task's configuration:
            better now than after hours.
        ValueError: no task, an unknown one, an unknown protocol, a configuration file that is not there,
            or two that would share a run folder.
    """
    suite = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Suite), OmegaConf.load(path)))
    assert isinstance(suite, Suite)
    for line in suite.tasks:
        if line.task not in TASKS:
            raise ValueError(f"{path}: task {line.task!r} is unknown; known: {', '.join(TASKS)}")
        if not Path(line.config).is_file():
            raise ValueError(f"{path}: {line.config} is not there; paths are relative to the checkout's root")
        check_protocol(line.task, load_config(TASKS[line.task], Path(line.config)), Path(line.config))
    names = [short_name(Path(line.config)) for line in suite.tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: expected tasks whose configuration files have different names, found {names}"
        )
    return suite


def short_name(config_path: Path) -> str:
    """Its name in run folders: ``configs/track/frozen/sot_mini.yaml`` is frozen-sot_mini."""
    inside = config_path.parts[2:-1] if config_path.parts[0] == "configs" else ()
    return "-".join((*inside, config_path.stem))


def plan(suite: Suite, backbones: Sequence[Backbone], seeds: Sequence[int], out: Path) -> list[Job]:
    """All jobs of a suite, one backbone after the other, each with a run folder of its own."""
    return [
        Job(
            task=line.task,
            config_path=Path(line.config),
            backbone=backbone,
            seed=seed,
            out=out
            / f"{backbone.info.method}-{backbone.sha256[:8]}"
            / f"{short_name(Path(line.config))}-seed{seed}",
        )
        for backbone in backbones
        for line in suite.tasks
        for seed in seeds
    ]


def is_done(job: Job) -> bool:
    """Whether the run folder holds this very job's rows, none of them of a failure."""
    key_path, results = job.out / KEY_NAME, job.out / "results.csv"
    if not (key_path.exists() and results.exists()) or key_path.read_text().strip() != job.key:
        return False
    return not any(row.failed for row in read_rows(results))
