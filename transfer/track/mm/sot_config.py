"""The mmtrack configuration of a run: read, filled with the backbone, refused if it names other weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING

from transfer.backbone.architecture import ARCHS
from transfer.backbone.contract import BackboneInfo
from transfer.findings import Weights, refuse
from transfer.ranks import World
from transfer.track.mm.backbone import image_norm, mmdet_resnet, pretrained
from transfer.track.mm.lint import find
from transfer.trust import check_options, check_program

SELECT = ("last", "best-test")
SIAMESE = "SOTResNet"  # mmtrack's, without padding in stem and layer2; a ResNet-50 only
NUM_STAGES = 4  # frozen_stages of a wholly frozen ResNet
# Options that say where data lie or how a machine computes: no deviation from the protocol.
DATA_KEYS = ("img_prefix", "ann_file", "workers_per_gpu")


@dataclass
class Config:
    """What the YAML file of a run says; the recipe itself is the mmtrack configuration."""

    dataset: str = MISSING  # the row's name for what is tested
    protocol: str = MISSING
    split: str = "test"
    mmtrack_config: str = MISSING  # Python file, relative to the working directory
    options: dict[str, Any] = field(default_factory=dict)  # values put in place of that file's
    pairs_per_batch: int = 0  # of all processes together; 0: the recipe's
    select: str = "last"  # which epoch is reported: last, or best-test as mmtrack does (rows then say so)
    device: str = "auto"
    num_workers: int = -1  # of each process; -1: the recipe's
    seed: int = 0
    allow: list[str] = field(default_factory=list)  # findings that are meant (docs/config_lint.md)

    def __post_init__(self) -> None:
        check_program(Path(self.mmtrack_config))
        check_options(self.options)

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocol of the rows: behind an ``@`` what deviates from the recipe, data paths apart."""
        deviations = [f"pairs{self.pairs_per_batch}"] if self.pairs_per_batch else []
        leaves = sorted(_leaves(self.options))
        deviations += [
            f"{key}={_shown(value)}" for key, value in leaves if key.split(".")[-1] not in DATA_KEYS
        ]
        return (self.protocol + ("@" + ",".join(deviations) if deviations else ""),)


def resolve(
    config: Config, info: BackboneInfo, weights_path: Path, work_dir: Path, world: World | None = None
) -> Any:
    """An ``mmcv.Config`` ready for mmtrack's training and test functions.

    A recipe's ``pairs_per_batch`` is the batch of all processes together (without it ``samples_per_gpu`` is),
    so that a protocol does not change with their number.

    Args:
        info: decides depth, neck channels and pixel normalisation.
        weights_path: mmcv file with the backbone.
        work_dir: where mmtrack may write.
        world: the processes that share the run.

    Raises:
        FileNotFoundError: no such configuration.
        ValueError: an option that names nothing in the file, a program that nobody vouches for, a pipeline
            without the normalisation that the backbone needs, a batch that the processes cannot share, a
            network that the recipe cannot hold, or a setting that contradicts the backbone, as a URL does.
    """
    from mmcv import Config as MmcvConfig

    world = world or World()
    recipe = Path(config.mmtrack_config)
    if not recipe.is_file():
        raise FileNotFoundError(f"{recipe}: no such mmtrack configuration (paths start at the checkout)")
    if config.select not in SELECT:
        raise ValueError(f"select: expected one of {', '.join(SELECT)}, found {config.select!r}")
    check_program(recipe)
    filled = MmcvConfig.fromfile(str(recipe))
    flat = dict(_leaves(config.options))
    for key in flat:
        _require_key(filled, key, recipe)
    filled.merge_from_dict(flat)

    backbone = filled.model.backbone
    _fill_backbone(backbone, info, weights_path, recipe)
    channels = ARCHS[info.arch].channels
    filled.model.neck.in_channels = [channels[index] for index in backbone.out_indices]
    for split in ("train", "test"):
        _normalise(filled.data[split], f"data.{split}", image_norm(info), recipe)
    _share_batch(filled, config, world, recipe)
    if config.num_workers >= 0:
        filled.data.workers_per_gpu = config.num_workers
    filled.seed = config.seed
    filled.work_dir = str(work_dir)
    refuse(
        find(filled, Weights.at(weights_path, info), world.size), config.allow, str(recipe)
    )  # the lint's rate follows from the batch of all processes
    # mmtrack's name for "this process's device"; without CUDA it runs on the CPU.
    filled.gpu_ids = [torch.cuda.current_device() if torch.cuda.is_available() else 0]
    return filled


def stays_frozen(mm_config: Any) -> bool:
    """Whether the recipe trains no tensor of the backbone: its stages are frozen, and no hook thaws them."""
    start = mm_config.optimizer_config.get("backbone_start_train_epoch", mm_config.total_epochs)
    return bool(mm_config.model.backbone.get("frozen_stages", -1) == NUM_STAGES) and (
        start >= mm_config.total_epochs
    )


def _fill_backbone(backbone: Any, info: BackboneInfo, weights_path: Path, recipe: Path) -> None:
    settings = mmdet_resnet(info.arch)
    if backbone.type == SIAMESE:
        if settings != {"type": "ResNet", "depth": 50}:
            raise ValueError(
                f"{recipe}: mmtrack's {SIAMESE} is a resnet50 only, found {info.arch}; a recipe with mmdet's "
                "ResNet takes other networks (configs/track/mmtrack/siamese_rpn_coco_otb.py)"
            )
        settings = {"depth": 50}
    backbone.update(settings, init_cfg=pretrained(weights_path))


def _share_batch(filled: Any, config: Config, world: World, recipe: Path) -> None:
    pairs = config.pairs_per_batch or filled.get("pairs_per_batch") or filled.data.samples_per_gpu
    if pairs % world.size:
        raise ValueError(
            f"{recipe}: {pairs} pairs a batch cannot be shared by {world.size} processes; take a number of "
            "processes that divides it, or set pairs_per_batch"
        )
    filled.data.samples_per_gpu = pairs // world.size


def _require_key(config: Any, dotted: str, mmtrack_config: Path) -> None:
    node = config
    for part in dotted.split("."):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif hasattr(node, "keys") and part in node.keys():  # noqa: SIM118 - mmcv's Config is no dict
            node = node[part]
        else:
            raise ValueError(f"{mmtrack_config}: option {dotted} names nothing there ({part!r} is unknown)")


def _normalise(data: Any, path: str, norm: dict[str, Any], recipe: Path) -> None:
    """Fill the normalisation of a data set's pipeline, or of all that it consists of."""
    if "dataset_cfgs" in data:
        for index, part in enumerate(data.dataset_cfgs):
            _normalise(part, f"{path}.dataset_cfgs.{index}", norm, recipe)
    elif _fill_normalisation(data.pipeline, norm) != 1:
        raise ValueError(
            f"{recipe}: {path}.pipeline must normalise exactly once (Normalize or SeqNormalize); the "
            "backbone was trained on normalised pixels"
        )


def _fill_normalisation(pipeline: list[Any], norm: dict[str, Any]) -> int:
    count = 0
    for step in pipeline:
        if step["type"] in ("Normalize", "SeqNormalize"):
            step.update(norm)
            count += 1
        count += _fill_normalisation(step.get("transforms", []), norm)
    return count


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below a mapping under its dotted key; a list is one value."""
    if hasattr(node, "items"):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _shown(value: Any) -> str:
    """A setting's value inside a protocol id, whose deviations are parted by commas."""
    if isinstance(value, list):
        return f"[{';'.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
