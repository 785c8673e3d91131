"""The checkpoints of tests/layouts.py are written, named, filled and shared out as their code bases do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import FIXTURES, backbone_state, load_carelessly
from safetensors import safe_open
from torch import Tensor

ARCH = "resnet18"
LIGHTWEIGHT = {"epoch", "arch", "state_dict", "optimizer"}
RUNNER = {"meta", "state_dict", "optimizer"}
ENGINE = {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers"}
LIGHTNING = {
    *("epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops", "callbacks"),
    *("optimizer_states", "lr_schedulers", "MixedPrecision"),
}
HPARAMS = LIGHTNING | {"hparams_name", "hyper_parameters"}
DETECTRON2 = {"model", "optimizer", "scheduler", "iteration"}
CONTAINERS = {  # what lies at the top of the file, where that is not the tensors themselves
    "mec": LIGHTWEIGHT,
    "pretrain": {"num_images", "step", "model", "optimizer", "scaler"},
    "simsiam": LIGHTWEIGHT,
    "moco-v1": LIGHTWEIGHT,
    "moco-v2": LIGHTWEIGHT,
    "moco-v2-released": {"epoch", "arch", "state_dict"},
    "moco-v3": LIGHTWEIGHT | {"scaler"},
    "swav": {"epoch", "state_dict", "optimizer", "amp"},
    "deepcluster-v2": {"epoch", "state_dict", "optimizer"},
    "barlow-twins": {"epoch", "model", "optimizer"},
    "vicreg": {"epoch", "model", "optimizer"},
    "dino": {"student", "teacher", "optimizer", "epoch", "args", "dino_loss", "fp16_scaler"},
    "simclr": LIGHTWEIGHT,
    "openselfsup": RUNNER,
    "openselfsup-byol": RUNNER,
    "openselfsup-extracted": {"state_dict", "author"},
    "densecl": RUNNER,
    "mmselfsup": RUNNER,
    "mmpretrain": ENGINE,
    "mmpretrain-byol": ENGINE,
    "mmcv": {"meta", "state_dict"},
    "mmdet-trained": RUNNER,
    "mmtrack-trained": RUNNER,
    "solo-learn": LIGHTNING,
    "solo-learn-encoder": LIGHTNING,
    "lightly": LIGHTNING,
    "lightly-benchmark": HPARAMS,
    "lightly-benchmark-moco": HPARAMS,
    "lightly-benchmark-dino": HPARAMS,
    "lightning-dictconfig": HPARAMS | {"hparams_type"},
    "byol-lightning": LIGHTNING,
    "timm": LIGHTWEIGHT | {"version", "args", "amp_scaler", "state_dict_ema", "metric", "saver"},
    "detectron2": {"model", "__author__", "matching_heuristics"},
    "caffe2": {"model", "__author__", "matching_heuristics"},
    "detectron2-trained": DETECTRON2,
    "detectron2-trained-c4": DETECTRON2,
    "vissl": {
        *("phase_idx", "iteration", "loss", "iteration_num", "train_phase_idx", "classy_state_dict", "type"),
    },
}
NAMED = {  # what a pickle names besides tensors, containers of the standard library and numpy
    "barlow-twins": {"__main__.exclude_bias_and_norm"},
    "vicreg": {"__main__.exclude_bias_and_norm"},
    "dino": {"argparse.Namespace"},
    "timm": {"argparse.Namespace"},
    "mmpretrain": {"mmengine.logging.history_buffer.HistoryBuffer"},
    "mmpretrain-byol": {"mmengine.logging.history_buffer.HistoryBuffer"},
    "lightning-dictconfig": {
        *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode"),
        *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "typing.Any"),
    },
}
WITH_NUMPY = {"swav", "deepcluster-v2", "dino", "mmpretrain", "mmpretrain-byol", "detectron2", "caffe2"}
PLAIN = ("collections.", "torch.", "torch._utils.", "numpy.", "_codecs.", "builtins.", "__builtin__.")


def read(path: Path) -> tuple[Any, set[str]]:
    if path.suffix != ".safetensors":
        return load_carelessly(path)
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, set()  # noqa: SIM118


def tensors(content: Any) -> Iterator[Tensor]:
    """Every tensor and array below ``content``, however deep."""
    if isinstance(content, np.ndarray):
        yield torch.from_numpy(content)
    elif isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from tensors(value)


def look(tensor: Tensor) -> tuple[float, ...]:
    """Enough to tell one network's tensor from another's; contiguous, since sums round in memory's order."""
    return (*tensor.shape, tensor.contiguous().sum().item())


@pytest.mark.parametrize("name", FIXTURES)
def test_fixture_is_written_as_its_code_base_writes(name: str, tmp_path: Path) -> None:
    fixture = FIXTURES[name]
    path = fixture.write(tmp_path, ARCH)
    content, named = read(path)
    if name in CONTAINERS:
        assert set(content) == CONTAINERS[name]
    else:
        assert all(isinstance(value, Tensor) for value in content.values())
    assert {n for n in named if not n.startswith(PLAIN)} == NAMED.get(name, set())
    assert any(n.startswith("numpy.") for n in named) == (name in WITH_NUMPY)

    held = {look(tensor) for tensor in tensors(content)}
    for seed in fixture.branches.values():
        state = backbone_state(ARCH, seed)
        counters = {key for key in state if key.endswith("num_batches_tracked")}
        lost = {key for key, value in state.items() if look(value) not in held}
        assert lost == (set() if fixture.counters else counters)
    assert path.stat().st_size < 120e6
    path.unlink()  # pytest would keep gigabytes of them


def test_branches_of_a_file_differ() -> None:
    for fixture in FIXTURES.values():
        assert len(set(fixture.branches.values())) == len(fixture.branches)
        assert fixture.evidence


def test_deeper_archs_are_written_too(tmp_path: Path) -> None:
    for name in ("huggingface", "detectron2"):
        path = FIXTURES[name].write(tmp_path, "resnet50")
        content, _ = read(path)
        path.unlink()
        assert sum(tensor.ndim == 4 for tensor in tensors(content)) == 53
