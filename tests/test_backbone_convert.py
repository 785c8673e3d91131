"""Conversion with proof: renaming rules, the comparison, and what a failure leaves behind."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import write_mec_checkpoint

from transfer.backbone.contract import Backbone, BackboneInfo, empty_resnet
from transfer.backbone.convert import convert, main
from transfer.backbone.sources import load_source
from transfer.backbone.targets import DETECTRON2, rename, to_detectron2, write_detectron2
from transfer.backbone.verify import compare_features, probe_images, reference_features

FRAMEWORK_WARNINGS = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),  # mmcv and fvcore use old APIs
    pytest.mark.filterwarnings("ignore:.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*:ImportWarning"),  # mmcv moved an operator
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),  # mmcv announces its own next major version
]


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    return load_source(write_mec_checkpoint(tmp_path / "c.pth.tar"))


def test_every_tensor_is_renamed_by_exactly_one_rule(backbone: Backbone) -> None:
    renamed = to_detectron2(backbone.state)
    counted = [key for key in backbone.state if not key.endswith("num_batches_tracked")]
    assert len(renamed) == len(counted)
    np.testing.assert_array_equal(
        renamed["res3.0.shortcut.norm.running_var"],
        backbone.state["layer2.0.downsample.1.running_var"].numpy(),
    )


@pytest.mark.parametrize("rule", list(DETECTRON2))
def test_each_rule_is_needed(rule: str) -> None:
    state = empty_resnet("resnet50").state_dict()
    rename(state, DETECTRON2)
    rules = {key: value for key, value in DETECTRON2.items() if key != rule}
    with pytest.raises(ValueError, match="expected exactly one renaming rule"):
        rename(state, rules)


def test_a_tensor_mapped_twice_is_refused() -> None:
    state = {"conv1.weight": torch.zeros(1), "bn1.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match="already taken"):
        rename(state, {r"conv1\.weight": "x", r"bn1\.weight": "x"})


def test_comparison_refuses_a_small_change_and_features_that_prove_nothing(backbone: Backbone) -> None:
    images = probe_images()
    reference = reference_features(backbone, images)
    assert [error.relative for error in compare_features(reference, reference)] == [0.0] * 4
    changed = dict(backbone.state)
    changed["layer3.0.bn1.running_mean"] = changed["layer3.0.bn1.running_mean"] + 1e-3
    other = reference_features(Backbone(backbone.info, changed, "", Path()), images)
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
    ("target", "suffix"),
    [
        pytest.param("detectron2", ".pkl", marks=[pytest.mark.detectron2, *FRAMEWORK_WARNINGS]),
        pytest.param("mmcv", ".pth", marks=[pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]),
    ],
)
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_mec_checkpoint_converts_with_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, suffix: str, arch: str
) -> None:
    path = write_mec_checkpoint(tmp_path / "c.pth.tar", arch)
    out = tmp_path / "out" / f"mec{suffix}"
    assert main(target, [str(path), str(out)]) == 0, capsys.readouterr().err
    proof = json.loads((tmp_path / "out" / f"mec{suffix}.json").read_text())
    assert set(proof["stages"]) == {"res2", "res3", "res4", "res5"}
    assert all(stage["relative"] <= 1e-5 for stage in proof["stages"].values())
    assert proof["provenance"]["branch"] == "online"
    assert {entry.name for entry in out.parent.iterdir()} == {f"mec{suffix}", f"mec{suffix}.json"}


@pytest.mark.parametrize(
    ("target", "suffix"),
    [
        pytest.param("detectron2", ".pkl", marks=[pytest.mark.detectron2, *FRAMEWORK_WARNINGS]),
        pytest.param("mmcv", ".pth", marks=[pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]),
    ],
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
def test_a_file_with_a_lost_tensor_fails_the_proof_and_leaves_nothing(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transfer.backbone import convert as convert_module

    def write_without_one(backbone: Backbone, path: Path) -> None:
        write_detectron2(backbone, path)
        content = pickle.loads(path.read_bytes())
        content["model"]["res4.0.convX.weight"] = content["model"].pop("res4.0.conv1.weight")
        path.write_bytes(pickle.dumps(content))

    broken = convert_module.Target(".pkl", write_without_one, "transfer.detect.backbone")
    monkeypatch.setitem(convert_module.TARGETS, "detectron2", broken)
    with pytest.raises(ValueError, match=r"res4\.0\.conv1\.weight"):
        convert(backbone, tmp_path / "out" / "x.pkl", "detectron2")
    assert not list((tmp_path / "out").iterdir())


def test_wrong_suffix_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=r"detectron2 reads .pkl files"):
        convert(backbone, tmp_path / "x.pth", "detectron2")


@pytest.mark.detectron2
@pytest.mark.mmtrack
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:ImportWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_cifar_stem_is_refused_by_both(tmp_path: Path) -> None:
    info = BackboneInfo("mec", "resnet18-cifar", "cifar10", "1", "online", "", "", "")
    cifar = Backbone(info, empty_resnet("resnet18-cifar").state_dict(), "", Path())
    for target, suffix in (("detectron2", ".pkl"), ("mmcv", ".pth")):
        with pytest.raises(ValueError, match=r"stem|7x7"):
            convert(cifar, tmp_path / f"x{suffix}", target)
    assert not list(tmp_path.iterdir())
