"""Walking an mmcv configuration by dotted paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transfer.findings import REMOVE

RESNETS_OF_HEADS = ("ResLayer",)  # mmdet's res5 of a C4 head


def backbones(model: Any) -> list[tuple[str, Any]]:
    """Every backbone of a model, and every res5 that a C4 head keeps, under its path from ``model``."""
    return [
        (path, node)
        for path, node in _walk(model, "model")
        if _is_mapping(node)
        and (
            path.endswith(".backbone")
            or (path.endswith(".shared_head") and node.get("type") in RESNETS_OF_HEADS)
        )
    ]


def mappings(cfg: Any) -> dict[str, Any]:
    """Every mapping below ``model`` under its dotted path."""
    return {path: node for path, node in _walk(cfg.model, "model") if _is_mapping(node)}


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is neither mapping nor list, under its dotted path."""
    for key, value in _walk(node, path):
        if not _is_mapping(value) and not isinstance(value, list | tuple):
            yield key, value


def put(cfg: Any, setting: str, value: Any) -> None:
    """Set a dotted setting, or take it out when the value is :data:`~transfer.findings.REMOVE`."""
    *parents, key = setting.split(".")
    node = cfg
    for part in parents:
        if isinstance(node, list):
            node = node[int(part)]
            continue
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
    if value is REMOVE:
        node.pop(key, None)
    elif isinstance(node, list):
        node[int(key)] = value
    else:
        node[key] = value


def _walk(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if path:
        yield path, node
    items: Any = ()
    if _is_mapping(node):
        items = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    for key, value in items:
        yield from _walk(value, f"{path}.{key}" if path else str(key))


def _is_mapping(node: Any) -> bool:
    return hasattr(node, "items")
