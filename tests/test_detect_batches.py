"""The order of training images: detectron2's own, from any iteration, for any number of processes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detect_scene import DETECTRON2
from detect_tiny import NUM_IMAGES, make_tiny, tiny_cfg

from transfer.detect.batches import (
    build_loader,
    check_share,
    num_groups,
    plan,
    read_records,
    seed_of,
    seeded,
)
from transfer.ranks import World

pytestmark = DETECTRON2
SIZES = [(640, 480) if random.Random(k).random() < 0.7 else (480, 640) for k in range(37)] + [(500, 500)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def by_detectron2(gpu: int, num_gpus: int, images_per_gpu: int, seed: int) -> Iterator[list[int]]:
    """The images of one GPU by detectron2's own sampler and grouping."""
    from detectron2.data import DatasetFromList
    from detectron2.data.common import AspectRatioGroupedDataset, ToIterableDataset
    from detectron2.data.samplers import TrainingSampler

    records = [{"width": width, "height": height, "id": k} for k, (width, height) in enumerate(SIZES)]
    sampler = TrainingSampler(len(records), seed=seed)
    sampler._rank, sampler._world_size = gpu, num_gpus
    images = ToIterableDataset(DatasetFromList(records), sampler)
    for batch in AspectRatioGroupedDataset(images, images_per_gpu):
        yield [record["id"] for record in batch]


@pytest.mark.parametrize(("images_per_batch", "groups"), [(2, 1), (3, 1), (16, 8), (4, 4), (6, 2)])
def test_order_and_grouping_are_detectron2s(images_per_batch: int, groups: int) -> None:
    size = images_per_batch // groups
    gpus = [list(islice(by_detectron2(gpu, groups, size, seed=5), 60)) for gpu in range(groups)]
    found = list(islice(plan(SIZES, 5, images_per_batch, groups), 60))
    assert found == [list(chain(*parts)) for parts in zip(*gpus, strict=True)]
    assert found != list(islice(plan(SIZES, 6, images_per_batch, groups), 60))


def test_groups_hold_one_orientation_and_epochs_every_image() -> None:
    batches = list(islice(plan(SIZES, 0, 16, 8), 300))
    for batch in batches:
        assert len(batch) == 16
        assert all(
            len({SIZES[image][0] > SIZES[image][1] for image in batch[k : k + 2]}) == 1
            for k in range(0, 16, 2)
        )
    counts = Counter(image for batch in batches for image in batch)
    assert set(counts) == set(range(len(SIZES)))
    assert max(counts.values()) - min(counts.values()) <= 3  # what waits in buckets
    mixed = list(islice(plan(SIZES, 0, 16, 8, by_orientation=False), 300))
    assert any(len({SIZES[k][0] > SIZES[k][1] for k in batch[:2]}) == 2 for batch in mixed)


@pytest.mark.parametrize("start", [0, 1, 7, 250])
def test_any_iteration_can_be_begun_with(start: int) -> None:
    whole = list(islice(plan(SIZES, 3, 16, 8), start + 20))
    assert list(islice(plan(SIZES, 3, 16, 8, start), 20)) == whole[start:]


def test_90000_iterations_are_played_through_in_seconds() -> None:
    sizes = SIZES * 3000
    begun = time.perf_counter()
    next(plan(sizes, 0, 16, 8, start=90_000))
    assert time.perf_counter() - begun < 10  # 0.5 s on an idle core


def test_a_batch_has_the_reference_number_of_groups_or_the_next_that_fits() -> None:
    assert [num_groups(n) for n in (16, 8, 32, 12, 4, 2, 1, 7, 11)] == [8, 8, 8, 6, 4, 2, 1, 7, 1]
    for size, accumulate in ((1, 1), (2, 4), (8, 2), (4, 4)):
        check_share(16, World(0, size), accumulate)
    with pytest.raises(ValueError, match=r"8 groups, which 3 processes .* start 1 or 2 or 4 or 8 "):
        check_share(16, World(0, 3))
    with pytest.raises(ValueError, match=r"the 8 images that each of 2 processes .* one of 1, 2, 4, 8"):
        check_share(16, World(0, 2), 3)


def taken(loader: Any, number: int) -> list[list[tuple[int, bytes]]]:
    """Image id and pixels of the first batches."""
    return [
        [(sample["image_id"], sample["image"].numpy().tobytes()) for sample in batch]
        for batch in islice(loader, number)
    ]


def test_processes_and_passes_part_the_same_batches(root: Path, tmp_path: Path) -> None:
    cfg = tiny_cfg(root, tmp_path, SOLVER__IMS_PER_BATCH=4)
    records = read_records(cfg)
    whole = taken(build_loader(records, cfg, 0, World()), 6)
    assert len({image for batch in whole for image, _ in batch}) == NUM_IMAGES - 1
    for size, accumulate in ((2, 1), (1, 2), (2, 2), (4, 1), (1, 4)):
        shares = [
            taken(build_loader(records, cfg, 0, World(rank, size), accumulate=accumulate), 6 * accumulate)
            for rank in range(size)
        ]
        for iteration in range(6):
            passes = slice(iteration * accumulate, (iteration + 1) * accumulate)
            assert list(chain(*(chain(*share[passes]) for share in shares))) == whole[iteration]


def test_augmentation_depends_on_neither_workers_nor_interruption(root: Path, tmp_path: Path) -> None:
    cfg = tiny_cfg(root, tmp_path)
    records = read_records(cfg)
    whole = taken(build_loader(records, cfg, 0, World()), 9)
    assert taken(build_loader(records, cfg, 0, World(), num_workers=2), 9) == whole
    assert taken(build_loader(records, cfg, 0, World(), start=4), 5) == whole[4:]
    assert taken(build_loader(records, cfg, 1, World()), 9) != whole
    seen: dict[int, set[bytes]] = {}
    for batch in whole:
        for image, pixels in batch:
            seen.setdefault(image, set()).add(pixels)
    assert any(len(views) > 1 for views in seen.values()), "an image is augmented alike every time"


def test_generators_are_as_before_after_an_image(root: Path, tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        return np.random.get_state()[1].tobytes(), random.getstate(), torch.get_rng_state().numpy().tobytes()

    cfg = tiny_cfg(root, tmp_path)
    loader = build_loader(read_records(cfg), cfg, 0, World())
    before = state()
    taken(loader, 3)
    assert state() == before
    with seeded(1, 2):
        drawn = [np.random.rand(), random.random(), float(torch.rand(()))]
    with seeded(1, 2):
        assert [np.random.rand(), random.random(), float(torch.rand(()))] == drawn
    with seeded(2, 1):
        assert np.random.rand() != drawn[0]
    assert len({seed_of(0, k) for k in range(1000)}) == 1000


def test_images_without_objects_are_left_out_as_detectron2_does(root: Path, tmp_path: Path) -> None:
    assert len(read_records(tiny_cfg(root, tmp_path))) == NUM_IMAGES - 1
    all_of_them = tiny_cfg(root, tmp_path, DATALOADER__FILTER_EMPTY_ANNOTATIONS=False)
    assert len(read_records(all_of_them)) == NUM_IMAGES


def test_another_sampler_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    cfg = tiny_cfg(root, tmp_path, DATALOADER__SAMPLER_TRAIN="RepeatFactorTrainingSampler")
    with pytest.raises(ValueError, match="expected TrainingSampler, found RepeatFactorTrainingSampler"):
        read_records(cfg)
