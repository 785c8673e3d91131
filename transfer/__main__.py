"""Run one downstream task on one backbone, look at a run or repeat it, or look at the installation.

    python -m transfer doctor
    python -m transfer random --arch resnet18 --seed 0 --out random.safetensors
    python -m transfer import checkpoint_0099.pth.tar --out backbone.safetensors [--branch target]
    python -m transfer TASK CONFIG --backbone F --out DIR [--seed N] [key=value ...]
    python -m transfer TASK CONFIG --backbone F --out DIR --num-gpus 8
    python -m transfer TASK CONFIG ... --num-gpus 8 --num-machines 2 --machine-rank R --dist-url tcp://HOST:PORT
    torchrun --nproc-per-node 8 -m transfer TASK CONFIG --backbone F --out DIR [key=value ...]
    python -m transfer show DIR [--json]
    python -m transfer rerun DIR [--out DIR2] [--backbone F]

Tasks of images: knn, linear, semisup, finetune, fewshot. Of boxes and masks: detect. Of video with frozen
features: frozen-sot, frozen-vos, frozen-mot, frozen-mots, frozen-pose; with mmtrack's trackers, which train:
sot, mot, vis. Several processes can share one run of any task but the frozen ones.

A task writes DIR/results.csv, complete or not at all; DIR/config.yaml, the resolved configuration; and
DIR/run.json, how its rows came about (docs/provenance.md). The same command again goes on where an
interrupted one of the shared tasks had come to. Exit status 0 when the task gave its rows (which may say
"not-run" where a protocol does not fit the data), 1 when it failed (its rows then say why), 2 for wrong
usage.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from transfer.launch import add_options, end_with, run_processes, wants_processes
from transfer.suite.words import one_line
from transfer.tasks import TASKS, Task

ONE_EXAMPLE = """example:
  python -m transfer {task} CONFIG --backbone F --out DIR --seed 1 key=value
"""
EXAMPLES = """examples:
  python -m transfer {task} CONFIG --backbone F --out DIR
  python -m transfer {task} CONFIG --backbone F --out DIR --num-gpus 8 seed=1
  torchrun --nproc-per-node 8 -m transfer {task} CONFIG --backbone F --out DIR
on each of two machines R = 0 and 1, of which machine 0 is called HOST:
  python -m transfer {task} CONFIG --backbone F --out DIR --num-gpus 8 --num-machines 2 \\
    --machine-rank R --dist-url tcp://HOST:29500
"""
SHOW = """examples:
  python -m transfer show runs/mini/random-1a2b3c4d/knn_mini-seed0
  python -m transfer show runs/mini/random-1a2b3c4d/knn_mini-seed0/results.csv --json
"""
RERUN = """The task runs again with the recorded configuration, seed and backbone, in a new folder; then each
row's value is printed beside the recorded one. Data or a configuration that are not what they were are
refused; other code, packages or hardware are told.

examples:
  python -m transfer rerun runs/mini/random-1a2b3c4d/knn_mini-seed0
  python -m transfer rerun RUN --out again --backbone moved/backbone.safetensors
  python -m transfer rerun RUN data_dir=/elsewhere/cifar10 --allow-changes

exit status: 0 all rows equal, 1 not, 2 the run cannot be repeated
"""
# Of the machine, not of what it was given: nothing to correct in the command.
MACHINE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
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
    importer.add_argument(
        "--ignore", action="append", default=[], metavar="PREFIX", help="tensors that are no backbone"
    )
    for field in ("method", "pretrain-data", "pretrain-epochs"):
        importer.add_argument(f"--{field}", help="what the checkpoint itself does not say")
    _add_records(commands)
    for name, task in TASKS.items():
        _add_task(commands, name, task)
    return parser


def _add_records(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    kept = argparse.RawDescriptionHelpFormatter
    show = commands.add_parser(
        "show", help="print the record of a run folder", epilog=SHOW, formatter_class=kept
    )
    show.add_argument("run", type=Path, metavar="RUN", help="run folder, or its results.csv")
    show.add_argument("--json", action="store_true", help="print the record as it is stored")
    rerun = commands.add_parser(
        "rerun", help="repeat a run and compare its rows", epilog=RERUN, formatter_class=kept
    )
    rerun.add_argument("run", type=Path, metavar="RUN", help="run folder, or its results.csv")
    rerun.add_argument("--out", type=Path, help="new run folder (default: RUN-rerun)")
    rerun.add_argument("--backbone", type=Path, help="the same backbone where it lies now")
    rerun.add_argument("--allow-changes", action="store_true", help="run on other data or configuration, too")
    _add_trust(rerun)
    rerun.add_argument("overrides", nargs="*", metavar="key=value", help="where data lie now")


def _add_task(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, task: Task) -> None:
    command = commands.add_parser(
        name,
        help=f"{', '.join(task.metrics)} ({task.backend})",
        epilog=(EXAMPLES if task.shared else ONE_EXAMPLE).format(task=name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("config", type=Path, help="YAML file under configs/")
    command.add_argument("--backbone", type=Path, required=True, help="backbone.safetensors")
    command.add_argument("--out", type=Path, required=True, help="run folder")
    command.add_argument("--seed", type=int, help="overrides the configuration's seed")
    _add_trust(command)
    command.add_argument("overrides", nargs="*", metavar="key=value", help="configuration overrides")
    if task.shared:
        add_options(command)


def _add_trust(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trust-config",
        action="store_true",
        help="execute a framework's configuration from anywhere, not only from configs/",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    if "TORCHELASTIC_RUN_ID" in os.environ and argv is None:  # torchrun's, which may be killed
        end_with(os.getppid())
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    takes_overrides = args.command in TASKS or args.command == "rerun"
    stray = [word for word in rest if word.startswith("-") or "=" not in word or not takes_overrides]
    if stray:
        parser.error(f"unrecognised arguments: {' '.join(stray)}")

    if args.command == "doctor":
        from transfer.suite.doctor import report

        return report()
    # Imported here: the doctor must run where these packages are what is missing.
    from omegaconf.errors import OmegaConfBaseException

    try:
        if args.command in TASKS:
            return _run_task(args, rest, list(sys.argv[1:] if argv is None else argv))
        return _run_other(args, rest)
    except (OSError, ValueError, OmegaConfBaseException) as error:
        print(f"transfer {args.command}: {one_line(error)}", file=sys.stderr)
        return 1 if isinstance(error, OSError) and error.errno in MACHINE_FAULTS else 2


def _run_other(args: argparse.Namespace, rest: Sequence[str]) -> int:
    if args.command == "random":
        from transfer.backbone.load import write_random

        write_random(args.out, args.arch, args.seed)
        return 0
    if args.command == "import":
        from transfer.backbone.load import import_checkpoint

        import_checkpoint(
            args.checkpoint,
            args.out,
            args.source,
            args.branch,
            ignore=args.ignore,
            method=args.method,
            pretrain_data=args.pretrain_data,
            pretrain_epochs=args.pretrain_epochs,
        )
        return 0
    if args.command == "show":
        from transfer.show_run import show

        return show(args.run, args.json)
    from transfer.rerun import Repeat, rerun
    from transfer.trust import trusting

    overrides = (*args.overrides, *rest)
    with trusting(args.trust_config):
        return rerun(
            Repeat(args.run, args.out, args.backbone, overrides, args.allow_changes, args.trust_config)
        )


def _run_task(args: argparse.Namespace, rest: Sequence[str], words: list[str]) -> int:
    from transfer.evaluate import run_task
    from transfer.trust import trusting

    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes
    logging.basicConfig(level=logging.INFO if first else logging.WARNING, format="%(asctime)s %(message)s")
    if TASKS[args.command].shared and wants_processes(args):
        return run_processes(args, words)
    overrides = [*args.overrides, *rest, *([] if args.seed is None else [f"seed={args.seed}"])]
    command_line = shlex.join(["python", "-m", "transfer", *words])
    with trusting(args.trust_config):
        rows = run_task(args.command, args.config, args.backbone, args.out, overrides, command_line)
    for row in rows:
        shown = row.status if row.value is None else f"{row.value:.2f}"
        print(f"{row.method} {row.task} {row.dataset} {row.split} {row.metric}: {shown}")
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
