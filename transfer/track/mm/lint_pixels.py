"""How the pipelines of an mmcv configuration feed pixels, against what the weights were trained on."""

from __future__ import annotations

from typing import Any

from transfer.backbone.contract import BackboneInfo
from transfer.findings import Finding
from transfer.lint_reference import pixel_findings
from transfer.track.mm.backbone import image_norm

STEPS = ("Normalize", "SeqNormalize")
BEFORE = (  # a normalisation that is missing goes before the first of these
    "Pad",
    "SeqPad",
    "ImageToTensor",
    "Collect",
    "VideoCollect",
    "DefaultFormatBundle",
    "SeqDefaultFormatBundle",
)


def pixel_findings_of(cfg: Any, info: BackboneInfo) -> list[Finding]:
    """Compare every normalisation under ``data`` and every ``img_norm_cfg`` under ``model``.

    mmcv reads images as BGR in 0..255; a pipeline that does not normalise feeds them so.
    """
    findings = []
    for path, pipeline in _pipelines(cfg.get("data") or {}, "data"):
        findings += _pipeline_findings(path, pipeline, info)
    for path, norm in _named(cfg.model, "model", "img_norm_cfg"):
        findings += _norm_findings(path, norm, "bgr", info)
    return findings


def _pipeline_findings(path: str, pipeline: list[Any], info: BackboneInfo) -> list[Finding]:
    steps = list(_steps(pipeline, path))
    loaded = next((str(step["channel_order"]).lower() for _, step in steps if "channel_order" in step), "bgr")
    norms = [(where, step) for where, step in steps if step.get("type") in STEPS]
    if norms:
        return [finding for where, step in norms for finding in _norm_findings(where, step, loaded, info)]
    found = {"order": loaded.upper(), "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    several = any("MultiImages" in str(step.get("type")) for _, step in steps)
    filled = _with_norm(pipeline, {"type": STEPS[1] if several else STEPS[0], **image_norm(info)})
    fix = () if filled is None else ((path, filled),)
    return [
        Finding(bare.name, path, f"no normalisation ({bare.found})", bare.expected, fix)
        for bare in pixel_findings(found, dict.fromkeys(found, path), info)
    ]


def _norm_findings(path: str, norm: Any, loaded: str, info: BackboneInfo) -> list[Finding]:
    flips = bool(norm.get("to_rgb", True))  # the default of mmcv's Normalize
    fed_rgb = (loaded == "rgb") != flips
    found = {"order": "RGB" if fed_rgb else "BGR", "mean": list(norm["mean"]), "std": list(norm["std"])}
    settings = {"order": f"{path}.to_rgb", "mean": f"{path}.mean", "std": f"{path}.std"}
    return [
        Finding("channel-order", bare.setting, flips, not flips, ((bare.setting, not flips),))
        if bare.name == "channel-order"
        else bare
        for bare in pixel_findings(found, settings, info)
    ]


def _with_norm(pipeline: list[Any], step: dict[str, Any]) -> list[Any] | None:
    """The pipeline with a normalisation at its place; None when no known step follows that place."""
    for index, entry in enumerate(pipeline):
        inner = entry.get("transforms")
        if inner is not None:
            filled = _with_norm(inner, step)
            if filled is not None:
                return [*pipeline[:index], {**entry, "transforms": filled}, *pipeline[index + 1 :]]
        if entry.get("type") in BEFORE:
            return [*pipeline[:index], step, *pipeline[index:]]
    return None


def _pipelines(node: Any, path: str) -> list[tuple[str, list[Any]]]:
    return [
        (where, value) for where, value in _named(node, path, "pipeline") if isinstance(value, list) and value
    ]


def _named(node: Any, path: str, key: str) -> list[tuple[str, Any]]:
    """Every value that is set under ``key`` at any depth, with its dotted path."""
    found: list[tuple[str, Any]] = []
    if hasattr(node, "items"):
        for name, value in node.items():
            where = f"{path}.{name}"
            if name == key and value:
                found.append((where, value))
            found += _named(value, where, key)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            found += _named(value, f"{path}.{index}", key)
    return found


def _steps(pipeline: list[Any], path: str) -> list[tuple[str, Any]]:
    """Every step of a pipeline, those inside test-time augmentation included."""
    found = []
    for index, step in enumerate(pipeline):
        where = f"{path}.{index}"
        found.append((where, step))
        found += _steps(step.get("transforms") or [], f"{where}.transforms")
    return found
