"""An epoch's order and crops are functions of (seed, epoch, image), whoever computes them."""

from __future__ import annotations

import pytest
import torch
from classify_images import write_digits
from torch import Tensor

from transfer.data.batches import (
    EpochBatches,
    batch_slices,
    draw_seed,
    epoch_order,
    eval_batches,
    train_batches,
)
from transfer.data.folders import ImageSetConfig, ImageSplit, read_split
from transfer.data.images import Images, train_transform
from transfer.ranks import World


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ImageSplit:
    return read_split(write_digits(tmp_path_factory.mktemp("digits"), 7, 1, num_classes=3), "train")


def config_for(**changes: object) -> ImageSetConfig:
    settings: dict[str, object] = {
        "dataset": "digits",
        "protocol": "knn-k20",
        "data_dir": "unused",
        "resize_size": 32,
        "image_size": 24,
        "batch_size": 8,
        "device": "cpu",
        **changes,
    }
    return ImageSetConfig(**settings)  # type: ignore[arg-type]


def epoch(batches: EpochBatches, number: int) -> list[tuple[Tensor, Tensor]]:
    batches.set_epoch(number)
    return list(batches)


def assert_same(found: list[tuple[Tensor, Tensor]], expected: list[tuple[Tensor, Tensor]]) -> None:
    assert len(found) == len(expected)
    for (images, labels), (other_images, other_labels) in zip(found, expected, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_epoch_is_repeated_by_number_and_by_no_other(split: ImageSplit) -> None:
    batches = train_batches(split, config_for(), 0.2)
    third = epoch(batches, 3)
    assert [len(labels) for _, labels in third] == batches.batch_sizes == [8, 8, 5]
    assert (third[0][0].dtype, third[0][0].shape) == (torch.uint8, (8, 3, 24, 24))
    torch.rand(7)  # whatever else is drawn between them
    assert_same(epoch(train_batches(split, config_for(), 0.2), 3), third)
    assert_same(epoch(batches, 3), third)
    for other in (epoch(batches, 2), epoch(train_batches(split, config_for(seed=1), 0.2), 3)):
        assert not torch.equal(other[0][0], third[0][0])
        assert not torch.equal(torch.cat([y for _, y in other]), torch.cat([y for _, y in third]))


def test_crop_of_an_image_does_not_depend_on_its_place_in_the_epoch(split: ImageSplit) -> None:
    images = Images(split, train_transform(24, 0.2), cache=False)
    alone = images[5, draw_seed(0, 4, 5)][0]
    images[3, 0]
    assert torch.equal(images[5, draw_seed(0, 4, 5)][0], alone)
    assert not torch.equal(images[5, draw_seed(0, 5, 5)][0], alone)  # the next epoch draws anew
    assert not torch.equal(images[5][0], images[5][0])  # the control: without a seed two draws differ


def test_augmentation_leaves_the_generator_of_the_training_alone(split: ImageSplit) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    epoch(train_batches(split, config_for(), 0.2), 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_also_when_they_persist(split: ImageSplit, workers: int, cache: bool) -> None:
    batches = train_batches(split, config_for(num_workers=workers, cache_images=cache), 0.2)
    plain = train_batches(split, config_for(), 0.2)
    for number in (0, 1, 5):
        assert_same(epoch(batches, number), epoch(plain, number))


@pytest.mark.parametrize("size", [2, 3, 6])
def test_ranks_together_hold_the_batches_of_one_process(split: ImageSplit, size: int) -> None:
    whole = epoch(train_batches(split, config_for(), 0.2), 1)
    parts = [epoch(train_batches(split, config_for(), 0.2, World(rank, size)), 1) for rank in range(size)]
    joined = [
        (torch.cat([images for images, _ in batch]), torch.cat([labels for _, labels in batch]))
        for batch in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


def test_rank_without_a_row_still_gets_a_batch(split: ImageSplit) -> None:
    # batches of 8, 8 and 5 rows: the last one has none for ranks 5, 6 and 7
    batches = epoch(train_batches(split, config_for(), 0.2, World(7, 8)), 0)
    assert [tuple(images.shape) for images, _ in batches] == [(1, 3, 24, 24), (1, 3, 24, 24), (0, 3, 24, 24)]
    assert batches[2][1].shape == (0,)
    assert batches[2][1].dtype == batches[0][1].dtype
    with pytest.raises(ValueError, match="expected a row for each of 9 processes, found 8"):
        train_batches(split, config_for(), 0.2, World(0, 9))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_evaluation_shares_follow_one_another(split: ImageSplit, size: int) -> None:
    config = config_for(batch_size=4)
    shares = [list(eval_batches(split, config, World(rank, size))) for rank in range(size)]
    whole = torch.cat([images for images, _ in eval_batches(split, config)])
    assert torch.equal(torch.cat([images for share in shares for images, _ in share]), whole)
    assert [label for share in shares for _, labels in share for label in labels.tolist()] == list(
        split.labels
    )


def test_targets_take_the_place_of_labels(split: ImageSplit) -> None:
    targets = torch.eye(3)[list(split.labels)]
    several = ImageSplit(split.split_dir, split.classes, split.names, split.labels, targets)
    for batches in (train_batches(several, config_for(), 0.2), eval_batches(several, config_for())):
        found = torch.cat([labels for _, labels in batches])
        assert found.shape == (21, 3)
        assert found.sum(0).tolist() == [7.0, 7.0, 7.0]
    last = epoch(train_batches(several, config_for(), 0.2, World(7, 8)), 0)[2]
    assert last[1].shape == (0, 3)
    assert torch.equal(several.select([20, 0]).targets, targets[[20, 0]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("num_items", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (3, 32, [3]), (5, 4, [5])],
)
def test_batches_hold_every_image_once_and_never_one_alone(
    num_items: int, batch_size: int, sizes: list[int]
) -> None:
    order = epoch_order(num_items, seed=0, epoch=0)
    batches = [order[rows].tolist() for rows in batch_slices(num_items, batch_size)]
    assert [len(batch) for batch in batches] == sizes
    assert sorted(index for batch in batches for index in batch) == list(range(num_items))


@pytest.mark.parametrize(("num_items", "batch_size"), [(1, 4), (8, 1)])
def test_training_on_single_images_is_refused(num_items: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="at least 2 images and a batch size of at least 2"):
        batch_slices(num_items, batch_size)


def test_orders_are_uniform_and_unrelated() -> None:
    first = torch.stack([epoch_order(8, seed, number) for seed in range(40) for number in range(40)])
    counts = torch.stack([(first == item).sum(0) for item in range(8)])  # of each item at each place
    # binomial with n 1600 and p 1/8: 200 expected, standard deviation 13.2; five of them either side
    assert counts.min() > 134
    assert counts.max() < 266
    assert len({tuple(row) for row in first.tolist()}) > 1500


def test_each_epoch_crops_an_image_anew(split: ImageSplit) -> None:
    pair = split.select([0, 7])  # of two classes, so that the label tells which image it is
    batches = train_batches(pair, config_for(), 0.2)
    crops = []
    for number in range(3):
        [(images, labels)] = epoch(batches, number)
        crops.append(images[labels.argsort()])
    assert not torch.equal(crops[0][0], crops[1][0])
    assert not torch.equal(crops[0][1], crops[1][1])
    assert not torch.equal(crops[1][0], crops[2][0])
