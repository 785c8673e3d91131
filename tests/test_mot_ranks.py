"""mmtrack's multi-object trackers and MaskTrack R-CNN by two processes, on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from forkserver import PRELOAD
from mot_scene import FRAMEWORK_WARNINGS, walk, write_scene
from ranks import run_ranks
from test_mot_run import NUM_FRAMES, make_backbone, make_config

from transfer.backbone.contract import Backbone
from transfer.ranks import World
from transfer.track.mm import mot, vis
from transfer.track.mm.mot_model import share_videos

pytestmark = [
    pytest.mark.mmtrack,
    *FRAMEWORK_WARNINGS,
    pytest.mark.filterwarnings("ignore:setting max_epochs in run:DeprecationWarning"),  # mmtrack does
]
PRELOAD += ["transfer.track.mm.mot_model", "mmtrack.apis", "mmtrack.models", "mmtrack.datasets"]
IDS = {"data": {"train": {"triplet_sampler": {"num_ids": 2, "ins_per_id": 2}}, "samples_per_gpu": 2}}


def on_ranks(world: Any, backbone: Backbone, config: Any, out: Path) -> tuple[list[Any], str]:
    """A run's metrics, or its error; mmcv does not wait between epochs."""
    import os
    import time

    os.environ["LOCAL_RANK"] = str(world.rank)  # torchrun's, which mmdet asks for
    time.sleep = lambda seconds: None  # this process's own
    task = vis if isinstance(config, vis.Config) else mot
    try:
        return [(row.metric, row.value, row.n) for row in task.run(backbone, config, out)], ""
    except Exception as error:  # raised here, it would leave the other process waiting
        return [], str(error)


@pytest.mark.parametrize("tracker", ["deepsort", "tracktor", "qdtrack"])
def test_two_processes_train_and_track(tracker: str, tmp_path: Path) -> None:
    from transfer.track.mm.mot_evaluation import evaluate
    from transfer.track.mm.mot_model import resolve, track
    from transfer.track.mm.mot_stages import assemble

    backbone = make_backbone(tmp_path)
    config = make_config(tmp_path, tracker)
    write_scene(tmp_path / "val", "C", walk(1, 20, NUM_FRAMES), NUM_FRAMES)
    if tracker == "tracktor":
        config.options["reid"].update(IDS)
    if tracker == "qdtrack":
        config.options["tracker"]["data"] = {"samples_per_gpu": 2}
    out = tmp_path / "out"
    (first, error), second = run_ranks(2, on_ranks, backbone, config, out)
    assert not error
    assert [metric for metric, _, _ in first] == list(mot.METRICS)
    assert all(value is not None and n == 2 * NUM_FRAMES for _, value, n in first)
    assert second == ([], "")  # the first one writes
    # One process tracks with the same weights in the same way: the two parts of the test fit together.
    parts = {
        path.stem: torch.load(path, weights_only=True)["state_dict"]
        for path in (out / f"{stage}.pth" for stage in ("detector", "reid", "tracker"))
        if path.is_file()
    }
    for state in parts.values():
        assert all(bool(value.isfinite().all()) for value in state.values())
    people = mot_people(out) if config.reid else None
    cfg = resolve(config, backbone, out, people)["tracker"]
    dataset, results = track(assemble(cfg, backbone, parts, "again"), cfg)
    scores = evaluate(dataset, results, tmp_path / "alone")
    assert [(metric, scores[metric]) for metric in mot.METRICS] == [entry[:2] for entry in first]
    for name in ("B", "C"):
        text = (out / "tracks" / "track" / f"{name}.txt").read_text()
        assert text == (tmp_path / "alone" / "track" / f"{name}.txt").read_text()


def mot_people(out: Path) -> Any:
    from transfer.track.mm.mot_crops import cut_prepared

    return cut_prepared(out / "data", World())


def test_two_processes_train_masktrack_rcnn(tmp_path: Path) -> None:
    from test_vis_run import make_config as make_vis

    config = make_vis(tmp_path, variant="syncbn")
    (first, error), second = run_ranks(2, on_ranks, make_backbone(tmp_path), config, tmp_path / "out")
    assert not error
    assert [(metric, n) for metric, _, n in first] == [(metric, 2) for metric in vis.METRICS]
    assert second == ([], "")


def test_a_batch_that_cannot_be_shared_is_refused_by_both(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config.options["detector"]["data"] = {"samples_per_gpu": 3}
    results = run_ranks(2, on_ranks, make_backbone(tmp_path), config, tmp_path / "out")
    assert all("step is 3 " in error and "shared by 2 processes" in error for _, error in results)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_shares_are_whole_videos_in_order(size: int) -> None:
    frame_ids = [0, 1, 2, 0, 0, 1, 0, 1, 2]
    shares = [share_videos(frame_ids, World(rank, size)) for rank in range(size)]
    assert [index for share in shares for index in share] == list(range(len(frame_ids)))
    assert all(frame_ids[share[0]] == 0 for share in shares if share)
    assert sum(not share for share in shares) == max(0, size - 4)
