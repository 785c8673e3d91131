"""Several processes in mmdet's and mmtrack's training loops, on GPUs as they are and on CPUs, too.

Their distributed data parallel is written for CUDA: on a CPU it neither unpacks mmcv's data containers
nor may ask for a current device. The switch here is that one class; sampling, averaging of gradients
and the loop stay theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from transfer.ranks import World, sum_over_ranks, synchronise_batchnorm


def wait(world: World) -> None:
    """Return when every process is here."""
    sum_over_ranks(torch.zeros(1), world)


def synchronise(model: nn.Module, device: str, world: World) -> None:
    """Give norms that a configuration calls SyncBN the statistics of all processes, on a CPU, too.

    torch's own synchronises on CUDA alone, where it stays.
    """
    if world.size == 1 or device == "cuda":
        return
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.SyncBatchNorm):
                holder = nn.Sequential(child)
                setattr(parent, name, synchronise_batchnorm(holder, world, torch.device(device))[0])  # type: ignore[index]


@contextmanager
def loops_on_cpu(device: str, several: bool) -> Iterator[None]:
    """Let mmdet's and mmtrack's loops resume without a GPU, and wrap a model for several such processes."""
    if device == "cuda":
        yield
        return
    import mmdet.apis.train
    import mmdet.datasets.samplers.infinite_sampler as infinite
    import mmtrack.apis.train
    from mmcv.parallel import MMDistributedDataParallel
    from mmcv.parallel.scatter_gather import scatter_kwargs
    from mmcv.runner import IterBasedRunner

    class OnCpu(MMDistributedDataParallel):  # type: ignore[misc]
        def __init__(self, model: nn.Module, *_: Any, device_ids: Any = None, **settings: Any) -> None:
            super().__init__(model, **settings)

        def train_step(self, *inputs: Any, **kwargs: Any) -> Any:
            unpacked, named = scatter_kwargs(inputs, kwargs, [-1])
            return super().train_step(*unpacked[0], **named[0])

    resume = IterBasedRunner.resume
    patch: list[tuple[Any, str, Any]] = [
        (IterBasedRunner, "resume", lambda self, path: resume(self, path, True, "cpu"))
    ]
    if several:
        sync = infinite.sync_random_seed
        patch += [
            (infinite, "sync_random_seed", lambda seed=None: sync(seed, "cpu")),
            (mmdet.apis.train, "build_ddp", lambda model, device, **settings: OnCpu(model, **settings)),
            (mmtrack.apis.train, "MMDistributedDataParallel", OnCpu),
            (torch.cuda, "current_device", lambda: -1),
            (nn.Module, "cuda", lambda self, device=None: self),
        ]
    saved = [(owner, name, getattr(owner, name)) for owner, name, _ in patch]
    for owner, name, value in patch:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in saved:
            setattr(owner, name, value)
