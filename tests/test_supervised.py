"""The supervised baseline: trained on digits it beats random weights; published files are known by name."""

from __future__ import annotations

import functools
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from classify_images import write_digits
from PIL import Image
from torchvision.models import resnet18

from transfer.backbone.contract import Backbone, read_backbone
from transfer.backbone.load import write_random
from transfer.classify import finetuning, knn, loop
from transfer.classify.supervised import Config, random_weights, train_supervised
from transfer.suite.supervised import main, supervised_backbone, supervised_path

SETTINGS = {
    **{"resize_size": 32, "image_size": 32, "batch_size": 20, "cache_images": True, "device": "cpu"},
    **{"dataset": "digits", "arch": "resnet18-cifar-w16", "epochs": 8, "lr": 0.05, "min_scale": 0.8},
}
PUBLISHED = "resnet50-0676ba61.pth"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits, every other one in negative, shifted and in noise: what neighbours by random weights share."""
    folder = write_digits(tmp_path_factory.mktemp("digits"), 20, 10)
    draw = np.random.default_rng(0)
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        pixels = np.roll(np.asarray(Image.open(path), dtype=np.float64), draw.integers(-6, 7, 2), (0, 1))
        noisy = (240 - pixels if number % 2 else pixels) + draw.normal(0, 40, pixels.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def config(data_dir: Path) -> Config:
    return Config(data_dir=str(data_dir), **SETTINGS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_supervised(config, tmp_path_factory.mktemp("trained") / "supervised.safetensors")


def write_config(path: Path, config: Config, **changes: object) -> Path:
    lines = {**SETTINGS, "data_dir": config.data_dir, **changes}
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return path


def top1(backbone: Backbone, data_dir: Path, out: Path) -> float:
    settings = {key: SETTINGS[key] for key in ("resize_size", "image_size", "batch_size", "device")}
    config = knn.Config(dataset="digits", protocol="knn-k5", data_dir=str(data_dir), k=5, **settings)  # type: ignore[arg-type]
    out.mkdir()
    (value,) = [row.value for row in knn.run(backbone, config, out) if row.metric == "top1"]
    assert value is not None
    return value


def test_labels_help(trained: Path, config: Config, data_dir: Path, tmp_path: Path) -> None:
    supervised = top1(read_backbone(trained), data_dir, tmp_path / "supervised")
    assert supervised > top1(random_weights(config), data_dir, tmp_path / "random") + 15


def test_the_file_says_what_it_is_and_is_the_same_again(
    trained: Path, config: Config, tmp_path: Path
) -> None:
    info = read_backbone(trained).info
    assert (info.method, info.arch, info.branch) == ("supervised", "resnet18-cifar-w16", "")
    assert (info.pretrain_data, info.pretrain_epochs) == ("digits", "8")
    assert [path.name for path in trained.parent.iterdir()] == ["supervised.safetensors"]
    again = train_supervised(config, tmp_path / "again.safetensors")
    assert again.read_bytes() == trained.read_bytes()
    other = train_supervised(replace(config, seed=1, epochs=1), tmp_path / "other.safetensors")
    assert other.read_bytes() != trained.read_bytes()


class Killed(BaseException):
    """Stands for the end of a process: nothing in the program catches it."""


def test_a_killed_training_goes_on_to_the_same_file(
    trained: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "fit", functools.partial(loop.fit, save_every_s=0.0))
    save, saves = loop._save, []

    def save_then_die(path: Path, *arguments: object) -> None:
        save(path, *arguments)  # type: ignore[arg-type]
        saves.append(path)
        if len(saves) == 3:
            raise Killed

    monkeypatch.setattr(loop, "_save", save_then_die)
    out = tmp_path / "supervised.safetensors"
    with pytest.raises(Killed):
        train_supervised(config, out)
    assert not out.exists()
    train_supervised(config, out)
    assert saves == [out.with_suffix(".pt")] * config.epochs  # no epoch was trained twice
    assert out.read_bytes() == trained.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_a_suite_trains_once_for_each_configuration(
    trained: Path, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path / "supervised_digits.yaml", config)
    expected = supervised_path(str(path), tmp_path / "run")
    assert not expected.exists()
    assert main([str(path), "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"{expected}\n"
    assert expected.parent == tmp_path / "run/backbones"
    assert expected.read_bytes() == trained.read_bytes()
    before = expected.stat().st_mtime_ns
    assert supervised_backbone(str(path), tmp_path / "run") == expected
    assert expected.stat().st_mtime_ns == before
    others: list[dict[str, object]] = [{"seed": 1}, {"epochs": 5}, {"data_dir": "elsewhere"}]
    paths = {
        supervised_path(str(write_config(path, config, **change)), tmp_path / "run") for change in others
    }
    assert len(paths | {expected}) == 4
    write_config(path, config, num_workers=3)  # how it is computed, not what
    assert supervised_path(str(path), tmp_path / "run") == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "???"}, "arch"),
        ({"no_such_key": 1}, "no_such_key"),
        ({"data_dir": "${oc.env:NO_SUCH_VARIABLE}"}, "NO_SUCH_VARIABLE"),
        ({"data_dir": "no_such_folder"}, "no_such_folder"),
        ({"arch": "resnet19"}, "resnet19"),
    ],
)
def test_an_unusable_configuration_is_a_reason_in_one_line(
    config: Config,
    tmp_path: Path,
    change: dict[str, object],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_config(tmp_path / "supervised_digits.yaml", config, **change)
    assert main([str(path), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("supervised: ")
    assert message in line
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file as torchvision publishes them: with a classifier, its sha256's first digits in its name."""
    torch.manual_seed(0)
    model = resnet18().train()
    model(torch.randn(4, 3, 32, 32))
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    path = tmp_path / f"resnet18-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    path.write_bytes(buffer.getvalue())
    return path


def test_a_published_checkpoint_is_imported(published: Path, tmp_path: Path) -> None:
    path = supervised_backbone(str(published), tmp_path / "run")
    backbone = read_backbone(path)
    assert (backbone.info.method, backbone.info.arch) == ("supervised", "resnet18")
    assert (backbone.info.pretrain_data, backbone.info.pretrain_epochs) == ("imagenet-1k", "")
    state = torch.load(published, weights_only=True)
    assert {key for key in state if key not in backbone.state} == {"fc.weight", "fc.bias"}
    assert all(torch.equal(tensor, state[key]) for key, tensor in backbone.state.items())
    assert supervised_backbone(str(path), tmp_path / "elsewhere") == path  # a contract file is taken as it is


def test_a_file_of_another_content_is_refused(published: Path, tmp_path: Path) -> None:
    damaged = published.with_name("resnet18-01234567.pth")
    damaged.write_bytes(published.read_bytes())
    with pytest.raises(ValueError, match=r"expected sha256 01234567\.\.\., as its name says, found "):
        supervised_backbone(str(damaged), tmp_path / "run")
    named_otherwise = published.with_name("own.pth")  # no digits: nothing to check, and nothing known of it
    named_otherwise.write_bytes(published.read_bytes())
    info = read_backbone(supervised_backbone(str(named_otherwise), tmp_path / "run")).info
    assert (info.method, info.pretrain_data) == ("supervised", "")


def test_an_absent_checkpoint_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        supervised_backbone(f"MEC_TRANSFER_DATA/weights/{PUBLISHED}", tmp_path / "run")
    assert str(caught.value) == (
        f"MEC_TRANSFER_DATA/weights/{PUBLISHED}: no such checkpoint of a supervised network; get it from "
        f"https://download.pytorch.org/models/{PUBLISHED}"
    )
    with pytest.raises(FileNotFoundError, match=r"network$"):
        supervised_backbone("own.pth", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_trained_without_labels_is_no_baseline(tmp_path: Path) -> None:
    path = tmp_path / "random.safetensors"
    write_random(path, "resnet18", seed=0)
    with pytest.raises(ValueError, match="expected a supervised backbone, found method random"):
        supervised_backbone(str(path), tmp_path / "run")
