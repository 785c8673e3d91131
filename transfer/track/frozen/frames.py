"""Frames of videos from files, decoded ahead of those who need them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transfer.data.pixels import decode


def read_image(path: Path) -> Tensor:
    """An image as uint8 ``(3, H, W)``, RGB.

    Raises:
        ValueError: it cannot be decoded; names the file.
    """
    return torch.from_numpy(np.array(decode(path))).permute(2, 0, 1)


def read_ahead(paths: Sequence[Path], num_threads: int = 1) -> Iterator[Tensor]:
    """The images of ``paths`` in order, as :func:`read_image` gives them, decoded in the background.

    At most ``2 * num_threads`` of them wait, however long the video is.

    Raises:
        ValueError: as :func:`read_image`, when the image's turn comes.
    """
    pool = ThreadPoolExecutor(max(1, num_threads), thread_name_prefix="decode")
    waiting: deque[Future[Tensor]] = deque()
    remaining = iter(paths)
    try:
        for path in islice(remaining, 2 * max(1, num_threads)):
            waiting.append(pool.submit(read_image, path))
        while waiting:
            image = waiting.popleft().result()
            for path in islice(remaining, 1):
                waiting.append(pool.submit(read_image, path))
            yield image
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def in_batches(images: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Images ``(3, H, W)`` of one size -> ``(B, 3, H, W)``, B at most ``size``."""
    iterator = iter(images)
    while batch := list(islice(iterator, max(1, size))):
        yield torch.stack(batch)
