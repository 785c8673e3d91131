"""mmtrack's multi-object trackers as a whole, on frames of 64 pixels; and what stops one before training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mot_scene import FRAMEWORK_WARNINGS, walk, write_scene

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo, read_backbone, write_backbone
from transfer.ranks import World
from transfer.report.rows import Measurement
from transfer.track.mm.mot import METRICS, Config, Source, prepare, run

pytestmark = [
    pytest.mark.mmtrack,
    *FRAMEWORK_WARNINGS,
    pytest.mark.filterwarnings("ignore:setting max_epochs in run:DeprecationWarning"),  # mmtrack does
]
RECIPES = "configs/track/mmtrack"
NUM_FRAMES = 8  # a person seen less often is not learned by the re-identification network
SMALL = {"model": {"detector": {"rpn_head": {"anchor_generator": {"scales": [4]}}}}}
SHORT = {"runner": {"max_iters": 2}, "lr_config": {"warmup_iters": 1}, "data": {"samples_per_gpu": 2}}
PAIRS = {"data": {"train": {"triplet_sampler": {"num_ids": 2, "ins_per_id": 2}}, "samples_per_gpu": 1}}


def make_backbone(folder: Path, arch: str = "resnet18") -> Backbone:
    torch.manual_seed(0)
    model = empty_resnet(arch)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)  # a fresh BatchNorm could not tell a loaded statistic from a forgotten one
    info = BackboneInfo("random", arch, "none", "random", "", "", "", "test")
    write_backbone(folder / "backbone.safetensors", dict(model.state_dict()), info)
    return read_backbone(folder / "backbone.safetensors")


def make_config(folder: Path, tracker: str = "deepsort", score: float = 0.05, **fields: object) -> Config:
    for split, name in (("train", "A"), ("val", "B")):
        shutil.rmtree(folder / split, ignore_errors=True)
        lines = [*walk(1, 4, NUM_FRAMES), *walk(2, 28, NUM_FRAMES)]
        write_scene(folder / split, name, lines, NUM_FRAMES)
    staged = tracker != "qdtrack"
    threshold: dict[str, Any] = {"model": {**SMALL["model"], "tracker": {"obj_score_thr": score}}}
    options: dict[str, Any] = {"tracker": threshold}
    if staged:
        options["detector"] = {**SMALL, **SHORT}
    else:
        threshold.update(total_epochs=1)
    if tracker == "tracktor":
        options["reid"] = {**PAIRS, "runner": SHORT["runner"]}
    defaults: dict[str, object] = {
        "dataset": "scene",
        "protocol": "test",
        "train": Source(root=str(folder / "train")),
        "test": Source(root=str(folder / "val")),
        "detector": f"{RECIPES}/faster_rcnn_small_train.py" if staged else "",
        "reid": f"{RECIPES}/reid_small.py" if tracker == "tracktor" else "",
        "tracker": f"{RECIPES}/{tracker}_small.py",
        "image_scale": [64, 48],
        "options": options,
    }
    return Config(**{**defaults, **fields})  # type: ignore[arg-type]


def resolve(config: Config, backbone: Backbone, out: Path) -> dict[str, Any]:
    from transfer.track.mm.mot_crops import cut_prepared
    from transfer.track.mm.mot_model import resolve as fill

    prepare(config.train, config.video, out / "data" / "train")
    people = cut_prepared(out / "data", World()) if config.reid else None
    return fill(config, backbone, out, people)


def test_the_settings_of_a_run_are_written_as_mmcv_reads_them(tmp_path: Path) -> None:
    from mmcv import Config as MMConfig

    cfgs = resolve(make_config(tmp_path), make_backbone(tmp_path), tmp_path)
    for stage, cfg in cfgs.items():
        found = MMConfig.fromfile(str(tmp_path / f"{stage}.json"))
        assert found._cfg_dict == json.loads(json.dumps(cfg._cfg_dict.to_dict()))  # tuples become lists


@pytest.mark.parametrize("tracker", ["deepsort", "tracktor", "qdtrack"])
def test_a_tracker_trains_tracks_and_repeats_itself(tracker: str, tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path)
    config = make_config(tmp_path, tracker)
    first: list[Measurement] = list(run(backbone, config, tmp_path / "out"))
    assert [m.metric for m in first] == list(METRICS)
    assert all(m.value is not None and m.n == NUM_FRAMES and m.split == "val" for m in first)
    assert all((m.protocol, m.selection) == ("test", "last") for m in first)
    out = tmp_path / "out"
    stages = {"deepsort": ["detector"], "tracktor": ["detector", "reid"], "qdtrack": ["tracker"]}[tracker]
    for stage in stages:  # each learned, its batch norms too, since the small recipes freeze nothing
        state = torch.load(out / f"{stage}.pth", weights_only=True)["state_dict"]
        place = "detector.backbone" if stage == "tracker" else "backbone"
        for key in ("layer4.1.conv2.weight", "layer1.0.bn1.running_mean"):
            assert not torch.equal(state[f"{place}.{key}"], backbone.state[key])
    assert list(run(backbone, config, out)) == first  # from what the stages left
    if tracker == "deepsort":
        assert (out / "tracks" / "track" / "B.txt").stat().st_size > 0
        assert list(run(backbone, config, tmp_path / "again")) == first


def test_a_detector_without_a_box_measures_zero(tmp_path: Path) -> None:
    config = make_config(tmp_path, score=1.0)  # no score exceeds one
    measured = list(run(make_backbone(tmp_path), config, tmp_path / "out"))
    assert [(m.metric, m.value, m.status) for m in measured] == [(metric, 0.0, "ok") for metric in METRICS]


def test_every_place_of_a_tracker_is_proven(tmp_path: Path) -> None:
    from transfer.track.mm.mot_proof import prove
    from transfer.track.mm.mot_stages import build

    backbone = make_backbone(tmp_path)
    cfgs = resolve(make_config(tmp_path, "tracktor"), backbone, tmp_path)
    model = build(cfgs["tracker"], "tracker", backbone)
    assert prove(model, cfgs["tracker"].model, backbone, "tracker") == ("detector.backbone", "reid.backbone")
    with torch.no_grad():
        model.reid.backbone.layer4[1].bn2.running_mean[3] += 1e-6  # type: ignore[union-attr,index,operator]
    with pytest.raises(ValueError, match=r"tracker\.reid\.backbone from .*\n.*layer4\.1\.bn2\.running_mean"):
        prove(model, cfgs["tracker"].model, backbone, "tracker")


def test_a_network_with_the_right_tensors_and_other_features_is_refused(tmp_path: Path) -> None:
    from transfer.track.mm.mot_stages import build

    backbone = make_backbone(tmp_path)
    cfg = resolve(make_config(tmp_path), backbone, tmp_path)["detector"]
    build(cfg, "detector", backbone)  # as it should be
    cfg.model.detector.backbone.strides = (1, 2, 2, 1)
    with pytest.raises(ValueError, match=r"detector\.backbone: res5"):
        build(cfg, "detector", backbone)


def test_a_c4_head_takes_the_last_stage(tmp_path: Path) -> None:
    from mmcv import Config as MMConfig
    from mmdet.models.builder import build_backbone, build_shared_head

    from transfer.backbone.targets import write_mmcv
    from transfer.track.mm.mot_config import fill_backbone
    from transfer.track.mm.mot_proof import prove

    backbone = make_backbone(tmp_path, "resnet50")
    write_mmcv(backbone, tmp_path / "b.pth")
    settings = {"type": "ResNet", "depth": 101, "num_stages": 3, "out_indices": (2,), "frozen_stages": 1}
    settings |= {"strides": (1, 2, 2), "dilations": (1, 1, 1)}
    head = {"type": "ResLayer", "depth": 101, "stage": 3, "stride": 2, "style": "caffe"}
    detector = {"backbone": settings, "roi_head": {"shared_head": head}}
    cfg = MMConfig({"model": {"detector": detector}})
    fill_backbone(cfg, backbone.info, tmp_path / "b.pth", "unfrozen")
    assert cfg.model.detector.backbone.frozen_stages == -1
    model = torch.nn.Module()
    model.detector = torch.nn.Module()
    model.detector.backbone = build_backbone(cfg.model.detector.backbone)
    model.detector.roi_head = torch.nn.Module()
    model.detector.roi_head.shared_head = build_shared_head(cfg.model.detector.roi_head.shared_head)
    for part in (model.detector.backbone, model.detector.roi_head.shared_head):
        part.init_weights()
    assert prove(model, cfg.model, backbone, "c4") == ("detector.backbone", "detector.roi_head.shared_head")
    with torch.no_grad():
        model.detector.roi_head.shared_head.layer4[0].conv1.weight[0] *= 2
    with pytest.raises(ValueError, match=r"shared_head: .*\n.*layer4\.0\.conv1\.weight differs"):
        prove(model, cfg.model, backbone, "c4")


def test_a_tensor_that_did_not_arrive_is_named_before_training(tmp_path: Path) -> None:
    from transfer.track.mm.mot_stages import build

    backbone = make_backbone(tmp_path)
    cfg = resolve(make_config(tmp_path), backbone, tmp_path)["tracker"]
    content = torch.load(tmp_path / "backbone.pth", weights_only=True)
    content["state_dict"]["backbone.layer3.0.conv9.weight"] = content["state_dict"].pop(
        "backbone.layer3.0.conv1.weight"
    )
    torch.save(content, tmp_path / "backbone.pth")
    with pytest.raises(ValueError, match=r"detector\.backbone from .*\n.*layer3\.0\.conv1\.weight"):
        build(cfg, "tracker", backbone)


def test_a_tracker_whose_detector_is_another_is_refused(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config.options["tracker"]["model"]["detector"] = {"neck": {"type": "PAFPN"}}
    with pytest.raises(ValueError, match=r"deepsort_small\.py: model\.detector is another network"):
        list(run(make_backbone(tmp_path), config, tmp_path / "out"))


@pytest.mark.parametrize(
    ("variant", "protocol", "expected"),
    [
        ("mmtrack", "test", (1, True, "BN")),
        ("unfrozen", "test-unfrozen", (-1, False, "BN")),
        ("syncbn", "test-syncbn", (-1, False, "SyncBN")),
    ],
)
def test_a_variant_decides_what_learns_and_is_named(
    variant: str, protocol: str, expected: tuple[int, bool, str], tmp_path: Path
) -> None:
    published = f"{RECIPES}/qdtrack_mot17_private_half.py"
    config = make_config(tmp_path, "qdtrack")
    config.tracker, config.options, config.variant = published, {}, variant
    backbone = make_backbone(tmp_path)
    cfg = resolve(config, backbone, tmp_path)["tracker"]
    assert config.protocols == (protocol,)
    node = cfg.model.detector.backbone
    assert (node.frozen_stages, node.norm_eval, node.norm_cfg.type) == expected
    assert node.norm_cfg.requires_grad == (variant != "mmtrack")
    assert cfg.data.samples_per_gpu == 16  # of eight GPUs with two samples each


def test_an_unknown_variant_option_or_batch_is_refused(tmp_path: Path) -> None:
    from transfer.track.mm.mot_config import fill_run

    backbone = make_backbone(tmp_path)
    with pytest.raises(
        ValueError, match="variant: expected one of mmtrack, unfrozen, syncbn, found 'frozen'"
    ):
        resolve(make_config(tmp_path, variant="frozen"), backbone, tmp_path)
    with pytest.raises(ValueError, match=r"option model\.neck names nothing there \('neck' is unknown\)"):
        resolve(make_config(tmp_path, options={"tracker": {"model": {"neck": 1}}}), backbone, tmp_path)
    with pytest.raises(ValueError, match="options: expected detector, reid, tracker, found head"):
        resolve(make_config(tmp_path, options={"head": {}}), backbone, tmp_path)
    cfg = resolve(make_config(tmp_path), backbone, tmp_path)["detector"]
    with pytest.raises(ValueError, match=r"the batch of a step is 2 .* cannot be shared by 3 processes"):
        fill_run(cfg, tmp_path, 0, "cpu", 3, 0)


def test_a_configuration_that_would_download_is_refused(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config.options["tracker"]["load_from"] = "https://example.org/tracker.pth"
    with pytest.raises(ValueError, match=r"(?s)small\.py: .*pretrained-url: load_from=https://example"):
        resolve(config, make_backbone(tmp_path), tmp_path)


def test_a_bottleneck_network_gets_its_channels(tmp_path: Path) -> None:
    cfgs = resolve(make_config(tmp_path, "tracktor"), make_backbone(tmp_path, "resnet50"), tmp_path)
    model = cfgs["tracker"].model
    assert (model.detector.backbone.depth, model.reid.backbone.depth) == (50, 50)
    assert model.detector.neck.in_channels == [256, 512, 1024, 2048]
    assert model.reid.head.in_channels == cfgs["reid"].model.reid.head.in_channels == 2048
    assert model.reid.head.num_classes == cfgs["reid"].model.reid.head.num_classes == 2


def test_halves_are_mmtracks(tmp_path: Path) -> None:
    from transfer.data.motchallenge import read_sequence

    config = make_config(tmp_path)
    for half, frames in (("first", NUM_FRAMES // 2 + 1), ("second", NUM_FRAMES // 2 - 1)):
        config.train.half = half
        prepare(config.train, config.video, tmp_path / half)
        assert read_sequence(tmp_path / half / "A").num_frames == frames
    config.train.half = "third"
    with pytest.raises(ValueError, match=r"half: expected first or second.*found 'third'"):
        prepare(config.train, config.video, tmp_path / "third")


def test_people_seen_too_rarely_are_named(tmp_path: Path) -> None:
    config = make_config(tmp_path, "tracktor")
    config.train.frames = [0, NUM_FRAMES - 1]
    with pytest.raises(ValueError, match="A: 0 people are at least 30% visible in 8 frames"):
        resolve(config, make_backbone(tmp_path), tmp_path)


def test_a_training_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    from mmcv.runner import HOOKS, Hook

    from transfer.track.mm.mot_stages import train

    backbone = make_backbone(tmp_path)
    config = make_config(tmp_path)
    config.options["detector"] = {**config.options["detector"], "checkpoint_config": {"interval": 1}}
    config.options["detector"]["runner"] = {"max_iters": 3}
    cfg = resolve(config, backbone, tmp_path)["detector"]

    class KilledError(Exception):
        pass

    class KillAfterOne(Hook):  # type: ignore[misc]
        def before_train_iter(self, runner: Any) -> None:
            starts.append(runner.iter)
            if len(starts) == 3:
                raise KilledError

    starts: list[int] = []
    HOOKS.register_module(name="KillAfterOne", module=KillAfterOne, force=True)
    cfg.custom_hooks = [*cfg.custom_hooks, {"type": "KillAfterOne"}]
    with pytest.raises(KilledError):
        train(cfg, "detector", backbone, tmp_path, World())
    assert not (tmp_path / "detector.pth").exists()
    assert train(cfg, "detector", backbone, tmp_path, World())
    assert starts == [0, 1, 2, 1, 2]  # mmcv counts the step that it saved after as not yet done
    cfg.optimizer.lr = 1e-5  # another recipe goes on from nothing
    cfg.custom_hooks = cfg.custom_hooks[:1]
    before = torch.load(tmp_path / "detector.pth", weights_only=True)["key"]
    train(cfg, "detector", backbone, tmp_path, World())
    assert torch.load(tmp_path / "detector.pth", weights_only=True)["key"] != before


def test_a_folder_without_sequences_is_named(tmp_path: Path) -> None:
    config = make_config(tmp_path, test=Source(root=str(tmp_path / "nowhere")))
    with pytest.raises(FileNotFoundError, match="nowhere: holds no MOTChallenge sequence"):
        list(run(make_backbone(tmp_path), config, tmp_path / "out"))


@pytest.mark.parametrize("name", ["BorderSortTracker", "BorderTracktorTracker"])
def test_a_box_on_the_border_still_gives_a_crop(name: str) -> None:
    from mmtrack.models.trackers import SortTracker

    from transfer.track.mm import mot_reid

    meta = [{"img_shape": (48, 64, 3), "scale_factor": [0.5, 0.5, 0.5, 0.5]}]
    image = torch.rand(1, 3, 48, 64)
    boxes = torch.tensor([[128.0, 96.0, 128.0, 96.0], [0.0, 0.0, 64.0, 32.0]])  # in a frame of 128 x 96
    settings = {"num_samples": 10, "img_scale": (16, 32), "img_norm_cfg": None, "match_score_thr": 2.0}
    tracker = getattr(mot_reid, name)(reid=settings)
    crops = tracker.crop_imgs(image, meta, boxes.clone(), rescale=True)
    assert crops.shape == (2, 3, 16, 32)
    torch.testing.assert_close(crops[0], image[0, :, 47:48, 63:64].expand(3, 16, 32))  # the last pixel
    torch.testing.assert_close(crops[1], image[0, :, :16, :32])  # an ordinary box is not touched
    with pytest.raises(RuntimeError, match="greater than 0"):  # what the subclass is for
        SortTracker(reid=settings).crop_imgs(image, meta, boxes.clone(), rescale=True)
