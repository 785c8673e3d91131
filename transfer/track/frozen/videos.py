"""Sequences of a set tracked side by side."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

import torch

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0  # of progress
MOST_AT_ONCE = 8  # by itself: each holds its own frames and features


class Named(Protocol):
    """A sequence: what errors and progress call it."""

    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Named)
T = TypeVar("T")


class SequenceError(RuntimeError):
    """What went wrong in one sequence; the message begins with its name."""


def map_videos(function: Callable[[S], T], sequences: Sequence[S], videos_at_once: int = 0) -> list[T]:
    """``function`` of each sequence, in order, in so many threads; torch's threads are shared out.

    Decoding, convolutions and most of numpy work without Python's lock, so that threads are enough, and one
    copy of the backbone. A sequence by itself keeps all of torch's threads.

    Args:
        function: of one sequence; touches nothing that another one writes.
        sequences: each with a name.
        videos_at_once: 0 takes as many as torch has threads, at most :data:`MOST_AT_ONCE`.

    Raises:
        SequenceError: the first error of any; those not yet begun are left out.
        ValueError: a negative number of videos.
    """
    if videos_at_once < 0:
        raise ValueError(f"videos_at_once: expected at least 0, found {videos_at_once}")
    threads = torch.get_num_threads()
    workers = max(1, min(len(sequences), videos_at_once or min(threads, MOST_AT_ONCE)))
    each = max(1, threads // workers)
    progress = _Progress(len(sequences))

    def one(sequence: S) -> T:
        try:
            result = function(sequence)
        except Exception as error:
            raise SequenceError(f"{sequence.name}: {error}") from error
        progress.done(sequence.name)
        return result

    if workers == 1:
        return [one(sequence) for sequence in sequences]
    # Torch keeps the number for each thread and for the process: new threads take the process's.
    pool = ThreadPoolExecutor(workers, "video", initializer=torch.set_num_threads, initargs=(each,))
    try:
        futures: list[Future[T]] = [pool.submit(one, sequence) for sequence in sequences]
        finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future in finished and (error := future.exception()) is not None:
                raise error
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


class _Progress:
    """Lines about how many sequences are done, not more often than one likes to read."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.names: list[str] = []
        self.start = self.shown = time.monotonic()

    def done(self, name: str) -> None:
        self.names.append(name)
        now, number = time.monotonic(), len(self.names)
        if now - self.shown > SECONDS_BETWEEN_LINES:
            self.shown = now
            eta_s = (now - self.start) / number * (self.total - number)
            logger.info("sequence %d/%d (%s)  ETA %.0f s", number, self.total, name, eta_s)
