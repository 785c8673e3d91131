"""Real gloo processes for tests: one function, run on every rank, its results by rank."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from forkserver import forkserver

from pretrain.collective import World

TIMEOUT_S = 600


def run_ranks(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``[function(World(rank, size), *arguments) for every rank]``, each in a process of its own.

    The function must be importable (top level of a module); what it returns must be savable by torch.
    """
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            forkserver().Process(target=_rank, args=(rank, size, folder, function, arguments))
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + TIMEOUT_S
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()  # one that still waits for the others would do so for half an hour
            process.join()
        assert [process.exitcode for process in processes] == [0] * size
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _rank(
    rank: int, size: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    result = function(World(rank, size), *arguments)
    torch.save(result, Path(folder) / f"{rank}.pt")
    if size > 1:
        dist.destroy_process_group()
