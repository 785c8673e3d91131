"""Run one downstream task on one backbone, or look at the installation.

    python -m transfer doctor
    python -m transfer random --arch resnet18 --seed 0 --out random.safetensors
    python -m transfer import checkpoint_0099.pth.tar --out backbone.safetensors [--branch target]
    python -m transfer TASK CONFIG --backbone F --out DIR [--seed N] [key=value ...]

Tasks: knn, linear, semisup, detect, sot, mot. A task writes DIR/results.csv, complete or not at
all, and DIR/config.yaml beside it. Exit status 0 when every row is ok, 1 when the task failed
(its rows then say why), 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from transfer import provenance
from transfer.report.rows import METRICS, Measurement, Row, write_rows


@dataclass(frozen=True)
class Task:
    """Where a task lives and what it measures.

    The module has a dataclass ``Config`` (with at least ``dataset``, ``protocol`` and ``seed``)
    and ``run(backbone, config, out)``, which yields Measurements.
    """

    module: str
    metrics: tuple[str, ...]
    backend: str


TASKS: dict[str, Task] = {
    "knn": Task("transfer.classify.knn", ("top1", "top5"), "torch"),
    "linear": Task("transfer.classify.linear", ("top1", "top5"), "torch"),
    "semisup": Task("transfer.classify.semisup", ("top1", "top5"), "torch"),
    "detect": Task(
        "transfer.detect.task",
        ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75"),
        "detectron2",
    ),
    "sot": Task("transfer.track.sot", ("success", "norm_precision", "precision"), "mmtrack"),
    "mot": Task("transfer.track.mot", ("mota", "idf1", "hota", "id_switches"), "mmtrack"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m transfer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("doctor", help="what is installed, what each task needs, what is missing")
    random = commands.add_parser(
        "random", help="write a randomly initialised backbone, the floor of every table"
    )
    random.add_argument("--arch", default="resnet18", help="architecture (default: resnet18)")
    random.add_argument("--seed", type=int, default=0, help="seed of the initialisation (default: 0)")
    random.add_argument("--out", type=Path, required=True, help="backbone file to write")
    importer = commands.add_parser("import", help="turn any supported checkpoint into a backbone file")
    importer.add_argument("checkpoint", type=Path)
    importer.add_argument("--out", type=Path, required=True, help="backbone file to write")
    importer.add_argument("--source", help="layout of the checkpoint (default: detected)")
    importer.add_argument("--branch", help="network inside the checkpoint, e.g. online or target")
    for field in ("method", "pretrain-data", "pretrain-epochs"):
        importer.add_argument(f"--{field}", help="what the checkpoint itself does not say")
    for name, task in TASKS.items():
        command = commands.add_parser(name, help=f"{', '.join(task.metrics)} ({task.backend})")
        command.add_argument("config", type=Path, help="YAML file under configs/")
        command.add_argument("--backbone", type=Path, required=True, help="backbone.safetensors")
        command.add_argument("--out", type=Path, required=True, help="run folder")
        command.add_argument("--seed", type=int, help="overrides the configuration's seed")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="configuration overrides")
    args = parser.parse_args(argv)

    if args.command == "doctor":
        from transfer.suite.doctor import report

        return report()
    command_line = shlex.join(["python", "-m", "transfer", *(sys.argv[1:] if argv is None else argv)])
    try:
        if args.command == "random":
            from transfer.backbone.sources import write_random

            write_random(args.out, args.arch, args.seed)
            return 0
        if args.command == "import":
            from transfer.backbone.sources import import_checkpoint

            import_checkpoint(
                args.checkpoint,
                args.out,
                args.source,
                args.branch,
                method=args.method,
                pretrain_data=args.pretrain_data,
                pretrain_epochs=args.pretrain_epochs,
            )
            return 0
        overrides = args.overrides + ([] if args.seed is None else [f"seed={args.seed}"])
        return run_task(args.command, args.config, args.backbone, args.out, overrides, command_line)
    except (FileNotFoundError, ValueError, OmegaConfBaseException) as error:
        print(f"transfer {args.command}: {error}", file=sys.stderr)
        return 2


def load_config(task: Task, path: Path, overrides: Sequence[str] = ()) -> Any:
    """Merge a task's dataclass defaults, a YAML file and ``key=value`` overrides.

    Raises:
        FileNotFoundError: no such configuration.
        OmegaConfBaseException: an unknown key or a value of the wrong type; the message names it.
    """
    schema = importlib.import_module(task.module).Config
    merged = OmegaConf.merge(
        OmegaConf.structured(schema), OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))
    )
    return OmegaConf.to_object(merged)


def run_task(
    name: str, config_path: Path, backbone_path: Path, out: Path, overrides: Sequence[str], command_line: str
) -> int:
    """Run a task, write its results file, return 0 when every row is ok and 1 otherwise."""
    from transfer.backbone.contract import read_backbone

    task = TASKS[name]
    config = load_config(task, config_path, overrides)
    backbone = read_backbone(backbone_path)
    out.mkdir(parents=True, exist_ok=True)
    resolved = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(resolved, dict)  # a dataclass resolves to a mapping
    OmegaConf.save(OmegaConf.structured(config), out / "config.yaml")
    start = time.perf_counter()
    try:
        measurements = list(importlib.import_module(task.module).run(backbone, config, out))
    except Exception as error:  # every failure becomes rows that say so; the traceback is on stderr
        traceback.print_exc()
        reason = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        measurements = [
            Measurement(config.dataset, "", config.protocol, task.backend, metric, None, None, status=reason)
            for metric in task.metrics
        ]
    wall_s = round(time.perf_counter() - start, 1)
    info = backbone.info
    rows = [
        Row(
            method=info.method,
            arch=info.arch,
            pretrain_data=info.pretrain_data,
            pretrain_epochs=info.pretrain_epochs,
            backbone_sha256=backbone.sha256,
            branch=info.branch,
            task=name,
            dataset=m.dataset,
            split=m.split,
            protocol=m.protocol,
            backend=m.backend,
            metric=m.metric,
            value=m.value,
            unit=METRICS[m.metric].unit,
            higher_is_better=METRICS[m.metric].higher_is_better,
            seed=config.seed,
            n=m.n,
            selection=m.selection,
            status=m.status,
            source=command_line,
            config_sha256=provenance.config_sha256({str(key): value for key, value in resolved.items()}),
            code_version=provenance.code_version(),
            hardware=provenance.hardware(),
            wall_s=wall_s,
        )
        for m in measurements
    ]
    write_rows(out / "results.csv", rows)
    for row in rows:
        shown = row.status if row.value is None else f"{row.value:.2f}"
        print(f"{row.method} {row.task} {row.dataset} {row.metric}: {shown}")
    return 0 if all(row.status == "ok" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
