"""Whole small runs: export, resume, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2.functional import to_pil_image

from pretrain.__main__ import main
from pretrain.config import ModelConfig, load_config
from pretrain.network import MEC
from transfer.backbone.contract import build_resnet, read_backbone

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of 2 epochs of 2 steps on 16 noise images."""
    generator = torch.Generator().manual_seed(0)
    for i in range(16):
        path = tmp_path / "images" / "one" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(torch.randint(0, 256, (3, 40, 40), generator=generator, dtype=torch.uint8)).save(path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""
out: {tmp_path}/run
data: {{name: noise, dir: {tmp_path}/images, in_memory: true}}
views: {{size: 32}}
model: {{arch: resnet18, projector_hidden_dim: 32, dim: 32, predictor_hidden_dim: 16}}
optim: {{epochs: 2, batch_size: 8, base_lr: 0.1}}
device: cpu
log_every: 1
"""
    )
    return recipe


def test_run_exports_the_contract_and_logs_every_step(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe)]) == 0
    run = tmp_path / "run"
    backbone = read_backbone(run / "backbone.safetensors")
    assert backbone.info.method == "mec"
    assert backbone.info.arch == "resnet18"
    assert backbone.info.pretrain_epochs == "2"
    assert build_resnet(backbone)(torch.zeros(1, 3, 64, 64)).shape == (1, 512)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"loss", "spectral_norm", "effective_rank", "lambda", "target_momentum", "lr"} <= lines[0].keys()
    assert any((run / "tensorboard").iterdir())


def test_resumed_run_equals_the_uninterrupted_one(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(recipe)]) == 0
    whole = (tmp_path / "run/backbone.safetensors").read_bytes()
    other = f"out={tmp_path}/other"

    import pretrain.train as train_module

    save = train_module._save

    def save_then_die(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "_save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        main([str(recipe), other])
    monkeypatch.undo()
    assert not (tmp_path / "other/backbone.safetensors").exists()
    assert main([str(recipe), other]) == 0
    resumed = read_backbone(tmp_path / "other/backbone.safetensors").state
    for key, tensor in read_backbone(tmp_path / "run/backbone.safetensors").state.items():
        assert torch.equal(tensor, resumed[key]), key
    # and a run that started from elsewhere differs, so the comparison can fail
    assert main([str(recipe), f"out={tmp_path}/third", "seed=1"]) == 0
    assert (tmp_path / "third/backbone.safetensors").read_bytes() != whole


def test_finished_run_is_left_alone_and_another_recipe_is_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recipe)]) == 0
    before = (tmp_path / "run/backbone.safetensors").stat().st_mtime_ns
    assert main([str(recipe)]) == 0
    assert (tmp_path / "run/backbone.safetensors").stat().st_mtime_ns == before
    assert main([str(recipe), "objective.order=2"]) == 2
    assert "another recipe (differs in objective)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.epoch=3", "epoch"),
        ("optim.epochs=0", "optim.epochs is 0, expected at least 1"),
        ("objective.eps_d_sq=0", "eps_d_sq is 0.0, expected above 0"),
        ("precision=fp8", "precision is 'fp8'"),
        ("data.dir=nowhere", "nowhere: no such folder"),
        ("optim.batch_size=64", "16 images are fewer than one batch of 64"),
    ],
)
def test_unusable_recipe_is_named(
    recipe: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert main([str(recipe), override]) == 2
    assert message in capsys.readouterr().err


def test_damaged_image_is_named(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images/one/03.png").write_bytes(b"no image")
    assert main([str(recipe)]) == 2
    assert "03.png: cannot be decoded" in capsys.readouterr().err


def test_every_recipe_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "data")
    recipes = sorted((ROOT / "configs/pretrain").glob("*.yaml"))
    assert len(recipes) >= 3
    for path in recipes:
        load_config(path)


def test_target_follows_by_the_moving_average() -> None:
    model = MEC(ModelConfig(arch="resnet18", projector_hidden_dim=8, dim=8, predictor_hidden_dim=8))
    before = {key: value.clone() for key, value in model.target.named_parameters()}
    with torch.no_grad():
        for parameter in model.online.parameters():
            parameter.add_(1.0)
    model.update_target(0.75)
    for key, value in model.target.named_parameters():
        torch.testing.assert_close(value, before[key] + 0.25)
        assert not value.requires_grad
