"""Which configurations may be executed: this project's, the frameworks', or what a user vouches for.

mmcv's configurations and detectron2's LazyConfigs are Python programs; mmcv's YAML and JSON can name modules
to import, and both frameworks read YAML whose tags call Python. So to read such a file is to run it. Without
``--trust-config`` that is done only to files inside the trees of :func:`own_trees`, links followed.
"""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FLAG = "--trust-config"
CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGED = {  # where frameworks' wheels hold their configurations
    "detectron2": "model_zoo/configs",
    "mmtrack": ".mim/configs",
    "mmdet": ".mim/configs",
}
PICKLES = (".pkl", ".pickle")
_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


@contextmanager
def trusting(trusted: bool) -> Iterator[None]:
    """Whether configurations from anywhere are executed inside the block: what ``--trust-config`` says."""
    token = _trusted.set(trusted)
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusting() -> bool:
    """Whether the user vouches for all configurations."""
    return _trusted.get()


@functools.cache
def own_trees() -> tuple[Path, ...]:
    """Folders whose configurations are executed: this checkout's and those that frameworks bring."""
    trees = (
        [CHECKOUT / "configs"] if (CHECKOUT / "pyproject.toml").is_file() else []
    )  # no site-packages/configs
    for package, folder in PACKAGED.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            trees.append(Path(spec.origin).parent / folder)
    return tuple(tree.resolve() for tree in trees if tree.is_dir())


def is_own(path: Path) -> bool:
    """Whether a file, links followed, lies in one of :func:`own_trees`."""
    return any(path.resolve().is_relative_to(tree) for tree in own_trees())


def check_program(path: Path) -> None:
    """Refuse a configuration that would be executed, unless it and its bases are our own or trusted.

    Nothing of it is executed here. Bases are those that the file names outright: mmcv's ``_base_`` and a
    LazyConfig's relative imports.

    Raises:
        ValueError: in one line the file, why, and the flag.
    """
    if is_trusting():
        return
    waiting, seen = [path], set()
    while waiting:
        current = Path(os.path.abspath(waiting.pop().expanduser()))
        if not current.is_file():
            continue  # nothing to execute; whoever reads it tells
        real = current.resolve()
        if not is_own(real):
            said = str(path) if current == Path(os.path.abspath(path.expanduser())) else f"{path}: {current}"
            led = f", where a link leads to {real}," if real != current else ""
            raise ValueError(
                f"{said}: a configuration that is executed when it is read, and lies{led} outside of this "
                f"project's and the frameworks' own; look into it and give {FLAG} if you would run it"
            )
        if current not in seen and current.suffix == ".py":
            waiting.extend(_bases(current))
        seen.add(current)


def check_options(options: Any) -> None:
    """Refuse values of a configuration that a framework would unpickle, as mmdet does with proposals.

    Args:
        options: nested mappings and lists.

    Raises:
        ValueError: names the file.
    """
    waiting = [] if is_trusting() else [options]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
        elif isinstance(value, str) and value.lower().endswith(PICKLES):
            raise ValueError(
                f"options: {value!a} would be read as a pickle, a program; give {FLAG} if you trust it"
            )


def _bases(path: Path) -> Iterator[Path]:
    """Files that a program reads as its bases, so far as it says which."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: not Python ({type(error).__name__})") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(_is_base(target) for target in node.targets):
            try:
                named = ast.literal_eval(node.value)
            except ValueError:
                raise ValueError(
                    f"{path}: _base_ is computed, so that nobody can say what is executed; give {FLAG}"
                ) from None
            yield from (path.parent / str(name) for name in ([named] if isinstance(named, str) else named))
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            yield folder.joinpath(*(node.module or "").split(".")).with_suffix(".py")


def _is_base(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "_base_"
