"""Label subsets: which training images a semi-supervised run may see.

A subset is a text file with one image a line: ``CLASS/FILE``, or SimCLR's bare ``CLASS_NUMBER.JPEG``
(1,000 classes, 12,811 names for 1 %), where the class is what stands before the underscore.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from transfer.backbone.checkpoint import file_sha256
from transfer.data.folders import ImageSplit


def stratified_subset(split: ImageSplit, fraction: float, seed: int) -> list[int]:
    """Indices of ``fraction`` of each class (rounded, at least one image), in the order of the split.

    Within a class the images are ranked by a hash of seed and name, so the choice does not depend on
    any library's random generator, and with one seed a smaller subset lies within a larger one.

    Raises:
        ValueError: a fraction outside (0, 1].
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"label_fraction: expected a number in (0, 1], found {fraction}")
    members: list[list[int]] = [[] for _ in split.classes]
    for index, label in enumerate(split.labels):
        members[label].append(index)

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{seed}\0{split.names[index]}".encode()).digest()

    chosen = [sorted(indices, key=rank)[: max(1, round(fraction * len(indices)))] for indices in members]
    return sorted(index for indices in chosen for index in indices)


def write_list(path: Path, names: Sequence[str]) -> None:
    """Write one name a line, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_list(path: Path, split: ImageSplit, sha256: str = "") -> list[int]:
    """Indices into ``split`` of the images that a list names, in the order of the list.

    Args:
        sha256: the digest the file must have; empty for a list that is not published.

    Raises:
        FileNotFoundError: no such list.
        ValueError: another digest, a name that the split lacks, a name that occurs twice, or a class
            without an image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of labelled images")
    if sha256 and (found := file_sha256(path)) != sha256:
        raise ValueError(f"{path}: expected sha256 {sha256}, found {found}; this is not the published list")
    index_of = {name: index for index, name in enumerate(split.names)}
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = [line if "/" in line else f"{line.rpartition('_')[0]}/{line}" for line in lines]
    unknown = [line for line, name in zip(lines, names, strict=True) if name not in index_of]
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown)} of {len(lines)} names are not in {split.split_dir}, such as "
            f"{unknown[:3]}"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: {len(twice)} names occur more than once, such as {twice[:3]}")
    indices = [index_of[name] for name in names]
    present = {split.labels[index] for index in indices}
    absent = [name for label, name in enumerate(split.classes) if label not in present]
    if absent:
        raise ValueError(f"{path}: {len(absent)} classes have no labelled image, such as {absent[:3]}")
    return indices
