"""Pedestrians cut out of MOTChallenge frames, in the layout that mmtrack's re-identification set reads.

Which boxes count is mmtrack's rule (its mot2reid.py): pedestrians at least 30 % visible, of people seen
at least eight times.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from transfer.data.motchallenge import Box, read_boxes, read_sequence
from transfer.ranks import World
from transfer.track.mm.mot_ranks import wait

LIST_NAME = "train.txt"  # lines "PERSON/FRAME.png LABEL", labels from 0


@dataclass(frozen=True)
class People:
    """A re-identification set: a folder with ``imgs/`` and :data:`LIST_NAME`, and how many people it has."""

    folder: Path
    count: int


def cut_prepared(data_dir: Path, world: World) -> People:
    """Cut people out of ``data_dir/train``, into a folder named by what is cut."""
    listing = (data_dir / "train.json").read_bytes()
    digest = hashlib.sha256(listing).hexdigest()
    folder = data_dir / f"people-{digest[:16]}"
    videos = json.loads(listing)["videos"]  # beside their folders may be those of older runs
    sequence_dirs = [data_dir / "train" / name for name in sorted(str(video["name"]) for video in videos)]
    if world.first:
        cut_people(sequence_dirs, folder)
    wait(world)
    return People(folder, cut_people(sequence_dirs, folder))


def cut_people(
    sequence_dirs: Sequence[Path], out_dir: Path, min_visibility: float = 0.3, min_images: int = 8
) -> int:
    """Write ``out_dir/imgs/SEQUENCE_PERSON/FRAME.png`` and ``out_dir/train.txt``; nothing where they are.

    Returns:
        The number of people.

    Raises:
        ValueError: fewer than two people are seen often enough.
    """
    listing = out_dir / LIST_NAME
    if not listing.is_file():
        temporary = out_dir.with_name(f".{out_dir.name}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        lines = _write_crops(sequence_dirs, temporary / "imgs", min_visibility, min_images)
        (temporary / LIST_NAME).write_text("".join(lines), encoding="utf-8")
        shutil.rmtree(out_dir, ignore_errors=True)
        temporary.rename(out_dir)
    people = {line.split()[1] for line in listing.read_text(encoding="utf-8").splitlines()}
    if len(people) < 2:
        names = ", ".join(path.name for path in sequence_dirs)
        raise ValueError(
            f"{names}: {len(people)} people are at least {min_visibility:.0%} visible "
            f"in {min_images} frames; "
            "a network that tells people apart needs two. Leave `reid` empty to use the backbone as it is"
        )
    return len(people)


def _write_crops(
    sequence_dirs: Sequence[Path], image_dir: Path, min_visibility: float, min_images: int
) -> list[str]:
    lines: list[str] = []
    label = 0
    for sequence_dir in sequence_dirs:
        info = read_sequence(sequence_dir)
        people: dict[int, list[Box]] = {}
        for box in read_boxes(sequence_dir / "gt" / "gt.txt"):
            inside = (
                min(box.left + box.width, info.width) - max(box.left, 0) >= 1
                and min(box.top + box.height, info.height) - max(box.top, 0) >= 1
            )
            if box.is_target and box.visibility >= min_visibility and inside:
                people.setdefault(box.identity, []).append(box)
        kept = {identity: boxes for identity, boxes in sorted(people.items()) if len(boxes) >= min_images}
        by_frame: dict[int, list[Box]] = {}
        for boxes in kept.values():
            for box in boxes:
                by_frame.setdefault(box.frame, []).append(box)
        labels = {identity: label + index for index, identity in enumerate(kept)}
        label += len(kept)
        for frame, boxes in sorted(by_frame.items()):
            with Image.open(sequence_dir / info.image(frame)) as image:
                pixels = image.convert("RGB")
            for box in boxes:
                name = f"{info.name}_{box.identity:06d}/{frame:06d}.png"
                (image_dir / name).parent.mkdir(parents=True, exist_ok=True)
                corners = (box.left, box.top, box.left + box.width, box.top + box.height)
                clipped = (
                    max(0, round(corners[0])),
                    max(0, round(corners[1])),
                    min(info.width, max(round(corners[2]), round(corners[0]) + 1)),
                    min(info.height, max(round(corners[3]), round(corners[1]) + 1)),
                )
                pixels.crop(clipped).save(image_dir / name)
                lines.append(f"{name} {labels[box.identity]}\n")
    return lines
