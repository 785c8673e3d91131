"""Checkpoints in: the right branch, everything accounted for, nothing executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from checkpoints import mec_state, with_statistics, write_mec_checkpoint
from noise_recipe import write_recipe

from pretrain.checkpoint import list_checkpoints
from pretrain.config import load_config
from pretrain.train import train
from transfer.__main__ import main
from transfer.backbone.contract import read_backbone
from transfer.backbone.load import load_source


@pytest.mark.parametrize(
    ("branch", "part"), [(None, "encoder"), ("online", "encoder"), ("target", "teacher")]
)
def test_mec_checkpoint_gives_the_branch_and_nothing_else(
    tmp_path: Path, branch: str | None, part: str
) -> None:
    backbone = load_source(write_mec_checkpoint(tmp_path / "c.pth.tar"), branch=branch)
    prefix = f"module.{part}."
    expected = {
        key.removeprefix(prefix): value
        for key, value in mec_state().items()
        if key.startswith(prefix) and not key.startswith(prefix + "fc.")
    }
    assert backbone.state.keys() == expected.keys()
    assert all(torch.equal(backbone.state[key], expected[key]) for key in expected)
    assert (backbone.info.method, backbone.info.arch, backbone.info.pretrain_epochs) == (
        "mec",
        "resnet18",
        "100",
    )


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
def test_torchvision_state_dict_is_recognised(tmp_path: Path, arch: str) -> None:
    model = with_statistics(torchvision.models.get_model(arch, weights=None))
    torch.save(model.state_dict(), tmp_path / "m.pth")
    backbone = load_source(tmp_path / "m.pth")
    assert backbone.info.arch == arch
    assert "fc.weight" not in backbone.state


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (("module.encoder.", "module.encoder_q."), "cannot tell the checkpoint's layout"),
        (("module.", "ddp."), "no backbone found"),
        (("module.predictor.", "module.queue."), "belong to no known part"),
        (("module.encoder.layer3.0", "module.encoder.layer3.x"), "no supported ResNet|missing"),
        (("module.encoder.bn1.weight", "module.encoder.bn1.gain"), "missing bn1.weight"),
    ],
)
def test_changed_prefix_is_refused(tmp_path: Path, rename: tuple[str, str], message: str) -> None:
    path = write_mec_checkpoint(tmp_path / "c.pth.tar", rename=rename)
    with pytest.raises(ValueError, match=message):
        load_source(path)


def test_unknown_source_and_branch_are_refused(tmp_path: Path) -> None:
    path = write_mec_checkpoint(tmp_path / "c.pth.tar")
    with pytest.raises(ValueError, match="has no branch 'ema'; it has 'online', 'target'"):
        load_source(path, branch="ema")
    with pytest.raises(ValueError, match="source 'moco' is unknown"):
        load_source(path, source="moco")


class Executes:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_hostile_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "hostile.pth"
    torch.save({"state_dict": Executes(marker)}, path)
    with pytest.raises(ValueError, match="nothing in it was executed"):
        load_source(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the control: loaded carelessly, it does run
    assert marker.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 100_000])
def test_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    whole = write_mec_checkpoint(tmp_path / "c.pth.tar").read_bytes()
    path = tmp_path / "cut.pth.tar"
    path.write_bytes(whole[:keep])
    with pytest.raises(ValueError, match=r"cut.pth.tar: (not a |the file is empty)"):
        load_source(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no tensors; it holds a list"),
        ({"epoch": 3}, "holds no tensors; it holds a dictionary with the keys ..epoch"),
        ({"state_dict": 3}, "holds no tensors"),
        ({"weights": {"vgg.0.weight": torch.zeros(3)}}, "no backbone found"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=message):
        load_source(tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(ValueError, match=r"y.pth"):
        load_source(tmp_path / "y.pth")


def test_import_command_writes_a_contract_file_or_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_mec_checkpoint(tmp_path / "c.pth.tar")
    out = tmp_path / "out" / "backbone.safetensors"
    assert main(["import", str(path), "--out", str(out), "--branch", "target", "--pretrain-data", "x"]) == 0
    info = read_backbone(out).info
    assert (info.branch, info.pretrain_data, info.source_name) == ("target", "x", "c.pth.tar")
    broken = write_mec_checkpoint(tmp_path / "d.pth.tar", rename=("module.", "model."))
    assert main(["import", str(broken), "--out", str(tmp_path / "none.safetensors")]) == 2
    assert "First keys: state_dict/model." in capsys.readouterr().err
    assert not (tmp_path / "none.safetensors").exists()


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of two real epochs of ``python -m pretrain``; the checkpoint of each is kept."""
    recipe = write_recipe(tmp_path_factory.mktemp("pretrained"))
    return train(load_config(recipe)).parent


@pytest.mark.parametrize("branch", ["online", "target"])
def test_own_checkpoints_give_either_branch(pretrained: Path, branch: str) -> None:
    last, unfinished = list_checkpoints(pretrained / "checkpoints")
    for path in (last, unfinished):
        backbone = load_source(path, branch=branch)
        prefix = f"{branch}.encoder."
        model = torch.load(path, weights_only=True)["model"]
        expected = {key[len(prefix) :]: model[key] for key in model if key.startswith(prefix)}
        assert backbone.state.keys() == expected.keys()
        assert all(torch.equal(backbone.state[key], expected[key]) for key in expected)
        info = backbone.info
        assert (info.layout, info.branch, info.arch) == ("pretrain", branch, "resnet18-cifar-w16")
        assert (info.method, info.pretrain_epochs) == ("unknown", "")  # the checkpoint does not say


def test_own_last_checkpoint_is_the_exported_backbone(pretrained: Path, tmp_path: Path) -> None:
    last, unfinished = list_checkpoints(pretrained / "checkpoints")
    exported = read_backbone(pretrained / "backbone.safetensors")
    out = tmp_path / "backbone.safetensors"
    said = ["--method", "mec", "--pretrain-data", "noise", "--pretrain-epochs", "2"]
    assert main(["import", str(last), "--out", str(out), *said]) == 0
    imported = read_backbone(out)
    assert all(torch.equal(imported.state[key], exported.state[key]) for key in exported.state)
    for name in (
        "method",
        "arch",
        "pretrain_data",
        "pretrain_epochs",
        "branch",
        "source_name",
        "source_sha256",
    ):
        assert getattr(imported.info, name) == getattr(exported.info, name), name
    for name in ("pixel_order", "pixel_mean", "pixel_std"):
        assert getattr(imported.info, name) == getattr(exported.info, name), name
    before = load_source(unfinished)
    assert not torch.equal(before.state["conv1.weight"], exported.state["conv1.weight"])


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (("online.projector.", "online.head."), "cannot tell the checkpoint's layout"),
        (("predictor.", "classifier."), "belong to no known part"),
        (("target.projector.", "target.encoder.layer5."), "cannot tell the checkpoint's layout"),
        (
            ("online.encoder.layer3.0.conv1.weight", "online.encoder.layer3.0.conv1.gain"),
            "missing layer3.0.conv1",
        ),
        (("online.encoder.bn1.weight", "online.encoder.bn1.gain"), "missing bn1.weight"),
    ],
)
def test_own_checkpoint_with_a_changed_name_is_refused(
    pretrained: Path, tmp_path: Path, rename: tuple[str, str], message: str
) -> None:
    state = torch.load(list_checkpoints(pretrained / "checkpoints")[0], weights_only=True)
    state["model"] = {key.replace(*rename): value for key, value in state["model"].items()}
    torch.save(state, tmp_path / "changed.pt")
    with pytest.raises(ValueError, match=message):
        load_source(tmp_path / "changed.pt")
