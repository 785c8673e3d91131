"""Another batch: the linear scaling rule as detectron2 has it, what it refuses, and what it cannot keep."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
from detect_scene import DETECTRON2
from hypothesis import assume, given
from hypothesis import strategies as st

from transfer.backbone.contract import BackboneInfo
from transfer.detect.lint_yaml import find
from transfer.detect.rescale import (
    FIXED_NORMS,
    Change,
    accumulation_findings,
    batch_norms,
    rescale,
    write_changes,
)
from transfer.findings import Weights, refuse
from transfer.lint_reference import TRAINED_NORMS

pytestmark = DETECTRON2


def a_cfg(**solver: Any) -> Any:
    """MoCo's schedule for VOC, 24k iterations of 16 images, unless said otherwise."""
    from detectron2.config import get_cfg

    cfg = get_cfg()
    voc = {
        "IMS_PER_BATCH": 16,
        "BASE_LR": 0.02,
        "MAX_ITER": 24000,
        "STEPS": (18000, 22000),
        "WARMUP_ITERS": 100,
    }
    for key, value in {**voc, **solver}.items():
        cfg.SOLVER[key] = value
    return cfg


def as_detectron2_does(cfg: Any, images_per_batch: int) -> Any:
    """The same by detectron2 itself: one image a process, then another number of processes."""
    from detectron2.engine import DefaultTrainer

    reference = cfg.clone()
    reference.SOLVER.REFERENCE_WORLD_SIZE = cfg.SOLVER.IMS_PER_BATCH
    scaled = DefaultTrainer.auto_scale_workers(reference, images_per_batch)
    scaled.SOLVER.REFERENCE_WORLD_SIZE = 0
    return scaled


@pytest.mark.parametrize("images_per_batch", [1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 64])
@pytest.mark.parametrize("schedule", ["VOC", "COCO 1x"])
def test_the_schedule_is_the_one_that_detectron2_scales_to(schedule: str, images_per_batch: int) -> None:
    coco = {"MAX_ITER": 90000, "STEPS": (60000, 80000), "WARMUP_ITERS": 1000}
    cfg = a_cfg(**(coco if schedule == "COCO 1x" else {}))
    cfg.TEST.EVAL_PERIOD = 5000
    expected = as_detectron2_does(cfg, images_per_batch)
    rescale(cfg, images_per_batch)
    assert cfg == expected


@given(
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 200_000),
    st.lists(st.floats(0.01, 0.99), max_size=4),
    st.floats(1e-6, 10.0),
)
def test_any_schedule_that_is_not_refused_is_detectron2s(
    batch: int, images_per_batch: int, iterations: int, steps: list[float], rate: float
) -> None:
    marks = tuple(sorted({round(iterations * step) for step in steps}))
    cfg = a_cfg(
        IMS_PER_BATCH=batch, MAX_ITER=iterations, STEPS=marks, WARMUP_ITERS=iterations // 3, BASE_LR=rate
    )
    expected = as_detectron2_does(cfg, images_per_batch)
    assume(expected.SOLVER.CHECKPOINT_PERIOD > 0)
    try:
        rescale(cfg, images_per_batch)
    except ValueError:
        fallen = [0, *expected.SOLVER.STEPS, expected.SOLVER.MAX_ITER]
        lost_warmup = expected.SOLVER.WARMUP_ITERS == 0 < cfg.SOLVER.WARMUP_ITERS
        assert lost_warmup or len(set(fallen)) < len(fallen)
    else:
        assert cfg == expected


def test_the_changes_are_the_arithmetic_of_issue_11() -> None:
    assert rescale(a_cfg(), 4) == [
        Change("SOLVER.IMS_PER_BATCH", 16, 4),
        Change("SOLVER.BASE_LR", 0.02, 0.02 / 4),
        Change("SOLVER.MAX_ITER", 24000, 4 * 24000),
        Change("SOLVER.STEPS", (18000, 22000), (4 * 18000, 4 * 22000)),
        Change("SOLVER.WARMUP_ITERS", 100, 4 * 100),
        Change("SOLVER.CHECKPOINT_PERIOD", 5000, 4 * 5000),
    ]


@pytest.mark.parametrize("images_per_batch", [1, 4, 8, 32])
def test_the_lint_knows_the_published_schedule_at_the_new_batch(images_per_batch: int) -> None:
    def departures(cfg: Any) -> list[str]:
        info = BackboneInfo("m", "resnet50", "none", "1", "", "s", "0" * 64, "0")
        found = find(cfg, Weights.at(Path("w.pkl"), info))
        return [finding.setting for finding in found if finding.name in ("learning-rate", "schedule")]

    cfg = a_cfg()
    cfg.DATASETS.TRAIN = ("voc_2007_trainval", "voc_2012_trainval")
    rescale(cfg, images_per_batch)
    assert departures(cfg) == []
    cfg.SOLVER.IMS_PER_BATCH = 16
    assert {"SOLVER.BASE_LR", "SOLVER.MAX_ITER", "SOLVER.STEPS"} <= set(departures(cfg))


def test_there_and_back_is_the_schedule_it_was() -> None:
    cfg = a_cfg()
    rescale(cfg, 2)
    assert cfg != a_cfg()
    rescale(cfg, 16)
    assert cfg == a_cfg()


def test_the_same_batch_changes_nothing() -> None:
    cfg = a_cfg(REFERENCE_WORLD_SIZE=8)
    assert rescale(cfg, 16) == []
    assert cfg == a_cfg(REFERENCE_WORLD_SIZE=8)


def test_a_cosine_keeps_the_ratio_of_its_last_rate() -> None:
    cfg = a_cfg(BASE_LR_END=0.002)
    rescale(cfg, 8)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.BASE_LR_END) == (0.01, 0.001)


def test_periods_do_not_end_up_as_never_and_never_stays_never() -> None:
    cfg = a_cfg(CHECKPOINT_PERIOD=1)
    cfg.TEST.EVAL_PERIOD = 1
    rescale(cfg, 64)
    assert (cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD) == (1, 1)
    cfg = a_cfg()
    assert "TEST.EVAL_PERIOD" not in [change.setting for change in rescale(cfg, 64)]
    assert cfg.TEST.EVAL_PERIOD == 0


@pytest.mark.parametrize(
    ("solver", "images_per_batch", "said"),
    [
        ({}, 0, "images_per_batch: expected at least 1, found 0"),
        ({}, -4, "found -4"),
        ({"REFERENCE_WORLD_SIZE": 8}, 4, "REFERENCE_WORLD_SIZE is 8: detectron2 would rescale"),
        ({"MAX_ITER": 1, "STEPS": (), "WARMUP_ITERS": 0}, 64, "SOLVER.MAX_ITER 1 would become 0"),
        ({"WARMUP_ITERS": 1}, 64, "SOLVER.WARMUP_ITERS 1 would become 0"),
        (
            {"STEPS": (1, 18000)},
            64,
            r"SOLVER.STEPS \(1, 18000\) of 24000 iterations would become \(0, 4500\)",
        ),
        ({"STEPS": (17999, 18000)}, 64, r"would become \(4500, 4500\) of 6000"),
        ({"STEPS": (18000, 23999)}, 64, r"would become \(4500, 6000\) of 6000"),
    ],
)
def test_a_batch_that_the_schedule_does_not_have_room_for_is_refused(
    solver: dict[str, Any], images_per_batch: int, said: str
) -> None:
    cfg = a_cfg(**solver)
    with pytest.raises(ValueError, match=said):
        rescale(cfg, images_per_batch)
    assert cfg == a_cfg(**solver)


def test_what_no_rate_makes_up_for_is_said(caplog: pytest.LogCaptureFixture) -> None:
    cfg = a_cfg()
    caplog.set_level(logging.INFO)
    rescale(cfg, 4)
    assert caplog.text == ""  # detectron2's defaults: frozen norms, no precise ones
    cfg = a_cfg()
    cfg.MODEL.RESNETS.NORM = "naiveSyncBN"
    cfg.TEST.PRECISE_BN.ENABLED = True
    rescale(cfg, 4)
    assert (
        "MODEL.RESNETS.NORM naiveSyncBN: its statistics are now of batches of 4 images instead of 16"
        in caplog.text
    )
    assert "NUM_ITER stays 200: 800 images instead of 3200" in caplog.text
    assert cfg.TEST.PRECISE_BN.NUM_ITER == 200


def test_the_changes_are_written_or_no_file_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "rescale.csv"
    write_changes(path, rescale(a_cfg(), 8))
    with path.open(newline="") as handle:
        lines = list(csv.reader(handle))
    assert lines[:3] == [
        ["setting", "before", "after"],
        ["SOLVER.IMS_PER_BATCH", "16", "8"],
        ["SOLVER.BASE_LR", "0.02", "0.01"],
    ]
    assert ["SOLVER.STEPS", "(18000, 22000)", "(36000, 44000)"] in lines
    assert [found.name for found in tmp_path.iterdir()] == ["rescale.csv"]
    assert "SOLVER.MAX_ITER 24000 -> 48000" in caplog.text
    write_changes(path, rescale(a_cfg(), 16))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("norm", TRAINED_NORMS)
def test_a_trained_norm_in_several_passes_is_an_error_that_can_be_meant(norm: str) -> None:
    cfg = a_cfg()
    cfg.MODEL.RESNETS.NORM = norm
    (finding,) = accumulation_findings(cfg, 8)
    assert (finding.name, finding.setting, finding.found) == ("accumulated-norm", "MODEL.RESNETS.NORM", norm)
    with pytest.raises(ValueError, match="of 2 images instead of 16"):
        refuse([finding], [], "here")
    refuse([finding], ["accumulated-norm"], "here")
    assert accumulation_findings(cfg, 1) == []


@pytest.mark.parametrize("norm", ["", "FrozenBN", "GN", "LN"])
def test_a_norm_that_does_not_see_the_batch_is_none(norm: str) -> None:
    cfg = a_cfg()
    cfg.MODEL.RESNETS.NORM = norm
    assert accumulation_findings(cfg, 8) == []


def test_the_norms_of_heads_count() -> None:
    cfg = a_cfg()
    cfg.MODEL.FPN.NORM = "SyncBN"
    cfg.MODEL.ROI_BOX_HEAD.NORM = "BN"
    cfg.MODEL.ROI_MASK_HEAD.NORM = "GN"
    assert batch_norms(cfg) == [("MODEL.FPN.NORM", "SyncBN"), ("MODEL.ROI_BOX_HEAD.NORM", "BN")]
    assert [finding.setting for finding in accumulation_findings(cfg, 2)] == [
        "MODEL.FPN.NORM",
        "MODEL.ROI_BOX_HEAD.NORM",
    ]


@pytest.mark.parametrize("accumulate", [0, -1, 3, 5, 32])
def test_passes_must_divide_the_batch(accumulate: int) -> None:
    with pytest.raises(ValueError, match=f"divisor of the batch of 16 images .* found {accumulate};"):
        accumulation_findings(a_cfg(), accumulate)


@pytest.mark.parametrize("norm", ["BN", "naiveSyncBN", "FrozenBN", "GN", "LN"])
def test_fixed_norms_are_those_that_the_other_images_do_not_change(norm: str) -> None:
    import torch
    from detectron2.layers import get_norm

    torch.manual_seed(0)
    layer = get_norm(norm, 32).train()
    images = torch.randn(4, 32, 3, 3)
    alone, among_others = layer(images[:1]), layer(images)[:1]
    assert torch.allclose(alone, among_others, atol=1e-6) == (norm in FIXED_NORMS)


def rates_by_images(cfg: Any) -> list[float]:
    """detectron2's learning rate divided by the images in a batch, at every 16th image."""
    import torch
    from detectron2.solver import build_lr_scheduler

    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimiser)
    rates = []
    for iteration in range(cfg.SOLVER.MAX_ITER):
        if iteration * cfg.SOLVER.IMS_PER_BATCH % 16 == 0:
            rates.append(optimiser.param_groups[0]["lr"] / cfg.SOLVER.IMS_PER_BATCH)
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("scheduler", ["WarmupMultiStepLR", "WarmupCosineLR"])
def test_every_image_counts_as_much_as_before_at_the_same_point_of_training(scheduler: str) -> None:
    def short() -> Any:
        return a_cfg(
            MAX_ITER=240, STEPS=(180, 220), WARMUP_ITERS=20, LR_SCHEDULER_NAME=scheduler, BASE_LR_END=0.001
        )

    expected = rates_by_images(short())
    cfg = short()
    rescale(cfg, 4)
    assert rates_by_images(cfg) == pytest.approx(expected, rel=1e-9)
    cfg = short()
    cfg.SOLVER.IMS_PER_BATCH = 4  # the batch alone
    assert rates_by_images(cfg) != pytest.approx(expected[: len(rates_by_images(cfg))], rel=0.5)
