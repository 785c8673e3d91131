"""Several processes share one task: the numbers and the rows are those of one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from classify_images import SETTINGS, make_backbone, write_digits
from forkserver import ROOT
from ranks import run_ranks
from shared_run import run
from torch import nn

from transfer.__main__ import main
from transfer.backbone.contract import build_resnet, read_backbone
from transfer.classify import loop
from transfer.classify.features import FeatureBatches, extract_features
from transfer.classify.knn import Config
from transfer.classify.loop import build_head, build_optimiser, fit
from transfer.data.folders import read_split
from transfer.ranks import join
from transfer.report.rows import read_rows

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits and a backbone."""
    made = tmp_path_factory.mktemp("shared")
    write_digits(made / "digits", 10, 4, num_classes=5)
    make_backbone(made)
    return made


def fine_tune(world: Any, folder: Path, synchronised: bool = True) -> tuple[dict[str, torch.Tensor], float]:
    """Two epochs of a whole network, batch-norm in train mode, on 14 images; in float64, because rounding
    grows a thousandfold a step where batch-norm has a handful of values."""
    world = join(CPU)
    if not synchronised:
        loop.synchronise_batchnorm = lambda model, *_: model  # this process is a fork of its own
    images = torch.randn(14, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    resnet = build_resnet(read_backbone(folder / "backbone.safetensors"))
    torch.manual_seed(0)
    model = nn.Sequential(resnet, build_head(512, 7, False)).double()
    optimiser = build_optimiser([{"params": list(model.parameters()), "lr": 0.01}], "sgd", 0.9, 1e-4)
    batches = FeatureBatches(images, torch.arange(14) % 7, 7, 0, world)
    loss = fit(model, batches, optimiser, [1.0, 0.5], CPU, world=world)
    return model.state_dict(), loss


@pytest.mark.parametrize("size", [2, 3])
def test_fine_tuning_on_several_ranks_is_that_of_one(folder: Path, size: int) -> None:
    [(state, loss)] = run_ranks(1, fine_tune, folder)
    for other_state, other_loss in run_ranks(size, fine_tune, folder):
        assert other_loss == pytest.approx(loss, rel=1e-7)
        for key, tensor in state.items():
            torch.testing.assert_close(other_state[key], tensor, rtol=1e-5, atol=1e-6, msg=key)


def with_short_last_batch(world: Any, batch_size: int) -> tuple[dict[str, torch.Tensor], float]:
    """A small network on 14 rows; with batches of 4 the last one holds 2, and a third rank has none of it."""
    world = join(CPU)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(14, 6, generator=generator, dtype=torch.float64)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    optimiser = build_optimiser([{"params": list(model.parameters()), "lr": 0.1}], "lars", 0.9, 1e-3)
    batches = FeatureBatches(rows, rows[:, :3].argmax(1), batch_size, 0, world)
    loss = fit(model, batches, optimiser, [1.0, 0.5, 0.1], CPU, world=world)
    return model.state_dict(), loss


@pytest.mark.parametrize("size", [2, 3])
def test_a_batch_that_leaves_a_rank_without_a_row_is_no_other_batch(size: int) -> None:
    [(state, loss)] = run_ranks(1, with_short_last_batch, 4)
    for other_state, other_loss in run_ranks(size, with_short_last_batch, 4):
        assert other_loss == pytest.approx(loss, rel=1e-9)
        for key, tensor in state.items():
            torch.testing.assert_close(other_state[key], tensor, rtol=1e-7, atol=1e-9, msg=key)
    [(_, of_other_batches)] = run_ranks(1, with_short_last_batch, 5)
    assert of_other_batches != pytest.approx(loss, rel=1e-3)


def test_batch_norm_of_each_rank_alone_would_differ(folder: Path) -> None:
    [(state, loss)] = run_ranks(1, fine_tune, folder)
    alone, other_loss = run_ranks(2, fine_tune, folder, False)[0]
    key = "0.bn1.running_var"
    assert other_loss != pytest.approx(loss, rel=1e-3)
    assert not torch.allclose(alone[key], state[key], rtol=1e-3)


def predicted(world: Any, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    config = Config(
        dataset="digits", protocol="p", data_dir=str(folder / "digits"),
        resize_size=32, image_size=32, batch_size=3, device="cpu",
    )  # fmt: skip
    [(features, labels)] = extract_features(
        read_backbone(folder / "backbone.safetensors"),
        [read_split(folder / "digits", "val")],
        config,
        join(CPU),
        ("layer3", "avgpool"),
    )
    return features, labels


def test_features_of_all_ranks_are_gathered_in_order(folder: Path) -> None:
    [(features, labels)] = run_ranks(1, predicted, folder)
    assert features.shape == (20, 768)
    assert labels.tolist() == sorted(labels.tolist())
    for other_features, other_labels in run_ranks(3, predicted, folder):  # 7, 7 and 6 images
        torch.testing.assert_close(other_features, features, rtol=1e-4, atol=1e-5)
        assert torch.equal(other_labels, labels)


TASKS = {
    "augmented": ("linear", "protocol: linear-sgd\naugment: true\noptimiser: sgd\nbase_lr: 2.0\nepochs: 2\n"
                  "layers: [avgpool, avgpool+layer3]\nlrs: [1.0, 4.0]\nholdout: 0.2\n"),
    "cached": ("linear", "protocol: linear-cached-lars\naugment: false\nbase_lr: 30.0\nepochs: 10\n"),
    "lbfgs": ("linear", "protocol: linear-lbfgs\naugment: false\noptimiser: lbfgs\nl2s: [0.1]\n"),
    "knn": ("knn", "protocol: knn\nks: [5, 10]\n"),
    "semisup": ("semisup", "protocol: semisup-ft\nlabel_fraction: 0.5\nepochs: 2\nlr_backbone: 0.01\n"
                "lr_head: 0.5\n"),
}  # fmt: skip


def command(folder: Path, name: str) -> list[str]:
    task, settings = TASKS[name]
    path = folder / f"{name}.yaml"
    path.write_text(SETTINGS.format(data_dir=folder / "digits") + settings)
    return [task, str(path), "--backbone", str(folder / "backbone.safetensors"), "--out", str(folder / name)]


def outcome(out: Path) -> tuple[list[dict[str, Any]], bytes]:
    rows = [asdict(row) | {"wall_s": None} for row in read_rows(out / "results.csv")]
    return rows, (out / "items.csv").read_bytes()


@pytest.mark.parametrize("name", TASKS)
def test_two_processes_write_the_rows_of_one(folder: Path, name: str) -> None:
    argv = command(folder, name)
    assert run(1, argv) == [0]
    alone = outcome(folder / name)
    assert run(2, argv) == [0, 0]
    assert outcome(folder / name) == alone
    rows, _ = alone
    assert len(rows) >= 2
    assert all(row["status"] == "ok" for row in rows)
    assert not list((folder / name).glob("*.pt"))


def test_torchrun_itself(folder: Path) -> None:
    argv = command(folder, "cached")
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "transfer",
    ]
    done = subprocess.run([*launcher, *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top1") == 1  # the first process prints, the other one does not
    assert [row.status for row in read_rows(folder / "cached/results.csv")] == ["ok", "ok"]


def fail_on_rank_1() -> None:
    """Make the second process fail alone while the first one waits for it."""
    from transfer import run_folder
    from transfer.classify import linear

    run_folder.GRACE_S = 0.5

    def read(config: Any) -> Any:
        raise ValueError("no luck on this rank")

    if os.environ["RANK"] == "1":
        linear.read_splits = read


def fail_everywhere() -> None:
    """Make all processes fail alike."""
    from transfer.classify import linear

    def read(config: Any) -> Any:
        raise ValueError("no luck anywhere")

    linear.read_splits = read


def test_a_process_that_fails_alone_says_why(folder: Path) -> None:
    argv = command(folder, "augmented")
    assert run(2, argv, fail_on_rank_1)[1] == 1
    rows = list(read_rows(folder / "augmented/results.csv"))
    assert {row.status for row in rows} == {"failed: ValueError: no luck on this rank"}


def test_what_fails_in_all_processes_is_reported_once(folder: Path) -> None:
    argv = command(folder, "cached")
    assert run(2, argv, fail_everywhere) == [1, 1]
    rows = list(read_rows(folder / "cached/results.csv"))
    assert [(row.metric, row.status) for row in rows] == [
        (metric, "failed: ValueError: no luck anywhere") for metric in ("top1", "top5")
    ]


def test_several_processes_for_a_task_that_takes_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = ROOT / "configs/track/frozen/mot_mini.yaml"
    argv = [
        "frozen-mot",
        str(config),
        "--backbone",
        str(folder / "backbone.safetensors"),
        "--out",
        str(folder / "mot"),
    ]
    assert main(argv) == 2
    assert "task frozen-mot runs in one process, but torchrun started 2" in capsys.readouterr().err
    assert not (folder / "mot").exists()
