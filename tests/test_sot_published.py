"""SiamRPN++ as mmtrack publishes it: key by key, and with the backbone in mmtrack's own SOTResNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sot_scene import FRAMEWORK_WARNINGS, write_sequence
from torch.nn import functional as F
from torchvision.models import resnet50

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.track.mm.sot import build, run
from transfer.track.mm.sot_config import Config, resolve, stays_frozen
from transfer.track.mm.sot_guards import register_loss_guard
from transfer.track.mm.sot_sequences import register_dataset

pytestmark = [pytest.mark.mmtrack, pytest.mark.usefixtures("trusted"), *FRAMEWORK_WARNINGS]
CONFIGS = Path(__file__).parents[1] / "configs" / "track" / "mmtrack"
STEM = "siamese_rpn_r50_20e_"
# What may differ from mmtrack's files, and how; `siamese_rpn_r50_20e_lasot.py` says why.
OURS = {
    "pairs_per_batch": "more",
    "img_norm_cfg.mean": "more",
    "img_norm_cfg.std": "more",
    "img_norm_cfg.to_rgb": "more",
    "custom_hooks": "more",
    "data.test.layout": "more",
    "data.test.benchmark": "more",
    "data.test.type": "other",
    "data.test.ann_file": "other",
    "data.test.img_prefix": "other",
    "seed": "less",  # the task's
    "work_dir": "less",
    "dist_params.backend": "less",
    "checkpoint_config.interval": "less",
    "data.persistent_workers": "less",
    "model.backbone.init_cfg.type": "less",
    "model.backbone.init_cfg.checkpoint": "less",
}


def packaged(name: str) -> Path:
    import mmtrack

    return Path(mmtrack.__file__).parent / ".mim" / "configs" / "sot" / "siamese_rpn" / name


def make_backbone(arch: str = "resnet50") -> Backbone:
    torch.manual_seed(0)
    network = empty_resnet(arch)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(std=0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    info = BackboneInfo("random", arch, "none", "random", "", "", "", "test")
    return Backbone(info, dict(network.state_dict()), "0" * 64, Path("none"))


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """Leaves by dotted path; steps of a pipeline by their type, since normalisation shifts their numbers."""
    if isinstance(node, list | tuple) and node and all(hasattr(entry, "items") for entry in node):
        names = [entry.get("type", str(index)) for index, entry in enumerate(node)]
        numbered = [f"{name}.{names[:i].count(name)}" for i, name in enumerate(names)]
        node = dict(zip(numbered, node, strict=True))
    if not hasattr(node, "items"):
        return {path: list(node) if isinstance(node, list | tuple) else node}
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        if path == "data" and key == "val":
            continue  # the test set over again
        leaves |= flatten(value, f"{path}.{key}" if path else str(key))
    return leaves


@pytest.mark.parametrize("name", ["lasot", "otb100"])
def test_every_key_is_mmtracks_or_named_here(name: str) -> None:
    from mmcv import Config as MmcvConfig

    theirs = flatten(MmcvConfig.fromfile(str(packaged(f"{STEM}{name}.py")))._cfg_dict)
    ours = flatten(MmcvConfig.fromfile(str(CONFIGS / f"{STEM}{name}.py"))._cfg_dict)
    assert len(theirs) > 150  # else the comparison compares little
    differences = {}
    for key in theirs.keys() | ours.keys():
        if key not in theirs:
            differences[key] = "more"
        elif key not in ours:
            differences[key] = "less"
        elif theirs[key] != ours[key]:
            differences[key] = "other"
    unexplained = {
        key: kind
        for key, kind in differences.items()
        if OURS.get(key.replace("custom_hooks.FiniteLoss.0.type", "custom_hooks")) != kind
        and "Normalize.0." not in key  # the pixels, in every pipeline
    }
    assert not unexplained
    assert "Normalize.0." in " ".join(differences)  # and they are there


@pytest.mark.parametrize("name", ["lasot", "otb100"])
@pytest.mark.parametrize(
    ("variant", "frozen"), [("", False), ("_frozen", True), ("_syncbn", False)], ids=lambda value: str(value)
)
def test_variants_differ_in_the_backbones_training_only(name: str, variant: str, frozen: bool) -> None:
    from mmcv import Config as MmcvConfig

    base = flatten(MmcvConfig.fromfile(str(CONFIGS / f"{STEM}{name}.py"))._cfg_dict)
    other = flatten(MmcvConfig.fromfile(str(CONFIGS / f"{STEM}{name}{variant}.py"))._cfg_dict)
    unlike = {key for key in base.keys() | other.keys() if base.get(key) != other.get(key)}
    assert all(key.startswith(("model.backbone.", "optimizer_config.")) for key in unlike)
    assert bool(unlike) == bool(variant)
    assert other["optimizer_config.grad_clip.max_norm"] == 10.0
    assert stays_frozen(MmcvConfig.fromfile(str(CONFIGS / f"{STEM}{name}{variant}.py"))) == frozen


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("siamese_rpn_*.py")), ids=lambda path: path.stem)
def test_no_address_of_weights_is_left(path: Path, tmp_path: Path) -> None:
    from mmcv import Config as MmcvConfig

    theirs = flatten(MmcvConfig.fromfile(str(packaged(f"{STEM}lasot.py")))._cfg_dict)
    assert any("://" in str(value) for value in theirs.values())  # the search finds what it looks for
    ours = flatten(MmcvConfig.fromfile(str(path))._cfg_dict)
    assert not [key for key, value in ours.items() if "://" in str(value)]


def small(folder: Path, name: str = "lasot", epochs: int = 1, **top: Any) -> Path:
    """The published recipe on small crops, with two pairs a batch and one batch an epoch of a tiny set."""
    recipe = folder / "recipe.py"
    source = {
        "_delete_": True,
        "type": "SequenceFolder",
        "img_prefix": str(folder),
        "ann_file": str(folder / "list.txt"),
    }
    text = (CONFIGS / "siamese_rpn_mini.py").read_text()
    lines = (
        f"_base_ = {str(CONFIGS / f'{STEM}{name}.py')!r}",
        "exemplar_size, search_size, crop_size = 63, 127, 255",
        "img_norm_cfg = dict(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], to_rgb=True)",
        text[text.index("train_pipeline = [") : text.index("test_pipeline")],
        f"total_epochs = {epochs}",
        "pairs_per_batch = 2",
        "model = dict(test_cfg=dict(exemplar_size=63, search_size=127),"
        " train_cfg=dict(rpn=dict(exemplar_size=63, search_size=127)))",
        f"source = {source!r}",
        "data = dict(samples_per_epoch=2, workers_per_gpu=0,"
        " train=dict(**source, split='train', pipeline=train_pipeline, test_mode=False),"
        f" test=dict(img_prefix={str(folder)!r}, ann_file={str(folder / 'list.txt')!r}, layout='otb'))",
        *(f"{key} = {value!r}" for key, value in top.items()),
    )
    recipe.write_text("\n".join(lines) + "\n")
    return recipe


def resolved(config: Config, backbone: Backbone, folder: Path) -> Any:
    register_dataset()
    register_loss_guard()
    return resolve(config, backbone.info, folder / "b.pth", folder / "work")


def siamese_features(state: dict[str, torch.Tensor], images: torch.Tensor) -> list[torch.Tensor]:
    """res3 to res5 of SiamRPN++'s ResNet-50, torchvision's with other strides, dilations and padding."""
    network = resnet50()
    network.load_state_dict({**network.state_dict(), **state})
    network.to(images.dtype).eval()
    network.conv1.padding = (0, 0)
    stages = (network.layer2, network.layer3, network.layer4)
    for stage, (stride, dilation) in zip(stages, ((2, 1), (1, 2), (1, 4)), strict=True):
        for number, block in enumerate(stage):
            first = number == 0
            block.conv2.stride = (stride, stride) if first else (1, 1)
            inner = dilation // 2 if first and dilation > 1 else dilation
            padding = 0 if first and stride == 2 else inner
            block.conv2.dilation, block.conv2.padding = (inner, inner), (padding, padding)
        # A 3x3 kernel that is zero around its centre, without padding at stride 2: the odd positions.
        stage[0].downsample[0].stride = (stride, stride)
    x = network.layer1(network.maxpool(F.relu(network.bn1(network.conv1(images)))))
    network.layer2[0].downsample[0].register_forward_pre_hook(
        lambda module, args: (args[0][..., 1:-1, 1:-1],)
    )
    features = []
    for stage in stages:
        x = stage(x)
        features.append(x)
    return features


def test_features_inside_the_built_tracker_are_the_backbones(tmp_path: Path) -> None:
    write_sequence(tmp_path, "A")
    backbone = make_backbone()
    config = Config("scene", "test", "val", str(small(tmp_path)))
    mm_config = resolved(config, backbone, tmp_path)
    model = build(backbone, mm_config, tmp_path / "b.pth").eval()
    model.double()
    images = torch.randn(1, 3, 127, 127, dtype=torch.float64)
    state = {
        key: value.double() if value.is_floating_point() else value for key, value in backbone.state.items()
    }
    with torch.no_grad():
        found = model.backbone(images)
        for ours, theirs in zip(found, siamese_features(state, images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        state["layer3.5.conv2.weight"] *= 1.01  # control: one tensor that did not arrive
        assert not torch.allclose(found[2], siamese_features(state, images)[2], rtol=1e-6, atol=1e-6)


def test_another_network_is_refused_with_the_recipe_that_takes_it(tmp_path: Path) -> None:
    config = Config("scene", "test", "val", str(CONFIGS / f"{STEM}lasot.py"))
    with pytest.raises(
        ValueError, match=r"SOTResNet is a resnet50 only, found resnet18; a recipe with mmdet"
    ):
        resolved(config, make_backbone("resnet18"), tmp_path)


def test_the_backbone_thaws_at_its_epoch_and_the_best_on_test_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sequence(tmp_path, "A")
    hook = {"backbone_start_train_epoch": 1}
    recipe = small(tmp_path, epochs=2, optimizer_config=hook, evaluation={"start": 1})
    config = Config("scene", "test", "val", str(recipe), select="best-test")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # mmcv waits between epochs
    backbone = make_backbone()
    rows = list(run(backbone, config, tmp_path / "out"))
    assert [row.selection for row in rows] == ["best-test"] * 3
    lines = (tmp_path / "out" / "selection.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["1", "2"]
    values = [float(line.split(",")[5]) for line in lines[1:]]
    assert rows[0].value == max(values)
    states = [
        torch.load(tmp_path / "out" / "mmtrack" / f"epoch_{epoch}.pth", weights_only=True)["state_dict"]
        for epoch in (1, 2)
    ]
    for key, changed in (("layer1.0.conv1", False), ("layer2.0.conv1", True), ("layer4.2.bn1", True)):
        first, second = (state[f"backbone.{key}.weight"] for state in states)
        assert torch.equal(first, backbone.state[f"{key}.weight"])  # frozen in the first epoch
        assert torch.equal(first, second) != changed


@pytest.mark.parametrize("start", [None, 0, 2])
def test_a_first_judged_epoch_that_is_none_is_refused(start: int | None, tmp_path: Path) -> None:
    write_sequence(tmp_path, "A")
    evaluation = None if start is None else {"start": start}
    recipe = small(tmp_path, evaluation=evaluation)
    config = Config("scene", "test", "val", str(recipe), select="best-test")
    with pytest.raises(ValueError, match=r"needs evaluation\.start.*from 1 to total_epochs 1; found"):
        list(run(make_backbone(), config, tmp_path / "out"))


def test_another_selection_is_refused(tmp_path: Path) -> None:
    config = Config("scene", "test", "val", str(CONFIGS / f"{STEM}lasot.py"), select="best")
    with pytest.raises(ValueError, match="select: expected one of last, best-test, found 'best'"):
        resolved(config, make_backbone(), tmp_path)
