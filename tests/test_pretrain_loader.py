"""The same batches whatever the workers, ranks and first step; workers that neither die nor linger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_pretrain_shards import write_shards
from torch import Tensor

from pretrain.collective import World
from pretrain.config import Config, DataConfig, OptimConfig, ViewsConfig
from pretrain.images import open_images
from pretrain.loader import batches, workers

# Python 3.12 warns of every fork once a thread has run; torch's own loader forks all the same
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)

ROOT = Path(__file__).resolve().parent.parent
STEPS_PER_EPOCH = 4  # of 5 images, of 23


@pytest.fixture
def config(tmp_path: Path) -> Config:
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(23):
        pixels = generator.integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i:02}.png")
    return Config(
        out="",
        data=DataConfig(name="noise", dir=str(tmp_path / "images"), workers=0),
        views=ViewsConfig(size=8, small_crops=2, small_size=4),
        optim=OptimConfig(batch_size=5),
    )


def stream(
    config: Config, first_step: int = 0, last_step: int = 10, world: World | None = None
) -> list[tuple[Tensor, ...]]:
    return list(
        batches(
            open_images(config),
            config,
            steps_per_epoch=STEPS_PER_EPOCH,
            first_step=first_step,
            last_step=last_step,
            world=world or World(),
        )
    )


def equal(left: list[tuple[Tensor, ...]], right: list[tuple[Tensor, ...]]) -> bool:
    return len(left) == len(right) and all(
        len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(left, right, strict=True)
    )


def test_a_batch_holds_the_crops_of_its_images(config: Config) -> None:
    whole = stream(config)
    assert len(whole) == 10
    assert [tuple(part.shape) for part in whole[0]] == [(5, 2, 3, 8, 8), (5, 2, 3, 4, 4)]
    config.views.small_crops = 0
    assert [tuple(part.shape) for part in stream(config)[0]] == [(5, 2, 3, 8, 8)]


@pytest.mark.parametrize("first_step", [1, 3, 4, 7])
def test_batches_from_a_later_step_are_those_of_the_uninterrupted_run(
    config: Config, first_step: int
) -> None:
    whole = stream(config)
    torch.manual_seed(9)
    assert equal(stream(config, first_step), whole[first_step:])
    assert not equal(stream(config, first_step - 1, 9), whole[first_step:])


@pytest.mark.parametrize("num_workers", [1, 2])  # torch warns of more than there are cores
def test_workers_change_nothing(config: Config, num_workers: int) -> None:
    whole = stream(config)
    config.data.workers = num_workers
    assert equal(stream(config), whole)
    config.data.in_memory = True
    assert equal(stream(config), whole)
    config.seed = 1
    assert not equal(stream(config), whole)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_together_hold_the_batch(config: Config, size: int) -> None:
    parts = [stream(config, 0, 5, World(rank, size)) for rank in range(size)]
    together = [
        tuple(torch.cat(column) for column in zip(*ranks, strict=True)) for ranks in zip(*parts, strict=True)
    ]
    assert equal(together, stream(config, 0, 5))


def test_epochs_are_permutations_with_other_crops(config: Config) -> None:
    """Flat images of different greys: a batch shows which images it holds."""
    for i in range(23):
        Image.new("L", (9, 9), 10 * i).save(Path(config.data.dir) / f"{i:02}.png")
    whole = stream(config, 0, 2 * STEPS_PER_EPOCH)
    seen = [batch[0][:, 0, 0, 0, 0] // 10 for batch in whole]
    epochs = [torch.cat(seen[:STEPS_PER_EPOCH]), torch.cat(seen[STEPS_PER_EPOCH:])]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == len(epoch) == 20
    assert not torch.equal(*epochs)


def test_shards_are_read_by_every_worker(config: Config, tmp_path: Path) -> None:
    config.data.shards, config.data.dir = write_shards(tmp_path, 3, 4), ""
    whole = stream(config, 0, 2)
    config.data.workers = 2
    assert equal(stream(config, 0, 2), whole)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damaged_image_is_named_in_one_sentence(config: Config, num_workers: int) -> None:
    path = Path(config.data.dir) / "07.png"
    path.write_bytes(b"no image")
    config.data.workers = num_workers
    with pytest.raises(ValueError, match="cannot be decoded") as raised:
        stream(config)
    assert str(raised.value).startswith(f"{path}: cannot be decoded as an image")
    assert "Traceback" not in str(raised.value)
    assert "worker" not in str(raised.value)


def children() -> set[int]:
    return {
        int(child) for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    }


@pytest.fixture
def started(config: Config) -> Iterator[tuple[Iterator[tuple[Tensor, ...]], set[int]]]:
    config.data.workers = 2
    before = children()
    running = batches(
        open_images(config),
        config,
        steps_per_epoch=STEPS_PER_EPOCH,
        first_step=0,
        last_step=400,
        world=World(),
    )
    for _ in range(2):  # one batch of each worker, so that both have started
        next(running)
    yield running, children() - before
    running.close()


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_workers_leave_signals_to_the_main_process(
    started: tuple[Iterator[tuple[Tensor, ...]], set[int]], number: signal.Signals
) -> None:
    running, processes = started
    assert len(processes) == 2
    for process in processes:
        os.kill(process, number)
    for _ in range(30):
        next(running)
    assert processes <= children()


@linux
def test_a_killed_worker_is_an_error(started: tuple[Iterator[tuple[Tensor, ...]], set[int]]) -> None:
    running, processes = started
    for process in processes:
        os.kill(process, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        list(running)


@linux
def test_closing_ends_the_workers(config: Config) -> None:
    config.data.workers = 2
    before = children()
    running = batches(
        open_images(config), config, steps_per_epoch=4, first_step=0, last_step=400, world=World()
    )
    next(running)
    assert children() - before
    running.close()
    assert not children() - before  # a process of an earlier test may end meanwhile


@pytest.mark.parametrize("ending", ["raise RuntimeError('stopped')", "sys.exit(3)", "pass"])
def test_a_process_ends_at_once_with_workers_running(config: Config, ending: str) -> None:
    """Workers ignore the signal by which Python ends its children at exit."""
    script = f"""
import sys
from pretrain.collective import World
from pretrain.config import Config, DataConfig, OptimConfig, ViewsConfig
from pretrain.images import open_images
from pretrain.loader import batches

config = Config(out="", data=DataConfig(name="noise", dir={config.data.dir!r}, workers=2))
config.views, config.optim = ViewsConfig(size=8), OptimConfig(batch_size=5)
running = batches(open_images(config), config, steps_per_epoch=4, first_step=0, last_step=400, world=World())
next(running)
{ending}
"""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == {"r": 1, "s": 3, "p": 0}[ending[0]], done.stderr
    assert time.monotonic() - start < 40


@pytest.mark.parametrize(
    ("given", "cores", "local", "gpu", "in_memory", "expected"),
    [
        (3, 64, 1, True, False, 3),
        (0, 64, 1, True, False, 0),
        (-1, 64, 1, True, False, 16),
        (-1, 64, 8, True, False, 8),
        (-1, 4, 8, True, True, 1),
        (-1, 16, 1, False, False, 4),
        (-1, 2, 1, False, False, 1),
        (-1, 16, 1, False, True, 0),
    ],
)
def test_number_of_workers(
    monkeypatch: pytest.MonkeyPatch,
    config: Config,
    given: int,
    cores: int,
    local: int,
    gpu: bool,
    in_memory: bool,
    expected: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    config.data.workers, config.data.in_memory = given, in_memory
    assert workers(config, World(0, local)) == expected
    config.device = "cpu"
    if gpu and given == -1:
        assert workers(config, World(0, local)) == (0 if in_memory else max(1, cores // local // 4))
