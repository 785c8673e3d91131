"""tools/lint_config.py as a user runs it: real weights, exit status, one-line refusals, and the proof that
what ``--fix`` writes carries the weights inside the frameworks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from detect_scene import CHECKOUT, DETECTRON2, make_backbone
from lint_scene import write_moco
from sot_scene import FRAMEWORK_WARNINGS

from transfer.backbone.contract import Backbone
from transfer.backbone.targets import write_detectron2, write_mmcv, write_sot
from transfer.lint import main

pytestmark = [*DETECTRON2, pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]
FPN = """
MODEL:
  WEIGHTS: {weights}
  BACKBONE: {{NAME: build_resnet_fpn_backbone}}
  ROI_HEADS: {{NAME: StandardROIHeads}}
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64}}
"""
SIAMRPN = ("sot", "siamese_rpn", "siamese_rpn_r50_20e_lasot.py")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 as contract file and as detectron2's, another one as detectron2's."""
    folder = tmp_path_factory.mktemp("small")
    write_detectron2(make_backbone(folder / "a.safetensors", "resnet18"), folder / "a.pkl")
    write_mmcv(make_backbone(folder / "a.safetensors", "resnet18"), folder / "a.pth")
    write_detectron2(make_backbone(folder / "b.safetensors", "resnet18", seed=1), folder / "b.pkl")
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("large") / "mec.safetensors", "resnet50")


def fpn(folder: Path, weights: Path | str, extra: str = "") -> Path:
    return write_moco(folder, FPN.format(weights=weights) + extra)


def test_a_clean_configuration_exits_0(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(small / "a.pkl"), str(fpn(tmp_path, small / "a.pkl"))]) == 0
    assert "no findings" in capsys.readouterr().out


def test_weights_are_compared_by_content_not_by_name(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(small / "a.pkl", tmp_path / "elsewhere.pkl")
    config = fpn(tmp_path, tmp_path / "elsewhere.pkl")
    assert main([str(small / "a.safetensors"), str(config)]) == 0
    shutil.copy(small / "b.pkl", tmp_path / "elsewhere.pkl")
    assert main([str(small / "a.safetensors"), str(config)]) == 1
    assert "other-weights: MODEL.WEIGHTS" in (out := capsys.readouterr().out)
    assert re.search(r"its (bn1|conv1)\.\w+ is not that of", out)


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("absent.pkl", "no such file; write it with `tools/convert_to_d2.py"),
        ("a.safetensors", "not a file for this framework, its layout is the contract"),
        ("a.pth", "not a file for this framework, its layout is openmmlab"),
        ("a.txt", "not readable as a backbone"),
    ],
)
def test_a_file_that_detectron2_would_not_load_is_named_with_the_next_step(
    named: str, reason: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "a.txt").write_text("no weights\n")
    assert main([str(small / "a.pkl"), str(fpn(tmp_path, small / named))]) == 1
    assert reason in capsys.readouterr().out


def test_errors_exit_1_warnings_and_allowed_ones_0(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = small / "a.pkl"
    frozen = str(fpn(tmp_path, weights, "SOLVER: {BASE_LR: 0.03}\n").resolve())
    assert main([str(weights), frozen]) == 0
    assert "warning learning-rate: SOLVER.BASE_LR=0.03, expected 0.02" in capsys.readouterr().out
    frozen = str(fpn(tmp_path, weights, "INPUT: {FORMAT: BGR}\n"))
    assert main([str(weights), frozen]) == 1
    assert "error   channel-order: INPUT.FORMAT=BGR, expected RGB" in capsys.readouterr().out
    for exception in ("channel-order", "channel-order:INPUT.FORMAT"):
        assert main([str(weights), frozen, "--allow", exception]) == 0
        assert "allowed channel-order: INPUT.FORMAT=BGR" in capsys.readouterr().out


def test_fix_says_what_takes_a_person(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(fpn(tmp_path, "https://host/r18.pkl", "INPUT: {FORMAT: BGR}\n"))
    lonely = tmp_path / "lonely.safetensors"
    shutil.copy(small / "a.safetensors", lonely)
    out = tmp_path / "fixed.yaml"
    assert main([str(lonely), config, "--fix", str(out)]) == 1
    told = capsys.readouterr().out.partition("written, what is left takes a person:")[2]
    assert f"tools/convert_to_d2.py {lonely} {lonely.with_suffix('.pkl')}" in told
    assert "channel-order" not in told
    shutil.copy(small / "a.pkl", lonely.with_suffix(".pkl"))
    assert main([str(lonely), str(out)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.pkl", "{config}"], r"absent.pkl: no such checkpoint file"),
        (["{weights}", "absent.yaml"], "absent.yaml: no such configuration"),
        (["{weights}", "{folder}/a.json"], "expected a configuration in .yaml, .yml or .py, found .json"),
        (["{weights}", "{folder}/broken.yaml"], "broken.yaml: expected plain YAML"),
        (["{weights}", "{folder}/broken.py"], "broken.py: not Python"),
        (
            ["{weights}", "{folder}/raises.py", "--trust-config"],
            "raises.py: cannot be read .*ZeroDivisionError",
        ),
        (["{weights}", "{folder}/exits.py", "--trust-config"], "exits.py: cannot be read .*SystemExit"),
        (["{weights}", "{folder}/list.yaml"], "list.yaml: cannot be read"),
        (
            ["{weights}", "{folder}/empty.py", "--trust-config"],
            "empty.py: cannot be read .*expected an mmcv configuration",
        ),
        (["{weights}", "{folder}/unknown.yaml"], "unknown.yaml: cannot be read .*MODEL.RESNETS.STRIDE"),
        (["{folder}/broken.py", "{config}"], "broken.py: "),
        (
            ["{weights}", "{config}", "--allow", "precise-bn"],
            "allow precise-bn has no effect: .* found channel-order",
        ),
        (["{weights}", "{config}", "--allow", "no-such-name"], "allow no-such-name has no effect"),
        (["{weights}", "{config}", "--gpus", "4"], "--gpus 4: .*detectron2's batch is over all devices"),
        (
            ["{weights}", "{config}", "--fix", "{folder}/out.py"],
            "out.py: this kind is written as .yaml or .yml",
        ),
        (["{weights}", "{config}", "--fix", "{config}"], "is the configuration itself"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exits_2(
    arguments: list[str], message: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = fpn(tmp_path, small / "a.pkl", "INPUT: {FORMAT: BGR}\n")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "raises.py").write_text("model = 1 / 0")
    (tmp_path / "exits.py").write_text("raise SystemExit(0)")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "unknown.yaml").write_text("MODEL: {RESNETS: {STRIDE: 1}}\nVERSION: 2\n")
    places = {"weights": small / "a.pkl", "config": config, "folder": tmp_path}
    before = sorted(tmp_path.iterdir())
    assert main([argument.format(**places) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"^lint_config: .*{message}", line)
    assert sorted(tmp_path.iterdir()) == before


def test_the_tool_starts_and_warns_of_what_it_executes() -> None:
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "tools" / "lint_config.py"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "a .py is Python and is executed" in done.stdout
    assert "python tools/lint_config.py mec.pkl" in done.stdout


def test_a_fixed_c4_configuration_carries_the_weights_in_detectron2(large: Backbone, tmp_path: Path) -> None:
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    from transfer.detect.backbone import check_arrival

    weights = tmp_path / "mec.pkl"
    write_detectron2(large, weights)
    defaults = tmp_path / "defaults.yaml"
    defaults.write_text("VERSION: 2\n")
    assert main([str(weights), str(defaults), "--fix", str(tmp_path / "fixed.yaml")]) == 0
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "fixed.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    check_arrival(model, weights)
    assert all(parameter.requires_grad for parameter in model.backbone.parameters())
    assert model.backbone.res3[0].conv1.stride == (1, 1)


@pytest.mark.parametrize(("write", "kind"), [(write_mmcv, "ResNet"), (write_sot, "SOTResNet")])
def test_a_fixed_siamrpn_carries_the_weights_in_mmtrack(
    write: object, kind: str, large: Backbone, tmp_path: Path
) -> None:
    """The file at hand decides between mmdet's ResNet and mmtrack's SOTResNet with its 3x3 shortcuts."""
    import mmtrack
    from mmcv import Config
    from mmtrack.models import build_model

    from transfer.track.mm.backbone import assert_loaded, quiet, read_mmcv_state

    weights = tmp_path / "mec.pth"
    write(large, weights)  # type: ignore[operator]
    packaged = Path(mmtrack.__file__).parent.joinpath(".mim", "configs", *SIAMRPN)
    assert main([str(weights), str(packaged)]) == 1
    assert main([str(weights), str(packaged), "--fix", str(tmp_path / "fixed.py")]) == 0
    config = Config.fromfile(str(tmp_path / "fixed.py"))
    assert config.model.backbone.type == kind
    model = build_model(config.model)
    with quiet():
        model.init_weights()
    assert_loaded(model.backbone, read_mmcv_state(weights), "fixed")


def test_a_file_for_the_other_siamrpn_backbone_is_refused(
    large: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mmcv(large, tmp_path / "mec.pth")
    write_sot(large, tmp_path / "sot.pth")
    config = tmp_path / "config.py"
    config.write_text(
        "model = dict(type='SiamRPN', backbone=dict(type='SOTResNet', depth=50, init_cfg=dict("
        f"type='Pretrained', checkpoint={str(tmp_path / 'mec.pth')!r}, prefix='backbone.')))\n"
    )
    assert main([str(large.path), str(config), "--trust-config"]) == 1
    assert "its shortcuts are not those of SOTResNet" in capsys.readouterr().out
    config.write_text(config.read_text().replace("mec.pth", "sot.pth"))
    assert main([str(large.path), str(config), "--trust-config"]) == 0
