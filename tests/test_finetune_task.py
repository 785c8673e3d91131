"""Many-shot fine-tuning: the set's own metric, the grid of the papers, and sets with several labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from classify_images import make_backbone, write_digits
from finetune_scene import finetune_config, narrow_backbone, read_selection, with_targets

from transfer.backbone.contract import Backbone
from transfer.classify import finetune
from transfer.classify.finetune import grid, recipe_of
from transfer.data.folders import ImageSplit, read_splits


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 10, 4)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return narrow_backbone(tmp_path_factory.mktemp("narrow"))


def test_run_learns_digits(data_dir: Path, backbone: Backbone, tmp_path: Path) -> None:
    config = finetune_config(data_dir, steps=50, lrs=[0.01], metric="mean_per_class", accuracy=True)
    rows = {row.metric: row for row in finetune.run(backbone, config, tmp_path)}
    assert rows.keys() == {"top1", "top5", "mean_per_class", "accuracy"}
    value = rows["mean_per_class"].value
    assert value is not None
    assert value > 40.0  # chance is 10
    assert rows["accuracy"].value == value == rows["top1"].value  # classes of one size
    assert {(row.split, row.n, row.selection) for row in rows.values()} == {("val", 40, "last")}


def test_held_out_images_choose_and_all_images_train_in_the_end(
    data_dir: Path, narrow: Backbone, tmp_path: Path
) -> None:
    for name in ("grid", "single"):
        (tmp_path / name).mkdir()
    config = finetune_config(data_dir, lrs=[1e-6, 0.05], weight_decays=[0.0, 1e-5], holdout=0.2)
    rows = list(finetune.run(narrow, config, tmp_path / "grid"))
    assert {row.selection for row in rows} == {"best-val"}
    lines = read_selection(tmp_path / "grid")
    assert [(line["lr"], line["weight_decay"]) for line in lines] == [
        ("1e-06", "0.0"),
        ("1e-06", "1e-05"),
        ("0.05", "0.0"),
        ("0.05", "1e-05"),
    ]
    assert {line["n"] for line in lines} == {"20"}
    assert len((tmp_path / "grid" / "holdout.txt").read_text().split()) == 20
    [best] = [line for line in lines if line["chosen"] == "yes"]
    alone = finetune_config(data_dir, lrs=[float(best["lr"])], weight_decays=[float(best["weight_decay"])])
    single = list(finetune.run(narrow, alone, tmp_path / "single"))
    assert [row.value for row in single] == [row.value for row in rows]


def test_a_grid_needs_held_out_images(data_dir: Path, narrow: Backbone, tmp_path: Path) -> None:
    config = finetune_config(data_dir, lrs=[0.01, 0.05])
    with pytest.raises(ValueError, match="2 settings, but no training image is held out"):
        list(finetune.run(narrow, config, tmp_path))


def test_several_labels_an_image_are_trained_and_measured(
    data_dir: Path, narrow: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(config: finetune.Config) -> tuple[ImageSplit, ImageSplit]:
        train, val = map(with_targets, read_splits(config))
        return train, val

    monkeypatch.setattr(finetune, "read_splits", read)
    config = finetune_config(
        data_dir, metric="map_voc07", steps=40, lrs=[1e-6, 0.05], holdout=0.2, dataset="voc"
    )
    [row] = finetune.run(narrow, config, tmp_path)
    first, second = (float(line["value"]) for line in read_selection(tmp_path))
    assert second > first + 10.0
    assert row.metric == "map_voc07"
    assert row.value is not None
    assert row.value > 45.0  # two of ten classes an image: about 25 by chance


def test_weight_decay_is_divided_by_the_rate_as_the_papers_do(data_dir: Path) -> None:
    settings = {"lr": 0.01, "weight_decay": 1e-4}
    assert recipe_of(settings, finetune_config(data_dir)).weight_decay == pytest.approx(0.01)
    plain = finetune_config(data_dir, weight_decay_over_lr=False)
    assert recipe_of(settings, plain).weight_decay == 1e-4


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"lrs": []}, {"weight_decays": []}, {"holdout": 1.0}, {"holdout": -0.1}]
)
def test_an_empty_protocol_is_refused(data_dir: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least one of steps, lrs and weight_decays"):
        grid(finetune_config(data_dir, **changes))


def test_weight_decay_over_a_rate_of_zero_is_refused(data_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"expected learning rates above 0, found \[0.0\]"):
        grid(finetune_config(data_dir, lrs=[0.0]))
