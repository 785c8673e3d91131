"""Batches of training images: their order is decided by numbers, not by what was read before.

The order is detectron2's (infinite shuffled epochs, split over GPUs, images of like orientation together)
for a fixed number of GPUs, the *groups*, however many processes there are. A batch is its groups' images one
after the other, and each image's augmentation has a seed of its own: any iteration can be made by itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice, tee
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from transfer.ranks import World

REFERENCE_GPUS = 8  # of the published protocols: 16 images as 8 x 2
AUGMENTATION, PASS, PRECISE_BN = range(3)  # what a seed is for


class Sample(NamedTuple):
    """One image of one batch."""

    iteration: int  # from 0
    position: int  # in the batch of all processes
    image: int  # its index in the set


def num_groups(images_per_batch: int, reference: int = REFERENCE_GPUS) -> int:
    """The number of GPUs that a batch is made for: the reference, or the largest below that divides it."""
    return max(n for n in range(1, min(reference, images_per_batch) + 1) if images_per_batch % n == 0)


def plan(
    sizes: Sequence[tuple[int, int]],
    seed: int,
    images_per_batch: int,
    groups: int,
    start: int = 0,
    by_orientation: bool = True,
) -> Iterator[list[int]]:
    """The batches from iteration ``start`` on, without end, as indices of images.

    As detectron2's ``TrainingSampler`` and ``AspectRatioGroupedDataset`` on ``groups`` GPUs: GPU g takes
    every ``groups``-th image of the shuffled epochs, from the g-th on, and gives ``images_per_batch /
    groups`` of them when so many of one orientation have come (wider than high, or not).
    What comes before ``start`` is played through, on indices alone: 90,000 batches of 16 of 117,000 images
    take 0.5 s on one core.

    Args:
        sizes: width and height of each image, in pixels.
        seed: of the shuffling; the same numbers as ``TrainingSampler(len(sizes), seed=seed)``.
        groups: divides ``images_per_batch``.
        by_orientation: False gives the images as they come.
    """
    wide = [by_orientation and width > height for width, height in sizes]
    streams = tee(_shuffled(len(sizes), seed), groups)
    own = [
        _like(islice(stream, group, None, groups), wide, images_per_batch // groups)
        for group, stream in enumerate(streams)
    ]
    batches = zip(*own, strict=True)
    for parts in islice(batches, start, None):
        yield [index for part in parts for index in part]


def _shuffled(num_images: int, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(num_images, generator=generator).tolist()


def _like(indices: Iterator[int], wide: Sequence[bool], size: int) -> Iterator[list[int]]:
    """Lists of ``size`` indices of one orientation, as they fill."""
    waiting: tuple[list[int], list[int]] = ([], [])
    for index in indices:
        bucket = waiting[not wide[index]]
        bucket.append(index)
        if len(bucket) == size:
            yield bucket.copy()
            bucket.clear()


def check_share(images_per_batch: int, world: World, accumulate: int = 1) -> None:
    """Refuse a number of processes or of passes that a batch cannot be split over.

    Raises:
        ValueError: names the numbers that would do.
    """
    groups = num_groups(images_per_batch)
    if groups % world.size:
        fit = [n for n in range(1, groups + 1) if groups % n == 0]
        raise ValueError(
            f"a batch of {images_per_batch} images is made of {groups} groups, which {world.size} processes "
            f"cannot share evenly; start {' or '.join(map(str, fit))} (--num-gpus x --num-machines), or set "
            f"images_per_batch"
        )
    share = images_per_batch // world.size
    if share % accumulate:
        fit = [n for n in range(1, share + 1) if share % n == 0]
        raise ValueError(
            f"accumulate: {accumulate} passes cannot share evenly the {share} images that each of "
            f"{world.size} processes has of a batch of {images_per_batch}; set it to one of "
            f"{', '.join(map(str, fit))}"
        )


def seed_of(*numbers: int) -> int:
    """A seed below 2**32 that the numbers (at least 0) decide together."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed what augmentations draw from (numpy's, Python's and torch's CPU generator); restore it after."""
    seed = seed_of(*numbers)
    states = np.random.get_state(), random.getstate(), torch.default_generator.get_state()
    np.random.seed(seed)
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])
        torch.default_generator.set_state(states[2])


def read_records(cfg: Any) -> list[dict[str, Any]]:
    """The training images of ``cfg.DATASETS.TRAIN`` as detectron2's own loader would have them.

    Raises:
        ValueError: a sampler other than detectron2's default.
    """
    from detectron2.data import get_detection_dataset_dicts

    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    if sampler != "TrainingSampler":
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN: expected TrainingSampler, found {sampler}; only its order can be "
            "taken up again after an interruption"
        )
    keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0
    records: list[dict[str, Any]] = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=keypoints,
    )
    return records


def build_loader(
    records: Sequence[dict[str, Any]],
    cfg: Any,
    seed: int,
    world: World,
    *,
    accumulate: int = 1,
    start: int = 0,
    num_workers: int = 0,
) -> DataLoader[Any]:
    """This process's batches from iteration ``start`` on, without end; ``accumulate`` of them an iteration.

    Each is a list of what detectron2's ``DatasetMapper`` makes of an image. Any ``num_workers`` gives the
    same.

    Args:
        records: as :func:`read_records` gives them.
        seed: of order and augmentation.
    """
    from detectron2.data import DatasetFromList, DatasetMapper

    images_per_batch = cfg.SOLVER.IMS_PER_BATCH
    check_share(images_per_batch, world, accumulate)
    sizes = [(record["width"], record["height"]) for record in records]
    order = _Order(
        sizes, seed, images_per_batch, cfg.DATALOADER.ASPECT_RATIO_GROUPING, world, accumulate, start
    )
    # Serialised, so that worker processes share one copy of the annotations.
    images = _Images(DatasetFromList(list(records), copy=False), DatasetMapper(cfg, is_train=True), seed)
    return DataLoader(
        images,
        batch_sampler=order,
        num_workers=num_workers,
        collate_fn=list,
        generator=torch.Generator(),  # else the loader would draw from the generator that samples proposals
    )


class _Order:
    """The samples of each pass of this process."""

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        seed: int,
        images_per_batch: int,
        by_orientation: bool,
        world: World,
        accumulate: int,
        start: int,
    ) -> None:
        self.sizes, self.seed, self.images_per_batch = sizes, seed, images_per_batch
        self.by_orientation, self.start = by_orientation, start
        self.share = images_per_batch // world.size
        self.first = world.rank * self.share
        self.images_per_pass = self.share // accumulate

    def __iter__(self) -> Iterator[list[Sample]]:
        batches = plan(
            self.sizes,
            self.seed,
            self.images_per_batch,
            num_groups(self.images_per_batch),
            self.start,
            self.by_orientation,
        )
        for iteration, batch in zip(count(self.start), batches, strict=False):
            samples = [Sample(iteration, position, image) for position, image in enumerate(batch)]
            for first in range(self.first, self.first + self.share, self.images_per_pass):
                yield samples[first : first + self.images_per_pass]


class _Images(Dataset[Any]):
    """Augmented images by :class:`Sample`."""

    def __init__(self, records: Sequence[dict[str, Any]], mapper: Any, seed: int) -> None:
        self.records, self.mapper, self.seed = records, mapper, seed

    def __getitem__(self, sample: Sample) -> Any:
        with seeded(self.seed, AUGMENTATION, sample.iteration, sample.position):
            return self.mapper(self.records[sample.image])
