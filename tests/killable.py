"""Processes that a test kills, among them a pre-training."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from forkserver import forkserver


def start(recipe: Path, *overrides: str) -> BaseProcess:
    """Start ``python -m pretrain recipe overrides``."""
    process = forkserver().Process(target=_main, args=(recipe, overrides))
    process.start()
    return process


def kill_after(path: Path, wait_s: float, processes: Sequence[BaseProcess], timeout_s: float = 240) -> None:
    """Kill all processes ``wait_s`` after a file appeared that one of them writes."""
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name} within {timeout_s:g} s"
        assert processes[0].is_alive(), f"ended without {path.name}"
        time.sleep(0.01)
    time.sleep(wait_s)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _main(recipe: Path, overrides: tuple[str, ...]) -> None:
    import torch

    from pretrain.__main__ import main

    torch.set_num_threads(1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # the process's own, to its end
    sys.exit(main([str(recipe), *overrides]))
