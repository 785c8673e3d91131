"""A detectron2 schedule for another batch, by the linear scaling rule, and a batch taken in several passes.

With k times the images in a batch the learning rate is k times as high and everything counted in iterations
k times as short (Goyal et al., arXiv 1706.02677, sec. 2.1; issue 11 of MoCo's code: half the batch, half the
rate, twice STEPS and MAX_ITER), so that as many images are seen. detectron2's own
``DefaultTrainer.auto_scale_workers`` does the same by the number of processes, and says nothing in a file.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from transfer.findings import Finding

logger = logging.getLogger(__name__)
CHANGES_NAME = "rescale.csv"
RATES = ("SOLVER.BASE_LR", "SOLVER.BASE_LR_END")  # the second is a cosine's last rate
LENGTHS = ("SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.WARMUP_ITERS")
PERIODS = ("SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD")
# detectron2's norms that do not normalise by the images of a batch; every other one does.
FIXED_NORMS = ("", "FrozenBN", "GN", "LN")


@dataclass(frozen=True)
class Change:
    """One setting before and after; a rate, or a number or tuple of iterations."""

    setting: str  # dotted
    before: Any
    after: Any


def rescale(cfg: Any, images_per_batch: int) -> list[Change]:
    """Change a detectron2 configuration, which is not frozen, to another number of images in a batch.

    ``TEST.PRECISE_BN.NUM_ITER`` stays, as in detectron2: as many batches, which are of another size. So does
    all that is counted in images or regions. A period becomes 1 iteration at the least.

    Args:
        cfg: the configuration, with the rates and lengths of its own batch.
        images_per_batch: over all devices, at least 1.

    Returns:
        What changed, in a fixed order; nothing for the batch that the configuration has.

    Raises:
        ValueError: no image in a batch, a configuration that detectron2 would rescale again, or a schedule
            too short for the batch: a length would round to 0, or a step fall together with another or with
            the end. Nothing was changed.
    """
    if images_per_batch < 1:
        raise ValueError(f"images_per_batch: expected at least 1, found {images_per_batch}")
    batch = cfg.SOLVER.IMS_PER_BATCH
    if images_per_batch == batch:
        return []
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise ValueError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {cfg.SOLVER.REFERENCE_WORLD_SIZE}: detectron2 would rescale the "
            "schedule again, by the number of processes; expected 0, its default"
        )
    scale = images_per_batch / batch
    values: dict[str, Any] = {"SOLVER.IMS_PER_BATCH": images_per_batch}
    values |= {key: _value(cfg, key) * scale for key in RATES}
    for key in LENGTHS:
        values[key] = _divided(_value(cfg, key), scale)
    _check_lengths(cfg, values, images_per_batch)
    for key in PERIODS:
        period = _value(cfg, key)  # 0, or less, means never
        values[key] = max(1, round(period / scale)) if period > 0 else period
    changes = [Change(key, _value(cfg, key), value) for key, value in values.items()]
    changes = [change for change in changes if change.before != change.after]
    cfg.merge_from_list([part for change in changes for part in (change.setting, change.after)])
    for setting, norm in batch_norms(cfg):
        logger.warning(
            "%s %s: its statistics are now of batches of %d images instead of %d; no rate makes up for that",
            *(setting, norm, images_per_batch, batch),
        )
    if cfg.TEST.PRECISE_BN.ENABLED:
        num_batches = cfg.TEST.PRECISE_BN.NUM_ITER
        logger.info(
            "TEST.PRECISE_BN.NUM_ITER stays %d: %d images instead of %d",
            *(num_batches, num_batches * images_per_batch, num_batches * batch),
        )
    return changes


def write_changes(path: Path, changes: Sequence[Change]) -> None:
    """Log the changes and write them as CSV, atomically; without any there is no file."""
    for change in changes:
        logger.info("rescaled: %s %s -> %s", change.setting, change.before, change.after)
    if not changes:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(("setting", "before", "after"))
            writer.writerows((change.setting, change.before, change.after) for change in changes)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def accumulation_findings(cfg: Any, accumulate: int) -> list[Finding]:
    """Trained batch norms in a detector whose batch is taken in ``accumulate`` passes.

    The gradients of the passes are averaged, but what a norm subtracts and divides by is of one pass. A
    frozen norm, GN, LN and none at all do not depend on the batch.

    Raises:
        ValueError: passes that do not divide the batch.
    """
    batch = cfg.SOLVER.IMS_PER_BATCH
    if accumulate < 1 or batch % accumulate:
        raise ValueError(
            f"accumulate: expected a divisor of the batch of {batch} images (SOLVER.IMS_PER_BATCH), found "
            f"{accumulate}; every pass has as many images"
        )
    if accumulate == 1:
        return []
    advice = f"its statistics would be of {batch // accumulate} images instead of {batch}"
    return [
        Finding("accumulated-norm", setting, norm, "FrozenBN, GN, LN or none", advice=advice)
        for setting, norm in batch_norms(cfg)
    ]


def batch_norms(cfg: Any) -> list[tuple[str, str]]:
    """The settings under MODEL that ask for a norm by the images of a batch, with the norm's name.

    A setting counts also where the detector has no such part: what is in the configuration is meant.
    """
    return [(setting, norm) for setting, norm in _norms(cfg.MODEL, "MODEL") if norm not in FIXED_NORMS]


def _norms(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _norms(value, f"{prefix}.{key}")
        elif key == "NORM":
            yield f"{prefix}.{key}", value


def _value(cfg: Any, setting: str) -> Any:
    for key in setting.split("."):
        cfg = cfg[key]
    return cfg


def _divided(length: Any, scale: float) -> Any:
    """Iterations, or a tuple of them, at ``scale`` times the batch; rounded as detectron2 does."""
    if isinstance(length, list | tuple):
        return tuple(round(step / scale) for step in length)
    return round(length / scale)


def _check_lengths(cfg: Any, values: Mapping[str, Any], images_per_batch: int) -> None:
    """Refuse what rounding would take away from a schedule."""
    where = f"the schedule is too short for {images_per_batch} images in a batch"
    for key in ("SOLVER.MAX_ITER", "SOLVER.WARMUP_ITERS"):
        if _value(cfg, key) > 0 and values[key] < 1:
            raise ValueError(f"{where}: {key} {_value(cfg, key)} would become {values[key]}")
    before, after, end = cfg.SOLVER.STEPS, values["SOLVER.STEPS"], values["SOLVER.MAX_ITER"]
    # Steps that are equal, or behind the end, before the change are not rescaling's to judge.
    marks = [(0, 0), *zip(before, after, strict=True), (cfg.SOLVER.MAX_ITER, end)]
    for (was, now), (next_was, next_now) in pairwise(marks):
        if was < next_was and now >= next_now:
            raise ValueError(
                f"{where}: SOLVER.STEPS {tuple(before)} of {cfg.SOLVER.MAX_ITER} iterations would become "
                f"{after} of {end}"
            )
