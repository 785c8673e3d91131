"""detectron2's trainer goes on to the same bytes, stops on NaN, and averages passes as it averages GPUs."""

from __future__ import annotations

import json
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from detect_scene import DETECTRON2, rename_tensor
from detect_tiny import make_tiny, tiny_cfg, train

from transfer.detect import trainer
from transfer.detect.checkpoints import read_newest, training_digest
from transfer.detect.trainer import fit
from transfer.ranks import World

pytestmark = DETECTRON2


@pytest.fixture(scope="module", autouse=True)
def _more_lines() -> Iterator[None]:
    """Two lines in six iterations."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer, "PERIOD", 3)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(root: Path) -> Path:
    """A run of six iterations with trained norms and precise ones in the end, not interrupted."""
    fit(tiny_cfg(root, root / "whole", **NORMS))
    return root / "whole"


NORMS = {"MODEL__RESNETS__NORM": "BN", "TEST__PRECISE_BN__ENABLED": True, "TEST__PRECISE_BN__NUM_ITER": 3}


def lines(out: Path) -> list[dict[str, float]]:
    """What ``metrics.json`` says besides times."""
    return [
        {key: value for key, value in json.loads(line).items() if key not in trainer.TIMES}
        for line in (out / "metrics.json").read_text().splitlines()
    ]


@contextmanager
def stopped_in(iteration: int) -> Iterator[None]:
    """Stop a training by an exception in one iteration."""
    original = trainer.seed_of

    def seed_of(*numbers: int) -> int:
        if len(numbers) == 4 and numbers[1:3] == (trainer.PASS, iteration):
            raise KeyboardInterrupt
        return original(*numbers)

    trainer.seed_of = seed_of
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        trainer.seed_of = original


@pytest.mark.parametrize("iteration", [1, 3, 4])
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(
    root: Path, whole: Path, tmp_path: Path, iteration: int
) -> None:
    cfg = tiny_cfg(root, tmp_path, **NORMS)
    with stopped_in(iteration):
        fit(cfg)
    kept = sorted(path.name for path in tmp_path.glob("model_*.pth"))
    assert kept == [f"model_{k:07d}.pth" for k in (1, 3) if k < iteration]
    fit(cfg)
    assert (tmp_path / "model_final.pth").read_bytes() == (whole / "model_final.pth").read_bytes()
    assert [line["iteration"] for line in lines(tmp_path)] == [2, 5]
    assert lines(tmp_path) == lines(whole)  # losses are medians over iterations before the interruption too
    log = (tmp_path / "log.txt").read_text()
    assert f"Starting training from iteration {2 * (iteration // 2)}" in log


def test_final_weights_are_the_returned_models_and_hold_no_optimiser(root: Path, whole: Path) -> None:
    state = torch.load(whole / "model_final.pth", weights_only=True)
    assert set(state) == {"model", "training", "iteration"}
    assert state["iteration"] == 5
    assert (whole / "last_checkpoint").read_text() == "model_final.pth"
    model = fit(tiny_cfg(root, whole, **NORMS))  # nothing is left to train
    assert (whole / "log.txt").read_text().count("Starting training") == 1
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state["model"][key]), key


def test_killed_before_the_final_file_it_is_written(root: Path, whole: Path, tmp_path: Path) -> None:
    for name in ("model_0000003.pth", "model_0000005.pth"):
        shutil.copy(whole / name, tmp_path / name)
    (tmp_path / "last_checkpoint").write_text("model_0000005.pth")
    fit(tiny_cfg(root, tmp_path, **NORMS))
    assert (tmp_path / "model_final.pth").read_bytes() == (whole / "model_final.pth").read_bytes()


def test_without_its_iterations_order_or_random_numbers_it_would_differ(
    root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controls: going on with the first batches again, and with proposals drawn as at the start."""
    expected = (whole / "model_final.pth").read_bytes()
    build_loader, seed_of = trainer.build_loader, trainer.seed_of
    changes: dict[str, Any] = {
        "build_loader": lambda *arguments, **options: build_loader(*arguments, **{**options, "start": 0}),
        "seed_of": lambda *numbers: seed_of(*numbers[:2]),
    }
    for name, change in changes.items():
        out = tmp_path / name
        out.mkdir()
        shutil.copy(whole / "model_0000003.pth", out)
        with monkeypatch.context() as patched:
            patched.setattr(trainer, name, change)
            fit(tiny_cfg(root, out, **NORMS))
        assert (out / "model_final.pth").read_bytes() != expected, name
    shutil.copy(whole / "model_0000003.pth", tmp_path)
    fit(tiny_cfg(root, tmp_path, **NORMS))
    assert (tmp_path / "model_final.pth").read_bytes() == expected


def test_loader_processes_change_nothing(root: Path, whole: Path, tmp_path: Path) -> None:
    fit(tiny_cfg(root, tmp_path, DATALOADER__NUM_WORKERS=2, SOLVER__CHECKPOINT_PERIOD=100, **NORMS))
    assert (tmp_path / "model_final.pth").read_bytes() == (whole / "model_final.pth").read_bytes()


def test_lines_that_will_be_written_again_or_in_part_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    trainer._cut_metrics(path, 5)
    assert not path.exists()
    content = [f'{{"iteration": {k}, "lr": 0.1}}\n' for k in (19, 39, 59)]
    path.write_text("".join(content) + '{"iteration": 7')
    trainer._cut_metrics(path, 40)
    assert path.read_text() == "".join(content[:2])
    trainer._cut_metrics(path, 0)
    assert path.read_text() == ""


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    for name in ("model_0000003.pth", "model_0000005.pth"):
        shutil.copy(whole / name, tmp_path / name)
    (tmp_path / "last_checkpoint").write_text("model_0000005.pth")
    truncate(tmp_path / "model_0000005.pth")
    fit(tiny_cfg(root, tmp_path, **NORMS))
    log = (tmp_path / "log.txt").read_text()
    assert "model_0000005.pth" in log
    assert "is damaged or no checkpoint of a run; trying the one before" in log
    assert "Starting training from iteration 4" in log
    assert (tmp_path / "model_final.pth").read_bytes() == (whole / "model_final.pth").read_bytes()


def test_only_damaged_checkpoints_are_an_error(root: Path, whole: Path, tmp_path: Path) -> None:
    for name in ("model_0000003.pth", "model_0000005.pth"):
        shutil.copy(whole / name, tmp_path / name)
        truncate(tmp_path / name)
    with pytest.raises(ValueError, match="found only damaged ones; remove them") as raised:
        fit(tiny_cfg(root, tmp_path, **NORMS))
    assert str(raised.value).count(".pth: ") == 2
    assert not (tmp_path / "metrics.json").exists()


def test_a_checkpoint_of_another_training_is_refused(root: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copy(whole / "model_0000003.pth", tmp_path)
    for other in ({"SEED": 1}, {"SOLVER__BASE_LR": 0.003}):
        with pytest.raises(ValueError, match=r"model_0000003\.pth: is of another training"):
            fit(tiny_cfg(root, tmp_path, **NORMS, **other))
    digest = training_digest(tiny_cfg(root, tmp_path, **NORMS), 1)
    assert digest == training_digest(tiny_cfg(root, tmp_path / "x", DATALOADER__NUM_WORKERS=4, **NORMS), 1)
    assert digest != training_digest(tiny_cfg(root, tmp_path, **NORMS), 2)
    state = read_newest(tmp_path, digest)
    assert state is not None
    assert state["iteration"] == 3


def test_the_newest_two_are_kept_and_nothing_half_written(whole: Path) -> None:
    names = {path.name for path in whole.iterdir() if "model" in path.name}
    assert names == {"model_0000003.pth", "model_0000005.pth", "model_final.pth"}


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
def test_a_checkpoint_that_cannot_be_written_leaves_the_ones_before(root: Path, tmp_path: Path) -> None:
    cfg = tiny_cfg(root, tmp_path, **NORMS)
    with stopped_in(3):
        fit(cfg)
    before = (tmp_path / "model_0000001.pth").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # as a full disk: the write fails
    try:
        with pytest.raises(OSError, match=r"could not be written .*model_0000001\.pth are? .*Make room"):
            fit(cfg)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "model_0000001.pth").read_bytes() == before
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_loss_that_is_not_finite_stops_the_run(root: Path, tmp_path: Path) -> None:
    cfg = tiny_cfg(root, tmp_path, SOLVER__BASE_LR=1e9, SOLVER__WARMUP_ITERS=0)
    with pytest.raises(FloatingPointError):
        fit(cfg)
    with pytest.raises(FloatingPointError):  # also from the checkpoint that it may have left
        fit(cfg)


def test_weights_that_the_last_step_spoils_stop_the_run(root: Path, tmp_path: Path) -> None:
    """No later loss could tell: without the check its AP would be a plain 0."""
    schedule: dict[str, Any] = {"SOLVER__WARMUP_ITERS": 0, "SOLVER__MAX_ITER": 1, "SOLVER__STEPS": ()}
    cfg = tiny_cfg(root, tmp_path, SOLVER__BASE_LR=3e38, SOLVER__WEIGHT_DECAY=1e10, **schedule)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="after the last iteration"):
            fit(cfg)


def test_a_lost_tensor_stops_it_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    own = make_tiny(tmp_path / "own")
    rename_tensor(own / "backbone.pkl", "res4.1.conv2.norm.running_var", "res4.1.conv2.norm.variance")
    with pytest.raises(ValueError, match=r"res4\.1\.conv2\.norm\.running_var: not in the file"):
        fit(tiny_cfg(own, tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"log.txt"}


@pytest.mark.parametrize(
    ("settings", "accumulate", "world", "message"),
    [
        ({"SEED": -1}, 1, World(), "SEED: expected at least 0"),
        ({"SOLVER__REFERENCE_WORLD_SIZE": 8}, 1, World(), "REFERENCE_WORLD_SIZE: expected 0, found 8"),
        ({"SOLVER__AMP__ENABLED": True}, 2, World(), "accumulate: expected 1 with SOLVER.AMP.ENABLED"),
        ({"SOLVER__AMP__ENABLED": True}, 1, World(), "needs a GPU"),
        ({"SOLVER__IMS_PER_BATCH": 3}, 2, World(), "accumulate: 2 passes cannot share evenly the 3 images"),
        ({}, 1, World(0, 3), "3 processes cannot share evenly"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(
    root: Path, tmp_path: Path, settings: dict[str, Any], accumulate: int, world: World, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tiny_cfg(root, tmp_path / "out", **settings), accumulate, world)
    assert not (tmp_path / "out").exists()


def test_passes_are_not_the_whole_batch_in_one(root: Path, tmp_path: Path) -> None:
    """Losses are means over one pass, and each pass draws its own proposals; it goes on all the same."""
    one = train(World(), root, tmp_path / "one", SOLVER__MAX_ITER=3)
    two = train(World(), root, tmp_path / "two", accumulate=2, SOLVER__MAX_ITER=3)
    key = "roi_heads.box_predictor.cls_score.weight"
    assert not torch.equal(one[key], two[key])
    cfg = tiny_cfg(root, tmp_path / "stopped", SOLVER__MAX_ITER=3)
    with stopped_in(2):
        fit(cfg, 2)
    again = fit(cfg, 2).state_dict()
    assert all(torch.equal(again[name], two[name]) for name in two)
