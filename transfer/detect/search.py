"""A learning rate chosen from a grid: each trains a detector, which held-out or test images judge."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transfer.detect.settings import Config, metric_names, protocol_of
from transfer.ranks import World
from transfer.report.rows import Measurement
from transfer.selection import SELECTION_NAME, choose, from_first, selection_of
from transfer.writing import write_text

logger = logging.getLogger(__name__)
METRIC = "box_ap"  # what chooses; also for a detector with masks
FOLDER, SCORES_NAME = "search", "scores.json"
CHECKPOINTS = ("*.pth", "last_checkpoint")  # of a point that has lost
UNDEFINED = "not-run: the metric is undefined, for the images have no such object"
Scores = Mapping[str, float | None]  # by row metric, percent; None where a metric is undefined


@dataclass(frozen=True)
class Found:
    """What a search found."""

    rate: float | None  # at the YAML's batch; None: the YAML's own
    selection: str  # of the rows that are trained with it
    measurements: list[Measurement]  # the search's own rows; none on ranks other than the first
    folder: Path | None = None  # where the chosen detector lies, where it saw all training images


def search(
    config: Config,
    out: Path,
    score: Callable[[float, Path], Scores | None],
    num_images: int,
    backend: str,
    world: World | None = None,
) -> Found:
    """The learning rate of ``config.learning_rates`` whose detector has the highest box AP.

    A point trains in ``out/search/lr-<rate>``; its scores stay there (``scores.json``), its detector until
    it has lost. ``out/selection.csv`` says what was tried; a search that was killed goes on with what it
    lacks. With one rate or none nothing is searched. A detector that was chosen on held-out images is removed
    too: it has not seen them, and is to be trained again. All ranks call this alike.

    Args:
        config: ``learning_rates``, ``choose_on`` and ``holdout_images`` decide.
        out: the run folder.
        score: trains and evaluates one point; None, on every rank, if it diverged. What other ranks than the
            first return otherwise does not matter.
        num_images: that the scores are of.
        backend: of the rows.
        world: the processes of the run.

    Raises:
        ValueError: nothing to choose on, rates that are the same or that their rows could not tell apart, a
            score without box AP, every point diverged, or a record of another search.
    """
    world = world or World()
    rates = list(config.learning_rates)
    selection = selection_of(max(1, len(rates)), config.choose_on, config.holdout_images > 0)
    if selection == "last":
        return Found(rates[0] if rates else None, selection, [])
    protocols = [protocol_of(config, rate) for rate in rates]
    if len(set(protocols)) < len(protocols):
        raise ValueError(f"learning_rates: expected different ones, found {rates} (rows have {protocols})")
    folders = [out / FOLDER / f"lr-{rate:g}" for rate in rates]
    split = "holdout" if selection == "best-val" else config.split

    def value_of(index: int) -> float | None:
        folders[index].mkdir(parents=True, exist_ok=True)
        scores = score(rates[index], folders[index])
        value = math.nan
        if world.first and scores is not None:
            value = _box_ap(scores, folders[index])
        [value] = from_first([value], world)
        if world.first:
            write_text(folders[index] / SCORES_NAME, json.dumps(scores if scores is None else dict(scores)))
        return None if math.isnan(value) else value

    def discard(index: int) -> None:
        if world.first:
            for pattern in CHECKPOINTS:
                for path in sorted(folders[index].glob(pattern)):
                    path.unlink()

    chosen = choose(
        [{"lr": rate} for rate in rates],
        value_of,
        out / SELECTION_NAME,
        config.choose_on,
        METRIC,
        num_images,
        world,
        discard,
    )
    logger.info("learning rate %g is the best of %d on %s", rates[chosen], len(rates), split)
    if selection == "best-val":
        discard(chosen)
    measurements = []
    for index in range(len(rates)) if world.first else ():
        status = f"not-run: diverged at learning rate {rates[index]:g}"
        row = Measurement(
            *(config.dataset, split, protocols[index], backend, METRIC, None, num_images), status=status
        )
        measurements += _rows(row, metric_names(config), _read(folders[index] / SCORES_NAME))
    folder = folders[chosen] if selection == "best-test" else None
    return Found(rates[chosen], selection, measurements, folder)


def _box_ap(scores: Scores, folder: Path) -> float:
    value = scores.get(METRIC)
    if value is None or not math.isfinite(value):
        raise ValueError(f"{folder}: expected {METRIC}, which chooses, found {dict(scores)}")
    return value


def _rows(diverged: Measurement, metrics: Sequence[str], scores: Scores | None) -> list[Measurement]:
    """What a point measured; ``diverged`` for each metric where it has no scores."""
    if scores is None:
        return [replace(diverged, metric=metric) for metric in metrics]
    return [
        replace(diverged, metric=metric, value=value, status=UNDEFINED if value is None else "ok")
        for metric, value in scores.items()
    ]


def _read(path: Path) -> dict[str, float | None] | None:
    """The scores of a point; None if it diverged."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no scores of a point that {SELECTION_NAME} has; remove that file to search again"
        )
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
