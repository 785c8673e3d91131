"""Configurations as files: which framework's, read by it, and written again without their findings."""

from __future__ import annotations

import ast
import importlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from transfer.detect.yaml_values import BASE_KEY
from transfer.findings import Finding, Weights, concerns
from transfer.plain_yaml import HARMLESS_TAGS, compose
from transfer.trust import FLAG, check_program, is_own, is_trusting, trusting

MAX_PASSES = 8  # a repair can bring up the next finding: norms that train want precise statistics


@dataclass(frozen=True)
class Kind:
    """A kind of configuration.

    Its module has ``read``, ``find``, ``apply``, ``write`` and ``SUFFIXES`` of written files.
    """

    module: str
    layout: str  # of a file that the framework loads; a key of transfer.backbone.sources.LAYOUTS
    suffix: str
    target: str  # of the conversion, in the default name of its file where that would be the source's
    converter: str


DETECTRON2 = ("detectron2", ".pkl", "detectron2", "tools/convert_to_d2.py")
KINDS: dict[str, Kind] = {
    "detectron2 YAML": Kind("transfer.detect.lint_yaml", *DETECTRON2),
    "detectron2 LazyConfig": Kind("transfer.detect.lint_lazy", *DETECTRON2),
    "mmcv": Kind("transfer.track.mm.lint", "openmmlab", ".pth", "mmcv", "tools/convert_to_mm.py"),
}


def kind_of(path: Path) -> str:
    """The key of :data:`KINDS` that a configuration is, told without executing it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML or Python, or neither framework's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such configuration")
    if path.suffix in (".yaml", ".yml"):
        node = compose(path, None)
        keys = {key.value for key, _ in node.value} if isinstance(node, yaml.MappingNode) else set()
        return "detectron2 LazyConfig" if "model" in keys else "detectron2 YAML"
    if path.suffix != ".py":
        raise ValueError(
            f"{path}: expected a configuration in .yaml, .yml or .py, found {path.suffix or 'no suffix'}"
        )
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: not Python ({one_line(error)})") from error
    names: set[str] = set()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            # One relative to the file is something that detectron2's loader alone can follow.
            names.add("detectron2" if statement.level else str(statement.module))
    lazy = any(name.split(".")[0] == "detectron2" for name in names)
    return "detectron2 LazyConfig" if lazy else "mmcv"


def lint(kind: Kind, cfg: Any, weights: Weights, gpus: int | None) -> list[Finding]:
    """Findings of a configuration that was read.

    Raises:
        ValueError: a configuration whose parts are not of the types that its framework documents.
    """
    module = importlib.import_module(kind.module)
    extra = {"gpus": gpus} if kind.layout == "openmmlab" else {}
    try:
        return list(module.find(cfg, weights, **extra))
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"the configuration cannot be checked, a part of it is not what its framework documents: "
            f"{one_line(error)}"
        ) from error


def read_config(kind: Kind, path: Path) -> Any:
    """Read a configuration by its framework.

    Raises:
        ImportError: the framework is not installed; names the command that installs it.
        ValueError: a program that nobody vouches for, of which nothing was executed; or whatever the
            framework or the file raised, in one line.
    """
    if kind.layout == "detectron2" and path.suffix != ".py":
        _check_yaml(path, ())
    else:
        check_program(path)
    module = importlib.import_module(kind.module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the frameworks say at import is not about the configuration
        framework = "detectron2" if kind.layout == "detectron2" else "mmcv"
        try:
            importlib.import_module(framework)
        except ImportError as error:
            raise ImportError(
                f"{path}: only {framework} can read it ({error}); run tools/setup.sh"
            ) from error
    try:
        return module.read(path)
    except (Exception, SystemExit) as error:  # the file is somebody's program; its exit is not ours
        raise ValueError(f"{path}: cannot be read as a configuration: {one_line(error)}") from error


def _check_yaml(path: Path, above: tuple[Path, ...]) -> None:
    """Refuse detectron2's YAML where it calls Python, which detectron2 does, or has a base on the net."""
    if is_trusting() or is_own(path) or path.resolve() in above or not path.is_file():
        return  # what is its own base, or not there, detectron2 tells
    try:
        node = compose(path, HARMLESS_TAGS)
    except ValueError as error:
        raise ValueError(f"{error}; look into it and give {FLAG} if you would run it") from None
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == BASE_KEY:
            for entry in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                base = str(entry.value)
                if "://" in base:
                    raise ValueError(
                        f"{path}: {BASE_KEY} {base!a}: expected a file; download it, or give {FLAG}"
                    )
                _check_yaml(path.parent / Path(base).expanduser(), (*above, path.resolve()))


def repair(
    kind: Kind, path: Path, weights: Weights, allow: Sequence[str], gpus: int | None, out: Path
) -> list[Finding]:
    """Write ``path`` without its findings to ``out``, and return what is left in what was written.

    Raises:
        ValueError: a suffix that the kind is not written with, ``out`` is ``path``, or a
            configuration that its framework cannot dump; nothing is written.
    """
    module = importlib.import_module(kind.module)
    if out.suffix not in module.SUFFIXES:
        raise ValueError(f"{out}: this kind is written as {' or '.join(module.SUFFIXES)}; name the output so")
    if out.exists() and out.samefile(path):
        raise ValueError(f"{out}: is the configuration itself, which keeps its comments; name another file")
    cfg = read_config(kind, path)
    changes: dict[str, Any] = {}
    for _ in range(MAX_PASSES):
        step = _fixes(lint(kind, cfg, weights, gpus), allow)
        if not step:
            break
        module.apply(cfg, step)
        changes |= step
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{os.getpid()}.{out.name}")
    try:
        module.write(path, cfg, changes, temporary)
        with trusting(True):  # it was just written from what was trusted
            left = lint(kind, read_config(kind, temporary), weights, gpus)
        stuck = _fixes(left, allow)
        if stuck:
            raise ValueError(f"{path}: {', '.join(stuck)} did not take its value; change it by hand")
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return left


def _fixes(findings: Sequence[Finding], allow: Sequence[str]) -> dict[str, Any]:
    return {
        setting: value
        for finding in findings
        if not any(concerns(entry, finding) for entry in allow)
        for setting, value in finding.fix
    }


def one_line(error: BaseException) -> str:
    """An exception's type and message without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
