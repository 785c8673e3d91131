"""Several processes for one command: torchrun's agent, started from the command's own options.

The options are detectron2's: ``--num-gpus`` a machine, ``--num-machines``, ``--machine-rank`` and
``--dist-url``. A command that torchrun itself started only checks that they say the same.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)


PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with(parent: int) -> None:
    """Have Linux send SIGTERM to this process when its parent ends, however that ends.

    Args:
        parent: its process number; where that is no longer this process's parent, this process ends now.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGTERM)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options by which a command is run in several processes."""
    group = parser.add_argument_group("several GPUs (without GPUs: as many processes on the CPU)")
    group.add_argument("--num-gpus", type=int, default=1, metavar="N", help="on each machine (default: 1)")
    group.add_argument("--num-machines", type=int, default=1, metavar="M", help="default: 1")
    group.add_argument(
        "--machine-rank", type=int, default=0, metavar="R", help="which of them this is, from 0 (default: 0)"
    )
    group.add_argument(
        "--dist-url",
        default="auto",
        metavar="tcp://HOST:PORT",
        help="a free port of machine 0, the same on all machines (default: auto, for one machine)",
    )


def wants_processes(args: argparse.Namespace) -> bool:
    """Whether the command is to start others in its place.

    Raises:
        ValueError: options that contradict one another, the machine, or the torchrun that started this.
    """
    size = args.num_gpus * args.num_machines
    if args.num_gpus < 1 or args.num_machines < 1 or not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(
            f"expected --num-gpus and --num-machines of at least 1 and --machine-rank below --num-machines, "
            f"found {args.num_gpus}, {args.num_machines} and {args.machine_rank}"
        )
    if size == 1:
        return False
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1:
        if started != size:
            raise ValueError(
                f"torchrun started {started} processes, but --num-gpus x --num-machines is {size}; leave "
                "these options out"
            )
        return False
    if args.num_machines > 1:
        _address(args.dist_url)
    import torch

    found = torch.cuda.device_count()
    if found and args.num_gpus > found:
        raise ValueError(
            f"--num-gpus: expected at most {found}, which this machine has, found {args.num_gpus}"
        )
    if not found:
        logger.warning("this machine has no GPU: %d processes on the CPU share the run", args.num_gpus)
    return True


def run_processes(args: argparse.Namespace, words: Sequence[str]) -> int:
    """Run ``python -m transfer WORDS`` in the processes asked for; the exit status of the first that failed.

    A signal that ends this process ends them first; the status is then 128 and its number, as a shell has it.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    place = ["--standalone"]
    if args.num_machines > 1:
        host, port = _address(args.dist_url)
        place = ["--nnodes", str(args.num_machines), "--node-rank", str(args.machine_rank)]
        place += ["--master-addr", host, "--master-port", str(port)]
    try:
        agent = parse_args(["--nproc-per-node", str(args.num_gpus), *place, "-m", "transfer", *words])  # type: ignore[no-untyped-call]
        run(agent)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = int(failure.exitcode)
        print(f"transfer: process {rank} ended with status {status}", file=sys.stderr)
        return status if status > 0 else 128 - status
    except SignalException as error:
        _end_children()
        return 128 + int(error.sigval)
    return 0


def _end_children(grace_s: float = 30.0) -> None:
    """End this process's children: torchrun does not know one that it was starting when the signal came."""
    deadline = time.monotonic() + grace_s
    sent = signal.SIGTERM
    while children := _living_children():
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, sent)
        time.sleep(0.1)
        if time.monotonic() > deadline:
            sent = signal.SIGKILL


def _living_children() -> list[int]:
    """Process ids of this process's children that have not ended."""
    tasks = Path("/proc/self/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    return [pid for pid in children if _state(pid) not in "ZX"]  # waits for its parent to ask, or is gone


def _state(pid: int) -> str:
    """The letter that proc(5) has for a process's state; X for one that is not there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return text.rpartition(")")[2].split()[0]


def _address(url: str) -> tuple[str, int]:
    """Host and port of ``tcp://HOST:PORT``."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "tcp" or not parts.hostname or not port:
        raise ValueError(
            f"--dist-url: expected tcp://HOST:PORT with a free port of machine 0, found {url!r}; auto "
            "is for one machine"
        )
    return parts.hostname, port
