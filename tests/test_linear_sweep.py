"""A grid of linear probes: which head is chosen, on which images, and what is kept of the choice."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from classify_images import linear_config, make_backbone, write_digits
from torch import Tensor

from transfer.backbone.contract import Backbone
from transfer.classify import linear
from transfer.classify.features import extract_features
from transfer.classify.holdout import split_holdout
from transfer.classify.logistic import fit_logistic
from transfer.data.folders import read_split


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 12, 4, num_classes=6)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


def config_for(data_dir: Path, **changes: object) -> linear.Config:
    return linear_config(data_dir, **{"epochs": 10, **changes})


def selection_file(out: Path) -> list[dict[str, str]]:
    with (out / "selection.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


SWEEP: dict[str, object] = {"lrs": [1e-6, 0.5, 1e38], "layers": ["avgpool", "layer3"], "holdout": 0.25}


@pytest.mark.parametrize("augment", [True, False])
def test_sweep_reports_the_head_that_is_best_on_held_out_training_images(
    data_dir: Path, backbone: Backbone, tmp_path: Path, augment: bool
) -> None:
    config = config_for(data_dir, augment=augment, epochs=3 if augment else 10, min_scale=0.8, **SWEEP)
    rows = list(linear.run(backbone, config, tmp_path))
    lines = selection_file(tmp_path)
    assert [(line["layers"], line["base_lr"]) for line in lines] == [
        (layers, lr) for layers in ("avgpool", "layer3") for lr in ("1e-06", "0.5", "1e+38")
    ]
    assert {line["n"] for line in lines} == {"18"}  # a quarter of 12 images in 6 classes
    assert {line["judged_on"] for line in lines} == {"holdout"}
    assert [line["status"] for line in lines] == ["ok", "ok", "diverged"] * 2
    [chosen] = [line for line in lines if line["chosen"] == "yes"]
    assert float(chosen["value"]) == max(float(line["value"]) for line in lines if line["value"])
    assert chosen["base_lr"] == "0.5"
    assert [(row.metric, row.selection, row.n) for row in rows] == [
        ("top1", "best-val", 24),
        ("top5", "best-val", 24),
    ]


def test_chosen_head_is_the_one_that_trains_alone_on_the_rest(
    data_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    swept = list(linear.run(backbone, config_for(data_dir, **SWEEP), tmp_path / "sweep"))
    [chosen] = [line for line in selection_file(tmp_path / "sweep") if line["chosen"] == "yes"]
    rest, held = split_holdout(read_split(data_dir, "train"), 18, 0)
    assert not set(rest.names) & set(held.names)
    assert (tmp_path / "sweep" / "holdout.txt").read_text().split() == list(held.names)
    small = tmp_path / "rest"
    for name in rest.names:
        (small / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (small / "train" / name).symlink_to(data_dir / "train" / name)
    (small / "val").symlink_to(data_dir / "val")
    alone = linear.run(backbone, config_for(small, layers=[chosen["layers"]]), tmp_path / "alone")
    assert [row.items for row in swept] == [row.items for row in alone]


def test_choosing_on_the_reported_images_is_said_in_the_rows(
    data_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    config = config_for(data_dir, lrs=[1e-6, 0.5], choose_on="test")
    rows = list(linear.run(backbone, config, tmp_path))
    assert {row.selection for row in rows} == {"best-test"}
    lines = selection_file(tmp_path)
    assert {(line["judged_on"], line["n"]) for line in lines} == {("test", "24")}
    assert rows[0].value == max(float(line["value"]) for line in lines)


def test_all_heads_diverged_is_an_error(data_dir: Path, backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower them"):
        list(linear.run(backbone, config_for(data_dir, lrs=[1e38, 2e38], holdout=0.25), tmp_path))


def test_lbfgs_chooses_on_held_out_images_and_fits_anew_to_all(
    data_dir: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float]] = []

    def note(features: Tensor, labels: Tensor, l2: float, num_classes: int) -> tuple[Tensor, Tensor]:
        seen.append((len(features), l2))
        return fit_logistic(features, labels, l2, num_classes)

    monkeypatch.setattr(linear, "fit_logistic", note)
    config = config_for(data_dir, optimiser="lbfgs", l2s=[1e3, 0.1], holdout=0.25)
    rows = list(linear.run(backbone, config, tmp_path))
    [chosen] = [line for line in selection_file(tmp_path) if line["chosen"] == "yes"]
    assert seen == [(54, 1e3), (54, 0.1), (72, float(chosen["l2"]))]
    assert {row.selection for row in rows} == {"best-val"}


def test_lbfgs_without_a_grid_is_plain_logistic_regression(
    data_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    config = config_for(data_dir, optimiser="lbfgs", l2s=[0.01])
    row = next(linear.run(backbone, config, tmp_path))
    assert not (tmp_path / "selection.csv").exists()
    splits = [read_split(data_dir, "train"), read_split(data_dir, "val")]
    (x, y), (val_x, val_y) = [
        (features.double().numpy(), labels.numpy())
        for features, labels in extract_features(backbone, splits, config)
    ]
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-8, max_iter=5000).fit(scaler.transform(x), y)
    assert row.value == pytest.approx(100 * model.score(scaler.transform(val_x), val_y), abs=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lrs": [0.1, 0.2]}, "2 settings, but no training image is held out"),
        ({"lrs": [0.1, 0.2], "holdout": 1.0}, "holdout: expected a share"),
        ({"lrs": [0.1, 0.1], "holdout": 0.2}, "given twice"),
        ({"lrs": [0.1, 0.2], "choose_on": "val"}, "choose_on: expected"),
        ({"layers": ["fc"]}, "layers: expected names"),
        ({"l2s": [0.1]}, "only optimiser lbfgs has them"),
        ({"optimiser": "lbfgs"}, "expected augment: false, some l2s"),
        ({"optimiser": "lbfgs", "l2s": [0.1], "augment": True}, "expected augment: false"),
        ({"optimiser": "lbfgs", "l2s": [0.1], "lrs": [0.1]}, "no lrs"),
        ({"optimiser": "adam"}, "expected sgd or lars"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    data_dir: Path, backbone: Backbone, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(linear.run(backbone, config_for(data_dir, **changes), tmp_path))


def test_a_backbone_that_moves_while_the_head_trains_is_an_error(
    data_dir: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(data_dir, augment=True, epochs=1)
    fit = linear.fit

    def careless(model: torch.nn.Module, *args: object, **settings: object) -> float:
        loss = fit(model, *args, **settings)  # type: ignore[arg-type]
        model.encoder.resnet.layer2[0].bn1.running_var[3] *= 1 + 1e-6  # type: ignore[union-attr, index]
        return loss

    monkeypatch.setattr(linear, "fit", careless)
    with pytest.raises(ValueError, match=r"1 tensors moved, such as \['layer2.0.bn1.running_var'\]"):
        list(linear.run(backbone, config, tmp_path))
