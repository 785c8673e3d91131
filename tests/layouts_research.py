"""Fixtures of the methods' own code: one repository, one training script each."""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from checkpoints import write_mec_checkpoint
from layouts_parts import (
    ONLINE,
    ONLY,
    TARGET,
    WIDTH,
    Fixture,
    features,
    head,
    network,
    optimizer,
    parallel,
    pretend,
    queue,
    save,
    scaler,
    scheduled,
    tree,
)
from torch import nn


def _lightweight(arch: str, state: dict[str, Any], epoch: int = 200) -> dict[str, Any]:
    return {"epoch": epoch, "arch": arch, "state_dict": state, "optimizer": optimizer()}


def mec(folder: Path, arch: str) -> Path:
    return write_mec_checkpoint(folder / "checkpoint_0099.pth.tar", arch)


def simsiam(folder: Path, arch: str) -> Path:
    """The projector's last batch norm has statistics but no weights."""
    fc = head(features(arch), WIDTH, WIDTH, WIDTH, last=nn.BatchNorm1d(WIDTH, affine=False))
    state = parallel(tree(encoder=network(arch, ONLINE, fc), predictor=head(WIDTH, 4, WIDTH)))
    return save(_lightweight(arch, state, 100), folder / "checkpoint_0099.pth.tar")


def moco_state(arch: str, mlp: bool) -> dict[str, Any]:
    def fc() -> nn.Module:
        width = features(arch)
        return head(width, WIDTH, WIDTH, norm=False) if mlp else nn.Linear(width, WIDTH)

    return parallel(
        tree(**queue(), encoder_q=network(arch, ONLINE, fc()), encoder_k=network(arch, TARGET, fc()))
    )


def moco_v1(folder: Path, arch: str) -> Path:
    return save(_lightweight(arch, moco_state(arch, mlp=False)), folder / "checkpoint_0199.pth.tar")


def moco_v2(folder: Path, arch: str) -> Path:
    return save(_lightweight(arch, moco_state(arch, mlp=True)), folder / "checkpoint_0199.pth.tar")


def moco_v2_released(folder: Path, arch: str) -> Path:
    """Cleaned up for transfer: the query encoder with its fc, no key encoder, queue or optimizer."""
    state = {k: v for k, v in moco_state(arch, mlp=True).items() if k.startswith("module.encoder_q.")}
    content = {"epoch": 800, "arch": arch, "state_dict": OrderedDict(state)}
    return save(content, folder / "moco_v2_800ep_pretrain.pth.tar")


def moco_v3(folder: Path, arch: str) -> Path:
    def mlp(width: int) -> nn.Module:
        return head(width, WIDTH, WIDTH, bias=False, last=nn.BatchNorm1d(WIDTH, affine=False))

    model = tree(
        base_encoder=network(arch, ONLINE, mlp(features(arch))),
        momentum_encoder=network(arch, TARGET, mlp(features(arch))),
        predictor=mlp(WIDTH),
    )
    content = {
        "epoch": 300,
        "arch": arch,
        "state_dict": parallel(model),
        "optimizer": optimizer("mu", trust_coefficient=0.001),
        "scaler": scaler(),
    }
    return save(content, folder / "checkpoint_0299.pth.tar")


def byol_learner(arch: str) -> nn.Module:
    """``net`` and ``online_encoder.net`` are one module; the classifier of torchvision stays in."""

    def wrapper(net: nn.Module) -> nn.Module:
        return tree(net=net, projector=head(features(arch), WIDTH, WIDTH))

    net = network(arch, ONLINE, nn.Linear(features(arch), WIDTH))
    return tree(
        net=net,
        online_encoder=wrapper(net),
        online_predictor=head(WIDTH, WIDTH, WIDTH),
        target_encoder=wrapper(network(arch, TARGET, nn.Linear(features(arch), WIDTH))),
    )


def byol(folder: Path, arch: str) -> Path:
    return save(byol_learner(arch).state_dict(), folder / "byol-learner.pt")


def swav_state(arch: str, clusterings: int) -> dict[str, Any]:
    def prototypes() -> nn.Module:
        return nn.Linear(WIDTH, 30, bias=False)

    model = network(arch, ONLY)
    model.add_module("projection_head", head(features(arch), WIDTH, WIDTH))
    several = tree(**{f"prototypes{i}": prototypes() for i in range(clusterings)})
    model.add_module("prototypes", several if clusterings else prototypes())
    return parallel(model)


def _swav(clusterings: int) -> Callable[[Path, str], Path]:
    def write(folder: Path, arch: str) -> Path:
        content = {
            "epoch": 400,
            "state_dict": swav_state(arch, clusterings),
            "optimizer": optimizer(lr=scheduled(0.6)),  # LARC saves the optimizer that it wraps
        }
        if not clusterings:  # apex.amp.state_dict(), by --use_fp16 true of main_swav.py
            content["amp"] = OrderedDict(loss_scaler0={"loss_scale": 65536.0, "unskipped": 371})
        return save(content, folder / "checkpoint.pth.tar")

    return write


def _swav_released(clusterings: int, name: str) -> Callable[[Path, str], Path]:
    return lambda folder, arch: save(swav_state(arch, clusterings), folder / name)


def exclude_bias_and_norm(p: torch.Tensor) -> bool:
    return p.ndim == 1


def _by_reference(content: dict[str, Any], path: Path) -> Path:
    """Barlow Twins' and VICReg's LARS keeps a function of the training script in its groups."""
    group = content["optimizer"]["param_groups"][0]
    group["weight_decay_filter"] = group["lars_adaptation_filter"] = exclude_bias_and_norm
    with pretend("__main__", exclude_bias_and_norm=exclude_bias_and_norm):
        return save(content, path)


def barlow_twins(folder: Path, arch: str) -> Path:
    model = tree(
        backbone=network(arch, ONLY),
        projector=head(features(arch), WIDTH, WIDTH, WIDTH, bias=False),
        bn=nn.BatchNorm1d(WIDTH, affine=False),
    )
    content = {"epoch": 1000, "model": parallel(model), "optimizer": optimizer("mu", eta=0.001)}
    return _by_reference(content, folder / "checkpoint.pth")


def backbone_released(folder: Path, arch: str) -> Path:
    """``model.module.backbone.state_dict()``: torchvision's names, no classifier at all."""
    return save(network(arch, ONLY).state_dict(), folder / "resnet50.pth")


def vicreg(folder: Path, arch: str) -> Path:
    projector = head(features(arch), WIDTH, WIDTH, WIDTH)
    projector[-1] = nn.Linear(WIDTH, WIDTH, bias=False)
    content = {
        "epoch": 100,
        "model": parallel(tree(backbone=network(arch, ONLY), projector=projector)),
        "optimizer": optimizer("mu", eta=0.001),
    }
    return _by_reference(content, folder / "model.pth")


def dino(folder: Path, arch: str) -> Path:
    """Both networks carry ``module.``: with batch norm the teacher is wrapped too."""

    def wrapper(seed: int) -> nn.Module:
        width = features(arch)
        mlp = nn.Sequential(
            nn.Linear(width, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 8)
        )
        last = tree(weight_g=torch.ones(30, 1), weight_v=torch.randn(30, 8))  # nn.utils.weight_norm
        return tree(backbone=network(arch, seed), head=tree(mlp=mlp, last_layer=last))

    groups = optimizer(lr=scheduled(0.3))
    groups["param_groups"][0]["weight_decay"] = scheduled(1e-4)
    content = {
        "student": parallel(wrapper(ONLINE)),
        "teacher": parallel(wrapper(TARGET)),
        "optimizer": groups,
        "epoch": 800,
        "args": Namespace(arch=arch, out_dim=30, global_crops_scale=(0.14, 1.0), use_fp16=True, gpu=0),
        "dino_loss": tree(center=torch.zeros(1, 30)).state_dict(),
        "fp16_scaler": scaler(),
    }
    return save(content, folder / "checkpoint.pth")


def simclr(folder: Path, arch: str) -> Path:
    model = tree(backbone=network(arch, ONLY, head(features(arch), WIDTH, WIDTH, norm=False)))
    return save(_lightweight(arch, model.state_dict()), folder / "checkpoint_0200.pth.tar")


BOTH = {"online": ONLINE, "target": TARGET}
FIXTURES = {
    "mec": Fixture(mec, BOTH, "facts.md section 7 [main_pretrain.py, mec/]"),
    "simsiam": Fixture(
        simsiam, {"online": ONLINE}, "facebookresearch/simsiam:main_simsiam.py, simsiam/builder.py"
    ),
    "moco-v1": Fixture(moco_v1, BOTH, "facebookresearch/moco:moco/builder.py; main_moco.py from memory"),
    "moco-v2": Fixture(moco_v2, BOTH, "facebookresearch/moco:moco/builder.py; main_moco.py from memory"),
    "moco-v2-released": Fixture(
        moco_v2_released,
        {"online": ONLINE},
        "facebookresearch/moco issue 27: solver states removed, weights missing to resume; rest from memory",
    ),
    "moco-v3": Fixture(moco_v3, BOTH, "facebookresearch/moco-v3:main_moco.py, moco/builder.py"),
    "byol": Fixture(byol, BOTH, "lucidrains/byol-pytorch:byol_pytorch/byol_pytorch.py"),
    "swav": Fixture(_swav(0), {"": ONLY}, "facebookresearch/swav:main_swav.py, src/resnet50.py"),
    "swav-released": Fixture(
        _swav_released(0, "swav_800ep_pretrain.pth.tar"), {"": ONLY}, "facebookresearch/swav:hubconf.py"
    ),
    "deepcluster-v2": Fixture(
        _swav(3), {"": ONLY}, "facebookresearch/swav:main_deepclusterv2.py, src/resnet50.py"
    ),
    "deepcluster-v2-released": Fixture(
        _swav_released(3, "deepclusterv2_800ep_pretrain.pth.tar"),
        {"": ONLY},
        "facebookresearch/swav:hubconf.py (SwAV's own), the file's name from memory",
    ),
    "barlow-twins": Fixture(barlow_twins, {"": ONLY}, "facebookresearch/barlowtwins:main.py"),
    "barlow-twins-released": Fixture(
        backbone_released,
        {"": ONLY},
        "facebookresearch/barlowtwins:main.py, hubconf.py; alike facebookresearch/vicreg:main_vicreg.py and "
        "facebookresearch/dino:hubconf.py (dino_resnet50)",
    ),
    "vicreg": Fixture(vicreg, {"": ONLY}, "facebookresearch/vicreg:main_vicreg.py, resnet.py"),
    "dino": Fixture(
        dino,
        {"target": TARGET, "online": ONLINE},
        "facebookresearch/dino:main_dino.py, vision_transformer.py (DINOHead); MultiCropWrapper from a copy; "
        "the teacher is what its evaluation reads, from memory",
    ),
    "simclr": Fixture(
        simclr, {"": ONLY}, "sthalles/SimCLR:simclr.py; ResNetSimCLR from copies of models/resnet_simclr.py"
    ),
}
