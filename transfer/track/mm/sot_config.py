"""The mmtrack configuration of a run: read, filled with the backbone, refused if it names other weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transfer.backbone.architecture import ARCHS
from transfer.backbone.contract import BackboneInfo
from transfer.findings import Weights, refuse
from transfer.track.mm.backbone import image_norm, mmdet_resnet, pretrained
from transfer.track.mm.lint import find


def resolve(
    mmtrack_config: Path,
    options: dict[str, Any],
    info: BackboneInfo,
    weights_path: Path,
    seed: int,
    work_dir: Path,
    allow: Sequence[str] = (),
) -> Any:
    """An ``mmcv.Config`` ready for mmtrack's training and test functions.

    Args:
        mmtrack_config: Python file under ``configs/track``.
        options: values to put in place of the file's, nested as there.
        info: decides depth, neck channels and pixel normalisation.
        weights_path: mmcv file with the backbone.
        seed: of sampling, augmentation and the head's initialisation.
        work_dir: where mmtrack may write.
        allow: findings of the lint that are meant.

    Raises:
        FileNotFoundError: no such configuration.
        ValueError: an option that names nothing in the file, a pipeline without the normalisation
            that the backbone needs, or a setting that contradicts the backbone, for example a URL.
    """
    from mmcv import Config

    if not mmtrack_config.is_file():
        raise FileNotFoundError(
            f"{mmtrack_config}: no such mmtrack configuration (paths start at the checkout)"
        )
    config = Config.fromfile(str(mmtrack_config))
    flat = dict(_leaves(options))
    for key in flat:
        _require_key(config, key, mmtrack_config)
    config.merge_from_dict(flat)

    backbone = config.model.backbone
    backbone.update(mmdet_resnet(info.arch), init_cfg=pretrained(weights_path))
    channels = ARCHS[info.arch].channels
    config.model.neck.in_channels = [channels[index] for index in backbone.out_indices]
    for split in ("train", "test"):
        if _fill_normalisation(config.data[split].pipeline, image_norm(info)) != 1:
            raise ValueError(
                f"{mmtrack_config}: data.{split}.pipeline must normalise exactly once (Normalize or "
                "SeqNormalize); the backbone was trained on normalised pixels"
            )
    config.seed = seed
    config.work_dir = str(work_dir)
    config.gpu_ids = [0]  # mmtrack's name for "one process"; without CUDA it runs on the CPU
    refuse(find(config, Weights.at(weights_path, info)), allow, str(mmtrack_config))
    return config


def _require_key(config: Any, dotted: str, mmtrack_config: Path) -> None:
    node = config
    for part in dotted.split("."):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif hasattr(node, "keys") and part in node.keys():  # noqa: SIM118 - mmcv's Config is no dict
            node = node[part]
        else:
            raise ValueError(f"{mmtrack_config}: option {dotted} names nothing there ({part!r} is unknown)")


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
