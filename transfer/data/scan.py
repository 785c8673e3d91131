"""A look at every image file of a run before anything is computed, so that bad ones are named together.

Only headers are read: 45 us a file that is in memory, a minute for ImageNet's 1.28 million, where decoding
them takes hours. A file that is damaged behind its header is found when it is decoded, and named then.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from PIL import Image, UnidentifiedImageError

from transfer.data.pixels import UNUSUAL, kind_of

if TYPE_CHECKING:  # that module calls this one
    from transfer.data.folders import ImageSplit

logger = logging.getLogger(__name__)
NUM_THREADS = 16  # a disk behind a network answers many at once; one processor reads headers alone
CHUNK = 1024  # names that a thread takes at a time
NUM_NAMED = 20  # bad files in one message
NUM_EXAMPLES = 3  # in a warning
SECONDS_BETWEEN_LINES = 10.0  # of progress
FileId = tuple[int, int]  # device and inode: the same for every path to one file
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class _Found:
    """What a look at some files gave."""

    bad: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)  # files of the other split
    ids: dict[FileId, str] = field(default_factory=dict)
    unusual: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, other: _Found) -> None:
        self.bad += other.bad
        self.twice += other.twice
        self.ids |= other.ids
        self.unusual += other.unusual
        for kind, names in other.examples.items():
            self.examples[kind] = (self.examples.get(kind, []) + names)[:NUM_EXAMPLES]


def check_files(train: ImageSplit, val: ImageSplit) -> None:
    """Read the header of every image file of both splits; CMYK and 16-bit images are warned of, counted.

    Raises:
        ValueError: files that are missing, empty or no image, or of a kind that has no RGB (all of them
            named, up to 20), or a validation image that is also a training image, under any name.
    """
    found = _look(val, {})
    in_train = _look(train, found.ids)
    twice = in_train.twice
    found.add(in_train)
    if found.bad:
        more = f"\n  and {len(found.bad) - NUM_NAMED} more" if len(found.bad) > NUM_NAMED else ""
        listed = "".join(f"\n  {line}" for line in found.bad[:NUM_NAMED])
        raise ValueError(
            f"{len(found.bad)} of {len(train) + len(val)} image files cannot be used; replace or remove "
            f"them:{listed}{more}"
        )
    if twice:
        raise ValueError(
            f"{len(twice)} images are in both {train.split_dir} and {val.split_dir}, such as "
            f"{twice[:NUM_EXAMPLES]}; a model may not be evaluated on what it was trained on"
        )
    for kind, count in sorted(found.unusual.items()):
        logger.warning("%d images %s, such as %s", count, UNUSUAL[kind], ", ".join(found.examples[kind]))


def _look(split: ImageSplit, others: Mapping[FileId, str]) -> _Found:
    found = _Found()
    if split.pixels is not None:
        return found
    keep = not others
    for result in in_threads(lambda names: _look_at(split.split_dir, names, others, keep), split.names):
        found.add(result)
    return found


def in_threads(look: Callable[[Sequence[Item]], Result], items: Sequence[Item]) -> Iterator[Result]:
    """``look`` at items, one an image, in chunks by threads; results in order, and lines of progress."""
    Image.init()  # before there are threads: Pillow registers formats without a lock, some when first met
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    start = shown = time.monotonic()
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for number, result in enumerate(threads.map(look, chunks), 1):
            yield result
            now = time.monotonic()
            if now - shown > SECONDS_BETWEEN_LINES:
                shown = now
                eta_s = (now - start) / number * (len(chunks) - number)
                logger.info("checked %d/%d images  ETA %.0f s", number * CHUNK, len(items), eta_s)


def _look_at(folder: Path, names: Sequence[str], others: Mapping[FileId, str], keep: bool) -> _Found:
    found = _Found()
    for name in names:
        path = os.path.join(folder, name)  # a Path would cost a tenth of the whole
        try:
            with open(path, "rb") as handle:
                status = os.fstat(handle.fileno())
                if not status.st_size:
                    raise ValueError("empty")
                with Image.open(handle) as image:
                    kind = kind_of(image)
        except Exception as error:  # damaged files make Pillow raise far more types than OSError
            found.bad.append(f"{path}: {reason_of(error)}")
            continue
        identity = (status.st_dev, status.st_ino)
        if keep:
            found.ids[identity] = name
        elif identity in others:
            found.twice.append(f"{name} (there {others[identity]})")
        if kind in UNUSUAL:
            found.unusual[kind] += 1
            found.examples.setdefault(kind, []).append(path)
    return found


def reason_of(error: Exception) -> str:
    """Why an image file could not be opened or decoded, without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"  # its own message repeats the path
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
