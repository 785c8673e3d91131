"""Choosing among settings on images that no reported number is about, and the record of that choice.

A row says how its settings were found: ``last`` (nothing was chosen), ``best-val`` (chosen on held-out
*training* images) or ``best-test`` (chosen on the images that the row reports, which a configuration has
to ask for). What was tried and how it scored stays in ``selection.csv`` beside the rows.
"""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from transfer.ranks import World

logger = logging.getLogger(__name__)
SELECTION_NAME = "selection.csv"
CHOOSE_ON = ("holdout", "test")
OUTCOME = ("value", "status", "chosen")  # the columns that only the search fills
DIVERGED = -math.inf  # the value of a point without one: it loses against every other

Settings = Mapping[str, float | int | str]  # the same keys for every point of a grid


def selection_of(num_points: int, choose_on: str, holds_out: bool) -> str:
    """What a row of a grid of ``num_points`` says about how its settings were found.

    Raises:
        ValueError: nothing to choose on, an unknown ``choose_on``, or both test and held-out images.
    """
    if choose_on not in CHOOSE_ON:
        raise ValueError(f"choose_on: expected one of {', '.join(CHOOSE_ON)}, found {choose_on!r}")
    if choose_on == "test" and holds_out:
        raise ValueError("choose_on: test chooses on the reported images; hold no training images out for it")
    if num_points == 1:
        if holds_out:
            logger.warning("one setting leaves nothing to choose: the held-out images are not used")
        return "last"
    if choose_on == "test":
        return "best-test"
    if not holds_out:
        raise ValueError(
            f"{num_points} settings, but no training image is held out to choose on: hold some out, or say "
            "choose_on: test (the rows then say best-test)"
        )
    return "best-val"


def choose(
    points: Sequence[Settings],
    score: Callable[[int], float | None],
    path: Path,
    judged_on: str,
    metric: str,
    num_images: int,
    world: World | None = None,
    discard: Callable[[int], None] = lambda index: None,
) -> int:
    """Which point scores highest (the first of several); every point is scored once and recorded in ``path``.

    The file is rewritten after each point, so a search that was killed goes on with the points it lacks.
    All ranks call this alike; the first one reads and writes.

    Args:
        score: the point's value, the higher the better; None when its training diverged.
        judged_on: what the images are, for the record (``holdout`` or ``test``); ``num_images`` of them.
        discard: told of each point that has lost.

    Raises:
        ValueError: every point diverged, or a file of another grid.
    """
    world = world or World()
    record = _Record(path, points, judged_on, metric, num_images)
    values = from_first(record.read() if world.first else [math.nan] * len(points), world)
    best: int | None = None
    for index in range(len(points)):
        if math.isnan(values[index]):
            logger.info("point %d/%d: %s", index + 1, len(points), dict(points[index]))
            value = score(index)
            assert value is None or math.isfinite(value)
            values[index] = DIVERGED if value is None else value
            if world.first:
                record.write(values)
            logger.info("point %d/%d: %s %s", index + 1, len(points), metric, values[index])
        if best is None or values[index] > values[best]:
            best, loser = index, best
        else:
            loser = index
        if loser is not None:
            discard(loser)
    values = from_first(values, world)
    chosen = max(range(len(points)), key=values.__getitem__)
    if values[chosen] == DIVERGED:
        raise ValueError(f"{path}: all {len(points)} settings diverged; lower the learning rates")
    if world.first:
        record.write(values, chosen)
    return chosen


def from_first(values: Sequence[float], world: World) -> list[float]:
    """The first rank's values, on every rank; each rank gives as many, whatever they are."""
    tensor = torch.tensor(values, dtype=torch.float64)
    if world.size > 1:
        dist.broadcast(tensor, src=0)
    return tensor.tolist()


@dataclass(frozen=True)
class _Record:
    """The file of what was tried: a line for each point, in the grid's order."""

    path: Path
    points: Sequence[Settings]
    judged_on: str
    metric: str
    num_images: int

    def read(self) -> list[float]:
        """One value for each point; NaN where it has yet to be scored."""
        values = [math.nan] * len(self.points)
        if not self.path.exists():
            return values
        with self.path.open(encoding="utf-8", newline="") as handle:
            lines = list(csv.DictReader(handle))
        for index, line in enumerate(lines):
            identity = self._identity(index) if index < len(self.points) else {}
            if {key: cell for key, cell in line.items() if key not in OUTCOME} != identity:
                where = f"{self.path}: line {index + 2}"
                raise ValueError(
                    f"{where} is of another search (expected {identity}, found {line}); "
                    "remove the file, or write to another folder"
                )
            values[index] = DIVERGED if line["status"] == "diverged" else float(line["value"])
        return values

    def write(self, values: Sequence[float], chosen: int | None = None) -> None:
        """Replace the file, atomically; points are scored in order, so what is scored comes first."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8", newline="") as handle:
                writer = csv.DictWriter(handle, [*self._identity(0), *OUTCOME], lineterminator="\n")
                writer.writeheader()
                for index, value in enumerate(values):
                    if not math.isnan(value):
                        writer.writerow(self._identity(index) | _outcome(value, index, chosen))
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def _identity(self, index: int) -> dict[str, str]:
        """The cells that are known before the point is scored."""
        settings = {key: str(value) for key, value in self.points[index].items()}
        judged = {"judged_on": self.judged_on, "metric": self.metric, "n": str(self.num_images)}
        return {"point": str(index)} | settings | judged


def _outcome(value: float, index: int, chosen: int | None) -> dict[str, str]:
    """The cells of :data:`OUTCOME`; ``chosen`` stays empty while the search goes on."""
    diverged = value == DIVERGED
    return {
        "value": "" if diverged else repr(value),
        "status": "diverged" if diverged else "ok",
        "chosen": "" if chosen is None else ("yes" if index == chosen else "no"),
    }
