"""Batches of crops for any range of steps, the same whatever the workers, ranks and interruptions."""

from __future__ import annotations

import atexit
import os
import signal
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from pretrain.collective import World
from pretrain.config import Config
from pretrain.images import Sample, Source, UnlabelledImages
from pretrain.views import mix


def batches(
    images: UnlabelledImages,
    config: Config,
    *,
    steps_per_epoch: int,
    first_step: int,
    last_step: int,
    world: World,
) -> Generator[tuple[Tensor, ...], None, None]:
    """This rank's rows of the batches of steps ``first_step`` to ``last_step - 1``, counted from 0.

    Each epoch is a permutation of the images, of which the images beyond ``steps_per_epoch`` whole
    batches are left out. Order and crops are functions of ``config.seed``, the epoch and the image.
    Close the generator to stop the workers before its end.

    Yields:
        As an item of ``images``, with the rank's rows as first dimension; pinned where there is a GPU.

    Raises:
        ValueError: an image that cannot be decoded; names it.
    """
    samples = _Batches(images.source, config, steps_per_epoch, range(first_step, last_step), world)
    generator = _stream(images, samples, workers(config, world), _on_gpu(config))
    # at exit Python ends workers by a signal that they ignore, so they have to be gone by then
    atexit.register(_close, weakref.ref(generator))
    return generator


def workers(config: Config, world: World) -> int:
    """Processes that decode for this rank: ``data.workers``, or chosen when that is -1.

    With a GPU the rank's share of the cores, at most 16. Without one the network needs the cores
    more: a quarter of the share, at least one, or none where the images are decoded already.
    """
    if config.data.workers >= 0:
        return config.data.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world.size > 1 else cores
    if _on_gpu(config):
        return max(1, min(16, share))
    return 0 if config.data.in_memory else max(1, share // 4)


class _Batches(Sampler[list[Sample]]):
    """This rank's samples of each step."""

    def __init__(
        self, source: Source, config: Config, steps_per_epoch: int, steps: range, world: World
    ) -> None:
        self.source = source
        self.seed = config.seed
        self.batch_size = config.optim.batch_size
        self.rows = world.share(self.batch_size)
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[Sample]]:
        ordered = -1
        for step in self.steps:
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != ordered:
                order = self.source.order(mix(self.seed, epoch))
                ordered = epoch
            start = position * self.batch_size
            rows = order[start + self.rows.start : start + self.rows.stop].tolist()
            yield [Sample(index, mix(self.seed, epoch, index)) for index in rows]


class _Collated(Dataset[Any]):
    """A batch per item. A damaged image is returned, not raised: a worker would wrap it in its traceback."""

    def __init__(self, images: UnlabelledImages) -> None:
        self.images = images

    def __getitem__(self, samples: list[Sample]) -> tuple[Tensor, ...] | OSError | ValueError:
        try:
            return tuple(default_collate([self.images[sample] for sample in samples]))
        except (OSError, ValueError) as error:
            return error


def _stream(
    images: UnlabelledImages, samples: _Batches, num_workers: int, pin_memory: bool
) -> Generator[tuple[Tensor, ...], None, None]:
    iterator = iter(
        DataLoader(
            _Collated(images),
            batch_size=None,  # the sampler's items are batches
            sampler=samples,
            num_workers=num_workers,
            worker_init_fn=_leave_signals_to_the_main_process,
            pin_memory=pin_memory,
        )
    )
    try:
        for batch in iterator:
            if isinstance(batch, (OSError, ValueError)):
                raise batch
            yield tuple(batch)
    finally:
        if num_workers:
            iterator._shutdown_workers()  # type: ignore[attr-defined]  # now; at exit it would be too late


def _on_gpu(config: Config) -> bool:
    return config.device != "cpu" and torch.cuda.is_available()


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C and a cluster's warnings reach every process; the main one finishes its step with these."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _close(generator: weakref.ref[Generator[tuple[Tensor, ...], None, None]]) -> None:
    alive = generator()
    if alive is not None:
        alive.close()
