"""The contract file: strict reading, equal bytes for equal backbones, refusals."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from pretrain.config import Config, DataConfig, ModelConfig
from pretrain.export import write_backbone as write_pretrained
from pretrain.network import MEC
from transfer.backbone.architecture import (
    ARCHS,
    FEATURE_DIMS,
    empty_resnet,
    expected_shapes,
    infer_arch,
    stage_features,
    stride_in_1x1,
)
from transfer.backbone.contract import BackboneInfo, build_resnet, read_backbone, write_backbone
from transfer.backbone.load import write_random


@pytest.fixture
def random18(tmp_path: Path) -> Path:
    path = tmp_path / "random.safetensors"
    write_random(path, "resnet18", seed=3)
    return path


def test_random_backbone_is_torchvisions_initialisation_and_always_the_same_file(
    random18: Path, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    expected = torchvision.models.resnet18(weights=None).state_dict()
    state = read_backbone(random18).state
    assert set(expected) - set(state) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(expected[key], state[key]) for key in state)
    again, other = tmp_path / "again.safetensors", tmp_path / "other.safetensors"
    write_random(again, "resnet18", seed=3)
    write_random(other, "resnet18", seed=4)
    assert again.read_bytes() == random18.read_bytes()
    assert other.read_bytes() != random18.read_bytes()


def test_features_equal_torchvisions_own_forward(random18: Path) -> None:
    model = build_resnet(read_backbone(random18))
    images = torch.randn(2, 3, 64, 64)
    last = stage_features(model, images)["res5"]
    torch.testing.assert_close(model(images), last.mean((2, 3)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("layer4.1.bn2.bias"), "missing layer4.1.bn2.bias"),
        (lambda state: state.update({"fc.weight": torch.zeros(3)}), "unexpected fc.weight"),
        (
            lambda state: state.update({"bn1.bias": torch.zeros(3)}),
            "bn1.bias: expected shape .64,., found .3,.",
        ),
        (lambda state: state["bn1.weight"].fill_(float("nan")), "bn1.weight: holds NaN"),
    ],
)
def test_damaged_state_is_refused_and_named(tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    state = empty_resnet("resnet18").state_dict()
    damage(state)
    info = BackboneInfo("mec", "resnet18", "", "", "", "", "", "")
    path = tmp_path / "b.safetensors"
    with pytest.raises(ValueError, match=message):
        write_backbone(path, state, info)
    assert not list(tmp_path.iterdir())
    save_file(state, path, asdict(info))
    with pytest.raises(ValueError, match=message):
        read_backbone(path)


def test_what_is_not_a_contract_file_is_refused(random18: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such backbone"):
        read_backbone(tmp_path / "nothing.safetensors")
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(random18.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a readable safetensors"):
        read_backbone(truncated)
    headless = tmp_path / "headless.safetensors"
    save_file(empty_resnet("resnet18").state_dict(), headless)
    with pytest.raises(ValueError, match="header lacks"):
        read_backbone(headless)


@pytest.mark.parametrize("arch", ["resnet18", "resnet18-cifar", "resnet18-cifar-w16", "resnet50"])
@pytest.mark.parametrize("branch", ["online", "target"])
def test_pretraining_writes_what_transfer_reads(tmp_path: Path, arch: str, branch: str) -> None:
    """The two packages share no code, only this file: names, shapes and header must agree."""
    config = Config(
        out=str(tmp_path),
        data=DataConfig(name="noise"),
        model=ModelConfig(arch=arch, projector_hidden_dim=8, dim=8, predictor_hidden_dim=8),
        branch=branch,
    )
    model = MEC(config.model)
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"x")
    path = tmp_path / "backbone.safetensors"
    write_pretrained(path, model.backbone_state(branch), config, checkpoint)
    backbone = read_backbone(path)
    assert (backbone.info.arch, backbone.info.branch, backbone.info.pretrain_data) == (arch, branch, "noise")
    encoder = (model.online if branch == "online" else model.target).encoder.eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(build_resnet(backbone)(images), encoder(images))


def test_every_arch_builds_and_is_told_from_its_shapes() -> None:
    for arch in ARCHS:
        with torch.device("meta"):
            state = empty_resnet(arch).state_dict()
        assert "fc.weight" not in state
        found = infer_arch(state)
        assert (stride_in_1x1(found) if ARCHS[arch].stride_in_1x1 else found) == arch
    with pytest.raises(ValueError, match="unknown; known: resnet18"):
        empty_resnet("vgg")


def test_the_narrow_network_is_the_cifar_one_with_a_quarter_of_the_channels() -> None:
    wide, narrow = expected_shapes("resnet18-cifar"), expected_shapes("resnet18-cifar-w16")
    assert list(narrow) == list(wide)  # torchvision's names, in its order
    for key, (*channels, height, width) in ((k, s) for k, s in wide.items() if len(s) == 4):
        quarter = tuple(n if n == 3 else n // 4 for n in channels)  # three are the image's
        assert narrow[key] == (*quarter, height, width)
    assert all(narrow[key] == (shape[0] // 4,) for key, shape in wide.items() if len(shape) == 1)
    assert FEATURE_DIMS["resnet18-cifar-w16"] == 128
    model = empty_resnet("resnet18-cifar-w16").eval()
    sizes = [tuple(stage.shape) for stage in stage_features(model, torch.zeros(2, 3, 32, 32)).values()]
    assert sizes == [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8), (2, 128, 4, 4)]


def test_the_narrow_network_starts_as_torchvision_starts_a_resnet() -> None:
    for key, tensor in empty_resnet("resnet18-cifar-w16").state_dict().items():
        if tensor.ndim == 4:  # He et al. 2015, fan-out: variance 2 / (output channels x kernel area)
            fan_out = tensor.shape[0] * tensor.shape[2] * tensor.shape[3]
            assert tensor.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.15), key
        elif tensor.ndim == 1:
            assert tensor.unique().item() == (1 if key.endswith(("weight", "running_var")) else 0), key


def test_a_width_between_the_two_is_no_arch() -> None:
    state = {key: torch.empty(shape) for key, shape in expected_shapes("resnet18-cifar").items()}
    state["conv1.weight"] = torch.empty(32, 3, 3, 3)
    state["layer1.0.conv2.weight"] = torch.empty(32, 32, 3, 3)
    with pytest.raises(ValueError, match=r"1 groups of 32 channels .* stem of \(32, 3, 3, 3\)"):
        infer_arch(state)
