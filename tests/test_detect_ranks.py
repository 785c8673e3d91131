"""Several processes train one detector: as detectron2's GPUs do, and as one process in several passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detect_scene import DETECTRON2
from detect_tiny import make_tiny, tiny_cfg, train
from forkserver import PRELOAD
from ranks import run_ranks

pytestmark = DETECTRON2
PRELOAD += ["detectron2.engine", "detectron2.modeling"]
SCHEDULE: dict[str, Any] = {"SOLVER__STEPS": (), "SOLVER__WARMUP_ITERS": 0, "SOLVER__CHECKPOINT_PERIOD": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def step(world: Any, root: Path, out: Path, accumulate: int, settings: dict[str, Any]) -> dict[str, Any]:
    """The model of each process after training; ``out`` is a folder of its own, as on another machine."""
    return train(world, root, out / str(world.rank), accumulate, **{**SCHEDULE, **settings})


def gradients(out: Path) -> list[torch.Tensor]:
    """Of the only step, with weight decay: what SGD's momentum begins with."""
    state = torch.load(out / "0/model_0000000.pth", weights_only=True)
    moments = state["trainer"]["_trainer"]["optimizer"]["state"]
    return [moments[k]["momentum_buffer"] for k in sorted(moments)]


def test_two_passes_are_two_processes(root: Path, tmp_path: Path) -> None:
    settings = {"SOLVER__MAX_ITER": 1}
    [one] = run_ranks(1, step, root, tmp_path / "one", 2, settings)
    first, second = run_ranks(2, step, root, tmp_path / "two", 1, settings)
    for key, tensor in one.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], tensor, rtol=0, atol=1e-6, msg=key)
    for expected, found in zip(gradients(tmp_path / "one"), gradients(tmp_path / "two"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    run_ranks(1, step, root, tmp_path / "whole", 1, settings)
    pairs = list(zip(gradients(tmp_path / "one"), gradients(tmp_path / "whole"), strict=True))
    assert any((mine - other).abs().max() > 1e-3 for mine, other in pairs)  # one pass is another mean


def test_passes_in_processes_are_as_many_passes_in_one(root: Path, tmp_path: Path) -> None:
    settings = {"SOLVER__MAX_ITER": 3, "SOLVER__IMS_PER_BATCH": 4}
    [one] = run_ranks(1, step, root, tmp_path / "one", 4, settings)
    first, second = run_ranks(2, step, root, tmp_path / "two", 2, settings)
    for key, tensor in one.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], tensor, rtol=1e-3, atol=1e-5, msg=key)


def test_synchronised_norms_see_all_processes_images(tmp_path: Path) -> None:
    """On images of one size, where the mean of two processes' means is that of all positions."""
    root = make_tiny(tmp_path / "set", same_size=True)
    settings = {"SOLVER__MAX_ITER": 1, "INPUT__MIN_SIZE_TRAIN": (48,), "SOLVER__CHECKPOINT_PERIOD": 9}
    key = "backbone.bottom_up.res4.0.conv1.norm.running_mean"
    for norm, same in (("naiveSyncBN", True), ("BN", False)):
        own = {**settings, "MODEL__RESNETS__NORM": norm}
        [one] = run_ranks(1, step, root, tmp_path / norm / "one", 1, own)
        first, second = run_ranks(2, step, root, tmp_path / norm / "two", 1, own)
        assert torch.equal(first[key], second[key])  # plain BN too: what is saved is what all evaluate
        assert torch.allclose(first[key], one[key], rtol=1e-4, atol=1e-5) == same, norm


def interrupted(world: Any, root: Path, out: Path, settings: dict[str, Any]) -> None:
    from test_detect_trainer import stopped_in

    with stopped_in(3):
        step(world, root, out, 1, settings)


def test_two_processes_go_on_from_what_the_first_one_sees(root: Path, tmp_path: Path) -> None:
    settings = {
        "SOLVER__MAX_ITER": 5,
        "SOLVER__CHECKPOINT_PERIOD": 2,
        "MODEL__RESNETS__NORM": "naiveSyncBN",
        "TEST__PRECISE_BN__ENABLED": True,
        "TEST__PRECISE_BN__NUM_ITER": 2,
    }
    run_ranks(2, step, root, tmp_path / "whole", 1, settings)
    run_ranks(2, interrupted, root, tmp_path / "again", settings)
    assert (tmp_path / "again/0/last_checkpoint").read_text() == "model_0000001.pth"
    run_ranks(2, step, root, tmp_path / "again", 1, settings)
    whole = (tmp_path / "whole/0/model_final.pth").read_bytes()
    assert (tmp_path / "again/0/model_final.pth").read_bytes() == whole
    assert not (tmp_path / "again/1").exists()  # the second process writes nothing
    assert "Starting training from iteration 2" in (tmp_path / "again/0/log.txt").read_text()


def with_one_fault(world: Any, root: Path, out: Path, fault: str) -> str:
    """The error of each process, where only the second one has a reason for it."""
    from transfer.detect import trainer

    def check_arrival(*_: Any) -> None:
        raise ValueError("a tensor is lost here")

    def build_loader(*arguments: Any, **options: Any) -> Any:
        for batch in original(*arguments, **options):
            for sample in batch:
                sample["image"] = sample["image"] * torch.nan
            yield batch

    original = trainer.build_loader
    if world.rank == 1 and fault == "lost":
        trainer.check_arrival = check_arrival
    if world.rank == 1 and fault in ("nan", "nan before a norm"):
        trainer.build_loader = build_loader
    settings = {**SCHEDULE, "SOLVER__MAX_ITER": 1}
    if fault == "nan before a norm":  # that of the other process waits for this one's numbers
        settings |= {"MODEL__ROI_BOX_HEAD__NUM_CONV": 1, "MODEL__ROI_BOX_HEAD__NORM": "naiveSyncBN"}
    try:
        trainer.fit(tiny_cfg(root, out, **settings), 1, trainer.World(world.rank, world.size))
    except (ValueError, FloatingPointError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_what_one_process_finds_stops_both_alike(root: Path, tmp_path: Path) -> None:
    assert (
        run_ranks(2, with_one_fault, root, tmp_path / "lost", "lost")
        == ["ValueError: a tensor is lost here"] * 2
    )
    for fault in ("nan", "nan before a norm"):
        errors = run_ranks(2, with_one_fault, root, tmp_path / fault, fault)
        assert all(error.startswith("FloatingPointError: the loss became infinite") for error in errors)
    assert run_ranks(2, with_one_fault, root, tmp_path / "none", "none") == ["", ""]
