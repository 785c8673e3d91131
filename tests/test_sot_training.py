"""SiamRPN++'s training: killed and gone on with, by several processes, with synchronised batch norms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from forkserver import PRELOAD, forkserver
from killable import kill_after
from ranks import run_ranks
from sot_scene import FRAMEWORK_WARNINGS, write_sequence
from torch.utils.data import DataLoader, Dataset

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.track.mm.sot import run
from transfer.track.mm.sot_config import Config, resolve
from transfer.track.mm.sot_training import SeededEpochs, checkpoints, read_newest, seed_all
from transfer.trust import trusting

pytestmark = [pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]
PRELOAD += ["transfer.track.mm.sot", "mmtrack.apis", "mmtrack.models", "mmtrack.datasets"]
RECIPE = Path(__file__).parents[1] / "configs" / "track" / "mmtrack" / "siamese_rpn_mini.py"
SYNCBN = """
model = dict(backbone=dict(frozen_stages=-1, norm_eval=False, norm_cfg=dict(type="SyncBN")))
"""


def make_backbone() -> Backbone:
    torch.manual_seed(0)
    info = BackboneInfo("random", "resnet18", "none", "random", "", "", "", "test")
    return Backbone(info, dict(empty_resnet("resnet18").state_dict()), "0" * 64, Path("none"))


def make_config(root: Path, epochs: int = 1, recipe: Path = RECIPE, **fields: Any) -> Config:
    source = {"img_prefix": str(root), "ann_file": str(root / "list.txt")}
    data = {"train": source, "test": source, "samples_per_gpu": 4, "samples_per_epoch": 4}
    options = {"data": data, "total_epochs": epochs, **fields.pop("options", {})}
    return Config("scene", "test", "val", str(recipe), options, **fields)


def track(out: Path, config: Config) -> list[float | None]:
    """The metrics of a run; mmcv does not wait between epochs."""
    import time

    time.sleep = lambda seconds: None  # this process's own
    torch.set_num_threads(1)
    return [row.value for row in run(make_backbone(), config, out)]


def weights(out: Path, epoch: int) -> dict[str, torch.Tensor]:
    content = torch.load(out / "mmtrack" / f"epoch_{epoch}.pth", weights_only=True)
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_sequence(folder, "A")
    write_sequence(folder, "B", num_frames=4)
    return folder


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("no_waiting")
def test_a_killed_training_goes_on_to_the_same_bytes(root: Path, tmp_path: Path) -> None:
    config = make_config(root, epochs=3)
    whole = track(tmp_path / "whole", config)
    assert list(checkpoints(tmp_path / "whole" / "mmtrack")) == [3, 2]  # the newest two
    out = tmp_path / "killed"
    process = forkserver().Process(target=track, args=(out, config))
    process.start()
    kill_after(out / "mmtrack" / "epoch_1.pth", 0.05, [process])
    assert track(out, config) == whole
    assert same(weights(tmp_path / "whole", 3), weights(out, 3))
    # The newest one is cut: the one before it leads to the same end; a lone one that is cut is refused.
    newest = out / "mmtrack" / "epoch_3.pth"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert track(out, config) == whole
    assert same(weights(tmp_path / "whole", 3), weights(out, 3))
    (out / "mmtrack" / "epoch_2.pth").unlink()
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"(?s)found only damaged ones.*epoch_3\.pth"):
        track(out, config)


@pytest.mark.usefixtures("no_waiting")
def test_a_checkpoint_of_another_training_is_refused(root: Path, tmp_path: Path) -> None:
    track(tmp_path, make_config(root))
    assert track(tmp_path, make_config(root, num_workers=0, select="last"))  # what changes nothing
    with pytest.raises(ValueError, match=r"epoch_1\.pth: is of another training"):
        track(tmp_path, make_config(root, seed=1))


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    (tmp_path / "epoch_x.pth").touch()
    assert read_newest(tmp_path, "") is None


class Noise(Dataset[float]):
    """Random numbers as a pipeline of mmtrack's draws them, eight a epoch."""

    CLASSES = None

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> float:
        import random

        import numpy as np

        return random.random() + np.random.rand() + float(torch.rand(()))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_random_numbers_follow_from_the_epoch(num_workers: int) -> None:
    def draw(epochs: tuple[int, ...], rank: int = 0, seed: int = 0) -> list[list[float]]:
        dataset = SeededEpochs(Noise(), seed, rank)
        loader = DataLoader(dataset, batch_size=1, num_workers=num_workers)
        drawn = []
        for epoch in epochs:
            dataset.epoch = epoch
            seed_all(seed, epoch, rank, 0)
            drawn.append([float(value) for value in loader])
        return drawn

    first, second, third = draw((0, 1, 2))
    assert draw((2,)) == [third]
    others = [*first, *second, *third, *draw((0,), rank=1)[0], *draw((0,), seed=1)[0]]
    assert len(set(others)) == len(others)  # no number twice, in another worker, epoch, process or seed


def on_ranks(world: Any, out: Path, config: Config) -> tuple[Any, str]:
    try:
        with trusting(True):  # the recipe of one test lies in its own folder
            return track(out, config), ""
    except ValueError as error:
        return [], str(error)


def test_two_processes_share_training_and_test(root: Path, tmp_path: Path) -> None:
    first, second = run_ranks(2, on_ranks, tmp_path / "two", make_config(root, epochs=2))
    assert first == second
    assert all(value is not None and 0 <= value <= 100 for value in first[0])
    # The tracker that two processes trained is tracked by one in the same way: the test's parts fit together.
    again = run_ranks(2, on_ranks, tmp_path / "two", make_config(root, epochs=2))
    assert again == [first, second]
    refused = run_ranks(1, on_ranks, tmp_path / "two", make_config(root, epochs=2))
    assert "number of processes" in refused[0][1]


def test_two_processes_stop_alike_when_training_diverges(root: Path, tmp_path: Path) -> None:
    options = {"optimizer": {"lr": 1e30}, "optimizer_config": {"grad_clip": None}}
    results = run_ranks(2, on_ranks, tmp_path, make_config(root, epochs=2, options=options))
    assert all("training diverged: the loss is" in error for _, error in results)
    assert results[0] == results[1]


def test_a_batch_that_cannot_be_shared_is_refused(root: Path, tmp_path: Path) -> None:
    results = run_ranks(2, on_ranks, tmp_path, make_config(root, pairs_per_batch=3))
    assert all("3 pairs a batch cannot be shared by 2 processes" in error for _, error in results)


@pytest.mark.usefixtures("trusted")
def test_synchronised_norms_and_all_layers_train_on_two_processes(root: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"_base_ = {str(RECIPE)!r}\n{SYNCBN}")
    config = make_config(root, recipe=recipe)
    first, second = run_ranks(2, on_ranks, tmp_path / "two", config)
    assert first == second
    assert not first[1]
    state, before = weights(tmp_path / "two", 1), make_backbone().state
    for key in ("conv1.weight", "layer1.0.bn1.weight", "layer4.1.bn2.running_var"):
        assert not torch.equal(state[f"backbone.{key}"], before[key])


def test_deviations_are_in_the_protocol(root: Path) -> None:
    source = {"train": {"img_prefix": "x"}, "test": {"ann_file": "y"}, "workers_per_gpu": 1}
    plain = Config("scene", "siamrpn-lasot", mmtrack_config="r.py", options={"data": source}, num_workers=3)
    assert plain.protocols == ("siamrpn-lasot",)
    options = {"data": source, "optimizer": {"lr": 0.01}, "lr_config": {"step": [1, 2]}}
    other = Config("scene", "siamrpn-lasot", mmtrack_config="r.py", options=options, pairs_per_batch=32)
    assert other.protocols == ("siamrpn-lasot@pairs32,lr_config.step=[1;2],optimizer.lr=0.01",)


def test_the_published_batch_is_shared_whatever_the_number_of_processes(tmp_path: Path) -> None:
    from transfer.ranks import World
    from transfer.track.mm.sot_guards import register_loss_guard
    from transfer.track.mm.sot_sequences import register_dataset

    register_dataset()
    register_loss_guard()
    info = BackboneInfo("random", "resnet50", "none", "random", "", "", "", "test")
    config = Config("s", "p", mmtrack_config=str(RECIPE.with_name("siamese_rpn_r50_20e_lasot.py")))
    for size in (1, 4, 8):
        found = resolve(config, info, tmp_path / "b.pth", tmp_path, World(0, size))
        assert found.data.samples_per_gpu * size == 224
    assert math.isclose(found.optimizer.lr, 0.005)


def test_mmcv_asks_torch_for_a_stream_in_todays_way() -> None:
    from mmcv.parallel import _functions
    from torch.nn.parallel import _functions as torchs

    from transfer.track.mm.gpu_streams import mend_streams

    with pytest.raises(AttributeError, match="'int' object has no attribute 'type'"):
        torchs._get_stream(0)  # type: ignore[arg-type]  # what mmcv would do with a batch for the first GPU
    for _ in range(2):
        mend_streams()
        stream = _functions._get_stream(0)
        assert (stream is not None) == torch.cuda.is_available()
        assert _functions._get_stream(torch.device("cpu")) is None
