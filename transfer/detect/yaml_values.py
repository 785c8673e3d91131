"""What a detectron2 YAML says, read without detectron2: reports and the suite must not need it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from transfer.plain_yaml import HARMLESS_TAGS, compose

BASE_KEY, VERSION_KEY, VERSION = "_BASE_", "VERSION", 2


def read_values(path: Path) -> dict[str, Any]:
    """Dotted names and values of a detectron2 YAML and its bases; lists for tuples, nothing for defaults.

    Raises:
        FileNotFoundError: the file or a base is not there.
        ValueError: a chain of bases that never ends, a file of detectron2's first version, no mapping, or
            YAML that calls Python.
    """
    values = dict(flatten(_read(path, ())))
    if values.pop(VERSION_KEY, None) != VERSION:
        raise ValueError(
            f"{path}: expected VERSION: {VERSION}; without it detectron2 guesses what the keys mean, and "
            "files of its first version have other names for them. Write it into the file"
        )
    return values


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested mapping's leaves, values as detectron2 reads them."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _read(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    chain = (*chain, path)
    said = ", whose _BASE_ is ".join(map(str, chain))
    if not path.is_file():
        raise FileNotFoundError(
            f"{said}: no such detectron2 configuration; _BASE_ is a path from its file's folder, "
            "detectron2_path one from where the command runs (the checkout's root)"
        )
    if path.resolve() in [earlier.resolve() for earlier in chain[:-1]]:
        raise ValueError(f"{said}: a chain of _BASE_ that never ends; remove one of them")
    try:
        compose(path, HARMLESS_TAGS)
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(", whose _BASE_ is ".join(map(str, (*chain[:-1], error)))) from None
    except yaml.YAMLError as error:
        raise ValueError(f"{said}: expected plain YAML, found {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{said}: expected keys and values, found {type(tree).__name__}")
    bases = tree.pop(BASE_KEY, [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        _merge(_read(path.parent / Path(base).expanduser(), chain), merged)
    _merge(tree, merged)
    return merged


def _merge(tree: Mapping[str, Any], into: dict[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(value, into[key])
        else:
            into[key] = value


def _plain(value: Any) -> Any:
    """As detectron2 reads it: text that is a Python literal is the literal; a tuple is a list here."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
