"""From a task configuration to a detectron2 configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from transfer.backbone.contract import BackboneInfo
from transfer.detect.backbone import BOUND, bind
from transfer.detect.data import Images, Registered

# Keys that the task configuration holds; a detectron2 YAML that sets one is refused.
TASK_KEYS = (
    "DATASETS.TRAIN",
    "DATASETS.TEST",
    "MODEL.DEVICE",
    "MODEL.ROI_HEADS.NUM_CLASSES",
    "OUTPUT_DIR",
    "SEED",
    "SOLVER.BASE_LR",
    "SOLVER.IMS_PER_BATCH",
    "SOLVER.MAX_ITER",
    "SOLVER.STEPS",
    "SOLVER.WARMUP_ITERS",
)


@dataclass
class Config:
    """A detection protocol: a detector, a schedule and two sets of images."""

    dataset: str = MISSING
    protocol: str = MISSING
    seed: int = 0
    detectron2_path: str = MISSING  # YAML with the detector; everything not in it is detectron2's default
    train: Images = field(default_factory=Images)
    val: Images = field(default_factory=Images)
    evaluate_train: bool = False  # also report AP on the training images
    iterations: int = MISSING
    images_per_batch: int = 4  # over all devices
    learning_rate: float = MISSING
    decay_steps: list[int] = field(default_factory=list)  # iterations at which the rate falls to a tenth
    warmup_iterations: int = 10
    allow: list[str] = field(default_factory=list)  # findings that are meant (docs/config_lint.md)

    def __post_init__(self) -> None:
        path = Path(self.detectron2_path)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such detectron2 configuration (run from the checkout's root)"
            )
        if not 0 < self.warmup_iterations + 1 <= self.iterations:
            raise ValueError(
                f"warmup_iterations {self.warmup_iterations} must be at least 0 and below iterations "
                f"{self.iterations}"
            )


def resolve(
    config: Config, info: BackboneInfo, weights_path: Path, train: Registered, val: Registered, out: Path
) -> Any:
    """The frozen detectron2 configuration of a run.

    Its sources, none of which may contradict another: detectron2's defaults, the YAML, the
    contract (:data:`~transfer.detect.backbone.BOUND`) and the task configuration
    (:data:`TASK_KEYS`).

    Raises:
        ValueError: the YAML sets a key that is not its own, or the splits' classes differ.
        KeyError: the YAML sets a key that detectron2 does not know.
    """
    import torch
    from detectron2.config import CfgNode, get_cfg

    if train.classes != val.classes:
        raise ValueError(f"classes differ: train has {train.classes}, val has {val.classes}")
    owned = sorted(set(_keys(CfgNode.load_yaml_with_base(config.detectron2_path))) & {*BOUND, *TASK_KEYS})
    if owned:
        raise ValueError(
            f"{config.detectron2_path}: remove {', '.join(owned)}; pixels and network follow from the "
            "backbone file, sets and schedule from the task configuration"
        )
    cfg = get_cfg()
    cfg.merge_from_file(config.detectron2_path)
    bind(cfg, info, weights_path)
    cfg.DATASETS.TRAIN = (train.name,)
    cfg.DATASETS.TEST = (val.name,)
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(train.classes)
    cfg.OUTPUT_DIR = str(out)
    cfg.SEED = config.seed
    cfg.SOLVER.BASE_LR = config.learning_rate
    cfg.SOLVER.IMS_PER_BATCH = config.images_per_batch
    cfg.SOLVER.MAX_ITER = config.iterations
    cfg.SOLVER.STEPS = tuple(config.decay_steps)
    cfg.SOLVER.WARMUP_ITERS = config.warmup_iterations
    cfg.freeze()
    return cfg


def _keys(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of a nested mapping's leaves."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
