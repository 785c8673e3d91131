"""From a task configuration to a detectron2 configuration.

The protocol (detector, schedule, names of the sets) is a detectron2 YAML. A task configuration says where
the sets lie, how the run is made here, and what deviates from the YAML; what deviates is in the rows'
protocol (:func:`protocol_of`), so that no number passes for one of the plain protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from transfer.backbone.contract import BackboneInfo
from transfer.detect.backbone import BOUND, bind
from transfer.detect.sets import Registered, SetFiles
from transfer.detect.yaml_values import flatten, read_values
from transfer.ranks import choose_device

# Keys that a run decides; neither a YAML nor `options` may set one.
RUN_KEYS = {"MODEL.DEVICE": "device", "OUTPUT_DIR": "--out", "SEED": "seed"}
# Keys that a YAML may set and `options` may not, for a task configuration has another place for them.
TASK_KEYS = {
    "DATALOADER.NUM_WORKERS": "num_workers",
    "SOLVER.BASE_LR": "learning_rates",
    "SOLVER.CHECKPOINT_PERIOD": "checkpoint_period",
}
# What detectron2's training script does and nothing here; without effect it would be a lie in the YAML.
# Proposals made before are pickles, which run what their maker likes.
NOT_HERE = ("TEST.AUG.ENABLED", "TEST.EXPECTED_RESULTS", "MODEL.LOAD_PROPOSALS")
CHOICES = {"choose_on": ("holdout", "test"), "evaluator": ("hotcoco", "pycocotools")}
VOC_METRICS = ("ap", "ap50", "ap75")
COCO_METRICS = (*VOC_METRICS, "ap_small", "ap_medium", "ap_large")


@dataclass
class Config:
    """A detection protocol, where its sets lie, and how it is run here."""

    dataset: str = MISSING  # as in the rows: coco2017, voc07, voc07+12, mini, coco200
    split: str = "val"  # what the rows call the test set: val, test
    protocol: str = MISSING
    seed: int = 0
    detectron2_path: str = MISSING  # YAML with the protocol; everything not in it is detectron2's default
    sets: dict[str, SetFiles] = field(default_factory=dict)  # by the YAML's names in DATASETS; exactly these
    evaluate_train: bool = False  # also report AP on the training images
    images_per_batch: int = 0  # over all devices; 0: the YAML's; else the schedule is rescaled
    accumulate: int = 1  # the batch in so many passes
    options: dict[str, Any] = field(default_factory=dict)  # detectron2 settings over the YAML's, nested
    learning_rates: list[float] = field(
        default_factory=list
    )  # at the YAML's batch; none: the YAML's; or a search
    holdout_images: int = 0  # of the training images, to choose a learning rate on
    choose_on: str = "holdout"  # or test
    allow: list[str] = field(default_factory=list)  # findings that are meant (docs/config_lint.md)
    evaluator: str = "hotcoco"  # or pycocotools: the same numbers, slower
    checkpoint_period: int = 0  # iterations; 0: the YAML's
    num_workers: int = 0  # processes that load images, on each device
    device: str = "auto"  # cuda where there is one, else cpu
    check_images: bool = True  # open every image before training

    def __post_init__(self) -> None:
        read_values(Path(self.detectron2_path))
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise ValueError(f"{key}: expected {' or '.join(choices)}, found {getattr(self, key)!r}")
        for key, lowest in (
            ("images_per_batch", 0),
            ("accumulate", 1),
            ("holdout_images", 0),
            ("checkpoint_period", 0),
            ("num_workers", 0),
        ):
            if getattr(self, key) < lowest:
                raise ValueError(f"{key}: expected at least {lowest}, found {getattr(self, key)}")
        if any(not rate > 0 for rate in self.learning_rates):
            raise ValueError(f"learning_rates: expected positive numbers, found {self.learning_rates}")
        _refuse_owned(Path(self.detectron2_path), self.options)
        if self.images_per_batch and "SOLVER.IMS_PER_BATCH" in dict(flatten(self.options)):
            raise ValueError(
                "options.SOLVER.IMS_PER_BATCH beside images_per_batch: expected one of them; the first "
                "leaves the schedule as it is, the second rescales it"
            )
        if "@" in self.protocol:
            raise ValueError(
                f"protocol: expected an id without @, found {self.protocol!r}; the rows' gets what deviates"
            )


def resolve(
    config: Config, info: BackboneInfo, weights_path: Path, sets: Mapping[str, Registered], out: Path
) -> Any:
    """The frozen detectron2 configuration of a run, not yet rescaled to ``config.images_per_batch``.

    Its sources, of which a later one goes over an earlier one: detectron2's defaults, the YAML,
    ``config.options``, a single learning rate; then the contract
    (:data:`~transfer.detect.backbone.BOUND`) and the run (:data:`RUN_KEYS`), which none of these may set.

    Args:
        config: as read.
        info: what the weights were trained on.
        weights_path: the backbone, converted for detectron2.
        sets: by name, as registered from ``config.sets``.
        out: folder that detectron2 writes to.

    Raises:
        ValueError: a setting that detectron2 does not know or that has another type there, sets that are
            not those of DATASETS or have other classes than one another or NUM_CLASSES, or a schedule that
            cannot be.
    """
    from detectron2.config import CfgNode, get_cfg

    from transfer.detect.heads import register_heads

    register_heads()
    cfg = get_cfg()
    try:
        cfg.merge_from_file(config.detectron2_path, allow_unsafe=False)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{config.detectron2_path}: {_message(error)}") from None
    try:
        cfg.merge_from_other_cfg(CfgNode(config.options))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"options: {_message(error)}; expected detectron2's settings, nested: options.SOLVER.MAX_ITER=50"
        ) from None
    if len(config.learning_rates) == 1:
        cfg.SOLVER.BASE_LR = float(config.learning_rates[0])
    if config.checkpoint_period:
        cfg.SOLVER.CHECKPOINT_PERIOD = config.checkpoint_period
    bind(cfg, info, weights_path)
    cfg.DATALOADER.NUM_WORKERS = config.num_workers
    cfg.MODEL.DEVICE = str(choose_device(config.device))
    cfg.OUTPUT_DIR = str(out)
    cfg.SEED = config.seed
    _check_sets(cfg, sets, config.detectron2_path)
    _check_schedule(cfg.SOLVER, config.detectron2_path)
    for key in NOT_HERE:
        if value := reduce(getitem, key.split("."), cfg):
            raise ValueError(
                f"{config.detectron2_path}: {key}: found {value}, which nothing here does; remove it"
            )
    cfg.freeze()
    return cfg


def protocol_of(config: Config, rate: float | None = None) -> str:
    """The protocol of a run's rows: ``config.protocol``, and behind an ``@`` what deviates from its YAML.

    For example ``moco-faster-rcnn-c4-24k@batch4,lr=0.01,SOLVER.MAX_ITER=50``. An option that repeats the
    YAML's value is none; one that repeats a default of detectron2's is one, because this must not need
    detectron2. A learning rate that is searched is the protocol's matter, not a deviation.

    Args:
        config: as read.
        rate: of one point of a search, which is always said.
    """
    values = read_values(Path(config.detectron2_path))
    deviations = []
    if config.images_per_batch and config.images_per_batch != values.get("SOLVER.IMS_PER_BATCH"):
        deviations.append(f"batch{config.images_per_batch}")
    if config.accumulate > 1:
        deviations.append(f"accumulate{config.accumulate}")
    if rate is not None:
        deviations.append(f"lr={rate:g}")
    elif len(config.learning_rates) == 1 and config.learning_rates[0] != values.get("SOLVER.BASE_LR"):
        deviations.append(f"lr={config.learning_rates[0]:g}")
    unlike = {key: value for key, value in flatten(config.options) if (key, value) not in values.items()}
    deviations += [f"{key}={_shown(unlike[key])}" for key in sorted(unlike)]
    return config.protocol + ("@" + ",".join(deviations) if deviations else "")


def metric_names(config: Config) -> tuple[str, ...]:
    """The metrics of a run: of boxes, and of masks where there are any; VOC has no sizes."""
    settings = {**read_values(Path(config.detectron2_path)), **dict(flatten(config.options))}
    voc = any(files.voc_dir for files in config.sets.values())
    kinds = ("box", "mask") if settings.get("MODEL.MASK_ON", False) else ("box",)
    return tuple(f"{kind}_{name}" for kind in kinds for name in (VOC_METRICS if voc else COCO_METRICS))


def _refuse_owned(path: Path, options: Mapping[str, Any]) -> None:
    """Refuse settings where another place decides."""
    owners = {**dict.fromkeys(BOUND, "the backbone file"), **RUN_KEYS}
    for where, found, owned in (
        (str(path), read_values(path), owners),
        ("options", dict(flatten(options)), {**owners, **TASK_KEYS}),
    ):
        if named := sorted(set(found) & set(owned)):
            said = "; ".join(f"{key} follows from {owned[key]}" for key in named)
            raise ValueError(f"{where}: remove {', '.join(named)}: {said}")


def _check_sets(cfg: Any, sets: Mapping[str, Registered], path: str) -> None:
    """Names, classes and masks of the sets against the configuration."""
    train, test = tuple(cfg.DATASETS.TRAIN), tuple(cfg.DATASETS.TEST)
    if not train or len(test) != 1:
        raise ValueError(
            f"{path}: DATASETS: expected training sets and one test set, found {train} and {test}"
        )
    if set(sets) != {*train, *test}:
        raise ValueError(
            f"sets: expected exactly those of DATASETS in {path}, {_list(sorted({*train, *test}))}; found "
            f"{_list(sorted(sets))}"
        )
    first = sets[train[0]]
    for name in (*train[1:], *test):
        if sets[name].classes != first.classes:
            raise ValueError(
                f"classes differ: {train[0]} has {_list(first.classes)}, {name} has "
                f"{_list(sets[name].classes)}; one detector cannot learn both"
            )
    num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    if num_classes != len(first.classes):
        raise ValueError(
            f"{path}: MODEL.ROI_HEADS.NUM_CLASSES is {num_classes}, but {train[0]} has "
            f"{len(first.classes)} classes: {_list(first.classes)}"
        )
    if cfg.MODEL.MASK_ON and any(found.kind == "voc" for found in sets.values()):
        raise ValueError(f"{path}: MODEL.MASK_ON: VOC's boxes have no masks; set it to false")


def _check_schedule(solver: Any, path: str) -> None:
    """A schedule that ends, with what happens in it happening before its end."""
    if solver.REFERENCE_WORLD_SIZE:
        raise ValueError(
            f"{path}: SOLVER.REFERENCE_WORLD_SIZE: expected 0, found {solver.REFERENCE_WORLD_SIZE}; "
            "detectron2 would rescale the schedule by the number of processes, and no row would say so; use "
            "images_per_batch"
        )
    if solver.MAX_ITER < 1:
        raise ValueError(f"{path}: SOLVER.MAX_ITER: expected at least 1, found {solver.MAX_ITER}")
    if not 0 <= solver.WARMUP_ITERS < solver.MAX_ITER:
        raise ValueError(
            f"{path}: SOLVER.WARMUP_ITERS: expected at least 0 and below MAX_ITER {solver.MAX_ITER}, found "
            f"{solver.WARMUP_ITERS}; a shorter training takes options.SOLVER.WARMUP_ITERS too"
        )
    steps = list(solver.STEPS)
    if steps != sorted(set(steps)) or any(not 0 < step < solver.MAX_ITER for step in steps):
        raise ValueError(
            f"{path}: SOLVER.STEPS: expected rising iterations below MAX_ITER {solver.MAX_ITER}, found "
            f"{steps}; a shorter training takes options.SOLVER.STEPS too"
        )


def _message(error: Exception) -> str:
    """Of a KeyError without its quotes."""
    return str(error.args[0]) if error.args else type(error).__name__


def _list(names: Iterable[str]) -> str:
    """Names in a message, the first few of many."""
    shown = list(names)
    return ", ".join(shown[:8]) + (f", ... ({len(shown)})" if len(shown) > 8 else "") if shown else "none"


def _shown(value: Any) -> str:
    """A setting's value inside a protocol id, whose deviations are parted by commas."""
    if isinstance(value, list):
        return f"[{';'.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
