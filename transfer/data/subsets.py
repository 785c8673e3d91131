"""Label subsets: which training images a semi-supervised run may see.

A subset is a text file with one image a line: ``CLASS/FILE``, or SimCLR's bare ``CLASS_NUMBER.JPEG``
(1,000 classes, 12,811 names for 1 %), where the class is what stands before the underscore.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer.backbone.checkpoint import file_sha256
from transfer.data.folders import ImageSplit


def stratified_subset(split: ImageSplit, fraction: float, seed: int) -> list[int]:
    """Indices of ``fraction`` of each class (rounded, at least one image), in the order of the split.

    With one seed a smaller subset lies within a larger one.

    Raises:
        ValueError: a fraction outside (0, 1].
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"label_fraction: expected a number in (0, 1], found {fraction}")
    ranked = ranked_members(split, seed)
    return sorted(i for members in ranked for i in members[: max(1, round(fraction * len(members)))])


def images_per_class(split: ImageSplit, count: int, seed: int) -> list[int]:
    """Indices of ``count`` images of each class, in the order of the split.

    Raises:
        ValueError: a class with fewer images; names it.
    """
    ranked = ranked_members(split, seed)
    short = [name for name, members in zip(split.classes, ranked, strict=True) if len(members) < count]
    if short:
        raise ValueError(
            f"{split.split_dir}: expected at least {count} images of each class, but {len(short)} classes "
            f"have fewer, such as {short[:3]}"
        )
    return sorted(i for members in ranked for i in members[:count])


def ranked_members(split: ImageSplit, seed: int) -> list[list[int]]:
    """The images of each class in an order that a hash of seed and name decides.

    So what is drawn depends on no library's random generator and on no other class.
    """
    members: list[list[int]] = [[] for _ in split.classes]
    for index, label in enumerate(split.labels):
        members[label].append(index)

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{seed}\0{split.names[index]}".encode()).digest()

    return [sorted(indices, key=rank) for indices in members]


def write_list(path: Path, names: Sequence[str]) -> None:
    """Write one name a line, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class PublishedList:
    """A list that papers used: what it must be to the last byte, and how much it names."""

    sha256: str
    num_images: int
    num_classes: int


SIMCLR_LISTS = {  # file name -> list, of google-research/simclr at commit 383d414, imagenet_subsets/
    "1percent.txt": PublishedList(
        "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17", 12_811, 1000
    ),
    "10percent.txt": PublishedList(
        "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091", 128_116, 1000
    ),
}


def read_names(path: Path) -> list[str]:
    """The ``CLASS/FILE`` names of a list, in its order.

    Raises:
        FileNotFoundError: no such list.
        ValueError: not a text file, or a name that occurs twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such list of labelled images; tools/prepare_data.py imagenet-lists gets the "
            "published ones"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file of one image name a line ({error})") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    names = [line if "/" in line else f"{line.rpartition('_')[0]}/{line}" for line in lines]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: {len(twice)} names occur more than once, such as {twice[:3]}")
    return names


def check_published(path: Path, published: PublishedList, place: str = "") -> None:
    """Check that a file is the list that papers used; ``place`` is what messages call it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the wrong number of names or classes, or another digest.
    """
    names = read_names(path)
    found = (len(names), len({name.partition("/")[0] for name in names}))
    if found != (published.num_images, published.num_classes):
        raise ValueError(
            f"{place or path}: expected {published.num_images} images of {published.num_classes} classes, "
            f"found {found[0]} of {found[1]}; this is not the published list"
        )
    _check_digest(path, published.sha256, place)


def read_list(path: Path, split: ImageSplit, sha256: str = "", num_images: int | None = None) -> list[int]:
    """Indices into ``split`` of the images that a list names, in the order of the list.

    Args:
        sha256: the digest the file must have; empty for a list that is not published. That of one of
            SIMCLR_LISTS also says how many images and classes it names.
        num_images: how many images it must name; None for any number.

    Raises:
        FileNotFoundError: no such list.
        ValueError: another digest or count, a name that the split lacks, a name that occurs twice, or a
            class without an image.
    """
    names = read_names(path)
    if num_images is not None and len(names) != num_images:
        raise ValueError(f"{path}: expected {num_images} images, found {len(names)}")
    known = [published for published in SIMCLR_LISTS.values() if published.sha256 == sha256]
    if known:
        check_published(path, known[0])
    elif sha256:
        _check_digest(path, sha256)
    index_of = {name: index for index, name in enumerate(split.names)}
    unknown = [name for name in names if name not in index_of]
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown)} of {len(names)} names are not in {split.split_dir}, such as "
            f"{unknown[:3]}"
        )
    indices = [index_of[name] for name in names]
    present = {split.labels[index] for index in indices}
    absent = [name for label, name in enumerate(split.classes) if label not in present]
    if absent:
        raise ValueError(f"{path}: {len(absent)} classes have no labelled image, such as {absent[:3]}")
    return indices


def _check_digest(path: Path, sha256: str, place: str = "") -> None:
    if (found := file_sha256(path)) != sha256:
        raise ValueError(
            f"{place or path}: expected sha256 {sha256}, found {found}; this is not the published list"
        )
