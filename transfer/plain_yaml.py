"""YAML that is only data, of bounded size: read whole before anything is built from it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20  # of a file; the largest of ours has 10 kB
MAX_NODES = 100_000  # with every alias written out
TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = frozenset(
    TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge", "timestamp")
)
# Read as these by every loader of PyYAML; detectron2 writes tuples so.
HARMLESS_TAGS = PLAIN_TAGS | {
    *(TAG + name for name in ("binary", "omap", "pairs", "set")),
    *(f"{TAG}python/{name}" for name in ("tuple", "list", "dict", "none", "bool", "int", "float", "str")),
}
# What a configuration may take from the environment: where data lie, and nothing that could be a secret.
VARIABLES = ("MEC_TRANSFER_DATA", "DETECTRON2_DATASETS", "HOME", "USER", "SCRATCH", "TMPDIR", "SLURM_TMPDIR")
_ALLOWED = re.compile(r"\$\{oc\.env:\s*(?:" + "|".join(VARIABLES) + r")\s*(?:,[^${}:]*)?\}")


def compose(path: Path, tags: frozenset[str] | None = PLAIN_TAGS) -> yaml.Node | None:
    """The nodes of a YAML file, from which nothing has been built; None of an empty one.

    Raises:
        FileNotFoundError: no such file, or no plain file.
        ValueError: no YAML, no UTF-8, more than :data:`MAX_BYTES`, tags other than ``tags`` (which name what
            is to be called; None: any), a key twice, an alias inside of what it stands for, or aliases that
            make more than :data:`MAX_NODES`.
    """
    if not path.is_file():
        found = "a folder, pipe or device" if os.path.lexists(path) else "nothing"
        raise FileNotFoundError(f"{path}: expected a file, found {found}")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES} bytes of YAML, found {size}")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        if node is not None:
            _count(node, tags, {})
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected plain YAML ({' '.join(str(error).split())})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, found byte {error.start} to be none") from None
    except RecursionError:
        raise ValueError(f"{path}: expected YAML of a few levels, found too many to read") from None
    except _RefusedError as error:
        raise ValueError(f"{path}: {error}") from None
    return node


def load_yaml(path: Path) -> Any:
    """What ``OmegaConf.load`` gives, of what :func:`compose` lets through: ``DictConfig`` or ``ListConfig``.

    Interpolations are refused, but for ``${oc.env:NAME}`` (with or without a default) of
    :data:`VARIABLES`: values are written to logs and rows, where a secret must not go, and interpolations of
    interpolations can double without end.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as :func:`compose`, another interpolation, or no keys and values and no list.
    """
    from omegaconf import OmegaConf

    node = compose(path)
    for text in _scalars(node):
        if "${" in _ALLOWED.sub("", text):
            raise ValueError(
                f"{path}: expected no interpolation but ${{oc.env:NAME}} of {', '.join(VARIABLES)}, "
                f"found {text[:80]!a}"
            )
    try:
        return OmegaConf.load(path)
    except (OSError, ValueError, OverflowError, yaml.YAMLError) as error:  # a text alone; an endless number
        raise ValueError(f"{path}: expected keys and values ({' '.join(str(error).split())})") from None


class _RefusedError(Exception):
    """Why a node is refused."""


def _count(node: yaml.Node, tags: frozenset[str] | None, known: dict[int, int]) -> int:
    """The number of nodes below and with one, every alias written out."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise _RefusedError(f"an alias stands inside of what it stands for{_place(node)}")
        return known[id(node)]
    if tags is not None and node.tag not in tags:
        raise _RefusedError(f"expected plain YAML, found the tag {node.tag!a}{_place(node)}")
    known[id(node)] = 0
    total = 1
    if isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, str]] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in keys and key.tag != TAG + "merge":
                raise _RefusedError(f"the key {key.value[:80]!a} stands there twice{_place(key)}")
            keys.add((key.tag, key.value))
    for child in _children(node):
        total += _count(child, tags, known)
        if total > MAX_NODES:
            raise _RefusedError(f"expected at most {MAX_NODES} values, found aliases that make more")
    known[id(node)] = total
    return total


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _scalars(node: yaml.Node | None) -> Iterator[str]:
    """All texts, each once: aliases are followed but once."""
    seen: set[int] = set()
    waiting = [] if node is None else [node]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, yaml.ScalarNode):
            yield current.value
        waiting.extend(_children(current))


def _place(node: yaml.Node) -> str:
    return f" in line {node.start_mark.line + 1}" if node.start_mark else ""
