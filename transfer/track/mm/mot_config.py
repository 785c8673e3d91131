"""mmtrack configurations of a multi-object tracker: read, filled with the backbone everywhere, or refused.

A tracker is up to three recipes: the detector's training, the re-identification network's, and the
tracker's own, which tests and, where the tracker is trained as one (QDTrack, MaskTrack R-CNN), trains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from transfer.backbone.architecture import ARCHS
from transfer.backbone.contract import BackboneInfo
from transfer.findings import Weights, concerns, refuse, sort_out
from transfer.track.mm.backbone import image_norm, mmdet_resnet, pretrained
from transfer.track.mm.lint import find
from transfer.track.mm.lint_nodes import backbones
from transfer.trust import check_program

VARIANTS = ("mmtrack", "unfrozen", "syncbn")
FROZEN = ("frozen-stages", "norm-eval", "frozen-norm")  # the findings that variant mmtrack is about
SCALED = ("Resize", "SeqResize", "MultiScaleFlipAug")
CROPPED = ("RandomCrop", "SeqRandomCrop")


def read_recipe(path: str, options: dict[str, Any]) -> Any:
    """An mmtrack configuration with values of ours in place of its own.

    Args:
        path: Python file, relative to the working directory.
        options: nested as in the file; a number is an index into a list.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an option that names nothing in it, or a program that nobody vouches for.
    """
    from mmcv import Config

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such mmtrack configuration (paths start at the checkout)")
    check_program(Path(path))
    cfg = Config.fromfile(path)
    for dotted, value in _values(options):
        *parents, last = dotted.split(".")
        node = cfg
        for part in parents:
            node = _child(node, part, path, dotted)
        _child(node, last, path, dotted)
        node[int(last) if isinstance(node, list) else last] = value
    return cfg


def to_json(cfg: Any) -> str:
    """The configuration as text that mmcv reads; its own, in Python, is laid out for seconds."""
    return json.dumps(cfg._cfg_dict.to_dict(), indent=1) + "\n"


def fill_backbone(cfg: Any, info: BackboneInfo, weights_path: Path, variant: str) -> None:
    """Put the backbone into every detector, re-identification network and C4 head of a configuration.

    Depth, class, style, weights and what is computed from the channels follow the backbone. ``variant``
    decides what learns in detectors: ``mmtrack`` leaves that as the recipe has it, ``unfrozen`` trains
    every stage and batch norm, ``syncbn`` also synchronises the norms over the processes. A
    re-identification network always trains as a whole.

    Raises:
        ValueError: a variant that does not exist, or an arch that mmdet's backbones cannot be.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, found {variant!r}")
    network = {"style": "pytorch", **mmdet_resnet(info.arch)}
    channels = ARCHS[info.arch].channels
    for path, node in backbones(cfg.model):
        if path.endswith(".shared_head"):
            node.update(depth=network["depth"], style=network["style"], init_cfg=pretrained(weights_path))
        else:
            node.update(network, init_cfg=pretrained(weights_path))
        if "reid" not in path.split(".") and variant != "mmtrack":
            norm = {"type": "SyncBN" if variant == "syncbn" else "BN", "requires_grad": True}
            node.update(norm_eval=False, norm_cfg=norm)
            if not path.endswith(".shared_head"):
                node.frozen_stages = -1
    detector, reid = cfg.model.get("detector"), cfg.model.get("reid")
    if detector is not None and detector.get("neck"):
        detector.neck.in_channels = [channels[index] for index in detector.backbone.out_indices]
    if reid is not None:
        reid.head.in_channels = channels[-1]


def fill_pixels(cfg: Any, info: BackboneInfo, image_scale: Sequence[int]) -> None:
    """Normalise as the backbone was trained; ``image_scale`` (width, height) replaces the recipe's sizes.

    Re-identification has a crop size of its own, which stays.
    """
    norm = image_norm(info)
    for part in ("train", "test"):
        for step in _steps((cfg.data.get(part) or {}).get("pipeline") or []):
            if step["type"] in ("Normalize", "SeqNormalize"):
                step.update(norm)
            if not image_scale or cfg.get("TRAIN_REID"):
                continue
            if step["type"] in SCALED and "img_scale" in step:
                step["img_scale"] = tuple(image_scale)
            if step["type"] in CROPPED:
                step["crop_size"] = tuple(reversed(image_scale))


def fill_run(cfg: Any, work_dir: Path, seed: int, device: str, processes: int, num_workers: int) -> None:
    """Seed, folder, device, and the published batch of a step divided by the processes.

    Raises:
        ValueError: the batch cannot be divided so.
    """
    batch = cfg.data.samples_per_gpu * cfg.get("gpus", 1)
    if batch % processes:
        raise ValueError(
            f"the batch of a step is {batch} (samples_per_gpu x gpus) and cannot be shared by {processes} "
            "processes; start a number that divides it"
        )
    gpu = torch.cuda.current_device() if device == "cuda" else 0
    cfg.data.samples_per_gpu = batch // processes
    cfg.data.workers_per_gpu = num_workers
    cfg.update(work_dir=str(work_dir), seed=seed, device=device, gpu_ids=[gpu])
    cfg.checkpoint_config = {"interval": 1, "max_keep_ckpts": 1, **(cfg.get("checkpoint_config") or {})}
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), {"type": "FiniteLoss"}]
    if "runner" in cfg:
        cfg.pop("total_epochs", None)  # mmdet compares the two
    else:
        cfg.runner = {"type": "EpochBasedRunner", "max_epochs": cfg.get("total_epochs", 0)}


def check(
    cfgs: Mapping[str, Any], info: BackboneInfo, weights_path: Path, variant: str, allow: Sequence[str]
) -> None:
    """Refuse what contradicts the backbone; that detectors are frozen is what variant ``mmtrack`` says.

    Args:
        cfgs: by the path of the recipe.
        info: of the backbone under test.
        weights_path: mmcv file with the backbone.
        variant: as in :func:`fill_backbone`.
        allow: findings that are meant, of one recipe or of several.

    Raises:
        ValueError: names every such setting, or an exception that no recipe needs.
    """
    found = {path: find(cfg, Weights.at(weights_path, info)) for path, cfg in cfgs.items()}
    everything = [finding for findings in found.values() for finding in findings]
    sort_out(everything, allow, ", ".join(cfgs))
    for path, findings in found.items():
        names = {name for name in FROZEN if variant == "mmtrack"} | set(allow)
        refuse(findings, [name for name in sorted(names) if any(concerns(name, f) for f in findings)], path)


def _child(node: Any, part: str, path: str, dotted: str) -> Any:
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    if hasattr(node, "keys") and part in node.keys():  # noqa: SIM118 - mmcv's Config is no dict
        return node[part]
    raise ValueError(f"{path}: option {dotted} names nothing there ({part!r} is unknown)")


def _values(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _values(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _steps(pipeline: Any) -> Iterator[Any]:
    for step in pipeline:
        yield step
        yield from _steps(step.get("transforms", []))
