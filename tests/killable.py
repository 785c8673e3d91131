"""A pre-training in a process that a test can kill."""

from __future__ import annotations

import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from forkserver import forkserver


def start(recipe: Path, *overrides: str) -> BaseProcess:
    """Start ``python -m pretrain recipe overrides``."""
    process = forkserver().Process(target=_main, args=(recipe, overrides))
    process.start()
    return process


def _main(recipe: Path, overrides: tuple[str, ...]) -> None:
    import torch

    from pretrain.__main__ import main

    torch.set_num_threads(1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # the process's own, to its end
    sys.exit(main([str(recipe), *overrides]))
