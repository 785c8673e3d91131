"""What a run shows while it trains: a bar on a terminal, lines elsewhere, JSON lines and TensorBoard."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

from pretrain.export import write_atomically


class Journal:
    """``metrics.jsonl``, ``tensorboard/`` and the terminal of one run, from ``first_step`` on.

    Lines of steps that will be taken again, after a kill between two checkpoints, are dropped.
    """

    def __init__(self, out: Path, first_step: int, total_steps: int, steps_per_epoch: int) -> None:
        self.steps_per_epoch, self.total_steps = steps_per_epoch, total_steps
        _forget_after(out / "metrics.jsonl", first_step)
        self.log = (out / "metrics.jsonl").open("a")
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step + 1)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            disable=not sys.stdout.isatty(),
            speed_estimate_period=120,
        )
        self.task = self.bar.add_task("starting", total=total_steps, completed=first_step)

    def __enter__(self) -> Journal:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        self.board.close()
        self.log.close()

    def advance(self) -> None:
        """One more step is done."""
        self.bar.advance(self.task)

    def write(self, step: int, facts: dict[str, float]) -> None:
        """Note the facts about ``step``."""
        epoch = step / self.steps_per_epoch
        self.log.write(json.dumps({"step": step, "epoch": round(epoch, 3), **facts}) + "\n")
        self.log.flush()
        for key, value in facts.items():
            self.board.add_scalar(key, value, step)

    def show(self, step: int, facts: dict[str, float]) -> None:
        """Say on the terminal how ``step`` went."""
        line = f"epoch {step / self.steps_per_epoch:.2f} step {step}/{self.total_steps}" + "".join(
            f" {short} {facts[key]:{form}}" for key, short, form in SHOWN if key in facts
        )
        if not self.bar.disable:
            self.bar.update(self.task, description=line)
        else:
            remaining = (self.total_steps - step) * facts.get("step_s", 0.0)
            print(f"{line} eta {_clock(remaining)}", flush=True)


# metric, its name on the terminal, its format
SHOWN = (
    ("loss", "loss", ".4f"),
    ("cosine", "cosine", ".3f"),
    ("spectral_norm", "norm", ".3f"),
    ("effective_rank", "rank", ".1f"),
    ("lr", "lr", ".3g"),
    ("images_per_s", "img/s", ".0f"),
    ("knn_top1", "knn", ".2f"),
)


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _forget_after(log: Path, step: int) -> None:
    """Drop the lines of steps that will be taken again."""
    if log.exists():
        kept = [line for line in log.read_text().splitlines() if _step_of(line) <= step]
        write_atomically(log, "".join(line + "\n" for line in kept).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:  # the last line of a run that was killed while writing it
        return math.inf
