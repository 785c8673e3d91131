"""Build the bundled set, or recognise that it is already there.

``manifest.json`` holds, for each part, two digests: ``content_sha256`` over decoded pixels and
annotations (the same wherever the set is built) and ``files_sha256`` over the bytes on this disk
(to notice damage). A set is up to date when it was made by this code and its files are intact.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from transfer.data.mini.classes import write_classes
from transfer.data.mini.mot import write_mot
from transfer.data.mini.mots import write_mots
from transfer.data.mini.posetrack import write_posetrack
from transfer.data.mini.scenes import write_scenes
from transfer.data.mini.videos import write_davis, write_sot
from transfer.provenance import code_sha256

VERSION = 1
MANIFEST = "manifest.json"
PARTS: dict[str, Callable[[Path], None]] = {
    "classify": write_classes,
    "detect": write_scenes,
    "mot": write_mot,
    "sot": write_sot,
    "davis": write_davis,
    "mots": write_mots,
    "posetrack": write_posetrack,
}
FORMER_PARTS = ("vos",)  # names that earlier code gave; a set with them is ours to replace
# What the parts hold in this version, on every platform. Numbers measured on a set that differs do
# not compare with the published ones; change VERSION together with a digest.
CONTENT_SHA256: dict[str, str] = {
    "classify": "691920f39e79b46bde1736fa66ab955798b86acfa26c099c6da66b7437f4694c",
    "detect": "ab8aad45daa96601a6b5fc0ba85a163b4f53712fa49cd22a9fc030a0ce7ccbab",
    "mot": "4e59565945f184fa1c6ba87eb84ff31ebae4c93182c72afa5ea3341a0868356b",
    "sot": "cdfbc49605de76a4f325cd2e31402a63256ec54bf96c976247d465fe51550bde",
    "davis": "6ec7408271146a5e5cc21683fa317089897041337ac38b9a2245388a21d48696",
    "mots": "5d05ad35a1da41fd825b2fe441c9805bbae9f93e5118f3c7fee7faa8c671764c",
    "posetrack": "9b934e753444176785bbb70c993618744ec5b0dcdba12841206544e0d9ca1b4f",
}


def build(root: Path) -> bool:
    """Build the set at ``root``; return False at once when it is there, intact and up to date.

    The set appears complete or not at all: it is written beside ``root`` and renamed.

    Raises:
        ValueError: ``root`` holds something that is not a bundled set.
        FileNotFoundError: an installed package lacks a file that the set is made from.
    """
    if is_up_to_date(root):
        print(f"{root}: bundled set is up to date")
        return False
    found = [path.name for path in root.iterdir()] if root.exists() else []
    foreign = sorted(set(found) - {*PARTS, *FORMER_PARTS, MANIFEST})
    if foreign:
        raise ValueError(
            f"{root} is no bundled set (it holds {', '.join(foreign[:3])}) and is left as it is; "
            "give another folder"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = root.with_name(f".{root.name}.{os.getpid()}")
    previous = root.with_name(f".{root.name}.{os.getpid()}.previous")
    try:
        temporary.mkdir()
        parts: dict[str, dict[str, Any]] = {}
        for name, write in PARTS.items():
            start = time.perf_counter()
            write(temporary)
            parts[name] = {
                "content_sha256": content_sha256(temporary / name),
                "files_sha256": files_sha256(temporary / name),
                "num_files": len(_files(temporary / name)),
            }
            same = parts[name]["content_sha256"] == CONTENT_SHA256.get(name)
            print(
                f"{root / name}: {parts[name]['num_files']} files, {time.perf_counter() - start:.1f} s"
                + ("" if same else "; DIFFERS from the reference set, so results do not compare"),
                flush=True,
            )
        manifest = {"version": VERSION, "code_sha256": code_sha256("data/mini"), "parts": parts}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if root.exists():
            root.rename(previous)
        temporary.rename(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)
    return True


def is_up_to_date(root: Path) -> bool:
    """Whether ``root`` holds a set that this very code built and whose files are all intact."""
    try:
        manifest = json.loads((root / MANIFEST).read_text())
        return (
            manifest["version"] == VERSION
            and manifest["code_sha256"] == code_sha256("data/mini")
            and manifest["parts"].keys() == PARTS.keys()
            and all(
                part["files_sha256"] == files_sha256(root / name) for name, part in manifest["parts"].items()
            )
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return False  # absent or damaged: to be rebuilt


def content_sha256(folder: Path) -> str:
    """Digest of what the files mean: paths, decoded pixels (palette indices where there are), texts."""
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        if path.suffix == ".png":
            with Image.open(path) as image:
                digest.update(f"{image.mode} {image.size}".encode() + image.tobytes())
        elif path.suffix == ".json":
            digest.update(json.dumps(json.loads(path.read_text()), sort_keys=True).encode())
        else:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def files_sha256(folder: Path) -> str:
    """Digest of the files' paths and bytes."""
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(
            path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest()
        )
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
