"""Fixtures of code bases that train with Lightning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
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
    save,
    scaler,
    tree,
)
from layouts_research import byol_learner
from omegaconf import DictConfig, OmegaConf
from torch import nn


def lightning(model: nn.Module, path: Path, **more: object) -> Path:
    """What ``Trainer.save_checkpoint`` writes; hyper-parameters only where the module saved some."""
    progress = {"total": {"ready": 99, "completed": 99}, "current": {"ready": 9, "completed": 9}}
    saver: dict[str, object] = {
        "monitor": None,
        "best_model_score": torch.tensor(1.5),
        "best_model_path": str(path),
        "current_score": None,
        "dirpath": str(path.parent),
        "best_k_models": {},
        "kth_best_model_path": "",
        "kth_value": torch.tensor(float("inf")),
        "last_model_path": "",
    }
    content = {
        "epoch": 99,
        "global_step": 9900,
        "pytorch-lightning_version": "2.1.2",
        "state_dict": model.state_dict(),
        "loops": {
            "fit_loop": {
                "state_dict": {},
                "epoch_loop.state_dict": {"_batches_that_stepped": 9900},
                "epoch_loop.batch_progress": {**progress, "is_last_batch": True},
                "epoch_loop.scheduler_progress": progress,
                "epoch_progress": progress,
            },
            "validate_loop": {"state_dict": {}, "batch_progress": {**progress, "is_last_batch": False}},
        },
        "callbacks": {"ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_epochs': 1}": saver},
        "optimizer_states": [optimizer()],
        "lr_schedulers": [{"base_lrs": [0.3], "last_epoch": 9900, "_step_count": 9901, "_last_lr": [0.01]}],
        "MixedPrecision": scaler(),
        **more,
    }
    return save(content, path)


def solo_learn(backbone: str, name: str) -> Callable[[Path, str], Path]:
    """BYOL of solo-learn; the online classifier is part of every method."""

    def write(folder: Path, arch: str) -> Path:
        width = features(arch)
        model = tree(
            **{backbone: network(arch, ONLINE)},
            classifier=nn.Linear(width, WIDTH),
            **{f"momentum_{backbone}": network(arch, TARGET)},
            projector=head(width, WIDTH, WIDTH),
            momentum_projector=head(width, WIDTH, WIDTH),
            predictor=head(WIDTH, WIDTH, WIDTH),
        )
        return lightning(model, folder / name)

    return write


def lightly(folder: Path, arch: str) -> Path:
    """BYOL of lightly's examples: the backbone is a sequence of torchvision's children, unnamed."""

    def sequence(seed: int) -> nn.Module:
        return nn.Sequential(*list(network(arch, seed).children())[:-1])

    def projector(width: int) -> nn.Module:
        return tree(layers=head(width, WIDTH, WIDTH, bias=False))

    model = tree(
        backbone=sequence(ONLINE),
        projection_head=projector(features(arch)),
        prediction_head=projector(WIDTH),
        backbone_momentum=sequence(TARGET),
        projection_head_momentum=projector(features(arch)),
    )
    return lightning(model, folder / "epoch=9-step=1950.ckpt")


def lightly_benchmark(folder: Path, arch: str) -> Path:
    """BYOL: the student is ``backbone``, the teacher ``teacher_backbone``."""
    width = features(arch)
    model = tree(
        backbone=network(arch, ONLINE),
        projection_head=tree(layers=head(width, WIDTH, WIDTH)),
        prediction_head=tree(layers=head(WIDTH, WIDTH, WIDTH)),
        teacher_backbone=network(arch, TARGET),
        teacher_projection_head=tree(layers=head(width, WIDTH, WIDTH)),
        online_classifier=tree(classification_head=nn.Linear(width, WIDTH)),
    )
    parameters = {"batch_size_per_device": 128, "num_classes": WIDTH}
    path = folder / "epoch=99-step=9900.ckpt"
    return lightning(model, path, hparams_name="kwargs", hyper_parameters=parameters)


def lightly_benchmark_swapped(other: str) -> Callable[[Path, str], Path]:
    """MoCo v2 and DINO: ``backbone`` is the averaged network, the trained one is ``<other>_backbone``."""

    def write(folder: Path, arch: str) -> Path:
        width = features(arch)
        model = tree(
            backbone=network(arch, TARGET),
            projection_head=tree(layers=head(width, WIDTH, WIDTH, norm=False)),
            **{
                f"{other}_backbone": network(arch, ONLINE),
                f"{other}_projection_head": tree(layers=head(width, WIDTH, WIDTH, norm=False)),
            },
            online_classifier=tree(classification_head=nn.Linear(width, WIDTH)),
        )
        parameters = {"batch_size_per_device": 128, "num_classes": WIDTH}
        path = folder / "epoch=99-step=9900.ckpt"
        return lightning(model, path, hparams_name="kwargs", hyper_parameters=parameters)

    return write


def dictconfig(folder: Path, arch: str) -> Path:
    """Any module that saves an OmegaConf config: Lightning writes it and its class, by reference."""
    config = OmegaConf.create({"backbone": {"name": arch}, "optimizer": {"lr": 0.3}, "steps": [60, 80]})
    model = tree(backbone=network(arch, ONLY), classifier=nn.Linear(features(arch), WIDTH))
    more = {"hparams_name": "cfg", "hyper_parameters": config, "hparams_type": DictConfig}
    return lightning(model, folder / "epoch=99-step=9900.ckpt", **more)


def byol_lightning(folder: Path, arch: str) -> Path:
    return lightning(tree(learner=byol_learner(arch)), folder / "epoch=99-step=9900.ckpt")


BOTH = {"online": ONLINE, "target": TARGET}
KEPT = "Lightning-AI/pytorch-lightning:src/lightning/pytorch/trainer/connectors/checkpoint_connector.py"
FIXTURES: dict[str, Fixture] = {
    "solo-learn": Fixture(
        solo_learn("backbone", "byol-imagenet100-3tsjw5xp-ep=399.ckpt"),
        BOTH,
        f"vturrisi/solo-learn:solo/methods/base.py (2023), byol.py, solo/utils/checkpointer.py; {KEPT}",
    ),
    "solo-learn-encoder": Fixture(
        solo_learn("encoder", "byol-resnet18-cifar10-3tsjw5xp-ep=999.ckpt"),
        BOTH,
        f"vturrisi/solo-learn:solo/methods/base.py (2021), main_linear.py; {KEPT}; momentum_ from memory",
    ),
    "lightly": Fixture(lightly, BOTH, f"lightly-ai/lightly:examples/pytorch_lightning/byol.py; {KEPT}"),
    "lightly-benchmark": Fixture(
        lightly_benchmark, BOTH, f"lightly-ai/lightly:benchmarks/imagenet/resnet50/byol.py; {KEPT}"
    ),
    "lightly-benchmark-moco": Fixture(
        lightly_benchmark_swapped("query"),
        {"target": TARGET, "online": ONLINE},
        f"lightly-ai/lightly:benchmarks/imagenet/resnet50/mocov2.py; {KEPT}",
    ),
    "lightly-benchmark-dino": Fixture(
        lightly_benchmark_swapped("student"),
        {"target": TARGET, "online": ONLINE},
        f"lightly-ai/lightly:benchmarks/imagenet/resnet50/dino.py, the heads simplified; {KEPT}",
    ),
    "lightning-dictconfig": Fixture(dictconfig, {"": ONLY}, KEPT),
    "byol-lightning": Fixture(
        byol_lightning, BOTH, f"lucidrains/byol-pytorch:examples/lightning/train.py; {KEPT}"
    ),
}
