"""Run one downstream task on one backbone, or look at the installation.

    python -m transfer doctor
    python -m transfer random --arch resnet18 --seed 0 --out random.safetensors
    python -m transfer import checkpoint_0099.pth.tar --out backbone.safetensors [--branch target]
    python -m transfer TASK CONFIG --backbone F --out DIR [--seed N] [key=value ...]
    python -m transfer TASK CONFIG --backbone F --out DIR --num-gpus 8
    python -m transfer TASK CONFIG ... --num-gpus 8 --num-machines 2 --machine-rank R --dist-url tcp://HOST:PORT
    torchrun --nproc-per-node 8 -m transfer TASK CONFIG --backbone F --out DIR [key=value ...]

Tasks: knn, linear, semisup, finetune, fewshot, detect (which several processes can share), sot, mot.
A task writes DIR/results.csv, complete or not at all, and DIR/config.yaml beside it. The same command
again goes on where an interrupted one of the shared tasks had come to. Exit status 0 when the task gave its
rows (which may say "not-run" where a protocol does not fit the data), 1 when it failed (its rows then say
why), 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from transfer.launch import add_options, run_processes, wants_processes
from transfer.tasks import TASKS

EXAMPLES = """examples:
  python -m transfer {task} CONFIG --backbone F --out DIR
  python -m transfer {task} CONFIG --backbone F --out DIR --num-gpus 8 seed=1
  torchrun --nproc-per-node 8 -m transfer {task} CONFIG --backbone F --out DIR
on each of two machines R = 0 and 1, of which machine 0 is called HOST:
  python -m transfer {task} CONFIG --backbone F --out DIR --num-gpus 8 --num-machines 2 \\
    --machine-rank R --dist-url tcp://HOST:29500
"""


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
    importer.add_argument(
        "--ignore", action="append", default=[], metavar="PREFIX", help="tensors that are no backbone"
    )
    for field in ("method", "pretrain-data", "pretrain-epochs"):
        importer.add_argument(f"--{field}", help="what the checkpoint itself does not say")
    for name, task in TASKS.items():
        command = commands.add_parser(
            name,
            help=f"{', '.join(task.metrics)} ({task.backend})",
            epilog=EXAMPLES.format(task=name) if task.shared else "",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("config", type=Path, help="YAML file under configs/")
        command.add_argument("--backbone", type=Path, required=True, help="backbone.safetensors")
        command.add_argument("--out", type=Path, required=True, help="run folder")
        command.add_argument("--seed", type=int, help="overrides the configuration's seed")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="configuration overrides")
        if task.shared:
            add_options(command)
    args, rest = parser.parse_known_args(argv)
    stray = [word for word in rest if word.startswith("-") or "=" not in word or args.command not in TASKS]
    if stray:
        parser.error(f"unrecognised arguments: {' '.join(stray)}")

    if args.command == "doctor":
        from transfer.suite.doctor import report

        return report()
    # Imported here: the doctor must run where these packages are what is missing.
    from omegaconf.errors import OmegaConfBaseException

    from transfer.evaluate import run_task

    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes
    logging.basicConfig(level=logging.INFO if first else logging.WARNING, format="%(asctime)s %(message)s")
    words = list(sys.argv[1:] if argv is None else argv)
    command_line = shlex.join(["python", "-m", "transfer", *words])
    try:
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
        if TASKS[args.command].shared and wants_processes(args):
            return run_processes(args, words)
        overrides = args.overrides + rest + ([] if args.seed is None else [f"seed={args.seed}"])
        rows = run_task(args.command, args.config, args.backbone, args.out, overrides, command_line)
    except (FileNotFoundError, ValueError, OmegaConfBaseException) as error:
        print(f"transfer {args.command}: {error}", file=sys.stderr)
        return 2
    for row in rows:
        shown = row.status if row.value is None else f"{row.value:.2f}"
        print(f"{row.method} {row.task} {row.dataset} {row.split} {row.metric}: {shown}")
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
