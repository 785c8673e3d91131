"""Single-object tracking: SiamRPN++ of mmtrack carrying the backbone, one-pass evaluation.

The tracker is trained and tested by mmtrack's own functions on the datasets that the mmtrack
configuration names. The backbone's tensors are compared before training and, where the
configuration freezes it, again after.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING
from torch import nn
from torch.utils.data import DataLoader

from transfer.backbone.contract import Backbone
from transfer.backbone.targets import write_mmcv
from transfer.report.items import name_items
from transfer.report.rows import Measurement
from transfer.track.mm.backbone import assert_loaded, quiet
from transfer.track.mm.sot_config import resolve
from transfer.track.mm.sot_guards import FrameGuard, register_loss_guard
from transfer.track.mm.sot_sequences import register_dataset

METRICS = ("success", "norm_precision", "precision")
NUM_STAGES = 4  # frozen_stages of a wholly frozen ResNet


@dataclass
class Config:
    """What the YAML file of a run says; the recipe itself is the mmtrack configuration."""

    dataset: str = MISSING  # the row's name for what is tested
    protocol: str = MISSING
    split: str = "test"
    mmtrack_config: str = MISSING  # Python file, relative to the working directory
    options: dict[str, Any] = field(default_factory=dict)  # values put in place of that file's
    seed: int = 0
    allow: list[str] = field(default_factory=list)  # findings that are meant (docs/config_lint.md)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """Train the tracker's neck and heads on the backbone, track, and yield the three OPE metrics.

    Success is the area under the overlap curve (21 thresholds), precision the share of frames whose
    centre lies within 20 pixels, normalised precision the same within 0.2 of the box's size; all in
    percent, averaged over sequences (Wu et al., TPAMI 2015; Mueller et al., ECCV 2018).

    Raises:
        ValueError: a configuration that does not carry this backbone, or a tracker that diverged:
            the message names the sequence and the frame.
    """
    from mmdet.apis import set_random_seed
    from mmtrack.datasets import build_dataset
    from mmtrack.models import build_model

    register_dataset()
    register_loss_guard()
    work_dir = out / "mmtrack"
    work_dir.mkdir(parents=True, exist_ok=True)
    weights_path = work_dir / "backbone.pth"
    write_mmcv(backbone, weights_path)
    recipe = Path(config.mmtrack_config)
    mm_config = resolve(
        recipe, config.options, backbone.info, weights_path, config.seed, work_dir, config.allow
    )
    train_set = build_dataset(mm_config.data.train)
    test_set = build_dataset(mm_config.data.test)

    set_random_seed(config.seed, deterministic=True)
    model = build_model(mm_config.model)
    with quiet():
        model.init_weights()
    assert_loaded(model.backbone, backbone.state, f"{config.mmtrack_config} before training")
    weights_path.unlink()  # it has arrived; the contract file remains
    model.CLASSES = train_set.CLASSES
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    train(model, train_set, mm_config)
    if mm_config.model.backbone.frozen_stages == NUM_STAGES:
        assert_loaded(model.backbone, backbone.state, f"{config.mmtrack_config} after training, frozen")

    results, by_sequence = evaluate(model, test_set, mm_config)
    names = [info["video_path"] for info in test_set.data_infos]
    for metric in METRICS:
        yield Measurement(
            dataset=config.dataset,
            split=config.split,
            protocol=config.protocol,
            backend="mmtrack",
            metric=metric,
            value=float(results[metric]),
            n=len(test_set.data_infos),
            items=name_items(names, by_sequence[metric]) if by_sequence else None,
        )


def train(model: nn.Module, dataset: Any, mm_config: Any) -> None:
    """Train with mmtrack's own function, one process, no evaluation in between."""
    from mmtrack.apis import train_model
    from mmtrack.utils import get_root_logger

    timestamp = time.strftime("%Y%m%d_%H%M%S")
    get_root_logger(
        log_file=str(Path(mm_config.work_dir) / f"{timestamp}.log"), log_level=mm_config.log_level
    )
    train_model(model, [dataset], mm_config, distributed=False, validate=False, timestamp=timestamp, meta={})


def evaluate(
    model: nn.Module, dataset: Any, mm_config: Any
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Track every sequence from its first box and score with mmtrack's own one-pass evaluation.

    Returns:
        ``success``, ``norm_precision`` and ``precision`` in percent, three decimals; and as
        :func:`score_sequences`.

    Raises:
        ValueError: a predicted box that is not finite; names the sequence and the frame.
    """
    from mmcv.parallel import MMDataParallel, collate
    from mmtrack.apis import single_gpu_test

    # mmtrack's build_dataloader cannot be used here: its SOTVideoSampler hands the dataset to
    # torch's Sampler, which takes no argument any more. The order of frames is the same.
    frames = [
        (sequence, frame)
        for sequence, length in enumerate(dataset.num_frames_per_video)
        for frame in range(length)
    ]
    loader = DataLoader(dataset, batch_size=1, sampler=frames, collate_fn=partial(collate, samples_per_gpu=1))
    names = [info["video_path"].split("/")[0] for info in dataset.data_infos]
    handle = model.register_forward_hook(FrameGuard(names, frames))
    try:
        outputs = single_gpu_test(MMDataParallel(model, device_ids=mm_config.gpu_ids), loader)
    finally:
        handle.remove()
    scores: dict[str, float] = dataset.evaluate(outputs, metric=["track"], logger="silent")
    return scores, score_sequences(dataset, outputs["track_bboxes"])


def score_sequences(dataset: Any, boxes: Sequence[Any]) -> dict[str, list[float]]:
    """The three metrics of each sequence alone, by mmtrack's own function, in the dataset's order.

    ``boxes`` are those of all frames, ``x1, y1, x2, y2, score``. Empty for a dataset with an evaluation of
    its own, whose metrics may be other than means over sequences.
    """
    from mmtrack.core.evaluation import eval_sot_ope
    from mmtrack.datasets.base_sot_dataset import BaseSOTDataset

    if type(dataset).evaluate is not BaseSOTDataset.evaluate:
        return {}
    scores: dict[str, list[float]] = {metric: [] for metric in METRICS}
    start = 0
    for sequence, length in enumerate(dataset.num_frames_per_video):
        truth = dataset.get_ann_infos_from_video(sequence)
        visible = [truth["visible"]] if dataset.only_eval_visible else None
        tracked = [[box[:4] for box in boxes[start : start + length]]]
        alone = eval_sot_ope(results=tracked, annotations=[truth["bboxes"]], visible_infos=visible)
        for metric in METRICS:
            scores[metric].append(float(alone[metric]))
        start += length
    return scores
