"""Conversion with proof: the comparison, every target, and what a failure leaves behind."""

from __future__ import annotations

import importlib.util
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import write_mec_checkpoint
from layouts import backbone_state
from torch import Tensor

from transfer.backbone import targets
from transfer.backbone.architecture import empty_resnet
from transfer.backbone.command import main
from transfer.backbone.contract import Backbone, BackboneInfo, write_backbone
from transfer.backbone.convert import TARGETS, Target, convert
from transfer.backbone.load import load_source
from transfer.backbone.naming import DETECTRON2, MMCV, rename_key
from transfer.backbone.targets import from_sot, to_sot
from transfer.backbone.verify import compare_features, probe_images, reference_features

FRAMEWORK_WARNINGS = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),  # mmcv and fvcore use old APIs
    pytest.mark.filterwarnings("ignore:.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*:ImportWarning"),  # mmcv moved an operator
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),  # mmcv announces its own next major version
]
NEEDS = {
    "detectron2": [pytest.mark.detectron2, *FRAMEWORK_WARNINGS],
    "mmcv": [pytest.mark.mmtrack, *FRAMEWORK_WARNINGS],
    "mmtrack-sot": [pytest.mark.mmtrack, *FRAMEWORK_WARNINGS],
    "torchvision": [],
    "timm": [],
}


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    return load_source(write_mec_checkpoint(tmp_path / "c.pth.tar"))


def trained(arch: str) -> dict[str, Tensor]:
    return backbone_state(arch, 0)


def contract(path: Path, arch: str) -> Path:
    """A trained backbone of any arch as a contract file."""
    write_backbone(path, trained(arch), BackboneInfo("mec", arch, "noise", "1", "online", "x", "0" * 64, "t"))
    return path


def test_comparison_refuses_a_small_change_and_features_that_prove_nothing(backbone: Backbone) -> None:
    images = probe_images()
    reference = reference_features(backbone.state, "resnet18", images)
    assert [error.relative for error in compare_features(reference, reference)] == [0.0] * 4
    changed = dict(backbone.state)
    changed["layer3.0.bn1.running_mean"] = changed["layer3.0.bn1.running_mean"] + 1e-3
    other = reference_features(changed, "resnet18", images)
    assert torch.equal(reference["res3"], other["res3"])
    with pytest.raises(ValueError, match="res4: features differ"):
        compare_features(reference, other)
    with pytest.raises(ValueError, match="res5: the target model returned no such stage"):
        compare_features(reference, {key: value for key, value in reference.items() if key != "res5"})
    constant = {key: torch.ones_like(value) for key, value in reference.items()}
    with pytest.raises(ValueError, match="prove nothing"):
        compare_features(constant, constant)
    nan = {key: value * float("nan") for key, value in reference.items()}
    with pytest.raises(ValueError, match="res2: features differ"):
        compare_features(reference, nan)


@pytest.mark.parametrize(
    ("target", "suffix", "arch"),
    [
        pytest.param(name, suffix, arch, marks=NEEDS[name])
        for name, target in TARGETS.items()
        for suffix in target.suffixes
        for arch in (("resnet50",) if name == "mmtrack-sot" else ("resnet18", "resnet50"))
    ],
)
def test_there_and_back_is_bit_equal_with_proof(tmp_path: Path, target: str, suffix: str, arch: str) -> None:
    path = write_mec_checkpoint(tmp_path / "c.pth.tar", arch)
    expected = load_source(path)
    out = tmp_path / "out" / f"mec{suffix}"
    done = convert(path, out, target)
    report = json.loads((tmp_path / "out" / f"mec{suffix}.json").read_text())
    assert report["status"] == "verified"
    assert report["models"].keys() == done.proof.keys()
    for stages in report["models"].values():
        assert set(stages) == {"res2", "res3", "res4", "res5"}
        assert all(stage["relative"] <= 1e-5 for stage in stages.values())
    assert report["provenance"]["source_sha256"] == expected.sha256
    assert report["tensors"]["backbone"] == len(expected.state)
    assert report["read"]["other_branches"] == ["target"]
    assert {entry.name for entry in out.parent.iterdir()} == {f"mec{suffix}", f"mec{suffix}.json"}
    back = load_source(out)
    assert back.state.keys() == expected.state.keys()
    assert all(torch.equal(back.state[key], expected.state[key]) for key in expected.state)
    if target != "torchvision":  # a bare state dict has no room for it
        assert (back.info.method, back.info.branch, back.info.pretrain_epochs) == ("mec", "online", "100")


@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
def test_both_of_detectron2s_detectors_prove_a_bottleneck(tmp_path: Path) -> None:
    assert set(
        convert(contract(tmp_path / "b.safetensors", "resnet50"), tmp_path / "o.pkl", "detectron2").proof
    ) == {
        "fpn",
        "c4",
    }


def leave_out(rule: str, rules: dict[str, str]) -> dict[str, str]:
    return {here: there for here, there in rules.items() if here != rule}


@pytest.mark.parametrize(
    ("target", "table", "rule"),
    [
        pytest.param(target, table, rule, marks=NEEDS[target])
        for target, table, rules in (("detectron2", "DETECTRON2", DETECTRON2), ("mmcv", "MMCV", MMCV))
        for rule in rules
    ],
)
def test_verification_fails_without_any_one_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, table: str, rule: str
) -> None:
    """The writer is made careless, so that it is the proof, not the renaming, that must notice."""
    path = contract(tmp_path / "b.safetensors", "resnet50")

    def careless(state: dict[str, Tensor], rules: dict[str, str]) -> dict[str, Tensor]:
        fewer = leave_out(rule, rules)
        return {new: value for key, value in state.items() if (new := rename_key(key, fewer)) is not None}

    monkeypatch.setattr(targets, "rename", careless)
    out = tmp_path / "out" / f"o{TARGETS[target].suffixes[0]}"
    with pytest.raises(ValueError, match=r"left at its initial value|got no value from the file"):
        convert(path, out, target)
    assert not out.parent.exists()
    monkeypatch.undo()
    assert convert(path, out, target).proof  # the control: with all rules it passes


@pytest.mark.parametrize("rule", list(DETECTRON2))
def test_each_rule_is_needed_by_the_writer(rule: str) -> None:
    state = trained("resnet50")
    targets.rename(state, DETECTRON2)
    with pytest.raises(ValueError, match="no renaming rule matches"):
        targets.rename(state, leave_out(rule, DETECTRON2))


@pytest.mark.parametrize(
    "target",
    [pytest.param(name, marks=NEEDS[name]) for name in ("torchvision", "timm", "detectron2", "mmcv")],
)
def test_a_file_that_loads_but_computes_something_else_fails_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Two equally shaped tensors change places: every name is there, only the features tell."""
    path, real = contract(tmp_path / "b.safetensors", "resnet18"), TARGETS[target]

    def write_swapped(backbone: Backbone, written: Path) -> None:
        state = dict(backbone.state)
        one, two = "layer3.1.conv1.weight", "layer3.1.conv2.weight"
        state[one], state[two] = state[two], state[one]
        real.write(replace(backbone, state=state), written)

    monkeypatch.setitem(TARGETS, target, replace(real, write=write_swapped))
    with pytest.raises(ValueError, match="res4: features differ"):
        convert(path, tmp_path / f"o{real.suffixes[0]}", target)
    assert {entry.name for entry in tmp_path.iterdir()} == {"b.safetensors"}


@pytest.mark.parametrize(
    ("target", "suffix"),
    [pytest.param(name, target.suffixes[0], marks=NEEDS[name]) for name, target in TARGETS.items()],
)
def test_changed_prefix_exits_non_zero_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, suffix: str
) -> None:
    path = write_mec_checkpoint(tmp_path / "c.pth.tar", rename=("module.encoder.", "module.encoder_q."))
    out = tmp_path / "out"
    assert main(target, [str(path), str(out / f"mec{suffix}")]) == 1
    assert "Nothing was written" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
def test_a_file_with_a_misnamed_tensor_fails_the_proof_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_without_one(backbone: Backbone, path: Path) -> None:
        targets.write_detectron2(backbone, path)
        content = pickle.loads(path.read_bytes())
        content["model"]["res4.0.convX.weight"] = content["model"].pop("res4.0.conv1.weight")
        path.write_bytes(pickle.dumps(content))

    path = contract(tmp_path / "b.safetensors", "resnet18")
    broken = Target((".pkl",), write_without_one, "transfer.detect.backbone", "detectron2")
    monkeypatch.setitem(TARGETS, "detectron2", broken)
    with pytest.raises(ValueError, match=r"res4\.0\.conv1\.weight"):
        convert(path, tmp_path / "out" / "x.pkl", "detectron2")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_an_output_is_refused(tmp_path: Path) -> None:
    path = contract(tmp_path / "b.safetensors", "resnet18")
    with pytest.raises(ValueError, match=r"detectron2 reads .pkl and .pth files"):
        convert(path, tmp_path / "x.bin", "detectron2")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ValueError, match="is a folder or a device"):
        convert(path, tmp_path / "folder.pth", "torchvision")
    with pytest.raises(ValueError, match="is the checkpoint itself"):
        convert(path, path, "timm")


@pytest.mark.detectron2
@pytest.mark.mmtrack
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:ImportWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("arch", ["resnet18-cifar", "resnet18-cifar-w16"])
def test_cifar_stem_is_refused_by_every_framework_but_torchvision(tmp_path: Path, arch: str) -> None:
    path = contract(tmp_path / "b.safetensors", arch)
    for name in ("detectron2", "mmcv", "timm"):
        with pytest.raises(ValueError, match=r"stem|7x7"):
            convert(path, tmp_path / f"x{TARGETS[name].suffixes[0]}", name)
    assert {entry.name for entry in tmp_path.iterdir()} == {"b.safetensors"}
    assert convert(path, tmp_path / "x.pth", "torchvision").proof


def test_unverified_files_exist_only_where_the_framework_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = contract(tmp_path / "b.safetensors", "resnet18"), tmp_path / "o.pth"
    with pytest.raises(ValueError, match="torchvision is installed, so the file can be proven"):
        convert(path, out, "torchvision", verify=False)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mmdet" else real(name))
    assert main("mmcv", [str(path), str(out), "--no-verify"]) == 0
    assert "UNVERIFIED" in capsys.readouterr().out
    assert json.loads((tmp_path / "o.pth.json").read_text())["status"] == "unverified"


def test_sot_shortcuts_keep_the_kernel_in_their_centre_and_give_it_back() -> None:
    state = trained("resnet50")
    grown = to_sot(state)
    assert grown["backbone.layer2.0.downsample.0.weight"].shape[2:] == (3, 3)
    assert grown["backbone.layer1.0.downsample.0.weight"].shape[2:] == (1, 1)
    bare = {key.removeprefix("backbone."): value for key, value in grown.items()}
    back = from_sot(bare)
    assert all(torch.equal(back[key], state[key]) for key in state)
    bare["layer3.0.downsample.0.weight"][0, 0, 0, 0] = 1e-3
    with pytest.raises(ValueError, match="trained beyond its centre"):
        from_sot(bare)


def test_siamese_geometry_differs_from_torchvisions() -> None:
    """The control of the SOTResNet proof: torchvision's own geometry gives other features."""
    state, images = trained("resnet50"), probe_images()
    plain = reference_features(state, "resnet50", images)
    siamese = reference_features(state, "resnet50", images, sot=True)
    assert all(plain[stage].shape != siamese[stage].shape for stage in plain)


def test_the_initialisation_is_never_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(empty_resnet("resnet18").state_dict(), tmp_path / "init.pth")
    assert main("torchvision", [str(tmp_path / "init.pth"), str(tmp_path / "o.pth")]) == 1
    assert "the weights are an initialisation" in capsys.readouterr().err
    assert not (tmp_path / "o.pth").exists()
