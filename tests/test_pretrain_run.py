"""Whole small runs: export, resume, refusals, divergence, every way of running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from noise_recipe import write_recipe

from pretrain.__main__ import DIVERGED, DONE, UNUSABLE, main
from pretrain.checkpoint import list_checkpoints
from pretrain.collective import World
from pretrain.config import ModelConfig, load_config
from pretrain.network import MEC
from pretrain.run import build, take_step
from transfer.backbone.contract import build_resnet, read_backbone

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Two epochs of three steps."""
    return write_recipe(tmp_path)


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> torch.Tensor:
    state = read_backbone(run / "backbone.safetensors").state
    return torch.cat([value.double().flatten() for value in state.values()])


def test_run_exports_the_contract_and_logs_every_step(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe)]) == DONE
    run = tmp_path / "run"
    backbone = read_backbone(run / "backbone.safetensors")
    assert backbone.info.method == "mec"
    assert backbone.info.arch == "resnet18-cifar-w16"
    assert backbone.info.pretrain_epochs == "2"
    assert build_resnet(backbone)(torch.zeros(1, 3, 64, 64)).shape == (1, 128)
    lines = metrics(run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    told = {
        "loss",
        "coding_length",
        "spectral_norm",
        "feature_std",
        "effective_rank",
        "lambda",
        "target_momentum",
    }
    assert told | {"lr", "step_s", "data_s", "images_per_s"} <= lines[0].keys()
    assert any((run / "tensorboard").iterdir())
    assert [path.name[:19] for path in list_checkpoints(run / "checkpoints")] == [
        "checkpoint_00000006",
        "checkpoint_00000003",
    ]
    said = capsys.readouterr().out
    assert "24 images, 2 epochs of 3 steps, batch 8 on 1 x cpu, mec of order 4, eps_d^2 0.5" in said
    assert "epoch 1.00 step 3/6 loss -" in said
    assert " eta 0:00:0" in said


def test_coding_length_in_the_log_is_equation_1(recipe: Path, tmp_path: Path) -> None:
    # one direction: log det(I + lambda Z Z^T) = log(1 + lambda m) = log(1 + 1 / 0.5); mu = (8 + 32) / 2
    import math

    from pretrain.objective import coding_length, lambda_from_eps

    collapsed = torch.nn.functional.normalize(torch.ones(8, 32), dim=1)
    exact = 20 * float(coding_length(collapsed, collapsed, lambda_from_eps(0.5, 8), order=0))
    assert exact == pytest.approx(20 * math.log(3), rel=1e-5)
    assert main([str(recipe)]) == DONE
    # spread rows are longer than collapsed ones, and at most orthogonal: m log(1 + lambda)
    for line in metrics(tmp_path / "run"):
        assert exact < line["coding_length"] < 20 * 8 * math.log(1 + 1 / (8 * 0.5))


def test_finished_run_is_left_alone_and_another_recipe_is_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe)]) == DONE
    before = (tmp_path / "run/backbone.safetensors").stat().st_mtime_ns
    assert main([str(recipe), "log_every=2", "threads=1", "keep=3"]) == DONE  # keys of the machine
    assert (tmp_path / "run/backbone.safetensors").stat().st_mtime_ns == before
    assert main([str(recipe), "objective.order=2", "seed=3"]) == UNUSABLE
    assert "another recipe (differs in objective.order, seed)" in capsys.readouterr().err
    assert main([str(recipe), "--resume", "never"]) == UNUSABLE
    assert "holds a run already" in capsys.readouterr().err


def test_a_moved_run_folder_goes_on(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe)]) == DONE
    whole = weights(tmp_path / "run")
    (tmp_path / "run/backbone.safetensors").unlink()
    list_checkpoints(tmp_path / "run/checkpoints")[0].unlink()  # back to step 3
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert main([str(recipe), f"out={tmp_path}/elsewhere"]) == DONE
    assert torch.equal(weights(tmp_path / "elsewhere"), whole)
    assert [line["step"] for line in metrics(tmp_path / "elsewhere")] == [1, 2, 3, 4, 5, 6]


def test_killed_between_last_checkpoint_and_export(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe)]) == DONE
    backbone = tmp_path / "run/backbone.safetensors"
    whole = backbone.read_bytes()
    backbone.unlink()
    assert main([str(recipe)]) == DONE
    assert backbone.read_bytes() == whole


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.epoch=3", "epoch"),
        ("optim.epochs=0", "optim.epochs is 0, expected at least 1"),
        ("objective.eps_d_sq=0", "eps_d_sq is 0.0, expected above 0"),
        ("objective.eps=64", "objective.eps_d_sq and objective.eps are both given"),
        ("objective.name=simclr", "objective.name is 'simclr', expected one of mec, "),
        ("precision=fp8", "precision is 'fp8'"),
        ("data.dir=nowhere", "nowhere: no such folder"),
        ("data.dir=''", "data.dir (a folder of images) or data.shards"),
        ("optim.batch_size=64", "24 images are fewer than one batch of 64"),
        ("keep=1", "keep is 1, expected at least 2"),
        ("knn.max_images=0", "knn.max_images is 0, expected at least 1"),
        ("model.momentum=1.5", "model.momentum is 1.5, expected between 0 and 1"),
        ("knn.train_dir=somewhere", "knn.train_dir and knn.val_dir: both or neither"),
    ],
)
def test_unusable_recipe_is_named(
    recipe: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert main([str(recipe), override]) == UNUSABLE
    assert message in capsys.readouterr().err


def test_damaged_image_is_named(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images/class1/03.png").write_bytes(b"no image")
    assert main([str(recipe)]) == UNUSABLE
    assert "03.png: cannot be decoded" in capsys.readouterr().err


def test_nan_stops_the_run_and_is_never_saved(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging = [str(recipe), "optim.base_lr=1e30", "objective.max_spectral_norm=0", "log_every=100"]
    assert main([*diverging, "save_every_epochs=1"]) == DIVERGED
    said = capsys.readouterr().err
    assert "is not finite; lower optim.base_lr (1e+30 now) or raise objective.eps_d_sq (0.5 now)" in said
    for path in list_checkpoints(tmp_path / "run/checkpoints"):
        state = torch.load(path, weights_only=True)
        assert all(torch.isfinite(value).all() for value in state["model"].values())
    assert not (tmp_path / "run/backbone.safetensors").exists()


def test_a_spectral_norm_outside_the_disc_of_convergence_stops_the_run(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # eps_d^2 = 1e-3 makes the bound of the norm 1 / eps_d^2 = 1000
    assert main([str(recipe), "objective.eps_d_sq=0.001"]) == DIVERGED
    said = capsys.readouterr().err
    assert "the spectral norm of lambda Z1^T Z2 is " in said
    assert "above objective.max_spectral_norm = 1: the Taylor series converges only below 1" in said
    assert "Raise objective.eps_d_sq (0.001 now)" in said
    assert "or go on all the same here with objective.max_spectral_norm=0" in said


def test_going_on_all_the_same_works_in_the_folder_that_stopped(recipe: Path, tmp_path: Path) -> None:
    often = "save_every_epochs=0.34"
    assert main([str(recipe), often, "objective.max_spectral_norm=0.03"]) == DIVERGED
    assert list_checkpoints(tmp_path / "run/checkpoints")
    assert main([str(recipe), often, "objective.max_spectral_norm=0"]) == DONE
    assert [line["step"] for line in metrics(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_an_update_that_breaks_the_weights_is_never_saved(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe), "optim.base_lr=1e41", "save_every_epochs=0.34"]) == DIVERGED
    assert " is not finite after step " in capsys.readouterr().err
    checkpoints = list_checkpoints(tmp_path / "run/checkpoints")
    assert checkpoints
    for path in checkpoints:
        state = torch.load(path, weights_only=True)
        assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_a_determinant_that_is_not_positive_is_a_divergence(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe), "objective.order=0", "objective.eps_d_sq=0.001"]) == DIVERGED
    assert ": step 1: log det(I + C): the determinant is not positive" in capsys.readouterr().err


def test_fp16_survives_a_first_step_that_overflows(recipe: Path) -> None:
    config = load_config(recipe, ["precision=fp16"])
    run = build(config, 24, torch.device("cpu"), World())
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-12)
    generator = torch.Generator().manual_seed(0)
    crops = (torch.randint(0, 256, (8, 2, 3, 32, 32), generator=generator, dtype=torch.uint8),)
    before = run.model.online.encoder.conv1.weight.clone()
    for _ in range(3):
        take_step(run, crops)
    assert run.scaler.get_scale() < 2.0**40  # it did overflow, and the step was skipped
    assert not torch.equal(run.model.online.encoder.conv1.weight, before)
    assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())


def test_a_start_that_failed_leaves_the_folder_to_the_corrected_recipe(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe), "optim.batch_size=64"]) == UNUSABLE
    assert main([str(recipe)]) == DONE


def test_moved_images_go_on_and_others_are_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe), "save_every_epochs=0.34", "objective.max_spectral_norm=0.03"]) == DIVERGED
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    lifted = "objective.max_spectral_norm=0"
    (tmp_path / "elsewhere/class0/00.png").rename(tmp_path / "aside.png")
    assert main([str(recipe), lifted, f"data.dir={tmp_path}/elsewhere"]) == UNUSABLE
    assert "its run is on 24 images, found 23" in capsys.readouterr().err
    (tmp_path / "aside.png").rename(tmp_path / "elsewhere/class0/00.png")
    assert main([str(recipe), lifted, f"data.dir={tmp_path}/elsewhere"]) == DONE


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(recipe), "device=cuda"]) == UNUSABLE
    assert "device is cuda, but torch finds no GPU" in capsys.readouterr().err


def test_lines_are_printed_where_there_is_no_terminal_even_with_forced_colour(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main([str(recipe), "optim.epochs=1"]) == DONE
    assert "step 3/3 loss" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # dynamo imports it
def test_compiled_networks_train_to_the_same_backbone(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe), "optim.epochs=1"]) == DONE
    assert main([str(recipe), "optim.epochs=1", f"out={tmp_path}/compiled", "compile=true"]) == DONE
    whole, compiled = weights(tmp_path / "run"), weights(tmp_path / "compiled")
    assert float((compiled - whole).norm() / whole.norm()) < 1e-3


@pytest.mark.parametrize(
    "override",
    ["objective.order=1", "objective.max_spectral_norm=0", "objective.name=vicreg"],
)
def test_where_no_series_is_used_or_the_bound_is_lifted_it_goes_on(recipe: Path, override: str) -> None:
    assert main([str(recipe), "objective.eps_d_sq=0.001", "optim.epochs=1", override]) == DONE


@pytest.mark.parametrize(
    "overrides",
    [
        ["precision=bf16"],
        ["precision=fp16"],
        ["optim.name=lars", "optim.base_lr=0.3"],
        ["optim.name=adamw", "optim.base_lr=0.001"],
        ["optim.chunk_size=4"],
        ["optim.chunk_size=4", "precision=fp16"],
        ["views.small_crops=2", "views.small_size=16"],
        ["views.small_crops=1", "views.small_size=16", "optim.chunk_size=4", "precision=bf16"],
        ["objective.order=0"],
        ["model.predictor=false"],
        ["model.momentum=0"],
        ["model.arch=resnet18", "branch=target"],
        ["objective.name=barlow-twins"],
        ["objective.name=simsiam+mec"],
        ["objective.eps_d_sq=null", "objective.eps=16", "objective.lambda_warmup=linear"],
        ["data.workers=2", "data.in_memory=false"],
    ],
    ids=" ".join,
)
def test_every_way_of_running_ends_with_a_backbone(
    recipe: Path, tmp_path: Path, overrides: list[str]
) -> None:
    assert main([str(recipe), "optim.epochs=1", *overrides]) == DONE
    assert torch.isfinite(weights(tmp_path / "run")).all()


def test_workers_change_nothing(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe)]) == DONE
    assert main([str(recipe), f"out={tmp_path}/workers", "data.workers=2"]) == DONE
    assert torch.equal(weights(tmp_path / "run"), weights(tmp_path / "workers"))


def test_a_vit_takes_views_of_both_sizes() -> None:
    model = MEC(ModelConfig(arch="vit_small_patch16_224", projector_hidden_dim=32, dim=16))
    views = [torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64), torch.rand(2, 3, 32, 32)]
    p, z = model(views)
    assert [x.shape for x in (*p, *z)] == [(2, 16)] * 5


def test_knn_while_training(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [f"knn.train_dir={tmp_path}/images", f"knn.val_dir={tmp_path}/images", "knn.k=1"]
    assert main([str(recipe), *folders]) == DONE
    found = {line["step"]: line.get("knn_top1") for line in metrics(tmp_path / "run")}
    assert found == {
        1: None,
        2: None,
        3: 100.0,
        4: None,
        5: None,
        6: 100.0,
    }  # every image's nearest is itself
    assert " knn 100.00" in capsys.readouterr().out
    # the monitor changes nothing
    assert main([str(recipe), f"out={tmp_path}/without"]) == DONE
    assert torch.equal(weights(tmp_path / "run"), weights(tmp_path / "without"))


def test_knn_refuses_a_class_that_it_cannot_predict(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main([str(recipe), f"knn.train_dir={tmp_path}/images/class0", f"knn.val_dir={tmp_path}/images"]) == 2
    )
    assert "class class0 and 1 more are not below" in capsys.readouterr().err


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``torchrun --nproc-per-node processes -m pretrain arguments``, a real one."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*command, "-m", "pretrain", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_two_processes_train_like_one_and_one_goes_on_from_two(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe)]) == DONE
    two = torchrun(2, str(recipe), f"out={tmp_path}/two")
    assert two.returncode == 0, two.stderr
    assert "on 2 x cpu" in two.stdout
    assert two.stdout.count("backbone.safetensors: written") == 1
    one_run, two_run = metrics(tmp_path / "run"), metrics(tmp_path / "two")
    for one_line, two_line in zip(one_run, two_run, strict=True):
        for key in ("loss", "cosine", "spectral_norm", "coding_length", "lr"):
            assert two_line[key] == pytest.approx(one_line[key], rel=2e-3, abs=2e-4), (key, one_line["step"])
    distance = (weights(tmp_path / "two") - weights(tmp_path / "run")).norm() / weights(
        tmp_path / "run"
    ).norm()
    assert float(distance) < 1e-3
    # back to step 3, then on with one process
    (tmp_path / "two/backbone.safetensors").unlink()
    list_checkpoints(tmp_path / "two/checkpoints")[0].unlink()
    assert main([str(recipe), f"out={tmp_path}/two"]) == DONE
    distance = (weights(tmp_path / "two") - weights(tmp_path / "run")).norm() / weights(
        tmp_path / "run"
    ).norm()
    assert 0 < float(distance) < 1e-3


def test_every_recipe_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "data")
    recipes = sorted((ROOT / "configs/pretrain").glob("**/*.yaml"))
    assert len(recipes) >= 3
    for path in recipes:
        load_config(path)


def test_target_follows_by_the_moving_average() -> None:
    model = MEC(ModelConfig(arch="resnet18-cifar-w16", projector_hidden_dim=8, dim=8, predictor_hidden_dim=8))
    before = {key: value.clone() for key, value in model.target.named_parameters()}
    with torch.no_grad():
        for parameter in model.online.parameters():
            parameter.add_(1.0)
    model.update_target(0.75)
    for key, value in model.target.named_parameters():
        torch.testing.assert_close(value, before[key] + 0.25)
        assert not value.requires_grad


def test_target_sees_both_views_in_one_pass() -> None:
    model = MEC(ModelConfig(arch="resnet18-cifar-w16", projector_hidden_dim=8, dim=8, predictor_hidden_dim=8))
    views = [torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)]
    count = int(model.target.encoder.bn1.num_batches_tracked)
    model.train()(views)
    assert int(model.target.encoder.bn1.num_batches_tracked) == count + 1
    # without batch statistics one pass is two
    model.eval()
    _, z = model(views)
    for view, one_pass in zip(views, z, strict=True):
        torch.testing.assert_close(one_pass, model.unit_rows(model.target(view)))
