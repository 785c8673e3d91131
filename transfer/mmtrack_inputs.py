"""Which files and folders an mmtrack configuration reads, told without running it or importing mmcv.

Only what such a file assigns from literals, names, sums and ``dict(...)`` is followed; whatever else stands
there is nobody's path.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PATH_KEYS = ("ann_file", "img_prefix")
UNTOLD = object()  # a value that only running the file would tell


def read_data_paths(path: Path, options: Mapping[str, Any]) -> Iterator[Path]:
    """The annotation files and image folders below ``data`` of a configuration, its training set's first.

    Args:
        path: of the Python file; its bases, as mmcv merges them, are read with it.
        options: nested values, or values by dotted keys, in place of the file's.

    Raises:
        FileNotFoundError: no such file, or no such base.
        ValueError: not Python, bases without an end, or a path that only running the file would tell.
    """
    merged = _merge(_read(path, ()), _nest(options))
    data = merged.get("data")
    for split in ("train", "val", "test"):
        for key, value in _paths(data.get(split) if isinstance(data, dict) else None):
            if not isinstance(value, str):
                raise ValueError(
                    f"{path}: data.{split}: {key} can only be told by running the file; give it as a literal"
                )
            yield Path(value)


def _read(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in chain:
        raise ValueError(f"{path}: a chain of _base_ that never ends")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such mmtrack configuration (paths start at the checkout)")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not Python ({error})") from error
    names: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            value = _value(statement.value, names)
            names |= {target.id: value for target in statement.targets if isinstance(target, ast.Name)}
    bases = names.pop("_base_", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        if not isinstance(base, str):
            raise ValueError(f"{path}: _base_ can only be told by running the file; give it as a literal")
        merged |= _read(path.parent / base, (*chain, path.resolve()))
    return _merge(merged, names)


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names.get(name, UNTOLD)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, names) for part in parts]
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {_value(k, names): _value(v, names) for k, v in pairs if isinstance(k, ast.Constant)}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            found: dict[str, Any] = {}
            for keyword in keywords:
                value = _value(keyword.value, names)
                if keyword.arg is not None:
                    found[keyword.arg] = value
                elif isinstance(value, dict):
                    found |= value
            return found
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = _value(left, names), _value(right, names)
            return first + second if isinstance(first, str) and isinstance(second, str) else UNTOLD
    return UNTOLD


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As mmcv merges: dict into dict, unless the upper one says ``_delete_``; all else takes the place."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, list) and isinstance(value, dict) and all(str(k).isdigit() for k in value):
            below = {str(index): entry for index, entry in enumerate(below)}  # options reach into lists so
        if isinstance(value, dict):
            rest = {name: entry for name, entry in value.items() if name != "_delete_"}
            keep = isinstance(below, dict) and not value.get("_delete_", False)
            value = _merge(below if keep and isinstance(below, dict) else {}, rest)
        merged[key] = value
    return merged


def _nest(options: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for dotted, value in options.items():
        *above, last = str(dotted).split(".")
        layer: dict[str, Any] = {last: _nest(value) if isinstance(value, Mapping) else value}
        for key in reversed(above):
            layer = {key: layer}
        nested = _merge(nested, layer)
    return nested


def _paths(node: Any) -> Iterator[tuple[str, Any]]:
    """Every path key below a node, in the file's order; None is none."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in PATH_KEYS:
                if value is not None:
                    yield key, value
            else:
                yield from _paths(value)
    elif isinstance(node, list):
        for entry in node:
            yield from _paths(entry)
