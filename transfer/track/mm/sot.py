"""Single-object tracking: SiamRPN++ of mmtrack carrying the backbone, one-pass evaluation.

The tracker is trained and tested by mmtrack's own functions on the datasets that the mmtrack
configuration names, by one process or several. The backbone's tensors are compared before training and,
where the configuration never trains them, again after.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfer.backbone.contract import Backbone
from transfer.backbone.targets import to_sot, write_mmcv, write_sot
from transfer.ranks import World, choose_device, join, sum_over_ranks
from transfer.report.items import name_items
from transfer.report.rows import Measurement
from transfer.selection import SELECTION_NAME, choose
from transfer.track.mm.backbone import PREFIX, assert_loaded, quiet
from transfer.track.mm.mot_ranks import synchronise
from transfer.track.mm.sot_config import SIAMESE, Config, resolve, stays_frozen
from transfer.track.mm.sot_evaluation import METRICS, Evaluation, evaluate, load_epoch, score_sequences
from transfer.track.mm.sot_guards import register_loss_guard
from transfer.track.mm.sot_records import write_records
from transfer.track.mm.sot_sequences import register_dataset, sequence_names
from transfer.track.mm.sot_training import checkpoints, train, training_digest

__all__ = ["METRICS", "Config", "evaluate", "run", "score_sequences"]

logger = logging.getLogger(__name__)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """Train the tracker on the backbone, track, and yield the three OPE metrics.

    Success is the area under the overlap curve (21 thresholds), precision the share of frames whose
    centre lies within 20 pixels, normalised precision the same within 0.2 of the box's size; all in
    percent, averaged over sequences (Wu et al., TPAMI 2015; Mueller et al., ECCV 2018).

    ``out/mmtrack`` receives mmtrack's log and checkpoints, from which an interrupted run goes on;
    ``out/tracks`` the boxes in the ground truth's format; ``out/per_sequence.csv`` each sequence's metrics.
    With ``select: best-test`` ``out/selection.csv`` says how each epoch did. Several processes (torchrun)
    share a run: each trains on its part of a batch and tracks its part of the sequences.

    Raises:
        ValueError: sequences that cannot be used, a configuration that does not carry this backbone, or a
            tracker that diverged: the message names the sequence and the frame.
    """
    from mmtrack.datasets import build_dataset

    world = join(_device(config))
    register_dataset()
    register_loss_guard()
    work_dir = out / "mmtrack"
    work_dir.mkdir(parents=True, exist_ok=True)
    weights_path = work_dir / f"backbone-{world.rank}.pth"
    mm_config = resolve(config, backbone.info, weights_path, work_dir, world)
    test_set = build_dataset(mm_config.data.test)
    train_set = build_dataset(mm_config.data.train)

    model = build(backbone, mm_config, weights_path, world)
    model.CLASSES = train_set.CLASSES
    digest = training_digest(mm_config, backbone.sha256, world)
    first = mm_config.total_epochs if config.select == "last" else _first_judged(mm_config, config)
    train(model, train_set, mm_config, world, digest, keep_from=first)
    if stays_frozen(mm_config):
        expected = backbone_state(backbone, mm_config)
        assert_loaded(model.backbone, expected, f"{config.mmtrack_config} after training, frozen")

    if config.select == "last":
        found = evaluate(model, test_set, mm_config, world)
    else:
        found = _best_on_test(model, test_set, mm_config, first, out, world)
    [protocol] = config.protocols
    if world.first:
        write_records(out, protocol, test_set, found)
    for metric in METRICS:
        yield Measurement(
            dataset=config.dataset,
            split=config.split,
            protocol=protocol,
            backend="mmtrack",
            metric=metric,
            value=float(found.scores[metric]),
            n=len(test_set.data_infos),
            selection=config.select,
            items=name_items(sequence_names(test_set), found.by_sequence[metric])
            if found.by_sequence
            else None,
        )


def build(backbone: Backbone, mm_config: Any, weights_path: Path, world: World | None = None) -> Any:
    """The tracker on its device, its backbone proven to hold every tensor.

    Raises:
        ValueError: names every tensor that did not arrive.
    """
    from mmdet.apis import set_random_seed
    from mmtrack.models import build_model

    write = write_sot if mm_config.model.backbone.type == SIAMESE else write_mmcv
    write(backbone, weights_path)
    set_random_seed(mm_config.seed, deterministic=True)
    model = build_model(mm_config.model)
    with quiet():
        model.init_weights()
    weights_path.unlink()  # it has arrived; the contract file remains
    assert_loaded(
        model.backbone, backbone_state(backbone, mm_config), f"{mm_config.filename} before training"
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    synchronise(model, device, world or World())
    return model


def backbone_state(backbone: Backbone, mm_config: Any) -> dict[str, Tensor]:
    """The tensors that the tracker's backbone must hold, by its names."""
    if mm_config.model.backbone.type != SIAMESE:
        return backbone.state
    return {key.removeprefix(PREFIX): value for key, value in to_sot(backbone.state).items()}


def _device(config: Config) -> torch.device:
    """The device, which mmtrack itself takes to be the GPU wherever there is one."""
    device = choose_device(config.device)
    if (device.type == "cuda") != torch.cuda.is_available():
        raise ValueError(
            f"device: expected auto, found {config.device!r}; mmtrack uses the GPU wherever it finds one. To "
            "run on the CPU, hide the GPUs: CUDA_VISIBLE_DEVICES="
        )
    return device


def _first_judged(mm_config: Any, config: Config) -> int:
    start = (mm_config.get("evaluation") or {}).get("start")
    if start is None or not 1 <= start <= mm_config.total_epochs:
        raise ValueError(
            f"{config.mmtrack_config}: select best-test needs evaluation.start, the first epoch "
            f"that is tested, from 1 to total_epochs {mm_config.total_epochs}; found {start}"
        )
    return int(start)


def _best_on_test(
    model: nn.Module, test_set: Any, mm_config: Any, first: int, out: Path, world: World
) -> Evaluation:
    """The scores of the epoch with the highest success on the test set, mmtrack's ``save_best``."""
    folder = Path(mm_config.work_dir)
    sum_over_ranks(torch.zeros(1), world)  # the first process has written the last checkpoint
    paths = checkpoints(folder)
    epochs = range(first, mm_config.total_epochs + 1)
    scored: dict[int, Evaluation] = {}

    def score(index: int) -> float | None:
        load_epoch(model, paths[epochs[index]])
        try:
            scored[index] = evaluate(model, test_set, mm_config, world)
        except ValueError as error:
            logger.warning("epoch %d: %s", epochs[index], error)
            return None
        return scored[index].scores["success"]

    points = [{"epoch": epoch} for epoch in epochs]
    path = out / SELECTION_NAME
    best = choose(points, score, path, "test", "success", len(test_set.data_infos), world)
    if best not in scored:  # an earlier process, which was killed, had scored it
        score(best)
    return scored[best]
