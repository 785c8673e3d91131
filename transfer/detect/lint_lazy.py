"""Lint of a detectron2 LazyConfig: the same findings where the settings are arguments of calls.

A LazyConfig has no setting for precise batch norm (detectron2's trainer for it has no such hook),
so that finding does not exist here.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transfer.backbone.architecture import Arch
from transfer.detect.lint_yaml import (
    extra_norm,
    norm_findings,
    rate_findings,
    same_steps,
    weights_findings,
)
from transfer.findings import Finding, Weights
from transfer.lint_reference import framework_network, off_ratio, pixel_findings, published_schedule

SUFFIXES = (".yaml", ".yml")  # of a file that is written: detectron2 dumps a LazyConfig as YAML
FORMAT_KEYS = ("image_format", "input_format")


def find(cfg: Any, weights: Weights) -> list[Finding]:
    """All findings of a LazyConfig; nothing of it is instantiated.

    Args:
        cfg: as ``LazyConfig.load`` returns it, with ``model`` and, for a training, ``train``,
            ``dataloader`` and ``optimizer``.
        weights: the weights under test.
    """
    from omegaconf import OmegaConf

    nodes = dict(_nodes(OmegaConf.to_container(cfg, resolve=False)))
    return [
        *_pixel_findings(cfg, nodes, weights),
        *_network_findings(nodes, weights),
        *_head_findings(nodes),
        *weights_findings("train.init_checkpoint", OmegaConf.select(cfg, "train.init_checkpoint"), weights),
        *_url_findings(nodes),
        *_schedule_findings(cfg),
    ]


def _pixel_findings(cfg: Any, nodes: dict[str, dict[str, Any]], weights: Weights) -> list[Finding]:
    from omegaconf import OmegaConf

    findings = []
    for path, node in nodes.items():
        found, settings = {}, {}
        for key, setting in (
            *(("order", key) for key in FORMAT_KEYS),
            ("mean", "pixel_mean"),
            ("std", "pixel_std"),
        ):
            written = node.get(setting)
            if written is None or (key == "order" and "${" in str(written)):
                continue  # an interpolated format is another setting's, which is looked at by itself
            settings[key] = f"{path}.{setting}"
            value = OmegaConf.select(cfg, settings[key])
            found[key] = value if key == "order" else list(value)
        findings += pixel_findings(found, settings, weights.info)
    return findings


def _network_findings(nodes: dict[str, dict[str, Any]], weights: Weights) -> list[Finding]:
    arch = weights.info.arch
    network = framework_network(arch)
    resnets = {path: node for path, node in nodes.items() if _target(node).endswith(".ResNet")}
    if network is None or not resnets:
        found = ", ".join(map(_target, resnets.values())) or "no detectron2 ResNet"
        return [Finding("network", "model.backbone", found, arch, advice="detectron2 has no such ResNet")]
    findings = []
    for path, node in resnets.items():
        freeze_at = node.get("freeze_at", 0)
        if freeze_at > 0:
            fix = ((f"{path}.freeze_at", 0),)
            findings.append(Finding("frozen-stages", f"{path}.freeze_at", freeze_at, 0, fix))
        if isinstance(node.get("stem"), dict):
            findings += norm_findings(f"{path}.stem.norm", node["stem"].get("norm", "BN"))
        stages = node.get("stages")
        if isinstance(stages, dict):
            findings += _default_stages(f"{path}.stages", stages, network)
        for index, stage in enumerate(stages if isinstance(stages, list) else []):
            findings += _stage(f"{path}.stages.{index}", stage, index, network)
    for path, node in nodes.items():
        if path.endswith("res5") and _target(node).endswith(".make_stage"):
            findings += _stage(path, node, 3, network)
    return findings


def _default_stages(path: str, stages: dict[str, Any], network: Arch) -> list[Finding]:
    findings = []
    if stages.get("depth") != network.depth:
        fix = ((f"{path}.depth", network.depth),)
        findings.append(Finding("depth", f"{path}.depth", stages.get("depth"), network.depth, fix))
    if network.bottleneck and network.groups * network.width != 64:
        advice = "make_default_stages has one width; list the stages as calls of ResNet.make_stage"
        width = network.groups * network.width
        findings.append(Finding("width", f"{path}.bottleneck_channels", 64, width, advice=advice))
    return findings + _blocks(path, stages, network)


def _stage(path: str, stage: Any, index: int, network: Arch) -> list[Finding]:
    if not isinstance(stage, dict):
        return []
    blocks = network.blocks[index]
    width = network.groups * network.width * 2**index
    findings = []
    for name, key, expected in (
        ("depth", "num_blocks", blocks),
        ("width", "out_channels", network.channels[index]),
        ("width", "bottleneck_channels", width),
    ):
        if key == "bottleneck_channels" and not network.bottleneck:
            continue
        if stage.get(key) != expected:
            found = stage.get(key, "nothing")
            findings.append(Finding(name, f"{path}.{key}", found, expected, ((f"{path}.{key}", expected),)))
    return findings + _blocks(path, stage, network)


def _blocks(path: str, stage: dict[str, Any], network: Arch) -> list[Finding]:
    """What stages by default and by hand share: groups, stride and norm, with the blocks' defaults."""
    findings = []
    groups = stage.get("num_groups", 1)
    if groups != network.groups:
        fix = ((f"{path}.num_groups", network.groups),)
        findings.append(Finding("groups", f"{path}.num_groups", groups, network.groups, fix))
    stride, expected = stage.get("stride_in_1x1", False), network.stride_in_1x1
    if network.bottleneck and stride != expected:
        change = ((f"{path}.stride_in_1x1", expected),)
        findings.append(Finding("stride-in-1x1", f"{path}.stride_in_1x1", stride, expected, change))
    return findings + norm_findings(f"{path}.norm", stage.get("norm", "BN"))


def _head_findings(nodes: dict[str, dict[str, Any]]) -> list[Finding]:
    return [
        extra_norm(path, "Res5ROIHeads")
        for path, node in nodes.items()
        if _target(node).endswith(".Res5ROIHeads")
    ]


def _url_findings(nodes: dict[str, dict[str, Any]]) -> list[Finding]:
    """URLs inside the model, for example in a wrapped mmdet detector."""
    return [
        Finding("pretrained-url", f"{path}.{key}", value, "no URL", ((f"{path}.{key}", None),))
        for path, node in nodes.items()
        for key, value in node.items()
        if path.split(".")[0] == "model" and isinstance(value, str) and "://" in value
    ]


def _schedule_findings(cfg: Any) -> list[Finding]:
    from omegaconf import OmegaConf

    batch = OmegaConf.select(cfg, "dataloader.train.total_batch_size")
    rate = OmegaConf.select(cfg, "optimizer.lr")
    if batch is None or rate is None or not _target(cfg.optimizer).endswith("SGD"):
        return []  # linear scaling is a rule about SGD
    names = OmegaConf.select(cfg, "dataloader.train.dataset.names") or ()
    length = OmegaConf.select(cfg, "train.max_iter") or 0
    warmup = OmegaConf.select(cfg, "lr_multiplier.warmup_length")  # relative
    schedule = published_schedule(
        [names] if isinstance(names, str) else list(names),
        length,
        batch,
        rate,
        None if warmup is None else warmup * length,
    )
    findings = rate_findings("optimizer.lr", rate, batch, schedule)
    if schedule is None:
        return findings
    if off_ratio(length, schedule.iterations):
        fix = (("train.max_iter", schedule.iterations),)
        findings.append(
            Finding("schedule", "train.max_iter", length, schedule.iterations, fix, schedule.name)
        )
    setting = "lr_multiplier.scheduler.milestones"
    milestones = OmegaConf.select(cfg, setting)
    if milestones:  # relative to their last entry, which is the end
        found, total = list(milestones), schedule.iterations
        expected = [*schedule.steps, total]
        if not same_steps([step / found[-1] for step in found], [step / total for step in expected]):
            findings.append(
                Finding("schedule", setting, found, expected, ((setting, expected),), schedule.name)
            )
    setting = "lr_multiplier.warmup_length"
    share = round(schedule.warmup / schedule.iterations, 8)
    if warmup is not None and off_ratio(warmup, share):
        findings.append(Finding("schedule", setting, warmup, share, ((setting, share),), schedule.name))
    return findings


def _nodes(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping below a container under its dotted path."""
    if isinstance(node, dict):
        if path:
            yield path, node
        for key, value in node.items():
            yield from _nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _nodes(value, f"{path}.{index}")


def _target(node: Any) -> str:
    """Dotted name of what a lazy call calls; "" of a mapping that is no call."""
    target = node.get("_target_", "")
    return target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}"


def read(path: Path) -> Any:
    """The configuration as ``LazyConfig.load`` gives it, which executes a ``.py``.

    Raises:
        ValueError: no ``model`` in it.
        Exception: whatever the file raises.
    """
    from detectron2.config import LazyConfig

    importer = builtins.__import__
    try:
        cfg = LazyConfig.load(str(path))
    finally:
        builtins.__import__ = importer  # a file that raises would leave detectron2's in place
    if "model" not in cfg:
        raise ValueError(f"expected a LazyConfig with 'model', found {', '.join(map(str, cfg)) or 'nothing'}")
    return cfg


def apply(cfg: Any, changes: Mapping[str, Any]) -> None:
    """Set dotted settings."""
    from omegaconf import OmegaConf

    for setting, value in changes.items():
        OmegaConf.update(cfg, setting, value, merge=False, force_add=True)


def write(path: Path, cfg: Any, changes: Mapping[str, Any], out: Path) -> None:
    """Write the whole configuration by detectron2's own dump.

    Raises:
        ValueError: a configuration that holds objects which YAML cannot, for example a lambda.
    """
    from detectron2.config import LazyConfig

    LazyConfig.save(cfg, str(out))
    substitute = out.with_name(out.name + ".pkl")  # what detectron2 writes when YAML cannot hold it
    if substitute.exists():
        substitute.unlink()
        raise ValueError(f"{path}: detectron2 cannot dump it as YAML; change the settings by hand")
