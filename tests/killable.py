"""A pre-training in a process that a test can kill, without the seconds of importing torch each time."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = ("pretrain.train", "killable")


def start(recipe: Path, *overrides: str) -> multiprocessing.process.BaseProcess:
    """Start ``python -m pretrain recipe overrides`` as a fork of a server that has imported everything."""
    os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    process = context.Process(target=_main, args=(recipe, overrides))
    process.start()
    return process


def _main(recipe: Path, overrides: tuple[str, ...]) -> None:
    import torch

    from pretrain.__main__ import main

    torch.set_num_threads(1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # the process's own, to its end
    sys.exit(main([str(recipe), *overrides]))
