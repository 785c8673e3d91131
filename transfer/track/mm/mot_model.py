"""The recipes of a multi-object tracker filled in for a run, and the tracker at work in mmtrack's loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.distributed as dist
from torch import nn
from torch.utils.data import Subset

from transfer.backbone.contract import Backbone
from transfer.backbone.targets import write_mmcv
from transfer.ranks import World, choose_device
from transfer.track.mm import mot_config
from transfer.track.mm.gpu_streams import mend_streams
from transfer.track.mm.mot_crops import LIST_NAME, People
from transfer.track.mm.mot_ranks import wait
from transfer.track.mm.mot_stages import DETECTOR, REID, TRACKER
from transfer.writing import write_text

if TYPE_CHECKING:
    from transfer.track.mm.mot import Config

ALONE = World()


def resolve(
    config: Config, backbone: Backbone, out: Path, people: People | None = None, world: World = ALONE
) -> dict[str, Any]:
    """The mmcv configuration of each stage, the tracker's last, also written to ``out/STAGE.json``.

    The prepared sets are ``out/data/train(.json)`` and ``out/data/test(.json)``; ``people`` are those that a
    re-identification network learns from.

    Raises:
        FileNotFoundError: no such recipe.
        ValueError: an option that names nothing, or a result that contradicts the backbone or the published
            protocol, for example by downloading weights, where ``config.allow`` does not name it.
    """
    recipes = {DETECTOR: config.detector, REID: config.reid, TRACKER: config.tracker}
    strangers = config.options.keys() - recipes.keys()
    if strangers:
        raise ValueError(f"options: expected {', '.join(recipes)}, found {', '.join(sorted(strangers))}")
    weights_path = out / "backbone.pth"
    if world.first:
        write_mmcv(backbone, weights_path)
    wait(world)
    cfgs = {}
    for stage, path in recipes.items():
        if not path:
            continue
        cfg = mot_config.read_recipe(path, dict(config.options.get(stage, {})))
        mot_config.fill_backbone(cfg, backbone.info, weights_path, config.variant)
        mot_config.fill_pixels(cfg, backbone.info, config.image_scale)
        _fill_sets(cfg, stage, out / "data", people)
        if people is not None and cfg.model.get("reid") is not None and "num_classes" in cfg.model.reid.head:
            cfg.model.reid.head.num_classes = people.count
        device = choose_device(config.device).type
        mot_config.fill_run(cfg, out / stage, config.seed, device, world.size, config.num_workers)
        cfgs[stage] = cfg
    by_path = {recipes[stage]: cfg for stage, cfg in cfgs.items()}
    mot_config.check(by_path, backbone.info, weights_path, config.variant, config.allow)
    for stage, cfg in cfgs.items() if world.first else ():
        write_text(out / f"{stage}.json", mot_config.to_json(cfg))
    return cfgs


def track(model: nn.Module, cfg: Any, world: World = ALONE) -> tuple[Any, dict[str, list[Any]]]:
    """Run the tracker over the test frames with mmtrack's own loop.

    Several processes share the videos; each returns the results of all. mmtrack's loop for several writes
    them to CUDA tensors, which not every machine has.

    Returns:
        mmtrack's dataset, and its results: ``track_bboxes``, for each frame and class an array
        ``(K, 6)`` of id, left, top, right, bottom, score; ``det_bboxes`` likewise without the id.
    """
    from mmdet.datasets import build_dataloader, build_dataset
    from mmdet.utils import build_dp
    from mmtrack.apis import single_gpu_test

    mend_streams()
    dataset = build_dataset(cfg.data.test)
    frames = share_videos([info["frame_id"] for info in dataset.data_infos], world)
    own: dict[str, list[Any]] = {}
    if frames:
        workers = cfg.data.workers_per_gpu
        loader = build_dataloader(Subset(dataset, frames), 1, workers, dist=False, shuffle=False)
        own = single_gpu_test(build_dp(model, cfg.device, device_ids=cfg.gpu_ids), loader)
    if world.size == 1:
        return dataset, dict(own)
    parts: list[Any] = [None] * world.size
    dist.all_gather_object(parts, dict(own))
    names = dict.fromkeys(name for part in parts for name in part)
    return dataset, {name: [entry for part in parts for entry in part.get(name, [])] for name in names}


def share_videos(frame_ids: list[int], world: World) -> list[int]:
    """Indices of the frames of this process's videos; the processes' parts in turn are all frames in order.

    Args:
        frame_ids: of all frames, video after video, each from 0.
        world: this process.
    """
    starts = [index for index, frame in enumerate(frame_ids) if frame == 0]
    videos = np.split(np.arange(len(frame_ids)), starts[1:])
    return [int(index) for video in videos[world.share(len(videos))] for index in video]


def _fill_sets(cfg: Any, stage: str, data_dir: Path, people: People | None) -> None:
    """Point a recipe's sets at the prepared frames; images are named from beside the JSON."""
    for part in ("train", "test"):
        if not cfg.data.get(part):
            continue
        if stage == REID:
            assert people is not None  # cut out where there is a recipe for them
            folder = people.folder.resolve()
            cfg.data[part].update(data_prefix=str(folder / "imgs"), ann_file=str(folder / LIST_NAME))
        else:
            json_path = (data_dir / f"{part}.json").resolve()
            cfg.data[part].update(ann_file=str(json_path), img_prefix=str(json_path.with_suffix("")))
    for part in ("val", "test"):
        cfg.data.setdefault(part, {})  # mmdet looks for them even when nothing is validated
