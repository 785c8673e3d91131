"""Lint of an mmtrack or mmdet configuration: what contradicts the weights or the published protocol.

A model may hold several backbones: a detector's, a re-identification network's, a C4 head's
``shared_head``. Each is looked at by itself. In mmtrack's SiamRPN++ and Stark the published recipe
freezes the backbone, and a re-identification network is used as it is, so freezing is a finding in
detectors only.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transfer.backbone.architecture import Arch
from transfer.findings import REMOVE, Finding, Weights
from transfer.lint_reference import BATCH, RATE, framework_network, off_ratio
from transfer.track.mm.lint_nodes import backbones, mappings, put
from transfer.track.mm.lint_pixels import pixel_findings_of
from transfer.track.mm.lint_weights import weights_findings

SUFFIXES = (".py",)  # of a file that is written
RESNETS = ("ResNet", "ResNeXt", "SOTResNet", "ResNetV1c", "ResNetV1d", "ResLayer")
SOT_BACKBONES = ("ResNet", "SOTResNet")
SOT_MODELS = ("SiamRPN", "Stark")
SOT_BATCH, SOT_RATE = 28 * 8, 0.005  # siamese_rpn_r50_20e_lasot.py on eight GPUs
PUBLISHED_GPUS = 8
NORMS = ("BN", "BN2d", "SyncBN", "MMSyncBN")
DETECT, SOT, REID = "detect", "sot", "reid"


def find(cfg: Any, weights: Weights, gpus: int | None = None) -> list[Finding]:
    """All findings of an ``mmcv.Config``; nothing of it is built.

    Args:
        cfg: with ``model`` and, for a training, ``data`` and ``optimizer``.
        weights: the weights under test.
        gpus: how many GPUs train; by default the configuration's ``gpu_ids``, else eight as published.
    """
    findings = pixel_findings_of(cfg, weights.info)
    network, places = framework_network(weights.info.arch), backbones(cfg.model)
    if network is None or not places or (network.groups == 1 and network.width != 64):
        found = places[0][1].get("type") if places else cfg.model.get("type")
        advice = "mmdet has no such ResNet" if places else "no backbone was found in the model"
        return [*findings, Finding("network", "model", found, weights.info.arch, advice=advice)]
    for path, node in places:
        findings += _network_findings(cfg, path, node, network, weights)
        if _role(cfg, path) == DETECT and node.get("type") in RESNETS:
            findings += _freezing_findings(path, node)
        if path.endswith("shared_head"):
            advice = "mmdet's ResLayer has none; wrap it in a class of your own"
            findings.append(
                Finding("extra-norm", path, node.get("type"), "a norm behind res5", advice=advice)
            )
    return [*findings, *weights_findings(cfg, places, weights), *_rate_findings(cfg, gpus)]


def _role(cfg: Any, path: str) -> str:
    if "reid" in path.split("."):
        return REID
    return SOT if cfg.model.get("type") in SOT_MODELS else DETECT


def _network_findings(cfg: Any, path: str, node: Any, network: Arch, weights: Weights) -> list[Finding]:
    findings = []
    kind = node.get("type")
    kinds = _kinds(path, kind, network, weights)
    if kind not in kinds:
        fix: tuple[tuple[str, Any], ...] = ()
        advice = "exchange the backbone by hand"
        if "SOTResNet" in (kind, kinds[0]):
            fix = ((f"{path}.type", kinds[0]), (f"{path}.unfreeze_backbone", REMOVE))
            advice = (
                "SOTResNet's shortcuts are 3x3 and its stem is not padded: it takes a file of its own, and "
                "with ResNet crops of 16k + 1 pixels put a cell on the centre"
            )
        findings.append(Finding("network", f"{path}.type", kind, kinds[0], fix, advice))
        if kind not in RESNETS:
            return findings  # its other settings mean something else
    if node.get("depth") != network.depth:
        findings.append(_depth_finding(cfg, path, node, network))
    if kind == "ResNeXt":
        for name, key, default, expected in (
            ("groups", "groups", 1, network.groups),
            ("width", "base_width", 4, network.width),
        ):
            if node.get(key, default) != expected:
                change = ((f"{path}.{key}", expected),)
                findings.append(Finding(name, f"{path}.{key}", node.get(key, default), expected, change))
    for name, key, default in (
        ("width", "base_channels", 64),
        ("width", "stem_channels", 64),
        ("network", "deep_stem", False),
        ("network", "avg_down", False),
    ):
        if (node.get(key) or default) != default:
            findings.append(Finding(name, f"{path}.{key}", node[key], default, ((f"{path}.{key}", default),)))
    style, expected_style = node.get("style", "pytorch"), "caffe" if network.stride_in_1x1 else "pytorch"
    if network.bottleneck and style != expected_style:
        other = ((f"{path}.style", expected_style),)
        findings.append(Finding("stride-in-1x1", f"{path}.style", style, expected_style, other))
    norm = (node.get("norm_cfg") or {}).get("type", "BN")
    if norm not in NORMS:
        bn = ((f"{path}.norm_cfg", {"type": "BN", "requires_grad": True}),)
        findings.append(Finding("norm-type", f"{path}.norm_cfg.type", norm, "BN or SyncBN", bn))
    return findings


def _kinds(path: str, kind: str, network: Arch, weights: Weights) -> tuple[str, ...]:
    """The classes that hold the weights, the first the one to choose."""
    if path.endswith("shared_head"):
        return ("ResLayer",)
    if network.groups > 1:
        return ("ResNeXt",)
    if kind in SOT_BACKBONES and network.depth == 50 and network.width == 64:
        # Where the file at hand suits one of the two, the other is a mistake; else either can be written.
        suited = tuple(name for name in SOT_BACKBONES if not weights.refusal(weights.path, name))
        return suited or SOT_BACKBONES
    return ("ResNet",)


def _depth_finding(cfg: Any, path: str, node: Any, network: Arch) -> Finding:
    """The depth, with the channels of what follows where the number of channels changes too."""
    setting = f"{path}.depth"
    fix: list[tuple[str, Any]] = [(setting, network.depth)]
    before, after = framework_network(f"resnet{node.get('depth')}"), network.channels
    advice = ""
    if before is None or before.channels != after:
        parent_path = path.rpartition(".")[0]
        parent = mappings(cfg)[parent_path]
        neck, head = parent.get("neck") or {}, parent.get("head") or {}
        indices = node.get("out_indices", (0, 1, 2, 3))
        if isinstance(neck.get("in_channels"), list):
            fix.append((f"{parent_path}.neck.in_channels", [after[index] for index in indices]))
        elif neck.get("type") == "GlobalAveragePooling" and "in_channels" in head:
            fix.append((f"{parent_path}.head.in_channels", after[indices[-1]]))
        else:
            fix, advice = [], "other channels leave the backbone then; adapt the parts behind it by hand"
    return Finding("depth", setting, node.get("depth"), network.depth, tuple(fix), advice)


def _freezing_findings(path: str, node: Any) -> list[Finding]:
    findings = []
    frozen = node.get("frozen_stages", -1)
    if frozen >= 0:
        fix: tuple[tuple[str, Any], ...] = ((f"{path}.frozen_stages", -1),)
        findings.append(Finding("frozen-stages", f"{path}.frozen_stages", frozen, -1, fix))
    if node.get("norm_eval", True):  # mmdet's default
        fix = ((f"{path}.norm_eval", False),)
        findings.append(Finding("norm-eval", f"{path}.norm_eval", True, False, fix))
    if not (node.get("norm_cfg") or {}).get("requires_grad", True):
        fix = ((f"{path}.norm_cfg.requires_grad", True),)
        findings.append(Finding("frozen-norm", f"{path}.norm_cfg.requires_grad", False, True, fix))
    return findings


def _rate_findings(cfg: Any, gpus: int | None) -> list[Finding]:
    optimizer: Any = cfg.get("optimizer") or {}
    data: Any = cfg.get("data") or {}
    each = data.get("samples_per_gpu") or (data.get("train_dataloader") or {}).get("samples_per_gpu")
    roles = {_role(cfg, path) for path, _ in backbones(cfg.model)}
    if optimizer.get("type") != "SGD" or not each or roles == {REID}:
        return []  # linear scaling is a rule about SGD; no re-identification schedule is published
    count = gpus or len(cfg.get("gpu_ids") or ()) or PUBLISHED_GPUS
    batch, rate = (SOT_BATCH, SOT_RATE) if SOT in roles else (BATCH, RATE)
    expected = round(rate * each * count / batch, 8)
    if not off_ratio(optimizer.lr, expected):
        return []
    advice = f"published {rate:g} at batch {batch}, here {each} samples on each of {count} GPUs"
    fix = (("optimizer.lr", expected),)
    return [Finding("learning-rate", "optimizer.lr", float(optimizer.lr), expected, fix, advice)]


def read(path: Path) -> Any:
    """The configuration as mmcv reads it, which executes it.

    Raises:
        ValueError: no ``model`` in it.
        Exception: whatever the file raises.
    """
    from mmcv import Config

    search = list(sys.path)
    try:
        cfg = Config.fromfile(str(path))
    except (Exception, SystemExit) as error:
        _close_temporary(error)
        raise
    finally:
        sys.path[:] = search  # a file that raises would leave mmcv's folder in it
    if not cfg.get("model"):
        raise ValueError(f"expected an mmcv configuration with 'model', found {', '.join(cfg) or 'nothing'}")
    return cfg


def _close_temporary(error: BaseException) -> None:
    """Close the copy that mmcv made of a file that raised; its folder is gone, so Python would complain."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        copy = frame.f_locals.get("temp_config_file")
        if copy is not None:
            with contextlib.suppress(FileNotFoundError):
                copy.close()


def apply(cfg: Any, changes: Mapping[str, Any]) -> None:
    """Set or remove dotted settings; a number is an index into a list."""
    for setting, value in changes.items():
        put(cfg, setting, value)


def write(path: Path, cfg: Any, changes: Mapping[str, Any], out: Path) -> None:
    """Write the whole configuration by mmcv's own dump; its ``_base_`` files are merged into it."""
    cfg.dump(str(out))
