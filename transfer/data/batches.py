"""Batches of images: shuffled and augmented for training, in order for evaluation.

What an epoch holds is a function of (seed, epoch) and what is drawn for an image a function of (seed,
epoch, image): the same for any number of processes and workers, and after a resume at any epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate

from transfer.data.folders import ImageSetConfig, ImageSplit
from transfer.data.images import Images, eval_transform, train_transform
from transfer.ranks import World


def draw_seed(*parts: int) -> int:
    """A seed of 63 bits from whole numbers; close numbers give unrelated seeds."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def epoch_order(num_items: int, seed: int, epoch: int) -> Tensor:
    """A permutation ``(num_items,)`` int64: the order of one epoch, a function of ``(seed, epoch)``."""
    return torch.randperm(num_items, generator=torch.Generator().manual_seed(draw_seed(seed, epoch)))


def batch_slices(num_items: int, batch_size: int) -> list[slice]:
    """Where an epoch's order is cut into batches, none of which holds a single item.

    Batch normalisation in train mode has no variance to divide by when a batch holds one image with one
    position, so a last batch of one joins the batch before it.

    Raises:
        ValueError: fewer than two items, or a batch size below two.
    """
    if num_items < 2 or batch_size < 2:
        raise ValueError(
            f"training needs at least 2 images and a batch size of at least 2 (batch normalisation), "
            f"found {num_items} images and a batch size of {batch_size}"
        )
    full, rest = divmod(num_items, batch_size)
    starts = list(range(0, (full + (rest > 1)) * batch_size, batch_size))
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], num_items], strict=True)]


class EpochBatches:
    """This process's rows of each shuffled batch, augmented: ``(images (b, 3, S, S) uint8, labels (b,))``.

    ``batch_sizes[i]`` is the number of rows of batch i in all processes together; b is this one's share of
    them, 0 where the last batch holds fewer rows than there are processes. Labels are targets ``(b, C)``
    for a set that has them.

    Raises:
        ValueError: fewer than two images, or a batch size below two or below the number of processes.
    """

    def __init__(self, images: Images, config: ImageSetConfig, world: World) -> None:
        if config.batch_size < world.size:
            raise ValueError(
                f"batch_size: expected a row for each of {world.size} processes, found {config.batch_size}"
            )
        self.order = _OwnRows(batch_slices(len(images), config.batch_size), config.seed, world)
        self.batch_sizes = [rows.stop - rows.start for rows in self.order.slices]
        self.loader = DataLoader(
            images,
            batch_sampler=self.order,
            num_workers=config.num_workers,
            persistent_workers=config.num_workers > 0,
            collate_fn=_Collate(images.split, config.image_size),
            pin_memory=_pinned(config),
            generator=torch.Generator(),  # or each epoch's start would draw from torch's global one
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next iteration gives."""
        self.order.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.loader)


def train_batches(
    split: ImageSplit, config: ImageSetConfig, min_scale: float, world: World | None = None
) -> EpochBatches:
    """Shuffled batches of random resized crops of ``min_scale``..1 of the area, flipped at random."""
    images = Images(split, train_transform(config.image_size, min_scale), config.cache_images)
    return EpochBatches(images, config, world or World())


def eval_batches(
    split: ImageSplit, config: ImageSetConfig, world: World | None = None
) -> DataLoader[tuple[Tensor, Any]]:
    """This process's share of a split (``World.share``), in order, in evaluation form."""
    rows = (world or World()).share(len(split))
    own = split if rows == slice(0, len(split)) else split.select(range(rows.start, rows.stop))
    # Each image is read once, so a cache would only cost memory.
    images = Images(own, eval_transform(config.resize_size, config.image_size), cache=False)
    return DataLoader(
        images,
        config.batch_size,
        num_workers=config.num_workers,
        pin_memory=_pinned(config),
        generator=torch.Generator(),
    )


class _OwnRows(Sampler[list[tuple[int, int]]]):
    """One process's ``(index, seed)`` of each batch. It runs in the main process: workers know no epoch."""

    def __init__(self, slices: list[slice], seed: int, world: World) -> None:
        self.slices = slices
        self.seed = seed
        self.world = world
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        order = epoch_order(self.slices[-1].stop, self.seed, epoch)
        for rows in self.slices:
            batch = order[rows].tolist()
            own = batch[self.world.share(len(batch))]
            yield [(index, draw_seed(self.seed, epoch, index)) for index in own]


class _Collate:
    """Samples to a batch, also none at all: a process without a row still takes part in the step."""

    def __init__(self, split: ImageSplit, image_size: int) -> None:
        self.no_images = torch.empty(0, 3, image_size, image_size, dtype=torch.uint8)
        self.no_labels = (
            torch.empty(0, dtype=torch.int64) if split.targets is None else split.targets[:0].clone()
        )

    def __call__(self, samples: list[Any]) -> Any:
        return default_collate(samples) if samples else (self.no_images, self.no_labels)


def _pinned(config: ImageSetConfig) -> bool:
    return config.device != "cpu" and torch.cuda.is_available()
