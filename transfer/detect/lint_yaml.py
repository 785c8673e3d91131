"""Lint of a detectron2 YAML: every setting that contradicts the weights or the published protocol."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transfer.findings import Finding, Weights
from transfer.lint_reference import (
    BATCH,
    PUBLISHED_NORM,
    RATE,
    TRAINED_NORMS,
    Schedule,
    framework_network,
    off_ratio,
    pixel_findings,
    published_schedule,
)

BASE_KEY = "_BASE_"
SUFFIXES = (".yaml", ".yml")  # of a file that is written


def find(cfg: Any, weights: Weights) -> list[Finding]:
    """All findings of a detectron2 configuration; nothing of it is built.

    Args:
        cfg: as detectron2 merged it, frozen or not.
        weights: the weights under test.
    """
    pixels = {"order": cfg.INPUT.FORMAT, "mean": list(cfg.MODEL.PIXEL_MEAN), "std": list(cfg.MODEL.PIXEL_STD)}
    settings = {"order": "INPUT.FORMAT", "mean": "MODEL.PIXEL_MEAN", "std": "MODEL.PIXEL_STD"}
    return [
        *pixel_findings(pixels, settings, weights.info),
        *_network_findings(cfg, weights.info.arch),
        *norm_findings("MODEL.RESNETS.NORM", cfg.MODEL.RESNETS.NORM),
        *_training_findings(cfg),
        *weights_findings("MODEL.WEIGHTS", cfg.MODEL.WEIGHTS, weights),
        *_schedule_findings(cfg),
    ]


def _network_findings(cfg: Any, arch: str) -> list[Finding]:
    resnets, name = cfg.MODEL.RESNETS, cfg.MODEL.BACKBONE.NAME
    network = framework_network(arch)
    if network is None or "resnet" not in name or "deeplab" in name:
        return [Finding("network", "MODEL.BACKBONE.NAME", name, arch, advice="detectron2 has no such ResNet")]
    if not network.bottleneck and cfg.MODEL.ROI_HEADS.NAME.startswith("Res5ROIHeads"):
        advice = "detectron2's C4 head has bottleneck blocks only; use an FPN detector"
        return [Finding("network", "MODEL.ROI_HEADS.NAME", cfg.MODEL.ROI_HEADS.NAME, arch, advice=advice)]
    expected = {
        "DEPTH": ("depth", network.depth),
        "STEM_OUT_CHANNELS": ("width", 64),
        "RES2_OUT_CHANNELS": ("width", network.channels[0]),
        "NUM_GROUPS": ("groups", network.groups),
    }
    if network.bottleneck:  # of a basic block neither has an effect
        expected["WIDTH_PER_GROUP"] = ("width", network.width)
        expected["STRIDE_IN_1X1"] = ("stride-in-1x1", network.stride_in_1x1)
    return [
        Finding(finding, f"MODEL.RESNETS.{key}", resnets[key], value, ((f"MODEL.RESNETS.{key}", value),))
        for key, (finding, value) in expected.items()
        if resnets[key] != value
    ]


def norm_findings(setting: str, norm: Any) -> list[Finding]:
    """Of the norm of one part of a backbone, by detectron2's names."""
    if norm in TRAINED_NORMS:
        return []
    name = "frozen-norm" if norm == "FrozenBN" else "norm-type"
    return [Finding(name, setting, norm or "none", PUBLISHED_NORM, ((setting, PUBLISHED_NORM),))]


def _training_findings(cfg: Any) -> list[Finding]:
    findings = []
    freeze_at, head = cfg.MODEL.BACKBONE.FREEZE_AT, cfg.MODEL.ROI_HEADS.NAME
    if freeze_at > 0:
        fix = (("MODEL.BACKBONE.FREEZE_AT", 0),)
        findings.append(Finding("frozen-stages", "MODEL.BACKBONE.FREEZE_AT", freeze_at, 0, fix))
    if head == "Res5ROIHeads":
        findings.append(extra_norm("MODEL.ROI_HEADS.NAME", head))
    if cfg.MODEL.RESNETS.NORM in TRAINED_NORMS and not cfg.TEST.PRECISE_BN.ENABLED:
        on = (("TEST.PRECISE_BN.ENABLED", True),)
        findings.append(Finding("precise-bn", "TEST.PRECISE_BN.ENABLED", False, True, on))
    return findings


def extra_norm(setting: str, head: str) -> Finding:
    """The finding of a C4 head without its extra norm, which takes code that detectron2 lacks."""
    advice = (
        "name it here; `python -m transfer detect` has it, another training script calls register_heads() of "
        "transfer/detect/heads.py first; detectron2 itself has none"
    )
    return Finding("extra-norm", setting, head, "Res5ROIHeadsExtraNorm", advice=advice)


def weights_findings(setting: str, named: Any, weights: Weights) -> list[Finding]:
    """Of the one place where a detectron2 configuration names weights."""
    fix = ((setting, weights.path),)
    if not named:
        return [Finding("no-weights", setting, "nothing", weights.path, fix)]
    if "://" in str(named):
        return [Finding("pretrained-url", setting, named, weights.path, fix)]
    refusal = weights.refusal(str(named), "ResNet")
    if not refusal:
        return []
    # Naming the right file changes nothing where that file is itself the one that is refused.
    return [
        Finding("other-weights", setting, named, weights.path, fix if named != weights.path else (), refusal)
    ]


def _schedule_findings(cfg: Any) -> list[Finding]:
    solver = cfg.SOLVER
    batch = solver.IMS_PER_BATCH
    schedule = published_schedule(
        cfg.DATASETS.TRAIN, solver.MAX_ITER, batch, solver.BASE_LR, solver.WARMUP_ITERS
    )
    findings = rate_findings("SOLVER.BASE_LR", solver.BASE_LR, batch, schedule)
    if schedule is None:
        return findings
    expected = {"MAX_ITER": schedule.iterations, "WARMUP_ITERS": schedule.warmup}
    findings += [
        Finding("schedule", f"SOLVER.{key}", solver[key], value, ((f"SOLVER.{key}", value),), schedule.name)
        for key, value in expected.items()
        if off_ratio(solver[key], value)
    ]
    if not same_steps(solver.STEPS, schedule.steps):
        steps = (("SOLVER.STEPS", list(schedule.steps)),)
        findings.append(
            Finding("schedule", "SOLVER.STEPS", solver.STEPS, schedule.steps, steps, schedule.name)
        )
    return findings


def rate_findings(setting: str, rate: float, batch: int, schedule: Schedule | None) -> list[Finding]:
    """Of a learning rate that is not the schedule's, or without one :data:`RATE` scaled by the batch."""
    expected = schedule.rate if schedule else round(RATE * batch / BATCH, 8)
    if not off_ratio(rate, expected):
        return []
    advice = f"published {expected * BATCH / batch:g} at batch {BATCH}, here batch {batch}"
    return [Finding("learning-rate", setting, float(rate), expected, ((setting, expected),), advice)]


def same_steps(found: Sequence[float], expected: Sequence[float]) -> bool:
    """Whether the rate falls at the same iterations."""
    return len(found) == len(expected) and not any(map(off_ratio, found, expected))


def read(path: Path) -> Any:
    """The configuration as detectron2 merges it: defaults, bases, the file.

    Raises:
        Exception: whatever the file makes detectron2 raise; a YAML may call Python.
    """
    from detectron2.config import get_cfg

    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    return cfg


def apply(cfg: Any, changes: Mapping[str, Any]) -> None:
    """Set dotted settings of a configuration that is not frozen."""
    cfg.merge_from_list([part for item in changes.items() for part in item])


def write(path: Path, cfg: Any, changes: Mapping[str, Any], out: Path) -> None:
    """Write ``path`` with changes to ``out``; its ``_BASE_`` still names the same file from there.

    A file of detectron2's first version has other names of settings and is written in full.
    """
    import yaml
    from detectron2.config.compat import guess_version

    text = path.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
    except yaml.constructor.ConstructorError:
        content = yaml.unsafe_load(text)  # as detectron2 does, which has just read the file so
    content = content or {}
    version = content.get("VERSION") or guess_version(content, str(path))
    if version != cfg.VERSION:
        out.write_text(cfg.dump(), encoding="utf-8")
        return
    for setting, value in changes.items():
        node = content
        *parents, key = setting.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = value
    if BASE_KEY in content:
        base = content[BASE_KEY]
        content[BASE_KEY] = (
            [_moved(entry, path, out) for entry in base]
            if isinstance(base, list)
            else _moved(base, path, out)
        )
    out.write_text(yaml.dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _moved(base: str, path: Path, out: Path) -> str:
    """The name of ``path``'s base as a file in ``out``'s folder must write it."""
    if base.startswith(("/", "~", "https://", "http://")):
        return base
    target = path.parent / base
    relative = os.path.relpath(target, out.parent)
    # detectron2 takes ".." off by the letters; where a folder is a link, the system reads it otherwise.
    agree = (out.parent / relative).resolve() == target.resolve()
    return relative if agree else os.path.abspath(target)
