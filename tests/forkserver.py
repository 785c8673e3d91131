"""Processes for tests that start in milliseconds: forks of a server that has imported torch and the loop."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerContext
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Imported once; tests that start many processes with another framework add its modules at import.
PRELOAD = ["pretrain.train", "pytest", "transfer.backbone.contract"]


def forkserver() -> ForkServerContext:
    """The context; what a process runs must be importable by name."""
    os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context
