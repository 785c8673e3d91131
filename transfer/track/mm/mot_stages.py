"""Training the parts of a tracker with mmdet's and mmtrack's own loops, and putting them together.

A stage leaves its weights in ``out/NAME.pth``; while it trains, its checkpoints lie in ``out/NAME/``,
and a run that was killed goes on from the last epoch there.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfer.backbone.contract import Backbone
from transfer.ranks import World
from transfer.track.mm.backbone import quiet
from transfer.track.mm.gpu_streams import mend_streams
from transfer.track.mm.mot_config import to_json
from transfer.track.mm.mot_proof import prove
from transfer.track.mm.mot_ranks import loops_on_cpu, synchronise, wait
from transfer.track.mm.sot_guards import register_loss_guard

logger = logging.getLogger(__name__)
DETECTOR, REID, TRACKER = "detector", "reid", "tracker"
CLASSES = ("pedestrian",)  # the one class that MOTChallenge evaluates, whatever it looks like


def build(cfg: Any, stage: str, backbone: Backbone) -> nn.Module:
    """The network of a stage, initialised, with the backbone proven at every place.

    Raises:
        ValueError: names every tensor that did not arrive, or the place whose features are others.
    """
    from mmdet.apis import set_random_seed
    from mmdet.models import build_detector
    from mmtrack.models import build_model, build_reid

    from transfer.track.mm import mot_reid  # noqa: F401  # registers its classes

    set_random_seed(cfg.seed, deterministic=True)
    if stage == TRACKER:
        model = build_model(cfg.model)
    else:
        model = (build_detector if stage == DETECTOR else build_reid)(cfg.model[stage])
    with quiet():
        model.init_weights()
    prove(model, cfg.model if stage == TRACKER else cfg.model[stage], backbone, stage)
    return model  # type: ignore[no-any-return]


def train(cfg: Any, stage: str, backbone: Backbone, out: Path, world: World) -> dict[str, Tensor]:
    """Train a stage, or read what an earlier run of the same stage left.

    Returns:
        Its weights, on the CPU.

    Raises:
        ValueError: the training diverged, or as :func:`build`.
    """
    finished = out / f"{stage}.pth"
    key = stage_key(cfg, backbone)
    if world.first:
        _remove_others(finished, Path(cfg.work_dir), key)
    wait(world)
    if not finished.is_file():
        own = copy.deepcopy(cfg)  # the frameworks write into theirs
        model = build(own, stage, backbone)
        _train(model, own, stage, world)
        bad = [
            name
            for name, value in model.state_dict().items()
            if value.is_floating_point() and not bool(torch.isfinite(value).all())
        ]
        if bad:
            raise ValueError(f"{stage}: training diverged: {bad[0]} and {len(bad) - 1} more are not finite")
        if world.first:
            state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
            temporary = finished.with_name(f".{finished.name}.{os.getpid()}")
            torch.save({"key": key, "state_dict": state}, temporary)
            temporary.replace(finished)
            shutil.rmtree(cfg.work_dir, ignore_errors=True)
        wait(world)
    content = torch.load(finished, map_location="cpu", weights_only=True)
    return dict(content["state_dict"])


def assemble(
    cfg: Any, backbone: Backbone, parts: Mapping[str, Mapping[str, Tensor]], where: str
) -> nn.Module:
    """The tracker with what its stages learned; parts without a stage keep the backbone as it was.

    Raises:
        ValueError: a stage's weights do not fit the tracker's part, named by the first key.
    """
    model = build(cfg, TRACKER, backbone)
    for name, state in parts.items():
        part = model if name == TRACKER else getattr(model, name)
        found = set(part.state_dict())
        if found != set(state):
            example = sorted(found ^ set(state))[0]
            raise ValueError(
                f"{where}: model.{name} is another network than the one that was trained "
                f"({example} is in one of the two only); its recipes must agree"
            )
        part.load_state_dict(dict(state))
    return model


def stage_key(cfg: Any, backbone: Backbone) -> str:
    """Digest of all that decides a stage's weights; the folder and the processes are left out."""
    from transfer import provenance

    code = provenance.code_sha256("backbone", "data", "track")
    text = to_json(cfg).replace(str(Path(cfg.work_dir).parent), "")
    data = Path(cfg.data.train.ann_file)
    parts = [backbone.sha256, code, text, hashlib.sha256(data.read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _remove_others(finished: Path, work_dir: Path, key: str) -> None:
    """Remove what a run of another recipe, backbone or code left; keep what this one may go on from."""
    if finished.is_file():
        if torch.load(finished, map_location="cpu", weights_only=True).get("key") == key:
            return
        finished.unlink()
    stamp = work_dir / "key.txt"
    if not stamp.is_file() or stamp.read_text() != key:
        shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.mkdir(parents=True)
        stamp.write_text(key)


def _train(model: nn.Module, cfg: Any, stage: str, world: World) -> None:
    from mmdet import apis
    from mmdet.datasets import build_dataset
    from mmdet.utils import find_latest_checkpoint
    from mmtrack.apis import train_model

    register_loss_guard()
    mend_streams()
    dataset = build_dataset(cfg.data.train)
    model.CLASSES = dataset.CLASSES
    synchronise(model, cfg.device, world)
    if any(Path(cfg.work_dir).glob("*.pth")):
        cfg.resume_from = find_latest_checkpoint(cfg.work_dir)
        logger.info("%s: going on from %s", stage, cfg.resume_from)
    several = world.size > 1
    with loops_on_cpu(cfg.device, several):
        if stage == TRACKER:
            train_model(model.to(cfg.device), [dataset], cfg, several, timestamp="train", meta={})
        else:
            apis.train_detector(model, [dataset], cfg, several, timestamp="train")  # names the log file
