"""Where an mmcv configuration takes its weights from, at any depth.

mmcv initialises from the outside in, and a module whose own ``init_cfg`` is ``Pretrained`` leaves
its children alone: ``detector.init_cfg`` makes ``detector.backbone.init_cfg`` ineffective.
``load_from`` and ``resume_from`` are read last and overwrite both.
"""

from __future__ import annotations

from typing import Any

from transfer.findings import REMOVE, Finding, Weights
from transfer.track.mm.backbone import PREFIX
from transfer.track.mm.lint_nodes import leaves, mappings

OUTER = ("load_from", "resume_from")
HINTS = ("checkpoint", "pretrain", "weight", *OUTER)  # in a key: its URL is one of weights


def weights_findings(cfg: Any, places: list[tuple[str, Any]], weights: Weights) -> list[Finding]:
    """Findings of every place that names weights, and of a backbone that gets none.

    Args:
        cfg: an ``mmcv.Config``.
        places: its backbones with their dotted paths.
        weights: the weights under test.
    """
    findings: list[Finding] = []
    nodes = mappings(cfg)
    loaded = cfg.get("load_from")
    main_kind = dict(places)["model.backbone"].get("type") if "model.backbone" in dict(places) else "ResNet"
    loads = bool(loaded) and "://" not in loaded and not weights.refusal(loaded, main_kind)
    for path, node in places:
        ours = ((f"{path}.init_cfg", _init_cfg(weights)), (f"{path}.pretrained", REMOVE))
        kind = node.get("type", "ResNet")
        outer = [
            found for ancestor in _ancestors(path) for found in _named(ancestor, nodes.get(ancestor, {}))
        ]
        for key, setting, value in outer:
            findings += _value_findings(setting, value, weights, kind, ((key, REMOVE), *ours))
        own = _named(path, node)
        for _, setting, value in own:
            # Naming the right file changes nothing where that file is itself the one that is refused.
            found = _value_findings(setting, value, weights, kind, ours if value != weights.path else ())
            prefix = (node.get("init_cfg") or {}).get("prefix")
            if not found and (prefix or "").rstrip(".") != PREFIX.rstrip("."):
                shown = prefix or "nothing"
                found = [Finding("weights-prefix", f"{path}.init_cfg.prefix", shown, PREFIX, ours)]
            findings += found
        if not own and not outer and not (loads and path == "model.backbone"):
            findings.append(Finding("no-weights", f"{path}.init_cfg", "nothing", weights.path, ours))
    for key in OUTER:
        if cfg.get(key):
            findings += _value_findings(key, cfg[key], weights, main_kind, ((key, None),))
    return _unique([*findings, *_other_urls(cfg, {finding.setting for finding in findings})])


def _named(path: str, node: Any) -> list[tuple[str, str, str]]:
    """``(key, setting, value)`` where a module itself names weights; the key holds the setting."""
    found = []
    init_cfg = node.get("init_cfg")
    if hasattr(init_cfg, "get") and init_cfg.get("type") == "Pretrained":
        found.append((f"{path}.init_cfg", f"{path}.init_cfg.checkpoint", str(init_cfg.get("checkpoint"))))
    if isinstance(node.get("pretrained"), str):
        found.append((f"{path}.pretrained", f"{path}.pretrained", node["pretrained"]))
    return found


def _value_findings(
    setting: str, value: str, weights: Weights, kind: str, fix: tuple[tuple[str, Any], ...]
) -> list[Finding]:
    if "://" in value:
        return [Finding("pretrained-url", setting, value, weights.path, fix)]
    refusal = weights.refusal(value, kind)
    return [Finding("other-weights", setting, value, weights.path, fix, refusal)] if refusal else []


def _other_urls(cfg: Any, known: set[str]) -> list[Finding]:
    """URLs of weights in places where no backbone lies, for example a flow network's."""
    advice = "no backbone is below it; remove it or allow pretrained-url:{}"
    return [
        Finding("pretrained-url", path, value, "no URL", advice=advice.format(path))
        for path, value in leaves(cfg)
        if "://" in str(value)
        and path not in known
        and (path.startswith("model.") or any(hint in path for hint in HINTS))
    ]


def _init_cfg(weights: Weights) -> dict[str, str]:
    return {"type": "Pretrained", "checkpoint": weights.path, "prefix": PREFIX}


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _unique(findings: list[Finding]) -> list[Finding]:
    """One finding a setting: a detector's URL is met once for its backbone and once for its res5."""
    kept: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (finding.name, finding.setting)
        before = kept.get(key)
        if before is None:
            kept[key] = finding
        else:
            fix = before.fix + tuple(change for change in finding.fix if change not in before.fix)
            kept[key] = Finding(*_identity(before), fix=fix, advice=before.advice)
    return list(kept.values())


def _identity(finding: Finding) -> tuple[str, str, Any, Any]:
    return finding.name, finding.setting, finding.found, finding.expected
