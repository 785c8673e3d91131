"""Choosing rates and epochs: on held-out training images, and never on the images that are reported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from classify_images import write_digits
from finetune_scene import narrow_backbone, read_selection, semisup_config
from torch import Tensor
from torch.nn import functional as F

from transfer.backbone.contract import Backbone
from transfer.classify import semisup
from transfer.classify.finetuning import Recipe
from transfer.classify.semisup import Config, grid
from transfer.data.folders import ImageSplit
from transfer.ranks import World
from transfer.report.rows import Measurement

# 40 of 120 labels; chance for the first, something for the second, more than float32 holds for the third
GRID: dict[str, object] = {"label_fraction": 1 / 3, "lrs": [1e-6, 0.05, 1e30], "epochs": 16}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 12, 4)


@pytest.fixture(scope="module")
def shuffled_dir(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training images; every validation image in the folder of the next class."""
    shuffled = tmp_path_factory.mktemp("shuffled")
    (shuffled / "train").symlink_to(data_dir / "train")
    (shuffled / "val").mkdir()
    for label in range(10):
        (shuffled / "val" / f"digit{label}").symlink_to(data_dir / "val" / f"digit{(label + 1) % 10}")
    return shuffled


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return narrow_backbone(tmp_path_factory.mktemp("backbone"))


def values(rows: list[Measurement]) -> list[tuple[str, float | None]]:
    return [(row.metric, row.value) for row in rows]


def run(backbone: Backbone, config: Config, out: Path) -> list[Measurement]:
    out.mkdir()
    return list(semisup.run(backbone, config, out))


def test_unlabelled_images_choose_and_the_best_point_is_what_is_reported(
    data_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    rows = run(backbone, semisup_config(data_dir, holdout_images=40, **GRID), tmp_path / "grid")
    assert {row.selection for row in rows} == {"best-val"}
    lines = read_selection(tmp_path / "grid")
    assert [line["lr_head"] for line in lines] == ["1e-06", "0.05", "1e+30"]
    assert [line["status"] for line in lines] == ["ok", "ok", "diverged"]
    assert [line["chosen"] for line in lines] == ["no", "yes", "no"]
    assert {(line["judged_on"], line["metric"], line["n"]) for line in lines} == {("holdout", "top1", "40")}
    assert float(lines[0]["value"]) < float(lines[1]["value"])
    labelled = (tmp_path / "grid" / "labels.txt").read_text().split()
    held = (tmp_path / "grid" / "holdout.txt").read_text().split()
    assert (len(labelled), len(held)) == (40, 40)
    assert set(labelled).isdisjoint(held)
    single = semisup_config(data_dir, **{**GRID, "lrs": [0.05]})
    alone = run(backbone, single, tmp_path / "single")
    assert values(alone) == values(rows)
    assert {row.selection for row in alone} == {"last"}
    assert not (tmp_path / "single" / "selection.csv").exists()


def test_a_part_of_the_labels_chooses_and_all_of_them_train_in_the_end(
    data_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    config = semisup_config(data_dir, holdout_images=10, holdout_from="labelled", **GRID)
    rows = run(backbone, config, tmp_path / "grid")
    labelled = (tmp_path / "grid" / "labels.txt").read_text().split()
    held = (tmp_path / "grid" / "holdout.txt").read_text().split()
    assert (len(labelled), len(held)) == (40, 10)
    assert set(held) < set(labelled)
    [chosen] = [line for line in read_selection(tmp_path / "grid") if line["chosen"] == "yes"]
    single = semisup_config(data_dir, **{**GRID, "lrs": [float(chosen["lr_head"])]})
    assert values(run(backbone, single, tmp_path / "single")) == values(rows)


def test_what_is_chosen_does_not_depend_on_the_validation_labels(
    data_dir: Path, shuffled_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    rows = run(backbone, semisup_config(data_dir, holdout_images=40, **GRID), tmp_path / "true")
    others = run(backbone, semisup_config(shuffled_dir, holdout_images=40, **GRID), tmp_path / "shuffled")
    assert values(rows) != values(others)
    record = (tmp_path / "true" / "selection.csv").read_bytes()
    assert (tmp_path / "shuffled" / "selection.csv").read_bytes() == record


def test_choosing_on_test_must_be_asked_for_and_is_said(
    data_dir: Path, shuffled_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="3 settings, but no training image is held out"):
        run(backbone, semisup_config(data_dir, **GRID), tmp_path / "nothing")
    rows = run(backbone, semisup_config(data_dir, choose_on="test", **GRID), tmp_path / "true")
    assert {row.selection for row in rows} == {"best-test"}
    lines = read_selection(tmp_path / "true")
    assert rows[0].value == max(float(line["value"] or "-inf") for line in lines)
    assert {(line["judged_on"], line["n"]) for line in lines} == {("test", "40")}
    # the control of the test above: this choice does depend on the validation labels
    run(backbone, semisup_config(shuffled_dir, choose_on="test", **GRID), tmp_path / "shuffled")
    assert read_selection(tmp_path / "shuffled") != lines


def test_a_search_that_only_diverges_is_an_error(data_dir: Path, backbone: Backbone, tmp_path: Path) -> None:
    config = semisup_config(data_dir, holdout_images=40, epochs=2, lrs=[1e30, 1e31])
    config.label_fraction = 0.1
    with pytest.raises(ValueError, match="all 2 settings diverged"):
        run(backbone, config, tmp_path / "out")


def test_a_grid_is_every_pair_of_rates_for_all_epochs(data_dir: Path) -> None:
    both = grid(semisup_config(data_dir, lrs=[0.1, 0.2], epochs_grid=[30, 50]))
    assert [tuple(point.values()) for point in both] == [
        (0.1, 0.1, 30),
        (0.1, 0.1, 50),
        (0.2, 0.2, 30),
        (0.2, 0.2, 50),
    ]
    separate = grid(semisup_config(data_dir, lrs_backbone=[0.01, 0.02], lrs_head=[0.5], epochs=20))
    assert [tuple(point.values()) for point in separate] == [(0.01, 0.5, 20), (0.02, 0.5, 20)]
    [single] = grid(semisup_config(data_dir))
    assert single == {"lr_backbone": 0.005, "lr_head": 0.02, "epochs": 8}


def test_the_epochs_of_a_grid_are_trained(
    data_dir: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, int, str]] = []

    def stand_in(
        backbone: Backbone,
        train: ImageSplit,
        scored: ImageSplit,
        recipe: Recipe,
        config: Config,
        world: World,
        checkpoint: Path,
    ) -> Tensor:
        """Of every class as many images right as there are epochs, at most 2."""
        trained.append((len(recipe.factors), len(train), checkpoint.name))
        num_right = min(len(recipe.factors), 2)
        labels = torch.tensor(scored.labels)
        right = torch.arange(len(scored)) % (len(scored) // 10) < num_right
        return F.one_hot(torch.where(right, labels, (labels + 1) % 10), 10).float()

    monkeypatch.setattr(semisup, "score_after_tuning", stand_in)
    config = semisup_config(data_dir, holdout_images=40, holdout_from="labelled", epochs_grid=[1, 2, 5])
    rows = run(backbone, config, tmp_path / "grid")
    assert trained == [
        (1, 80, "point-0.pt"),
        (2, 80, "point-1.pt"),
        (5, 80, "point-2.pt"),
        (2, 120, "final.pt"),
    ]
    lines = read_selection(tmp_path / "grid")
    assert [(line["epochs"], line["value"], line["chosen"]) for line in lines] == [
        ("1", "25.0", "no"),
        ("2", "50.0", "yes"),
        ("5", "50.0", "no"),
    ]
    assert rows[0].value == 50.0


def test_contradicting_grids_are_refused(data_dir: Path, backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"either lrs .* or lrs_backbone and lrs_head"):
        grid(semisup_config(data_dir, lrs=[0.1], lrs_head=[0.5]))
    with pytest.raises(ValueError, match=r"milestones: expected epochs in 1\.\.9"):
        grid(semisup_config(data_dir, schedule="step", milestones=[12], epochs_grid=[20, 10]))
    with pytest.raises(ValueError, match="expected unlabelled or labelled, found 'val'"):
        run(backbone, semisup_config(data_dir, holdout_from="val", holdout_images=9, **GRID), tmp_path / "x")


def test_more_held_out_images_than_there_are_unlabelled_ones_is_refused(
    data_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"expected 1 to 80 held-out images.*found 81"):
        run(backbone, semisup_config(data_dir, holdout_images=81, **GRID), tmp_path / "out")
