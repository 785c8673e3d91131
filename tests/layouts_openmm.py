"""Fixtures of OpenMMLab's code bases: mmcv's runner, then mmengine's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from layouts_parts import (
    DETECTOR,
    ONLINE,
    ONLY,
    REID,
    TARGET,
    WIDTH,
    Fixture,
    features,
    head,
    network,
    optimizer,
    pretend,
    queue,
    save,
    tree,
)
from torch import nn

CONFIG = "model = dict(\n    type='MoCo',\n    backbone=dict(type='ResNet', depth=18))\n"
META = {"epoch": 200, "iter": 1000800, "mmcv_version": "1.7.2", "time": "Wed Nov 25 22:58:20 2026"}
DETECTION = {  # written by mmdet's tools/train.py
    "env_info": "sys.platform: linux\nPython: 3.8.18",
    "config": "model = dict(\n    type='MaskRCNN')\n",
    "seed": 0,
    "exp_name": "mask_rcnn_r50_fpn_1x_coco.py",
    "hook_msgs": {},
    "CLASSES": ("person", "bicycle"),
}


def runner(model: nn.Module, path: Path, **meta: object) -> Path:
    """What ``mmcv.runner.save_checkpoint`` writes: the model without its parallel wrapper."""
    content = {"meta": META | meta, "state_dict": model.state_dict(), "optimizer": optimizer()}
    return save(content, path)


def moco_neck(arch: str) -> nn.Module:
    return tree(mlp=head(features(arch), WIDTH, WIDTH, norm=False))


def nonlinear_neck(width: int) -> nn.Module:
    return tree(
        fc0=nn.Linear(width, WIDTH, bias=False), bn0=nn.BatchNorm1d(WIDTH), fc1=nn.Linear(WIDTH, WIDTH)
    )


def openselfsup(folder: Path, arch: str) -> Path:
    """``backbone`` is ``encoder_q[0]`` by another name: the query network is in the file twice."""
    encoder_q = nn.Sequential(network(arch, ONLINE), moco_neck(arch))
    encoder_k = nn.Sequential(network(arch, TARGET), moco_neck(arch))
    model = tree(**queue(), encoder_q=encoder_q, encoder_k=encoder_k, backbone=encoder_q[0])
    return runner(model, folder / "epoch_200.pth", openselfsup_version="0.3.0+b3b5b8b", config=CONFIG)


def openselfsup_byol(folder: Path, arch: str) -> Path:
    online = nn.Sequential(network(arch, ONLINE), nonlinear_neck(features(arch)))
    target = nn.Sequential(network(arch, TARGET), nonlinear_neck(features(arch)))
    predictor = tree(predictor=nonlinear_neck(WIDTH))
    model = tree(online_net=online, target_net=target, backbone=online[0], head=predictor)
    return runner(model, folder / "epoch_200.pth", openselfsup_version="0.3.0+b3b5b8b", config=CONFIG)


def openselfsup_extracted(folder: Path, arch: str) -> Path:
    """tools/extract_backbone_weights.py: what DenseCL and OpenSelfSup release."""
    state = dict(network(arch, ONLY).state_dict())
    return save({"state_dict": state, "author": "OpenSelfSup"}, folder / "epoch_200_extracted.pth")


def densecl(folder: Path, arch: str) -> Path:
    def neck() -> nn.Module:
        width = features(arch)
        convs = nn.Sequential(nn.Conv2d(width, WIDTH, 1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1))
        return tree(mlp=head(width, WIDTH, WIDTH, norm=False), mlp2=convs)

    encoder_q = nn.Sequential(network(arch, ONLINE), neck())
    encoder_k = nn.Sequential(network(arch, TARGET), neck())
    second = {name.replace("queue", "queue2"): value for name, value in queue().items()}
    model = tree(**queue(), **second, encoder_q=encoder_q, encoder_k=encoder_k, backbone=encoder_q[0])
    return runner(model, folder / "epoch_200.pth", openselfsup_version="0.3.0+5d1c456", config=CONFIG)


def mmselfsup(folder: Path, arch: str) -> Path:
    """MoCo of mmselfsup 0.x: the neck is in the file twice as well."""
    encoder_q = nn.Sequential(network(arch, ONLINE), moco_neck(arch))
    encoder_k = nn.Sequential(network(arch, TARGET), moco_neck(arch))
    model = tree(
        **queue(), encoder_q=encoder_q, encoder_k=encoder_k, backbone=encoder_q[0], neck=encoder_q[1]
    )
    return runner(model, folder / "epoch_200.pth", mmselfsup_version="0.10.1+b3b5b8b", config=CONFIG)


class HistoryBuffer:
    """mmengine's, as far as a pickle sees it."""

    def __init__(self, log_history: list[float], count_history: list[int]) -> None:
        self.max_length = 1000000
        self._log_history = np.array(log_history)
        self._count_history = np.array(count_history)


def engine(model: nn.Module, path: Path) -> Path:
    """What mmengine's ``Runner.save_checkpoint`` writes."""
    about = {"cfg": CONFIG, "seed": 0, "experiment_name": "moco_20261125_225820"}
    hub = {
        "log_scalars": OrderedDict(
            {key: HistoryBuffer([0.03, 0.02], [1, 1]) for key in ("train/lr", "train/loss", "train/time")}
        ),
        "runtime_info": OrderedDict(about, epoch=199, iter=1000800, max_epochs=200, last_ckpt=str(path)),
        "resumed_keys": OrderedDict({"train/lr": True, "epoch": True, "iter": True}),
    }
    schedule = {
        "param_name": "lr",
        "begin": 0,
        "end": 200,
        "by_epoch": True,
        "base_values": [0.03],
        "last_step": 200,
        "_global_step": 201,
        "verbose": False,
        "_last_value": [0.0],
        "T_max": 200,
        "eta_min": 0.0,
    }
    content = {
        "meta": {
            "epoch": 200,
            "iter": 1000800,
            **about,
            "time": "20261125_225820",
            "mmengine_version": "0.10.7",
            "dataset_meta": {"classes": ("tench", "goldfish")},
        },
        "state_dict": model.state_dict(),
        "message_hub": hub,
        "optimizer": optimizer(),
        "param_schedulers": [schedule],
    }
    with pretend("mmengine.logging.history_buffer", HistoryBuffer=HistoryBuffer):
        return save(content, path)


def averaged(arch: str, neck: nn.Module) -> nn.Module:
    """mmengine's ExponentialMovingAverage of ``nn.Sequential(backbone, neck)``."""
    return tree(steps=torch.tensor(1000800), module=nn.Sequential(network(arch, TARGET), neck))


def mmpretrain(folder: Path, arch: str) -> Path:
    model = tree(
        **queue(),
        backbone=network(arch, ONLINE),
        neck=moco_neck(arch),
        encoder_k=averaged(arch, moco_neck(arch)),
    )
    return engine(model, folder / "epoch_200.pth")


def mmpretrain_byol(folder: Path, arch: str) -> Path:
    model = tree(
        backbone=network(arch, ONLINE),
        neck=nonlinear_neck(features(arch)),
        head=tree(predictor=nonlinear_neck(WIDTH)),
        target_net=averaged(arch, nonlinear_neck(features(arch))),
    )
    return engine(model, folder / "epoch_200.pth")


def mmcv(folder: Path, arch: str) -> Path:
    """A backbone alone, as a detector's config names it in ``load_from``."""
    state = tree(backbone=network(arch, ONLY)).state_dict()
    return save({"meta": {"CLASSES": None}, "state_dict": state}, folder / "backbone.pth")


def detector(arch: str, seed: int, masks: bool) -> dict[str, nn.Module]:
    """Faster R-CNN with FPN, or Mask R-CNN."""

    def conv(before: int = WIDTH, kernel: int = 3) -> nn.Module:
        return tree(conv=nn.Conv2d(before, WIDTH, kernel))

    stages = [features(arch) // 2**i for i in (3, 2, 1, 0)]
    neck = tree(
        lateral_convs=nn.Sequential(*(conv(width, 1) for width in stages)),
        fpn_convs=nn.Sequential(*(conv() for _ in stages)),
    )
    rpn = tree(
        rpn_conv=nn.Conv2d(WIDTH, WIDTH, 3), rpn_cls=nn.Conv2d(WIDTH, 3, 1), rpn_reg=nn.Conv2d(WIDTH, 12, 1)
    )
    box = tree(
        fc_cls=nn.Linear(WIDTH, 3),
        fc_reg=nn.Linear(WIDTH, 8),
        shared_fcs=nn.Sequential(nn.Linear(WIDTH * 49, WIDTH), nn.Linear(WIDTH, WIDTH)),
    )
    mask = tree(
        convs=nn.Sequential(*(conv() for _ in range(4))),
        upsample=nn.ConvTranspose2d(WIDTH, WIDTH, 2),
        conv_logits=nn.Conv2d(WIDTH, 2, 1),
    )
    roi = tree(bbox_head=box, mask_head=mask) if masks else tree(bbox_head=box)
    return {"backbone": network(arch, seed), "neck": neck, "rpn_head": rpn, "roi_head": roi}


def mmdet_trained(folder: Path, arch: str) -> Path:
    model = tree(**detector(arch, ONLY, masks=True))
    return runner(model, folder / "epoch_12.pth", mmdet_version="2.28.2+2a5b8e1", **DETECTION)


def mmtrack_trained(folder: Path, arch: str) -> Path:
    """A tracker with both of its networks, as ``build_model`` of mmtrack names them (DeepSORT)."""
    fcs = nn.Sequential(tree(fc=nn.Linear(features(arch), WIDTH), bn=nn.BatchNorm1d(WIDTH)))
    reid_head = tree(
        fcs=fcs, fc_out=nn.Linear(WIDTH, WIDTH), bn=nn.BatchNorm1d(WIDTH), classifier=nn.Linear(WIDTH, 5)
    )
    model = tree(
        detector=tree(**detector(arch, DETECTOR, masks=False)),
        reid=tree(backbone=network(arch, REID), head=reid_head),
    )
    return runner(model, folder / "epoch_4.pth", mmtrack_version="0.14.0", **DETECTION)


def _fixture(write: Callable[[Path, str], Path], branches: dict[str, int], evidence: str) -> Fixture:
    return Fixture(write, branches, evidence + "; open-mmlab/mmcv:mmcv/runner/checkpoint.py")


BOTH = {"online": ONLINE, "target": TARGET}
RUNNER = "open-mmlab/mmengine:mmengine/runner/runner.py, logging/history_buffer.py, model/averaged_model.py"
FIXTURES: dict[str, Fixture] = {
    "openselfsup": _fixture(
        openselfsup, BOTH, "open-mmlab/mmselfsup:openselfsup/models/moco.py (0.3), its neck from memory"
    ),
    "openselfsup-byol": _fixture(
        openselfsup_byol,
        BOTH,
        "open-mmlab/mmselfsup:openselfsup/models/byol.py; WXinlong/DenseCL necks.py",
    ),
    "openselfsup-extracted": Fixture(
        openselfsup_extracted, {"": ONLY}, "open-mmlab/mmselfsup:tools/extract_backbone_weights.py"
    ),
    "densecl": _fixture(densecl, BOTH, "WXinlong/DenseCL:openselfsup/models/densecl.py, necks.py"),
    "mmselfsup": _fixture(mmselfsup, BOTH, "open-mmlab/mmselfsup:mmselfsup/models/algorithms/moco.py"),
    "mmpretrain": Fixture(mmpretrain, BOTH, f"open-mmlab/mmpretrain:models/selfsup/moco.py; {RUNNER}"),
    "mmpretrain-byol": Fixture(
        mmpretrain_byol,
        BOTH,
        f"open-mmlab/mmpretrain:models/selfsup/byol.py, models/necks/nonlinear_neck.py; {RUNNER}",
    ),
    "mmcv": _fixture(mmcv, {"": ONLY}, "installed mmdet 2.28.2: names of build_detector"),
    "mmdet-trained": _fixture(
        mmdet_trained,
        {"": ONLY},
        "installed mmdet 2.28.2: mask_rcnn_r50_fpn_1x_coco.py built, train.py",
    ),
    "mmtrack-trained": _fixture(
        mmtrack_trained,
        {"detector": DETECTOR, "reid": REID},
        "installed mmtrack 0.14.0: deepsort_faster-rcnn_fpn_4e_mot17-private-half.py built, tools/train.py",
    ),
}
