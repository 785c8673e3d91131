"""What a configuration decides, whatever the machine that it is read on."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

# How a machine computes, not what.
MACHINE_KEYS = (
    *("num_workers", "device", "cache_images", "check_images"),
    *("evaluator", "checkpoint_period", "frames_at_once", "videos_at_once"),
)
# Folders of real data; what lies below one of them is the same data on every machine.
DATA_ROOTS = ("MEC_TRANSFER_DATA", "DETECTRON2_DATASETS")
CONFIG_SUFFIXES = (".yaml", ".yml", ".py")
NAMED_FILE = re.compile(r"[^\s'\"\[\](),]*/[^\s'\"\[\](),]+\.(?:ya?ml|py)\b")  # a path inside a configuration


def identity(config: Any) -> dict[str, Any]:
    """What a configuration decides, as plain data that is the same on every machine.

    The folders of the real data are replaced by their variables' names, and every configuration file
    that this one names (a detectron2 YAML, an mmtrack file) gives way to a digest of its content, files
    that it names in turn included; so is a list of labelled images, wherever it lies. The seed
    is left out: seeds of one recipe are one recipe; and so are :data:`MACHINE_KEYS`, and exceptions
    from the lint when there are none, which rows older than that field lack.
    """
    plain = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    assert isinstance(plain, dict)  # a dataclass resolves to a mapping
    if not plain.get("allow"):
        plain.pop("allow", None)
    left_out = ("seed", *MACHINE_KEYS)
    decided = {str(key): _portable(value) for key, value in plain.items() if key not in left_out}
    labels = Path(str(plain.get("subset_list", "")))
    if labels.is_file():
        decided["subset_list"] = hashlib.sha256(labels.read_bytes()).hexdigest()
    return decided


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _portable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_portable(entry) for entry in value]
    if not isinstance(value, str):
        return value
    for variable in DATA_ROOTS:
        root = os.environ.get(variable)
        if root and Path(value).is_relative_to(root):
            return (Path(variable) / Path(value).relative_to(root)).as_posix()
    path = Path(value)
    if (value.startswith("configs/") or path.suffix in CONFIG_SUFFIXES) and path.is_file():
        return {
            os.path.relpath(file, path.parent): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in _with_bases(path)
        }
    return value


def _with_bases(path: Path) -> list[Path]:
    """A configuration file and the files that it names, directly or through one another: neighbours by their
    names alone, configurations elsewhere by a path from its folder or an absolute one."""
    found, waiting = [], [path]
    while waiting:
        current = waiting.pop()
        found.append(current)
        if current.suffix not in CONFIG_SUFFIXES:
            continue
        text = current.read_text(encoding="utf-8")
        named = [neighbour for neighbour in sorted(current.parent.iterdir()) if neighbour.name in text]
        named += [Path(os.path.normpath(current.parent / word)) for word in NAMED_FILE.findall(text)]
        waiting += [file for file in dict.fromkeys(named) if file.is_file() and file not in found + waiting]
    return sorted(found)
