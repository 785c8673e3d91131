"""A task in several processes as torchrun starts them, forked from a warm server."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from forkserver import forkserver


def start(size: int, argv: Sequence[str], prepare: Callable[[], object] | None = None) -> list[BaseProcess]:
    """Start ``python -m transfer argv`` on ``size`` ranks; ``prepare`` (importable) comes first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        forkserver().Process(target=_main, args=(rank, size, port, list(argv), prepare))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    return processes


def run(size: int, argv: Sequence[str], prepare: Callable[[], object] | None = None) -> list[int | None]:
    """The exit statuses by rank."""
    processes = start(size, argv, prepare)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _main(rank: int, size: int, port: int, argv: list[str], prepare: Callable[[], object] | None) -> None:
    import torch

    from transfer.__main__ import main

    if size > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = Path(argv[argv.index("--out") + 1]).with_suffix(f".rank{rank}.txt").open("w")
    if prepare is not None:
        prepare()
    sys.exit(main(argv))
