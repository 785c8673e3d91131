"""mmtrack's and mmdet's configurations against weights, starting from the ones mmtrack packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from lint_scene import findings_of, names, repaired, settings
from sot_scene import FRAMEWORK_WARNINGS

from transfer.findings import NAMES

pytestmark = [pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]
# A detector, a re-identification network and nothing that contradicts mec.pth.
TRACKER = """
norm = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
mec = dict(type="Pretrained", checkpoint="mec.pth", prefix="backbone.")
model = dict(
    type="DeepSORT",
    detector=dict(
        type="FasterRCNN",
        backbone=dict(
            type="ResNet", depth=50, out_indices=(0, 1, 2, 3), frozen_stages=-1, norm_eval=False,
            norm_cfg=dict(type="SyncBN", requires_grad=True), style="pytorch", init_cfg=mec,
        ),
        neck=dict(type="FPN", in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
        roi_head=dict(type="StandardRoIHead"),
    ),
    reid=dict(
        type="BaseReID",
        backbone=dict(type="ResNet", depth=50, out_indices=(3,), style="pytorch", init_cfg=mec),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearReIDHead", in_channels=2048),
    ),
    tracker=dict(type="SortTracker", reid=dict(img_norm_cfg=None)),
)
train = [dict(type="LoadImageFromFile"), dict(type="Normalize", **norm), dict(type="Pad", size_divisor=32)]
test = [dict(type="LoadImageFromFile"), dict(type="MultiScaleFlipAug", transforms=train[1:])]
data = dict(samples_per_gpu=2, train=dict(pipeline=train), test=dict(pipeline=test))
optimizer = dict(type="SGD", lr=0.02)
load_from = None
resume_from = None
"""
DETECTOR, REID = "model['detector']", "model['reid']"
MISTAKES = {
    "channel-order": "train[1]['to_rgb'] = False",
    "pixel-mean": "train[1]['mean'] = [103.53, 116.28, 123.675]",
    "pixel-std": "train[1]['std'] = [1.0, 1.0, 1.0]",
    "stride-in-1x1": f"{DETECTOR}['backbone']['style'] = 'caffe'",
    "frozen-stages": f"{DETECTOR}['backbone']['frozen_stages'] = 1",
    "norm-eval": f"del {DETECTOR}['backbone']['norm_eval']",  # mmdet's default
    "frozen-norm": f"{DETECTOR}['backbone']['norm_cfg']['requires_grad'] = False",
    "norm-type": f"{REID}['backbone']['norm_cfg'] = dict(type='GN', num_groups=32)",
    "depth": f"{REID}['backbone']['depth'] = 101",
    "width": f"{DETECTOR}['backbone']['base_channels'] = 32",
    "network": f"{DETECTOR}['backbone']['deep_stem'] = True",
    "weights-prefix": f"{DETECTOR}['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='mec.pth')",
    "no-weights": f"del {REID}['backbone']['init_cfg']",
    "learning-rate": "optimizer['lr'] = 0.01",
}
URLS = {
    "https://host/r50.pth": "{}['init_cfg'] = dict(type='Pretrained', checkpoint={!r})",
    "torchvision://resnet50": "{}['pretrained'] = {!r}",
    "open-mmlab://resnet50_v1c": "{}['init_cfg'] = dict(type='Pretrained', checkpoint={!r})",
}


def write(folder: Path, extra: str = "") -> Path:
    path = folder / "config.py"
    path.write_text(TRACKER + extra + "\n")
    return path


def packaged(*parts: str) -> Path:
    import mmtrack

    return Path(mmtrack.__file__).parent.joinpath(".mim", "configs", *parts)


def test_a_corrected_tracker_is_clean(tmp_path: Path) -> None:
    assert findings_of(write(tmp_path), "mec.pth") == []


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_alone_is_found_by_name_and_fixed(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, MISTAKES[name])
    assert names(findings_of(path, "mec.pth")) == [name]
    assert repaired(path, "mec.pth", tmp_path / "fixed.py") == []
    assert findings_of(tmp_path / "fixed.py", "mec.pth") == []


def test_all_mistakes_together_are_found_and_fixed(tmp_path: Path) -> None:
    path = write(tmp_path, "\n".join(MISTAKES.values()))
    assert names(findings_of(path, "mec.pth")) == sorted(MISTAKES)
    assert repaired(path, "mec.pth", tmp_path / "fixed.py") == []


PLACES = (
    "model",
    DETECTOR,
    f"{DETECTOR}['backbone']",
    f"{DETECTOR}['roi_head']",
    REID,
    f"{REID}['backbone']",
)


@pytest.mark.parametrize(
    ("url", "place"),
    [("https://host/r50.pth", place) for place in PLACES] + [(url, PLACES[2]) for url in list(URLS)[1:]],
)
def test_a_url_is_found_at_any_depth(url: str, place: str, tmp_path: Path) -> None:
    path = write(tmp_path, URLS[url].format(place, url))
    found = findings_of(path, "mec.pth")
    assert names(found) == ["pretrained-url"]
    (setting,) = {finding.setting for finding in found}
    where = place.replace("']['", ".").replace("['", ".").replace("']", "")
    assert setting.startswith(f"{where}.")
    left = repaired(path, "mec.pth", tmp_path / "fixed.py")
    assert names(left) == (["pretrained-url"] if "roi_head" in place else []), "it holds no backbone"


@pytest.mark.parametrize("key", ["load_from", "resume_from"])
@pytest.mark.parametrize(
    ("value", "name"), [("https://h/a.pth", "pretrained-url"), ("a.pth", "other-weights")]
)
def test_what_is_loaded_last_is_found(key: str, value: str, name: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"{key} = {value!r}")
    assert settings(findings_of(path, "mec.pth")) == {key: value}
    assert names(findings_of(path, "mec.pth")) == [name]
    assert repaired(path, "mec.pth", tmp_path / "fixed.py") == []


def test_a_checkpoint_of_the_detector_takes_the_backbones_place(tmp_path: Path) -> None:
    """mmcv leaves the children of a module with a Pretrained init_cfg alone."""
    path = write(tmp_path, f"{DETECTOR}['init_cfg'] = dict(type='Pretrained', checkpoint='epoch_4.pth')")
    assert settings(findings_of(path, "mec.pth")) == {"model.detector.init_cfg.checkpoint": "epoch_4.pth"}
    assert repaired(path, "mec.pth", tmp_path / "fixed.py") == []
    assert "epoch_4" not in (tmp_path / "fixed.py").read_text()


def test_siamrpn_with_its_url_is_found_and_fixed(tmp_path: Path) -> None:
    path = packaged("sot", "siamese_rpn", "siamese_rpn_r50_20e_lasot.py")
    found = findings_of(path, "mec.pth")
    # It feeds 0..255 BGR. It freezes the backbone, which is its published recipe and no finding.
    assert names(found) == ["channel-order", "pixel-mean", "pixel-std", "pretrained-url"]
    assert "model.backbone.init_cfg.checkpoint" in settings(found)
    assert repaired(path, "mec.pth", tmp_path / "fixed.py") == []
    text = (tmp_path / "fixed.py").read_text()
    assert "https://" not in text
    assert "frozen_stages=4" in text


def test_the_fixed_pipelines_of_siamrpn_normalise_in_mmtrack(tmp_path: Path) -> None:
    import numpy as np
    from mmcv import Config
    from mmdet.datasets.builder import PIPELINES
    from mmtrack.datasets import PIPELINES as SAME

    assert SAME is PIPELINES
    path = packaged("sot", "siamese_rpn", "siamese_rpn_r50_20e_lasot.py")
    repaired(path, "mec.pth", tmp_path / "fixed.py")
    config = Config.fromfile(str(tmp_path / "fixed.py"))
    steps = config.data.train.dataset_cfgs[1].pipeline
    position = [step["type"] for step in steps].index("SeqNormalize")
    assert [step["type"] for step in steps][position + 1] == "VideoCollect"
    pixels = np.zeros((1, 1, 3), np.float32) + np.array(
        [103.53, 116.28, 123.675], np.float32
    )  # the mean in BGR
    results = PIPELINES.build(steps[position])([{"img": pixels, "img_fields": ["img"]}])
    np.testing.assert_allclose(results[0]["img"], 0.0, atol=1e-5)
    inner = [step["type"] for step in config.data.test.pipeline[-1].transforms]
    assert inner == ["Normalize", "VideoCollect", "ImageToTensor"]


def test_deepsort_with_urls_in_detector_and_reid_is_found_and_fixed(tmp_path: Path) -> None:
    path = packaged("mot", "deepsort", "deepsort_faster-rcnn_fpn_4e_mot17-private-half.py")
    found = findings_of(path, "mec.pth")
    assert names(found) == ["frozen-stages", "norm-eval", "pretrained-url"]
    urls = {finding.setting for finding in found if finding.name == "pretrained-url"}
    assert urls == {f"model.{part}.init_cfg.checkpoint" for part in ("detector", "detector.backbone", "reid")}
    assert repaired(path, "mec.pth", tmp_path / "fixed.py") == []


def test_one_url_can_be_allowed_while_the_others_go(tmp_path: Path) -> None:
    path = packaged("mot", "deepsort", "deepsort_faster-rcnn_fpn_4e_mot17-private-half.py")
    allow = ["pretrained-url:model.reid.init_cfg.checkpoint"]
    left = repaired(path, "mec.pth", tmp_path / "fixed.py", allow)
    assert [f"{finding.name}:{finding.setting}" for finding in left] == allow


def test_a_caffe_style_c4_detector_is_found_in_both_its_parts(tmp_path: Path) -> None:
    base = packaged("_base_", "models", "faster_rcnn_r50_caffe_c4.py")
    path = tmp_path / "c4.py"
    path.write_text(f"_base_ = {str(base)!r}\nmodel = dict(type='DeepSORT')\n")
    found = findings_of(path, "mec.pth")
    parts = ("model.detector.backbone", "model.detector.roi_head.shared_head")
    for part in parts:
        assert settings(found)[f"{part}.style"] == "caffe"
        assert settings(found)[f"{part}.norm_eval"] is True
        assert settings(found)[f"{part}.norm_cfg.requires_grad"] is False
    assert settings(found)[f"{parts[1]}.init_cfg"] == "nothing", "res5 of the head starts from random numbers"
    assert names(repaired(path, "mec.pth", tmp_path / "fixed.py")) == ["extra-norm"]


def test_a_basic_network_gets_its_channels_or_says_that_it_cannot(tmp_path: Path) -> None:
    from mmcv import Config

    path = write(tmp_path)
    assert names(findings_of(path, "mec.pth", "resnet18")) == ["depth"]
    assert repaired(path, "mec.pth", tmp_path / "fixed.py", arch="resnet18") == []
    model = Config.fromfile(str(tmp_path / "fixed.py")).model
    assert model.detector.neck.in_channels == [64, 128, 256, 512]
    assert model.reid.head.in_channels == 512
    bare = write(tmp_path, f"{DETECTOR}.pop('neck')")
    left = repaired(bare, "mec.pth", tmp_path / "bare.py", arch="resnet18")
    assert [(finding.setting, finding.fix) for finding in left] == [("model.detector.backbone.depth", ())]


@pytest.mark.parametrize("arch", ["wide_resnet50_2", "resnet18-cifar"])
def test_a_network_that_mmdet_lacks_is_named(arch: str, tmp_path: Path) -> None:
    assert names(findings_of(write(tmp_path), "mec.pth", arch)) == ["network"]


def test_resnext_needs_its_class_groups_and_width(tmp_path: Path) -> None:
    found = findings_of(write(tmp_path), "mec.pth", "resnext50_32x4d")
    assert {finding.expected for finding in found} == {"ResNeXt"}
    extra = "".join(
        f"\n{part}['backbone'].update(type='ResNeXt', groups=32, base_width=8)" for part in (DETECTOR, REID)
    )
    found = findings_of(write(tmp_path, extra), "mec.pth", "resnext50_32x4d")
    assert names(found) == ["width"]
    assert repaired(tmp_path / "config.py", "mec.pth", tmp_path / "fixed.py", arch="resnext50_32x4d") == []


def test_the_order_of_the_loaded_image_counts(tmp_path: Path) -> None:
    path = write(tmp_path, "train[0]['channel_order'] = 'rgb'")  # flipped to BGR by to_rgb=True
    assert settings(findings_of(path, "mec.pth")) == {"data.train.pipeline.1.to_rgb": True}
    assert repaired(path, "mec.pth", tmp_path / "fixed.py") == []


def test_a_renormalisation_for_reid_is_compared(tmp_path: Path) -> None:
    bgr = "dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)"
    path = write(tmp_path, f"model['tracker']['reid']['img_norm_cfg'] = {bgr}")
    found = findings_of(path, "mec.pth")
    assert names(found) == ["channel-order", "pixel-mean", "pixel-std"]
    assert all(finding.setting.startswith("model.tracker.reid.img_norm_cfg.") for finding in found)


@pytest.mark.parametrize(("gpus", "rate"), [(None, 0.02), (8, 0.02), (4, 0.01), (1, 0.0025)])
def test_the_rate_follows_samples_times_gpus(gpus: int | None, rate: float, tmp_path: Path) -> None:
    path = write(tmp_path, f"optimizer['lr'] = {rate}")
    assert findings_of(path, "mec.pth", gpus=gpus) == []
    assert names(findings_of(path, "mec.pth", gpus=2)) == ["learning-rate"]
    adam = write(tmp_path, "optimizer = dict(type='AdamW', lr=1.0)")
    assert findings_of(adam, "mec.pth", gpus=gpus) == [], "linear scaling is a rule about SGD"


def test_every_name_is_found_somewhere() -> None:
    import test_lint_lazy
    import test_lint_yaml

    tried = {*MISTAKES, *test_lint_lazy.MISTAKES, *test_lint_yaml.MISTAKES, "extra-norm", "precise-bn"}
    assert tried <= set(NAMES)
    # The others are findings of a detection run, not of its configuration alone.
    written = "".join(path.read_text() for path in Path(__file__).parent.glob("test_detect_*.py"))
    assert {name for name in set(NAMES) - tried if f'"{name}"' not in written} == set()
