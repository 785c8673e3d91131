"""Fixtures of libraries: timm, torchvision, transformers, detectron2, VISSL."""

from __future__ import annotations

import pickle
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from layouts_parts import (
    EMA,
    ONLY,
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
from safetensors.torch import save_file
from torch import Tensor, nn


def classifier(arch: str, seed: int = ONLY) -> nn.Module:
    return network(arch, seed, nn.Linear(features(arch), WIDTH))


def timm(folder: Path, arch: str) -> Path:
    """timm.utils.CheckpointSaver, by train.py with --amp and --model-ema."""
    content = {
        "epoch": 299,
        "arch": arch,
        "optimizer": optimizer(nesterov=True),
        "version": 2,
        "args": Namespace(model=arch, data_dir="/data/imagenet", lr=0.5, mean=None, model_ema=True),
        "amp_scaler": scaler(),
        "state_dict": classifier(arch).state_dict(),
        "state_dict_ema": classifier(arch, EMA).state_dict(),
        "metric": 70.1,
        "saver": {
            "checkpoint_files": [("checkpoint-298.pth.tar", 70.0)],
            "best_epoch": 298,
            "best_metric": 70.0,
            "pending": (299, 70.1),
        },
    }
    return save(content, folder / "model_best.pth.tar")


def torchvision(folder: Path, arch: str) -> Path:
    return save(classifier(arch).state_dict(), folder / f"{arch}-f37072fd.pth")


def without_counters(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def torchvision_old(folder: Path, arch: str) -> Path:
    """From before PyTorch 0.4.1: no counters, weights as parameters, not a zip file."""
    path = folder / f"{arch}-5c106cde.pth"
    state = without_counters(classifier(arch).state_dict(keep_vars=True))
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def hugging_face_name(key: str) -> str:
    """torchvision's name as transformers' ResNetForImageClassification spells it."""
    if key.startswith("fc."):
        return key.replace("fc.", "classifier.1.")
    parts = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
    if stem := re.fullmatch(r"(conv|bn)1\.(\w+)", key):
        return f"resnet.embedder.embedder.{parts[stem[1]]}.{stem[2]}"
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)", key)
    assert block is not None, key
    stage, index, kind, number, leaf = block.groups()
    place = f"resnet.encoder.stages.{int(stage) - 1}.layers.{index}"
    if kind == "downsample.":
        return f"{place}.shortcut.{parts[number]}.{leaf}"
    return f"{place}.layer.{int(number) - 1}.{parts[kind]}.{leaf}"


def huggingface(folder: Path, arch: str) -> Path:
    path = folder / "model.safetensors"
    state = classifier(arch).state_dict()
    save_file({hugging_face_name(key): value for key, value in state.items()}, path, {"format": "pt"})
    return path


def timm_safetensors(metadata: dict[str, str] | None) -> Callable[[Path, str], Path]:
    def write(folder: Path, arch: str) -> Path:
        save_file(classifier(arch).state_dict(), folder / "model.safetensors", metadata)
        return folder / "model.safetensors"

    return write


def detectron2_name(key: str) -> str:
    """torchvision's name as MoCo's convert-pretrain-to-detectron2.py turns it; also ``stem.fc``."""
    if "layer" not in key:
        key = "stem." + key
    key = re.sub(r"layer(\d)", lambda m: f"res{int(m[1]) + 1}", key)
    key = re.sub(r"bn(\d)", r"conv\1.norm", key)
    return key.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def detectron2(folder: Path, arch: str) -> Path:
    """Counters become arrays of no dimension; the projector comes along below ``stem.fc``."""
    state = network(arch, ONLY, head(features(arch), WIDTH, WIDTH, norm=False)).state_dict()
    model = {detectron2_name(key): value.numpy() for key, value in state.items()}
    path = folder / "moco_v2_800ep_pretrain.pkl"
    with path.open("wb") as file:
        pickle.dump({"model": model, "__author__": "MOCO", "matching_heuristics": True}, file)
    return path


def trained(model: dict[str, Any], path: Path) -> Path:
    """What detectron2's DefaultTrainer saves."""
    content = {
        "model": model,
        "optimizer": optimizer(initial_lr=0.02),
        "scheduler": {"base_lrs": [0.02], "last_epoch": 90000},
        "iteration": 89999,
    }
    return save(content, path)


def proposals() -> nn.Module:
    rpn = tree(
        conv=nn.Conv2d(WIDTH, WIDTH, 3),
        objectness_logits=nn.Conv2d(WIDTH, 3, 1),
        anchor_deltas=nn.Conv2d(WIDTH, 12, 1),
    )
    return tree(rpn_head=rpn)


def predictor() -> nn.Module:
    return tree(cls_score=nn.Linear(WIDTH, 3), bbox_pred=nn.Linear(WIDTH, 8))


def detectron2_trained(folder: Path, arch: str) -> Path:
    """Mask R-CNN with FPN and frozen batch norm, whose layers have no counters."""
    state = without_counters(network(arch, ONLY).state_dict())
    fpn: dict[str, nn.Module] = {}
    for level, width in zip((2, 3, 4, 5), (features(arch) // 2**i for i in (3, 2, 1, 0)), strict=True):
        fpn[f"fpn_lateral{level}"] = nn.Conv2d(width, WIDTH, 1)
        fpn[f"fpn_output{level}"] = nn.Conv2d(WIDTH, WIDTH, 3)
    masks: dict[str, nn.Module] = {f"mask_fcn{i}": nn.Conv2d(WIDTH, WIDTH, 3) for i in (1, 2, 3, 4)}
    masks |= {"deconv": nn.ConvTranspose2d(WIDTH, WIDTH, 2), "predictor": nn.Conv2d(WIDTH, 2, 1)}
    roi = tree(
        box_head=tree(fc1=nn.Linear(WIDTH * 49, WIDTH), fc2=nn.Linear(WIDTH, WIDTH)),
        box_predictor=predictor(),
        mask_head=tree(**masks),
    )
    rest = tree(backbone=tree(**fpn), proposal_generator=proposals(), roi_heads=roi).state_dict()
    model = {f"backbone.bottom_up.{detectron2_name(key)}": value for key, value in state.items()}
    return trained(model | rest, folder / "model_final.pth")


def detectron2_trained_c4(folder: Path, arch: str) -> Path:
    """R50-C4 as MoCo and MEC train it: res5 and an extra norm lie in the heads; SyncBN has counters."""
    model: dict[str, Tensor] = {}
    for key, value in network(arch, ONLY).state_dict().items():
        name = detectron2_name(key)
        place = f"roi_heads.{name}" if name.startswith("res5.") else f"backbone.{name}"
        model[place] = value
    roi = tree(res5=tree(norm=nn.BatchNorm2d(features(arch))), box_predictor=predictor())
    rest = tree(proposal_generator=proposals(), roi_heads=roi).state_dict()
    return trained(model | rest, folder / "model_final.pth")


def caffe2_name(key: str) -> str:
    """torchvision's name in Detectron's Caffe2 nets, with norms as in detectron2's ImageNet models."""
    place, leaf = key.rsplit(".", 1)
    if place == "fc":
        return {"weight": "fc1000_w", "bias": "fc1000_b"}[leaf]
    norm = {"weight": "gamma", "bias": "beta"}.get(leaf, leaf)
    if place in ("conv1", "bn1"):
        return "conv1_w" if place == "conv1" else f"res_conv1_bn_{norm}"
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)", place)
    assert block is not None, key
    stage, index, kind, number = block.groups()
    branch = "branch1" if kind == "downsample." else "branch2" + " abc"[int(number)]
    is_norm = kind == "bn" or (kind == "downsample." and number == "1")
    return f"res{int(stage) + 1}_{index}_{branch}_" + (f"bn_{norm}" if is_norm else "w")


def caffe2_blobs(arch: str) -> dict[str, Any]:
    """Arrays by blob, with the bias of the first convolution that Caffe's ResNet-50 has besides its norm."""
    state = without_counters(classifier(arch).state_dict())
    return {caffe2_name(key): value.numpy() for key, value in state.items()} | {
        "conv1_b": torch.zeros(64).numpy()
    }


def caffe2(folder: Path, arch: str) -> Path:
    path = folder / "R-50.pkl"
    with path.open("wb") as file:
        pickle.dump({"model": caffe2_blobs(arch), "__author__": "Caffe2", "matching_heuristics": True}, file)
    return path


def vissl(folder: Path, arch: str) -> Path:
    """SimCLR of VISSL: the trunk's blocks are named as torchvision's, the heads numbered."""
    trunk = tree(_feature_blocks=network(arch, ONLY))
    heads = nn.ModuleList([tree(clf=head(features(arch), WIDTH)), tree(clf=head(WIDTH, WIDTH))])
    state = {
        "train": True,
        "base_model": {
            "model": {"trunk": trunk.state_dict(), "heads": heads.state_dict()},
            "meta": {"trunk": {}, "heads": []},
        },
        "meters": [],
        "optimizer": {"optim": optimizer(lr=0.3), "parameters": {"lr": 0.3}},
        "phase_idx": 99,
        "train_phase_idx": 99,
        "num_updates": 3130000,
        "losses": [5.5, 5.25],
        "hooks": {"LogLossLrEtaHook": {}, "LogLossMetricsCheckpointHook": {}},
        "loss": {"name": "SimclrInfoNCELoss"},
        "train_dataset_iterator": {"iter": 3130000},
        "amp": scaler(),
    }
    content = {
        "phase_idx": 99,
        "iteration": 3130000,
        "loss": tree(precomputed_pos_mask=torch.eye(4)).state_dict(),
        "iteration_num": 31299,
        "train_phase_idx": 99,
        "classy_state_dict": state,
        "type": "consolidated",
    }
    return save(content, folder / "model_final_checkpoint_phase99.torch")


HUB = "huggingface/transformers:src/transformers/models/resnet/modeling_resnet.py; metadata from memory"
CONVERTER = "facebookresearch/moco:detection/convert-pretrain-to-detectron2.py"
FIXTURES: dict[str, Fixture] = {
    "timm": Fixture(timm, {"": ONLY, "ema": EMA}, "installed timm 1.0.31: timm/utils/checkpoint_saver.py"),
    "torchvision": Fixture(torchvision, {"": ONLY}, "installed torchvision 0.26.0: models/resnet.py"),
    "torchvision-old": Fixture(
        torchvision_old, {"": ONLY}, "from memory: resnet50-19c8e357.pth and its kind", counters=False
    ),
    "huggingface": Fixture(huggingface, {"": ONLY}, HUB),
    "timm-safetensors": Fixture(
        timm_safetensors({"format": "pt"}), {"": ONLY}, "from memory: files of the hub's timm organisation"
    ),
    "timm-safetensors-plain": Fixture(
        timm_safetensors(None), {"": ONLY}, "installed timm 1.0.31: timm/models/_hub.py (save_for_hf)"
    ),
    "detectron2": Fixture(detectron2, {"": ONLY}, CONVERTER),
    "detectron2-trained": Fixture(
        detectron2_trained,
        {"": ONLY},
        "installed detectron2: COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml built; "
        "installed fvcore: common/checkpoint.py",
        counters=False,
    ),
    "detectron2-trained-c4": Fixture(
        detectron2_trained_c4,
        {"": ONLY},
        "facebookresearch/moco:detection/train_net.py (Res5ROIHeadsExtraNorm) from a copy that cites it",
    ),
    "caffe2": Fixture(
        caffe2,
        {"": ONLY},
        "installed detectron2: checkpoint/c2_model_loading.py, detection_checkpoint.py, catalog.py; "
        "facebookresearch/detectron2 issues 1688 (its keys), 1134 and 5412 (shapes), 4108",
        counters=False,
        arch="resnet50-caffe",
    ),
    "vissl": Fixture(
        vissl,
        {"": ONLY},
        "facebookresearch/vissl:vissl/hooks/log_hooks.py, models/base_ssl_model.py, trunks/resnext.py, "
        "heads/mlp.py; facebookresearch/ClassyVision:classy_vision/optim/classy_optimizer.py; "
        "facebookresearch/vissl issue 566; what the loss holds from memory",
    ),
}
