"""Detection and instance segmentation: fine-tune a detector that starts from the backbone.

detectron2 does all the work with its own trainer, loader, checkpointer and evaluators; this module sees
to it that the weights it starts from are the backbone's, that the protocol is the published one or the
rows say what differs, and that the numbers are what they seem.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.backbone.targets import write_detectron2
from transfer.detect.faults import find_faults
from transfer.detect.holdout import hold_out
from transfer.detect.lint_yaml import find
from transfer.detect.rescale import CHANGES_NAME, Change, accumulation_findings, rescale, write_changes
from transfer.detect.score import evaluate
from transfer.detect.search import UNDEFINED, search
from transfer.detect.sets import Registered, register
from transfer.detect.settings import Config, protocol_of, resolve
from transfer.detect.trainer import fit
from transfer.findings import Finding, Weights, refuse
from transfer.ranks import World, choose_device, join, share_object
from transfer.report.rows import Measurement
from transfer.run_folder import wait_for_all
from transfer.writing import write_text

__all__ = ["Config", "run"]

logger = logging.getLogger(__name__)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """Train on the detectron2 YAML's training sets and measure AP, in percent, on its test set.

    ``out`` receives the converted backbone (``backbone.pkl``), detectron2's own files (``detectron2.yaml``,
    ``log.txt``, ``metrics.json``, TensorBoard events, ``model_final.pth``), what was rescaled
    (``rescale.csv``) or searched (``selection.csv``), and a folder of predictions for each set. ``n`` is the
    number of images of the set. Several processes (torchrun) share a run; the first one gets the rows.

    Raises:
        FileNotFoundError, ValueError: before anything is trained, images or annotations that are at fault,
            settings that contradict the backbone or the protocol and are not in ``config.allow``, or a
            backbone tensor that did not arrive.
        FloatingPointError: the loss became infinite or NaN.
    """
    world = join(choose_device(config.device))
    weights_path = out / "backbone.pkl"
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one process of each machine: they may share no disk
        out.mkdir(parents=True, exist_ok=True)
        write_detectron2(backbone, weights_path)
    wait_for_all(world)
    yield from measure(weights_path, backbone.info, config, out, world)


def measure(
    weights_path: Path, info: BackboneInfo, config: Config, out: Path, world: World | None = None
) -> Iterator[Measurement]:
    """As :func:`run`, from a backbone that is already converted."""
    world = world or World()
    sets = {name: register(name, files) for name, files in config.sets.items()}
    cfg, changes = _settings(config, info, weights_path, sets, out)
    _check(cfg, config, sets, Weights.at(weights_path, info), world)
    if world.first:
        write_changes(out / CHANGES_NAME, changes)
    [test] = cfg.DATASETS.TEST
    searched, judged_sets = config, sets
    if len(config.learning_rates) > 1 and config.choose_on == "holdout" and config.holdout_images:
        searched, judged_sets = _held_out(config, cfg, out / "holdout")

    def score(rate: float, folder: Path) -> Mapping[str, float | None] | None:
        """What a learning rate gives on the images that choose it; None when its training diverged."""
        point = replace(searched, learning_rates=[rate])
        tried, _ = _settings(point, info, weights_path, judged_sets, folder)
        try:
            model = fit(tried, config.accumulate, world)
        except FloatingPointError as error:
            logger.warning("learning rate %g diverged: %s", rate, error)
            return None
        [judged_on] = tried.DATASETS.TEST
        return evaluate(model, tried, judged_sets[judged_on], folder / "predictions", config.evaluator)

    num_judged = config.holdout_images if config.choose_on == "holdout" else sets[test].num_images
    backend = backend_of(config, sets[test])
    found = search(config, out, score, num_judged, backend, world)
    yield from found.measurements
    if found.rate is not None:  # trained already, where it was chosen on the test images
        chosen = replace(config, learning_rates=[found.rate])
        cfg, _ = _settings(chosen, info, weights_path, sets, found.folder or out)
    if world.first:
        write_text(out / "detectron2.yaml", cfg.dump())
    model = fit(cfg, config.accumulate, world)
    for split, name in _evaluated(config, cfg):
        scores = evaluate(model, cfg, sets[name], out / f"predictions_{split}", config.evaluator)
        for metric, value in scores.items():
            yield Measurement(
                *(config.dataset, split, protocol_of(config), backend, metric, value, sets[name].num_images),
                selection=found.selection,
                status=UNDEFINED if value is None else "ok",
            )


def backend_of(config: Config, images: Registered) -> str:
    """What computed the rows: detectron2, and the evaluator where it is not the official one."""
    fast = images.kind == "coco" and config.evaluator != "pycocotools"
    return f"detectron2, {config.evaluator}" if fast else "detectron2"


def _evaluated(config: Config, cfg: Any) -> list[tuple[str, str]]:
    """What is evaluated: the rows' split and the set's name."""
    names = [(config.split, cfg.DATASETS.TEST[0])]
    return [*names, ("train", cfg.DATASETS.TRAIN[0])] if config.evaluate_train else names


def _settings(
    config: Config, info: BackboneInfo, weights_path: Path, sets: Mapping[str, Registered], out: Path
) -> tuple[Any, list[Change]]:
    """The frozen detectron2 configuration and what ``config.images_per_batch`` changed in it."""
    cfg = resolve(config, info, weights_path, sets, out)
    if not config.images_per_batch:
        return cfg, []
    cfg.defrost()
    changes = rescale(cfg, config.images_per_batch)
    if config.checkpoint_period:  # counts iterations as they are here
        cfg.SOLVER.CHECKPOINT_PERIOD = config.checkpoint_period
        changes = [change for change in changes if change.setting != "SOLVER.CHECKPOINT_PERIOD"]
    cfg.freeze()
    return cfg, changes


def _check(cfg: Any, config: Config, sets: Mapping[str, Registered], weights: Weights, world: World) -> None:
    """Refuse, all at once, what contradicts backbone or protocol and what is wrong with the data."""
    if config.evaluate_train and len(cfg.DATASETS.TRAIN) > 1:
        raise ValueError(
            f"evaluate_train: expected one training set, found {', '.join(cfg.DATASETS.TRAIN)}; AP over "
            "several sets is no mean of theirs"
        )
    judged = [name for _, name in _evaluated(config, cfg)]
    if config.choose_on == "holdout" and len(config.learning_rates) > 1:
        judged.append(cfg.DATASETS.TRAIN[0])  # a part of it chooses the learning rate
    faults: list[Finding] = []
    if world.first:
        for name, images in sets.items():
            uses = [True] if name in cfg.DATASETS.TRAIN else []  # for training, and to be evaluated on
            uses += [False] if name in judged else []
            for training in uses:
                found = find_faults(images, training, config.check_images and training == uses[0])
                faults += [fault for fault in found if fault not in faults]
    findings = [*find(cfg, weights), *accumulation_findings(cfg, config.accumulate)]
    findings += share_object(faults, world)
    refuse(findings, config.allow, config.detectron2_path)


def _held_out(config: Config, cfg: Any, folder: Path) -> tuple[Config, dict[str, Registered]]:
    """The configuration of a search's points and its sets: the first training set without the images that
    a point is judged on, which stand in for the test set.

    The first alone, because detectron2's VOC metric differs by year, and 2007 is what is reported.
    """
    first, *others = cfg.DATASETS.TRAIN
    rest, held = hold_out(config.sets[first], config.holdout_images, config.seed, folder)
    files = {f"{first}_rest": rest, f"{first}_holdout": held} | {name: config.sets[name] for name in others}
    names = {"TRAIN": [f"{first}_rest", *others], "TEST": [f"{first}_holdout"]}
    options = {**config.options, "DATASETS": {**config.options.get("DATASETS", {}), **names}}
    registered = {name: register(name, entry) for name, entry in files.items()}
    return replace(config, sets=files, options=options), registered
