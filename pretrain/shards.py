"""Images in webdataset shards: tar files of ``key.jpg`` beside ``key.cls``, ``key.json``, which are not read.

A network file system serves a few large files well and a million small ones badly. Each shard is
indexed once from its headers; after that an image is one positioned read, so any order is possible.
:meth:`Shards.order` keeps the reads near each other.
"""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SUFFIXES = (".jpg", ".jpeg", ".png")
WINDOW = 8  # shards whose images are shuffled together; 8 of ImageNet's 147 shards hold 70,000 images
INDEXING_THREADS = 16  # headers are small reads, and a network file system answers many at a time
MAX_OPEN = 64  # shards; far below the usual limit of 1,024 files a process


class Names:
    """A read-only sequence of strings in two arrays.

    Python's objects hold their reference counts, so each worker process would slowly copy a list of a
    million strings by only reading it. Arrays stay shared.
    """

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._text[start : self._ends[index]].tobytes())


class Shards:
    """All images of the shards that ``pattern`` names, in the shards' order.

    Args:
        pattern: paths with braces (``train-{000000..000146}.tar``, ``{a,b}.tar``) or ``*``, ``?``, ``[]``.

    Raises:
        FileNotFoundError: a shard that the braces name is missing, or nothing matches the pattern.
        ValueError: a shard that is truncated, no tar file, or without an image; names the shard.
    """

    def __init__(self, pattern: str) -> None:
        self._open: OrderedDict[int, int] = OrderedDict()  # descriptors by shard, the last used at the end
        self.paths = expand(pattern)
        with ThreadPoolExecutor(INDEXING_THREADS) as pool:
            indices = list(pool.map(_index, self.paths))
        self._names = Names([name for index in indices for name, _, _ in index])
        self._offsets = np.array([offset for index in indices for _, offset, _ in index], dtype=np.int64)
        self._sizes = np.array([size for index in indices for _, _, size in index], dtype=np.int64)
        self._ends = np.cumsum([len(index) for index in indices])

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_open": OrderedDict()}  # open files do not travel to a spawned worker

    def __len__(self) -> int:
        return len(self._offsets)

    def name(self, index: int) -> str:
        """The shard and the image's name in it, for messages."""
        return f"{self.paths[self._shard(index)]}: {self._names[index]}"

    def read(self, index: int) -> bytes:
        """The encoded image.

        Raises:
            OSError: the shard cannot be read, or is shorter than when it was indexed.
        """
        shard, size = self._shard(index), int(self._sizes[index])
        if shard not in self._open:
            self._open[shard] = os.open(self.paths[shard], os.O_RDONLY)
            if len(self._open) > MAX_OPEN:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(shard)
        # positioned, because forked workers share the file's position
        data = os.pread(self._open[shard], size, int(self._offsets[index]))
        if len(data) != size:
            raise OSError(
                f"{self.name(index)}: {len(data)} bytes where there were {size}; the shard changed during "
                "the run"
            )
        return data

    def order(self, seed: int) -> Tensor:
        """A permutation ``(N,)`` int64 that shuffles the shards, then the images within windows of 8 shards.

        A function of ``seed`` alone. All ranks walk through the same window at the same time.
        """
        generator = torch.Generator().manual_seed(seed)
        shards = torch.randperm(len(self.paths), generator=generator)
        starts = [0, *self._ends[:-1].tolist()]
        order = []
        for window in torch.split(shards, WINDOW):
            images = torch.cat([torch.arange(starts[i], int(self._ends[i])) for i in window.tolist()])
            order.append(images[torch.randperm(len(images), generator=generator)])
        return torch.cat(order)

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self._ends, index, side="right"))


def expand(pattern: str) -> list[Path]:
    """The paths that a pattern names: in the braces' order, or sorted for ``*``, ``?`` and ``[]``.

    Raises:
        FileNotFoundError: a path that the braces name does not exist, or nothing matches.
    """
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces:
        before, after = pattern[: braces.start()], pattern[braces.end() :]
        numbers = re.fullmatch(r"(\d+)\.\.(\d+)", braces[1])
        if numbers:
            width = len(numbers[1])
            parts = [f"{i:0{width}}" for i in range(int(numbers[1]), int(numbers[2]) + 1)]
        else:
            parts = braces[1].split(",")
        paths = [path for part in parts for path in expand(before + part + after)]
    elif glob.has_magic(pattern):
        paths = [Path(path) for path in sorted(glob.glob(pattern))]
    else:
        paths = [Path(pattern)]
        if not paths[0].is_file():
            raise FileNotFoundError(f"{pattern}: no such shard")
    if not paths:
        raise FileNotFoundError(f"{pattern}: no shard matches; expected e.g. train-{{000000..000146}}.tar")
    return paths


def _index(path: Path) -> list[tuple[str, int, int]]:
    """Name, offset and size of each image in one shard, from its headers."""
    members = []
    end = 0
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isreg() and member.name.lower().endswith(SUFFIXES):
                    members.append((member.name, member.offset_data, member.size))
    except tarfile.TarError as error:
        raise ValueError(
            f"{path}: truncated, or no uncompressed tar file ({error}); copy or write it again"
        ) from error
    if path.stat().st_size < end + tarfile.BLOCKSIZE:  # a tar file ends with blocks of zeros
        raise ValueError(
            f"{path}: truncated after {path.stat().st_size} bytes (no end mark); copy or write it again"
        )
    if not members:
        raise ValueError(f"{path}: no image ({', '.join(SUFFIXES)}) inside; leave it out of the pattern")
    return members
