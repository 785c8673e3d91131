"""The tracker's life in mmtrack: configuration, building with proof, detector training, tracking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer.backbone.architecture import ARCHS
from transfer.backbone.contract import Backbone
from transfer.backbone.targets import write_mmcv
from transfer.findings import Weights, refuse
from transfer.track.mm.backbone import assert_loaded, image_norm, mmdet_resnet, pretrained, quiet
from transfer.track.mm.lint import find

if TYPE_CHECKING:
    from transfer.track.mm.mot import Config

CLASSES = ("pedestrian",)  # the one class that MOTChallenge evaluates, whatever it looks like


def resolve_config(config: Config, backbone: Backbone, train_json: Path, test_json: Path, out: Path) -> Any:
    """The mmcv configuration with everything filled in, also written to ``out/mmtrack.py``.

    Raises:
        FileNotFoundError: no such tracker configuration.
        ValueError: the result contradicts the backbone or the published protocol, for example by
            downloading weights, and ``config.allow`` does not name it.
    """
    from mmcv import Config as MMConfig
    from mmdet.utils import get_device

    cfg = MMConfig.fromfile(config.tracker_config)
    weights_path = out / "backbone.pth"
    write_mmcv(backbone, weights_path)
    network = {**mmdet_resnet(backbone.info.arch), "init_cfg": pretrained(weights_path)}
    channels = ARCHS[backbone.info.arch].channels
    cfg.model.detector.backbone.update(network)
    cfg.model.detector.neck.in_channels = list(channels)
    cfg.model.detector.rpn_head.anchor_generator.scales = [config.anchor_scale]
    cfg.model.detector.test_cfg.rcnn.max_per_img = config.max_boxes
    cfg.model.tracker.obj_score_thr = config.score_threshold
    if cfg.model.get("reid") is not None:
        cfg.model.reid.backbone.update(network)
        cfg.model.reid.head.in_channels = channels[-1]
    cfg.optimizer.lr = config.learning_rate
    cfg.lr_config.warmup_iters = config.warmup_iterations
    cfg.runner = {"type": "IterBasedRunner", "max_iters": config.iterations}
    cfg.data = _data(config, image_norm(backbone.info), train_json, test_json)
    cfg.update(work_dir=str(out), seed=config.seed, device=get_device(), gpu_ids=[0])
    refuse(find(cfg, Weights.at(weights_path, backbone.info)), config.allow, config.tracker_config)
    cfg.dump(str(out / "mmtrack.py"))
    return cfg


def build_tracker(cfg: Any, backbone: Backbone) -> Any:
    """The tracker with the backbone in its detector and its re-identification network.

    mmcv only logs a tensor that it could not load, so both copies are compared bit by bit.

    Raises:
        ValueError: names every tensor that did not arrive.
    """
    from mmdet.apis import set_random_seed
    from mmtrack.models import build_model

    from transfer.track.mm import mot_reid  # noqa: F401  # registers its classes

    set_random_seed(cfg.seed, deterministic=True)
    model = build_model(cfg.model)
    parts = {"detector": model.detector}
    if model.with_reid:
        parts["reid"] = model.reid
    for name, part in parts.items():
        with quiet():
            part.init_weights()
        weights_path = cfg.model[name].backbone.init_cfg["checkpoint"]
        assert_loaded(part.backbone, backbone.state, f"{name}.backbone from {weights_path}")
    return model


def train_detector(detector: Any, cfg: Any) -> None:
    """Train the detector with mmdet's own loop; every parameter learns. Progress lines give loss and ETA."""
    from mmdet import apis
    from mmdet.datasets import build_dataset

    detector.CLASSES = CLASSES
    apis.train_detector(
        detector, [build_dataset(cfg.data.train)], cfg, timestamp="train"
    )  # names the log file


def track(model: Any, cfg: Any) -> tuple[Any, dict[str, list[Any]]]:
    """Run the tracker over the test frames with mmtrack's own loop.

    Returns:
        mmtrack's dataset, and its results: ``track_bboxes``, for each frame and class an array
        ``(K, 6)`` of id, left, top, right, bottom, score; ``det_bboxes`` likewise without the id.
    """
    from mmdet.datasets import build_dataloader, build_dataset
    from mmdet.utils import build_dp
    from mmtrack.apis import single_gpu_test

    dataset = build_dataset(cfg.data.test)
    loader = build_dataloader(dataset, samples_per_gpu=1, workers_per_gpu=0, dist=False, shuffle=False)
    return dataset, single_gpu_test(build_dp(model, cfg.device, device_ids=cfg.gpu_ids), loader)


def _data(config: Config, norm: dict[str, Any], train_json: Path, test_json: Path) -> dict[str, Any]:
    """mmdet's training set and mmtrack's test set; both take their images from beside the JSON."""
    scale = tuple(config.image_scale)
    train_pipeline = [
        {"type": "LoadImageFromFile", "to_float32": True},
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "Resize", "img_scale": scale, "keep_ratio": True},
        {"type": "RandomFlip", "flip_ratio": config.flip},
        {"type": "Normalize", **norm},
        {"type": "Pad", "size_divisor": 32},
        {"type": "DefaultFormatBundle"},
        {"type": "Collect", "keys": ["img", "gt_bboxes", "gt_bboxes_ignore", "gt_labels"]},
    ]
    test_transforms = [
        {"type": "Resize", "keep_ratio": True},
        {"type": "RandomFlip"},
        {"type": "Normalize", **norm},
        {"type": "Pad", "size_divisor": 32},
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "VideoCollect", "keys": ["img"]},
    ]
    test_pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "MultiScaleFlipAug", "img_scale": scale, "flip": False, "transforms": test_transforms},
    ]
    return {
        "train_dataloader": {"samples_per_gpu": config.batch_size, "workers_per_gpu": 0},
        "train": {
            "type": "CocoDataset",
            "classes": CLASSES,
            "ann_file": str(train_json.resolve()),
            "img_prefix": str(train_json.with_suffix("").resolve()),
            "pipeline": train_pipeline,
        },
        "val": {},  # mmdet looks for it even when nothing is validated
        "test": {
            "type": "MOTChallengeDataset",
            "ann_file": str(test_json.resolve()),
            "img_prefix": str(test_json.with_suffix("").resolve()),
            "ref_img_sampler": None,
            "pipeline": test_pipeline,
            "test_mode": True,
        },
    }
