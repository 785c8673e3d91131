"""Where features stay when they would crowd a GPU: one place for all ranks and for all splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from classify_images import make_backbone, write_digits
from ranks import run_ranks
from torch import nn

from pretrain.collective import World as AnyWorld
from transfer.classify import features
from transfer.classify.knn import Config
from transfer.data.folders import ImageSplit, read_splits
from transfer.ranks import World


def place(world: AnyWorld, free: list[int]) -> str:
    """Where a rank whose GPU has so many bytes free keeps 100 of them."""
    torch.cuda.mem_get_info = lambda device=None: (free[world.rank], 1000)
    return str(features._place_for(100, torch.device("cuda"), World(world.rank, world.size)))


@pytest.mark.parametrize(("free", "expected"), [([400, 400], "cuda"), ([400, 399], "cpu"), ([0, 400], "cpu")])
def test_ranks_agree_on_the_place(free: list[int], expected: str) -> None:
    assert run_ranks(2, place, free) == [expected] * 2


def test_one_rank_decides_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, expected in ((400, "cuda"), (399, "cpu")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None, free=free: (free, 1000))
        assert str(features._place_for(100, torch.device("cuda"))) == expected
    assert str(features._place_for(100, torch.device("cpu"))) == "cpu"


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU until it is asked for on the CPU."""

    device = torch.device("cuda")

    def to(self, *_: object, **__: object) -> torch.Tensor:
        return self

    def cpu(self, *_: object, **__: object) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_a_split_that_stays_in_memory_keeps_the_others_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = write_digits(tmp_path / "digits", 5, 2, num_classes=3)
    config = Config(
        dataset="digits", protocol="knn", data_dir=str(data_dir), resize_size=32, image_size=32, device="cpu"
    )
    predict_split, labels_of = features.predict_split, features.labels_of

    def crowded_by_training_images(model: nn.Module, split: ImageSplit, *arguments: Any) -> torch.Tensor:
        rows = predict_split(model, split, *arguments)
        return rows if split.split_dir.name == "train" else rows.as_subclass(OnGpu)

    def labels(split: ImageSplit) -> torch.Tensor:
        return labels_of(split).as_subclass(OnGpu)

    monkeypatch.setattr(features, "predict_split", crowded_by_training_images)
    monkeypatch.setattr(features, "labels_of", labels)
    [train, val] = features.extract_features(make_backbone(tmp_path), read_splits(config), config)
    assert train[0].device.type == "cpu"
    assert [part.device.type for part in val] == ["cpu", "cpu"]
