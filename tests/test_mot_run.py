"""The task as a whole, in mmtrack, on frames of 64 pixels; and what must stop it before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mot_scene import FRAMEWORK_WARNINGS, walk, write_scene

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo, read_backbone, write_backbone
from transfer.report.rows import Measurement
from transfer.track.mm.mot import Config, Source, prepare, run

pytestmark = [pytest.mark.mmtrack, *FRAMEWORK_WARNINGS]


def make_backbone(folder: Path, arch: str = "resnet18") -> Backbone:
    torch.manual_seed(0)
    model = empty_resnet(arch)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)  # a fresh BatchNorm could not tell a loaded statistic from a forgotten one
    info = BackboneInfo("random", arch, "none", "random", "", "", "", "test")
    write_backbone(folder / "backbone.safetensors", dict(model.state_dict()), info)
    return read_backbone(folder / "backbone.safetensors")


def make_config(folder: Path, **fields: object) -> Config:
    for split, name in (("train", "A"), ("val", "B")):
        write_scene(folder / split, name, [*walk(1, 4), *walk(2, 28)])
    defaults: dict[str, object] = {
        "dataset": "scene",
        "protocol": "test",
        "train": Source(root=str(folder / "train")),
        "test": Source(root=str(folder / "val")),
        "image_scale": [64, 48],
        "anchor_scale": 4.0,
        "iterations": 2,
        "batch_size": 2,
        "warmup_iterations": 1,
    }
    return Config(**{**defaults, **fields})  # type: ignore[arg-type]


def resolve(config: Config, backbone: Backbone, out: Path) -> object:
    from transfer.track.mm.mot_model import resolve_config

    train_json = prepare(config.train, config.video, out / "train")
    return resolve_config(config, backbone, train_json, train_json, out)


def test_the_task_measures_and_repeats_itself(tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path)
    config = make_config(tmp_path, score_threshold=0.05)
    first: list[Measurement] = list(run(backbone, config, tmp_path / "out"))
    assert [m.metric for m in first] == ["mota", "idf1", "hota", "id_switches"]
    assert all(m.value is not None and m.n == 4 and m.split == "val" for m in first)
    assert (tmp_path / "out" / "tracks" / "track" / "B.txt").stat().st_size > 0
    assert list(run(backbone, config, tmp_path / "again")) == first


def test_a_detector_without_a_box_measures_zero(tmp_path: Path) -> None:
    config = make_config(tmp_path, score_threshold=1.0)  # no score exceeds one
    measured = list(run(make_backbone(tmp_path), config, tmp_path / "out"))
    assert [(m.metric, m.value, m.status) for m in measured] == [
        (metric, 0.0, "ok") for metric in ("mota", "idf1", "hota", "id_switches")
    ]


def test_a_tensor_that_did_not_arrive_is_named_before_training(tmp_path: Path) -> None:
    from transfer.track.mm.mot_model import build_tracker

    backbone = make_backbone(tmp_path)
    cfg = resolve(make_config(tmp_path), backbone, tmp_path)
    build_tracker(cfg, backbone)  # as it should be
    content = torch.load(tmp_path / "backbone.pth", weights_only=True)
    content["state_dict"]["backbone.layer3.0.conv9.weight"] = content["state_dict"].pop(
        "backbone.layer3.0.conv1.weight"
    )
    torch.save(content, tmp_path / "backbone.pth")
    with pytest.raises(ValueError, match=r"detector\.backbone from .*\n.*layer3\.0\.conv1\.weight"):
        build_tracker(cfg, backbone)


def test_a_configuration_that_would_download_is_refused(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    text = Path(config.tracker_config).read_text()
    config.tracker_config = str(tmp_path / "tracker.py")
    Path(config.tracker_config).write_text(text + "load_from = 'https://example.org/detector.pth'\n")
    with pytest.raises(ValueError, match=r"(?s)tracker\.py: .*pretrained-url: load_from=https://example"):
        resolve(config, make_backbone(tmp_path), tmp_path)


def test_a_bottleneck_network_gets_its_channels(tmp_path: Path) -> None:
    cfg = resolve(make_config(tmp_path), make_backbone(tmp_path, "resnet50"), tmp_path)
    model = cfg.model  # type: ignore[attr-defined]
    assert (model.detector.backbone.depth, model.reid.backbone.depth) == (50, 50)
    assert model.detector.neck.in_channels == [256, 512, 1024, 2048]
    assert model.reid.head.in_channels == 2048


def test_a_folder_without_sequences_is_named(tmp_path: Path) -> None:
    config = make_config(tmp_path, test=Source(root=str(tmp_path / "nowhere")))
    with pytest.raises(FileNotFoundError, match="nowhere: holds no MOTChallenge sequence"):
        list(run(make_backbone(tmp_path), config, tmp_path / "out"))


def test_a_box_on_the_border_still_gives_a_crop() -> None:
    from mmtrack.models.trackers import SortTracker

    from transfer.track.mm.mot_reid import BorderSortTracker

    meta = [{"img_shape": (48, 64, 3), "scale_factor": [0.5, 0.5, 0.5, 0.5]}]
    image = torch.rand(1, 3, 48, 64)
    boxes = torch.tensor([[128.0, 96.0, 128.0, 96.0], [0.0, 0.0, 64.0, 32.0]])  # in a frame of 128 x 96
    settings = {"num_samples": 10, "img_scale": (16, 32), "img_norm_cfg": None, "match_score_thr": 2.0}
    crops = BorderSortTracker(reid=settings).crop_imgs(image, meta, boxes.clone(), rescale=True)
    assert crops.shape == (2, 3, 16, 32)
    torch.testing.assert_close(crops[0], image[0, :, 47:48, 63:64].expand(3, 16, 32))  # the last pixel
    torch.testing.assert_close(crops[1], image[0, :, :16, :32])  # an ordinary box is not touched
    with pytest.raises(RuntimeError, match="greater than 0"):  # what the subclass is for
        SortTracker(reid=settings).crop_imgs(image, meta, boxes.clone(), rescale=True)
