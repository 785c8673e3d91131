"""A killed fine-tuning goes on to the same rows, and two processes give the rows of one."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from classify_images import write_digits
from finetune_scene import narrow_backbone, read_selection, semisup_config
from ranks import run_ranks

from pretrain.collective import World as AnyWorld
from transfer.backbone.contract import Backbone, read_backbone
from transfer.classify import finetuning, loop, semisup
from transfer.report.rows import Measurement


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 7, 4)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return narrow_backbone(tmp_path_factory.mktemp("backbone"))


class Killed(BaseException):
    """Stands for the end of a process: nothing in the program catches it."""


def test_a_killed_search_goes_on_to_the_same_rows(
    data_dir: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = semisup_config(data_dir, label_fraction=3 / 7, lrs=[0.001, 0.002], epochs=4, holdout_images=40)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    expected = list(semisup.run(backbone, config, undisturbed))
    monkeypatch.setattr(finetuning, "fit", functools.partial(loop.fit, save_every_s=0.0))
    save, saves, epochs = loop._save, [], []

    def save_then_die(path: Path, *arguments: object) -> None:
        save(path, *arguments)  # type: ignore[arg-type]
        saves.append(path.name)
        if len(saves) in (2, 7):  # within the first point, then within the second
            raise Killed

    forward = loop.Classifier.forward

    def counted(self: loop.Classifier, images: torch.Tensor) -> torch.Tensor:
        epochs.append(self.training)
        return forward(self, images)

    monkeypatch.setattr(loop, "_save", save_then_die)
    monkeypatch.setattr(loop.Classifier, "forward", counted)
    for _ in range(2):
        with pytest.raises(Killed):
            list(semisup.run(backbone, config, disturbed))
    assert len(read_selection(disturbed)) == 1
    assert list(semisup.run(backbone, config, disturbed)) == expected
    assert (disturbed / "selection.csv").read_bytes() == (undisturbed / "selection.csv").read_bytes()
    assert saves == ["point-0.pt"] * 4 + ["point-1.pt"] * 4
    assert sum(epochs) == 2 * 4 * 2  # points x epochs x batches of 16 and 14: no step was taken twice


def run_on_rank(
    world: AnyWorld, path: Path, config: semisup.Config, out: Path, synchronise: bool
) -> list[Measurement]:
    os.environ["WORLD_SIZE"] = str(world.size)
    if not synchronise:
        loop.synchronise_batchnorm = lambda model, world, device: model
    return list(semisup.run(read_backbone(path), config, out))


def test_two_processes_give_the_rows_of_one(data_dir: Path, backbone: Backbone, tmp_path: Path) -> None:
    # 30 labels in batches of 16 and 14, each half of them; rates that do not make roundings visible
    config = semisup_config(data_dir, label_fraction=3 / 7, lrs=[0.001, 0.002], epochs=2, holdout_images=21)
    rows, scores = {}, {}
    for name, size, synchronise in (("one", 1, True), ("two", 2, True), ("apart", 2, False)):
        out = tmp_path / name
        out.mkdir()
        rows[name] = run_ranks(size, run_on_rank, backbone.path, config, out, synchronise)
        scores[name] = np.load(out / "predictions.npz")["top_scores"]
    assert rows["two"][0] == rows["one"][0]
    assert rows["two"][1] == []  # the first process alone reports
    assert read_selection(tmp_path / "two") == read_selection(tmp_path / "one")
    np.testing.assert_allclose(scores["two"], scores["one"], rtol=0, atol=2e-4)
    # the control: batch statistics of half a batch each are another training
    assert abs(scores["apart"] - scores["one"]).max() > 2e-3
