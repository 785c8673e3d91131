"""Training images that are held out: settings are chosen on them, so that the validation images are not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from transfer.data.folders import ImageSplit


def draw_holdout(split: ImageSplit, candidates: Sequence[int], num_images: int, seed: int) -> list[int]:
    """``num_images`` of the candidates' indices into ``split``, each class by its share, in split order.

    Within a class the images are ranked by a hash of seed and name, as for the label subsets, so that the
    choice depends on no random generator, and fewer images are always a part of more. An image with several
    labels counts for its first.

    Raises:
        ValueError: fewer candidates than asked for, or none asked for.
    """
    if not 1 <= num_images <= len(candidates):
        raise ValueError(
            f"{split.split_dir}: expected 1 to {len(candidates)} held-out images, as many as there are to "
            f"choose from, found {num_images}"
        )
    members: dict[int, list[tuple[bytes, int]]] = {}
    for index in candidates:
        digest = hashlib.sha256(f"holdout\0{seed}\0{split.names[index]}".encode()).digest()
        members.setdefault(split.labels[index], []).append((digest, index))
    order = [
        ((number + 0.5) / len(ranked), digest, index)
        for ranked in map(sorted, members.values())
        for number, (digest, index) in enumerate(ranked)
    ]
    return sorted(index for _, _, index in sorted(order)[:num_images])


def split_holdout(split: ImageSplit, num_images: int, seed: int) -> tuple[ImageSplit, ImageSplit]:
    """The images that remain and ``num_images`` held-out ones, each class by its share.

    Raises:
        ValueError: a class that would have no image left to train on.
    """
    held = draw_holdout(split, range(len(split.names)), num_images, seed)
    rest = split.select(sorted(set(range(len(split.names))) - set(held)))
    shown = None if rest.targets is None else (rest.targets > 0).any(0)
    present = set(rest.labels if shown is None else shown.nonzero().flatten().tolist())
    absent = [name for label, name in enumerate(split.classes) if label not in present]
    if absent:
        raise ValueError(
            f"{split.split_dir}: holding out {num_images} of {len(split.names)} images leaves {len(absent)} "
            f"classes without one to train on, such as {absent[:3]}; hold out fewer, or unlabelled ones"
        )
    return rest, split.select(held)
