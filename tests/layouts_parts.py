"""What the fixtures of tests/layouts*.py are built of: networks, heads and what optimizers leave behind."""

from __future__ import annotations

import copy
import itertools
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torchvision
from checkpoints import with_statistics
from torch import Tensor, nn

WIDTH = 16  # of every head: the files are as small as their backbones allow
ONLINE, TARGET, ONLY, EMA, DETECTOR, REID = range(6)  # seeds: no two branches hold the same network


@dataclass(frozen=True)
class Fixture:
    """A checkpoint in the key names and container of one code base.

    ``write`` takes a folder and an arch and returns the file, named as that code base names it.
    ``branches`` maps each branch to the seed of its network, the one evaluated downstream first.
    ``evidence`` says where names and container were read. ``counters`` is False where the file holds
    no ``num_batches_tracked``. ``arch`` is what reading calls its network, where files of this kind hold no
    other; empty where they can hold any.
    """

    write: Callable[[Path, str], Path]
    branches: dict[str, int]
    evidence: str
    counters: bool = True
    arch: str = ""


@cache
def _initialised(arch: str, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        name = arch.removesuffix("-cifar")
        module = with_statistics(torchvision.models.get_model(name, weights=None), seed)
        if name != arch:
            module.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
            module.maxpool = nn.Identity()
    return module


def network(arch: str, seed: int, fc: nn.Module | None = None) -> nn.Module:
    """torchvision's network with batch norm statistics; ``fc`` replaces its classifier.

    The arch may end in ``-cifar``: a 3x3 first convolution and no max pooling.
    """
    module = copy.deepcopy(_initialised(arch, seed))
    module.fc = fc if fc is not None else nn.Identity()
    return module


def backbone_state(arch: str, seed: int) -> dict[str, Tensor]:
    """torchvision's names without ``fc``: what reading the branch with this seed must give.

    An arch that ends in ``-w16`` gets the first quarter of each tensor's channels, one that ends in
    ``-caffe`` the same tensors as without.
    """
    state = network(arch.removesuffix("-w16").removesuffix("-caffe"), seed).state_dict()
    return (
        {key: first_quarter(value) for key, value in state.items()} if arch.endswith("-w16") else dict(state)
    )


def first_quarter(tensor: Tensor) -> Tensor:
    """The first quarter of output and input channels; the three of images and step counters stay."""
    if tensor.ndim == 4 and tensor.shape[1] > 3:
        tensor = tensor[:, : tensor.shape[1] // 4]
    return tensor[: len(tensor) // 4].clone() if tensor.ndim else tensor


def features(arch: str) -> int:
    """How many features the network gives, which is what its heads take."""
    return 512 if arch.removesuffix("-cifar") in ("resnet18", "resnet34") else 2048


def head(*widths: int, bias: bool = True, norm: bool = True, last: nn.Module | None = None) -> nn.Sequential:
    """Linear layers, each but the last followed by batch norm (unless ``norm`` is False) and ReLU."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(before, after, bias=bias))
        if i < len(widths) - 2:
            layers += [nn.BatchNorm1d(after), nn.ReLU()] if norm else [nn.ReLU()]
    return nn.Sequential(*layers, *([last] if last is not None else []))


def tree(**parts: nn.Module | Tensor) -> nn.Module:
    """A module that holds these children and buffers: ``state_dict()`` then names them as a real one."""
    module = nn.Module()
    for name, part in parts.items():
        if isinstance(part, Tensor):
            module.register_buffer(name, part)
        else:
            module.add_module(name, part)
    return module


def parallel(module: nn.Module) -> dict[str, Any]:
    """The state that DistributedDataParallel gives: every name starts with ``module.``."""
    return tree(module=module).state_dict()


def queue(length: int = 32) -> dict[str, Tensor]:
    """MoCo's negatives and the place of the next ones, (width, length) and (1,)."""
    return {
        "queue": nn.functional.normalize(torch.randn(WIDTH, length), dim=0),
        "queue_ptr": torch.tensor([8], dtype=torch.long),
    }


def optimizer(buffer: str = "momentum_buffer", lr: object = 0.1, **group: object) -> dict[str, Any]:
    """An optimizer's state: a buffer shaped like the first weights, so that nobody takes it for them."""
    return {
        "state": {0: {buffer: torch.zeros(64, 3, 7, 7)}, 1: {buffer: torch.zeros(64)}},
        "param_groups": [{"lr": lr, "momentum": 0.9, "weight_decay": 1e-4, **group, "params": [0, 1]}],
    }


def scaler() -> dict[str, Any]:
    """The state of torch.cuda.amp.GradScaler."""
    return {
        "scale": 65536.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 12,
    }


def scheduled(value: float) -> np.float64:
    """A learning rate taken out of a numpy schedule, which makes numpy part of the pickle."""
    return np.float64(value)


def save(content: object, path: Path) -> Path:
    """torch.save, and the path for the caller to return."""
    torch.save(content, path)
    return path


@contextmanager
def pretend(module: str, **names: Any) -> Iterator[None]:
    """Let pickle find ``names`` in a module that is not installed (or in ``__main__``) while saving."""
    parts = module.split(".")
    missing = [".".join(parts[: i + 1]) for i in range(len(parts))]
    missing = [name for name in missing if name not in sys.modules]
    sys.modules.update({name: ModuleType(name) for name in missing})
    target = sys.modules[module]
    for name, value in names.items():
        value.__module__, value.__qualname__, value.__name__ = module, name, name
        setattr(target, name, value)
    try:
        yield
    finally:
        for name in names:
            delattr(target, name)
        for name in missing:
            del sys.modules[name]


class Stub:
    """Stands for whatever a pickle names and this environment lacks."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.args = args


def load_carelessly(path: Path) -> tuple[Any, set[str]]:
    """Unpickle a fixture, executing what it names; also the qualified names that it names."""
    named: set[str] = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            named.add(f"{module}.{name}")
            try:
                return super().find_class(module, name)
            except (ImportError, AttributeError):
                return Stub

    careless: Any = ModuleType("careless")
    careless.Unpickler, careless.load, careless.__name__ = Unpickler, pickle.load, "careless"
    if path.suffix == ".pkl":
        with path.open("rb") as file:
            return Unpickler(file).load(), named
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=careless), named
