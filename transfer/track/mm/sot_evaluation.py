"""One-pass evaluation: every sequence tracked from its first box, scored by mmtrack's own function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

from transfer.ranks import World
from transfer.track.mm.gpu_streams import mend_streams
from transfer.track.mm.sot_guards import FrameGuard
from transfer.track.mm.sot_sequences import sequence_names

METRICS = ("success", "norm_precision", "precision")


@dataclass(frozen=True)
class Evaluation:
    """What tracking a set gave."""

    scores: dict[str, float]  # by metric, in percent, three decimals
    by_sequence: dict[str, list[float]]  # as score_sequences
    boxes: list[Any]  # as track


def evaluate(model: nn.Module, dataset: Any, mm_config: Any, world: World | None = None) -> Evaluation:
    """Track every sequence from its first box and score with mmtrack's own one-pass evaluation.

    Several processes share the sequences; each returns the scores of all.

    Raises:
        ValueError: on all processes alike, a predicted box that is not finite; names the sequence and the
            frame.
    """
    boxes = track(model, dataset, mm_config, world or World())
    scores: dict[str, float] = dataset.evaluate({"track_bboxes": boxes}, metric=["track"], logger="silent")
    return Evaluation(scores, score_sequences(dataset, boxes), boxes)


def track(model: nn.Module, dataset: Any, mm_config: Any, world: World) -> list[Any]:
    """Boxes of all frames, ``(5,)`` arrays ``x1, y1, x2, y2, score``, in the dataset's order.

    Raises:
        ValueError: as :func:`evaluate`.
    """
    shares = np.array_split(range(len(dataset.num_frames_per_video)), world.size)
    # mmtrack's build_dataloader cannot be used here: its SOTVideoSampler hands the dataset to
    # torch's Sampler, which takes no argument any more. The order of frames is the same.
    frames = [
        (int(sequence), frame)
        for sequence in shares[world.rank]
        for frame in range(dataset.num_frames_per_video[sequence])
    ]
    fault, boxes = "", []
    try:
        boxes = _track_frames(model, dataset, mm_config, frames)
    except ValueError as error:
        if world.size == 1:
            raise
        fault = str(error)
    if world.size == 1:
        return boxes
    parts: list[Any] = [None] * world.size
    dist.all_gather_object(parts, (fault, boxes))
    if any(fault for fault, _ in parts):
        raise ValueError(next(fault for fault, _ in parts if fault))
    return [box for _, part in parts for box in part]


def _track_frames(
    model: nn.Module, dataset: Any, mm_config: Any, frames: Sequence[tuple[int, int]]
) -> list[Any]:
    from mmcv.parallel import MMDataParallel, collate
    from mmtrack.apis import single_gpu_test

    if not frames:
        return []
    mend_streams()
    loader = DataLoader(
        dataset, batch_size=1, sampler=list(frames), collate_fn=partial(collate, samples_per_gpu=1)
    )
    handle = model.register_forward_hook(FrameGuard(sequence_names(dataset), frames))
    try:
        outputs = single_gpu_test(MMDataParallel(model, device_ids=mm_config.gpu_ids), loader)
    finally:
        handle.remove()
    boxes: list[Any] = outputs["track_bboxes"]
    return boxes


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


def load_epoch(model: nn.Module, path: Any) -> None:
    """Put the weights of a checkpoint into the tracker, every tensor of it."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(content["state_dict"])
