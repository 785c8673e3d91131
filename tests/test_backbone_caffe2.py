"""The supervised baselines: detectron2's own ResNet-50 out of Caffe2's names, and torchvision's.

The network of such a file, by way of the contract, is the one that detectron2 makes of the file itself.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import with_statistics
from detect_scene import DETECTRON2
from layouts import FIXTURES, backbone_state
from layouts_libraries import caffe2_blobs
from lint_scene import findings_of, names, settings, write_moco
from torch import Tensor, nn
from torchvision.models import resnet50

from transfer.__main__ import main
from transfer.backbone.architecture import STAGES, empty_resnet, stage_features, stride_in_1x1
from transfer.backbone.contract import Backbone, build_resnet, read_backbone
from transfer.backbone.convert import convert
from transfer.backbone.load import load_source, write_random
from transfer.backbone.naming import CAFFE2, inverse, rename
from transfer.backbone.targets import write_detectron2, write_mmcv
from transfer.backbone.verify import compare_features

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
MMTRACK = [
    pytest.mark.mmtrack,
    pytest.mark.filterwarnings("ignore:On January 1, 2023, MMCV will release:UserWarning"),  # on import
    pytest.mark.filterwarnings("ignore:.*MultiScaleDeformableAttention.*:ImportWarning"),
    pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning"),
]


def marked(marks: list[pytest.MarkDecorator]) -> Callable[[Any], Any]:
    """Several marks as one decorator."""
    return lambda test: reduce(lambda done, mark: mark(done), marks, test)


@pytest.fixture(scope="module")
def msra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FIXTURES["caffe2"].write(tmp_path_factory.mktemp("msra"), "resnet50")


@pytest.fixture(scope="module")
def backbone(msra: Path) -> Backbone:
    return load_source(msra)


def pickled(path: Path, model: dict[str, Any], **around: Any) -> Path:
    path.write_bytes(
        pickle.dumps({"model": model, "__author__": "Caffe2", "matching_heuristics": True, **around})
    )
    return path


def features_of(backbone: Backbone) -> dict[str, Tensor]:
    with torch.no_grad():
        return stage_features(build_resnet(backbone), IMAGES)


# -- The file


def test_the_header_says_whose_network_it_is_and_how_pixels_are_fed(backbone: Backbone) -> None:
    info = backbone.info
    assert (info.method, info.arch, info.layout) == ("supervised", "resnet50-caffe", "caffe2")
    assert info.pixel_order == "BGR"
    assert [255 * value for value in info.std()] == [1.0, 1.0, 1.0]
    assert [255 * value for value in info.mean()] == pytest.approx([103.53, 116.28, 123.675], abs=1e-12)


def test_a_pickle_of_python_2_is_the_same_backbone(msra: Path, backbone: Backbone, tmp_path: Path) -> None:
    """Text and bytes are one type there, so names and arrays come as 8-bit strings."""
    (tmp_path / "R-50.pkl").write_bytes(as_python_2(pickle.loads(msra.read_bytes())))
    again = pickle.loads((tmp_path / "R-50.pkl").read_bytes(), encoding="latin1")  # as detectron2 reads it
    assert np.array_equal(again["model"]["conv1_w"], caffe2_blobs("resnet50")["conv1_w"])
    found = load_source(tmp_path / "R-50.pkl")
    assert replace(found.info, source_sha256="") == replace(backbone.info, source_sha256="")
    assert all(torch.equal(found.state[key], backbone.state[key]) for key in backbone.state)


def as_python_2(content: object) -> bytes:
    """A pickle of protocol 2 in which every text and every byte string is BINSTRING."""

    def save_string(pickler: Any, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        pickler.write(b"T" + len(data).to_bytes(4, "little") + data)
        pickler.memoize(value)

    file = io.BytesIO()
    pickler = pickle._Pickler(file, 2)
    pickler.dispatch = {**pickler.dispatch, str: save_string, bytes: save_string}
    pickler.dump(content)
    return file.getvalue()


@pytest.mark.parametrize(
    "name", ["pred_w", "pred_b", "conv1_w_momentum", "res2_0_branch2a_bn_gamma_momentum"]
)
def test_what_belongs_to_no_backbone_is_left_out(name: str, backbone: Backbone, tmp_path: Path) -> None:
    blobs = caffe2_blobs("resnet50") | {name: np.ones(64, np.float32)}
    found = load_source(pickled(tmp_path / "R-50.pkl", blobs))
    assert found.origin is not None
    assert found.origin.num_beside == 4  # with conv1_b, fc1000_w and fc1000_b
    assert all(torch.equal(found.state[key], backbone.state[key]) for key in backbone.state)


@pytest.mark.parametrize("name", ["fc1001_w", "fc1000_ww", "conv1_bn_gamma", "res2_0_branch2a_b", "xconv1_b"])
def test_only_known_names_are_left_out(name: str, tmp_path: Path) -> None:
    blobs = caffe2_blobs("resnet50") | {name: np.ones(64, np.float32)}
    with pytest.raises(ValueError, match=rf"1 tensors belong to no known part of it, first 'model/{name}'"):
        load_source(pickled(tmp_path / "R-50.pkl", blobs))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b.pop("res4_2_branch2b_w"), "missing layer3.2.conv2.weight"),
        (lambda b: b.pop("res3_0_branch1_bn_running_var"), "missing layer2.0.downsample.1.running_var"),
        (lambda b: b.update(res_conv1_bn_beta=np.ones(3, np.float32)), "bn1.bias: expected shape"),
        (lambda b: b.update(conv1_w=b["conv1_w"].astype(np.float64)), "expected float32 weights"),
        (lambda b: b["res_conv1_bn_beta"].fill(np.nan), "bn1.bias: holds NaN"),
        (lambda b: [b[k].fill(0) for k in b if k.endswith("running_mean")], "are an initialisation"),
    ],
)
def test_a_damaged_file_is_refused(
    damage: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    blobs = {key: value.copy() for key, value in caffe2_blobs("resnet50").items()}
    damage(blobs)
    with pytest.raises(ValueError, match=message):
        load_source(pickled(tmp_path / "R-50.pkl", blobs))


@pytest.mark.parametrize("container", ["model", "blobs", ""])
def test_detectrons_folded_norms_are_refused_with_the_way_out(container: str, tmp_path: Path) -> None:
    """Detectron's own R-50.pkl: a scale and a shift for each norm, a bias for each convolution."""
    folded: dict[str, Any] = {}
    for key, value in caffe2_blobs("resnet50").items():
        if "running" not in key:
            folded[key.replace("bn_gamma", "bn_s").replace("bn_beta", "bn_b")] = value
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({container: folded} if container else folded))
    with pytest.raises(ValueError, match=r"without statistics: .*res_conv1_bn_gamma.*detectron2://Image"):
        load_source(tmp_path / "R-50.pkl")


def test_a_network_without_a_caffe_twin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"resnet18 with the stride in its 1x1 .* supported: resnet50-caffe"):
        load_source(FIXTURES["caffe2"].write(tmp_path, "resnet18"))
    assert stride_in_1x1("resnet101") == "resnet101-caffe"


@pytest.mark.parametrize("arch", ["resnet50", "resnet101"])
def test_every_name_goes_there_and_back(arch: str) -> None:
    state = {key: value for key, value in backbone_state(arch, 0).items() if not key.endswith("tracked")}
    renamed = rename(state, CAFFE2)
    back = rename(renamed, inverse(CAFFE2))
    assert list(back) == list(state)
    assert renamed.keys() == caffe2_blobs(arch).keys() - {"conv1_b", "fc1000_w", "fc1000_b"}


# -- The network


def test_the_stride_moves_into_the_first_convolution_and_nothing_else() -> None:
    plain, moved = empty_resnet("resnet50"), empty_resnet("resnet50-caffe")
    changed = {}
    for (name, one), two in zip(plain.named_modules(), moved.modules(), strict=True):
        if isinstance(one, nn.Conv2d) and one.stride != two.stride:
            changed[name] = (one.stride, two.stride)
        assert type(one) is type(two)
    expected = {}
    for layer in (2, 3, 4):
        expected[f"layer{layer}.0.conv1"] = ((1, 1), (2, 2))
        expected[f"layer{layer}.0.conv2"] = ((2, 2), (1, 1))
    assert changed == expected


def detectron2_features(path: Path, detector: str, **resnets: object) -> dict[str, Tensor]:
    """Stage features of a detector with detectron2's own defaults, which are for this very file."""
    from detectron2 import model_zoo
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    cfg = model_zoo.get_config(f"Base-RCNN-{detector}.yaml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = cfg.MODEL.FPN.OUT_CHANNELS = 16
    if detector == "C4":
        cfg.MODEL.RESNETS.OUT_FEATURES = list(STAGES[:3])
    cfg.merge_from_list([part for key, value in resnets.items() for part in (f"MODEL.RESNETS.{key}", value)])
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(str(path))
    with torch.no_grad():
        if detector == "FPN":
            return dict(model.backbone.bottom_up(IMAGES))
        found = dict(model.backbone(IMAGES))
        return {**found, "res5": model.roi_heads.res5(found["res4"])}


@pytest.mark.parametrize("norm", [pytest.param(norm, marks=DETECTRON2) for norm in ("FrozenBN", "BN")])
@pytest.mark.parametrize("detector", ["FPN", "C4"])
def test_it_is_the_network_that_detectron2_makes_of_the_file(
    msra: Path, backbone: Backbone, tmp_path: Path, detector: str, norm: str
) -> None:
    from transfer.detect.backbone import features

    theirs = detectron2_features(msra, detector, NORM=norm)
    compare_features(theirs, features_of(backbone))  # raises beyond 1e-5
    write_detectron2(backbone, tmp_path / "ours.pkl")
    through_contract = features(tmp_path / "ours.pkl", backbone.info, IMAGES, detector.lower())
    assert all(torch.equal(through_contract[stage], theirs[stage]) for stage in STAGES)


@marked(DETECTRON2)
def test_the_comparison_sees_the_stride_in_the_3x3(msra: Path, backbone: Backbone) -> None:
    wrong = detectron2_features(msra, "FPN", STRIDE_IN_1X1=False)
    ours = features_of(backbone)
    torch.testing.assert_close(wrong["res2"], ours["res2"], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="res3: features differ"):
        compare_features(ours, wrong)
    plain = features_of(replace(backbone, info=replace(backbone.info, arch="resnet50")))
    with pytest.raises(ValueError, match="res3: features differ"):
        compare_features(plain, ours)
    compare_features(plain, wrong)  # it is the network that the wrong setting makes


@marked(DETECTRON2)
def test_what_the_file_asks_for_are_detectron2s_defaults(backbone: Backbone, tmp_path: Path) -> None:
    from detectron2.config import get_cfg

    from transfer.detect.backbone import bind

    bound, default = get_cfg(), get_cfg()
    bound.INPUT.FORMAT, bound.MODEL.RESNETS.STRIDE_IN_1X1 = "RGB", False
    bind(bound, backbone.info, tmp_path / "ours.pkl")
    assert bound.MODEL.PIXEL_STD == default.MODEL.PIXEL_STD == [1.0, 1.0, 1.0]
    assert pytest.approx(default.MODEL.PIXEL_MEAN, abs=1e-12) == bound.MODEL.PIXEL_MEAN
    assert bound.MODEL.RESNETS == default.MODEL.RESNETS
    assert (bound.INPUT.FORMAT, default.INPUT.FORMAT) == ("BGR", "BGR")
    bind(bound, replace(backbone.info, arch="resnet50"), tmp_path / "ours.pkl")
    assert bound.MODEL.RESNETS.STRIDE_IN_1X1 is False  # the control


@marked(DETECTRON2)
def test_the_lint_expects_the_stride_and_the_pixels_of_the_weights(
    backbone: Backbone, tmp_path: Path
) -> None:
    """MoCo's configuration of the supervised baseline keeps detectron2's defaults, its overlay does not."""
    over = write_moco(tmp_path)
    header = {name: getattr(backbone.info, name) for name in ("pixel_order", "pixel_mean", "pixel_std")}
    classic = {"channel-order", "pixel-mean", "pixel-std", "stride-in-1x1"}
    assert findings_of(tmp_path / "pascal_voc_R_50_C4_24k.yaml", "mec.pkl", "resnet50-caffe", **header) == []
    assert set(names(findings_of(over, "mec.pkl", "resnet50-caffe", **header))) == classic
    assert findings_of(over, "mec.pkl") == []
    lazy = tmp_path / "lazy.py"
    lazy.write_text(
        "from detectron2.model_zoo import get_config\n"
        "cfg = get_config('COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.py')\n"
        "model, train, dataloader = cfg.model, cfg.train, cfg.dataloader\n"
        "optimizer, lr_multiplier = cfg.optimizer, cfg.lr_multiplier\n"
    )
    assert not classic & set(names(findings_of(lazy, "mec.pkl", "resnet50-caffe", **header)))
    assert classic <= set(names(findings_of(lazy, "mec.pkl")))


@marked(MMTRACK)
def test_the_lint_expects_mmdets_caffe_style_of_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "tracker.py"
    for style, arch, expected in (
        ("caffe", "resnet50-caffe", {}),
        ("pytorch", "resnet50-caffe", {"model.detector.backbone.style": "pytorch"}),
        ("caffe", "resnet50", {"model.detector.backbone.style": "caffe"}),
        ("pytorch", "resnet50", {}),
    ):
        backbone = f"dict(type='ResNet', depth=50, style={style!r})"
        path.write_text(f"model = dict(type='DeepSORT', detector=dict(backbone={backbone}))\n")
        found = findings_of(path, "mec.pth", arch)
        assert settings([one for one in found if one.name == "stride-in-1x1"]) == expected


@marked(MMTRACK)
def test_mmdets_pytorch_style_is_another_network(backbone: Backbone, tmp_path: Path) -> None:
    from transfer.track.mm.backbone import features, image_norm, mmdet_resnet

    assert image_norm(backbone.info) == {
        "mean": pytest.approx([103.53, 116.28, 123.675], abs=1e-12),
        "std": [1.0, 1.0, 1.0],
        "to_rgb": False,
    }
    assert mmdet_resnet("resnet50-caffe") == {"type": "ResNet", "depth": 50, "style": "caffe"}
    write_mmcv(backbone, tmp_path / "ours.pth")
    compare_features(features_of(backbone), features(tmp_path / "ours.pth", backbone.info, IMAGES))
    wrong = features(tmp_path / "ours.pth", replace(backbone.info, arch="resnet50"), IMAGES)
    with pytest.raises(ValueError, match="res3: features differ"):
        compare_features(features_of(backbone), wrong)


# -- On its way out and back


@pytest.mark.parametrize(("target", "suffix"), [("torchvision", ".pth"), ("timm", ".safetensors")])
def test_a_framework_without_it_is_refused_by_name(
    msra: Path, tmp_path: Path, target: str, suffix: str
) -> None:
    with pytest.raises(
        ValueError, match=rf"{target} has no resnet50-caffe: .* convert for detectron2 or mmcv"
    ):
        convert(msra, tmp_path / f"out{suffix}", target)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_a_converted_file_still_says_which_network_it_is(
    backbone: Backbone, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"ours{suffix}"
    write_detectron2(backbone, path)
    back = load_source(path)
    assert (back.info.arch, back.info.method, back.info.layout) == (
        "resnet50-caffe",
        "supervised",
        "detectron2",
    )
    for name in ("pixel_order", "pixel_mean", "pixel_std"):
        assert getattr(back.info, name) == getattr(backbone.info, name)
    assert all(torch.equal(back.state[key], backbone.state[key]) for key in backbone.state)


def test_a_file_in_detectron2s_names_that_does_not_say_is_taken_as_torchvisions(tmp_path: Path) -> None:
    note = "where bottlenecks stride is not in the file, taken as torchvision's: in the 3x3"
    for arch, noted in (("resnet50", True), ("resnet18", False)):
        found = load_source(FIXTURES["detectron2"].write(tmp_path, arch))
        assert found.info.arch == arch
        assert found.origin is not None
        assert (note in found.origin.changes) is noted


def test_a_claim_of_another_network_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    write_detectron2(backbone, tmp_path / "ours.pkl")
    content = pickle.loads((tmp_path / "ours.pkl").read_bytes())
    content["provenance"]["arch"] = "resnet101-caffe"
    (tmp_path / "ours.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"says provenance/arch 'resnet101-caffe', the shapes .* 'resnet50'"):
        load_source(tmp_path / "ours.pkl")


def test_a_random_twin_of_it_exists(tmp_path: Path) -> None:
    write_random(tmp_path / "a.safetensors", "resnet50-caffe", seed=0)
    write_random(tmp_path / "b.safetensors", "resnet50", seed=0)
    one, other = read_backbone(tmp_path / "a.safetensors"), read_backbone(tmp_path / "b.safetensors")
    assert all(torch.equal(one.state[key], other.state[key]) for key in other.state)
    assert not torch.equal(features_of(one)["res5"], features_of(other)["res5"])


# -- By the command line


def imported(checkpoint: Path, out: Path, *said: str) -> Backbone:
    assert main(["import", str(checkpoint), "--out", str(out), *said]) == 0
    return read_backbone(out)


def test_the_supervised_baselines_are_imported_by_one_command_each(msra: Path, tmp_path: Path) -> None:
    data = ("--pretrain-data", "imagenet-1k")
    theirs = imported(msra, tmp_path / "msra.safetensors", *data)
    assert (theirs.info.method, theirs.info.arch, theirs.info.pretrain_data) == (
        "supervised",
        "resnet50-caffe",
        "imagenet-1k",
    )
    model = with_statistics(resnet50(weights=None))
    torch.save(model.state_dict(), tmp_path / "resnet50-0676ba61.pth")
    said = (*data, "--method", "supervised", "--pretrain-epochs", "90")
    plain = imported(tmp_path / "resnet50-0676ba61.pth", tmp_path / "plain.safetensors", *said)
    info = plain.info
    assert (info.method, info.arch, info.pretrain_epochs, info.branch, info.layout) == (
        "supervised",
        "resnet50",
        "90",
        "",
        "torchvision",
    )
    expected = {key: value for key, value in model.state_dict().items() if not key.startswith("fc.")}
    assert plain.state.keys() == expected.keys()
    assert all(torch.equal(plain.state[key], expected[key]) for key in expected)
    unsaid = imported(tmp_path / "resnet50-0676ba61.pth", tmp_path / "unsaid.safetensors")
    assert unsaid.info.method == "unknown"  # a bare state dict is nobody's until someone says whose
