"""Readable files whose tensors are not a backbone, or not one that may be written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hostile import Case
from hostile_safetensors import contract_header
from layouts_parts import backbone_state
from safetensors.torch import save_file
from torch import Tensor

from transfer.backbone.naming import COUNTER, DETECTRON2, rename

State = dict[Any, Any]
STEM, NORM, LAST = "conv1.weight", "layer1.0.bn1.weight", "layer4.1.conv2.weight"


def good_state() -> dict[str, Tensor]:
    """A ResNet-18 that every target accepts."""
    return backbone_state("resnet18", 0)


def write_containers(folder: Path) -> dict[str, Path]:
    """The same backbone in each container."""
    state = good_state()
    torch.save(state, folder / "whole.pth")
    torch.save(state, folder / "whole.pth.tar", _use_new_zipfile_serialization=False)
    plain = rename({key: value for key, value in state.items() if not key.endswith(COUNTER)}, DETECTRON2)
    arrays = {key: value.numpy() for key, value in plain.items()}
    (folder / "whole.pkl").write_bytes(
        pickle.dumps({"model": arrays, "matching_heuristics": True}, protocol=4)
    )
    save_file(state, folder / "contract.safetensors", contract_header())
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return {
        "zip": folder / "whole.pth",
        "legacy": folder / "whole.pth.tar",
        "pickle": folder / "whole.pkl",
        "contract": folder / "contract.safetensors",
        "safetensors": folder / "model.safetensors",
    }


def saved(change: Callable[[State], object], *, legacy: bool = False) -> Callable[[Path], Path]:
    """Writes the good state after a change to it."""

    def write(folder: Path) -> Path:
        state: State = good_state()
        content = change(state)
        path = folder / "input.pth"
        torch.save(state if content is None else content, path, _use_new_zipfile_serialization=not legacy)
        return path

    return write


def put(key: Any, value: Any) -> Callable[[State], None]:
    """Sets one entry."""
    return lambda state: state.update({key: value})


def fill(key: str, value: float) -> Callable[[State], None]:
    """Sets one number of a tensor."""

    def change(state: State) -> None:
        state[key] = state[key].clone()
        state[key].view(-1)[7] = value

    return change


def become(key: str, make: Callable[[Tensor], Any]) -> Callable[[State], None]:
    """Replaces a tensor by what ``make`` gives."""
    return lambda state: state.update({key: make(state[key])})


def weight_cases() -> list[Case]:
    """One fault in an otherwise good state dict."""
    changes: dict[str, tuple[Callable[[State], object], str]] = {
        "NaN": (fill(LAST, float("nan")), "NaN or infinity"),
        "infinity": (fill(NORM, float("-inf")), "NaN or infinity"),
        "a wrong shape": (become(STEM, lambda t: t[:, :, 1:, 1:]), "no supported ResNet|expected shape"),
        "a wrong shape of a norm": (become(NORM, lambda t: t[:32]), "expected shape"),
        "a scalar as kernel": (put(STEM, torch.tensor(1.0)), "no ResNet"),
        "an empty kernel": (put("layer1.0.conv2.weight", torch.zeros(64, 0, 3, 3)), "no ResNet"),
        "a missing tensor": (lambda s: {k: v for k, v in s.items() if k != LAST}, f"missing {LAST}"),
        "an unexpected tensor": (put("layer1.0.gain", torch.ones(64)), "layer1.0.gain"),
        "a block too many": (
            put("layer4.2.conv1.weight", torch.ones(512, 512, 3, 3)),
            "no supported|missing",
        ),
        "a number as weight": (put(LAST, 3.0), f"missing {LAST}"),
        "text as weight": (put(LAST, "x"), f"missing {LAST}"),
        "float64": (become(LAST, lambda t: t.double()), "expected float32"),
        "complex": (become(LAST, lambda t: t.to(torch.complex64)), "expected float32"),
        "integers": (become(LAST, lambda t: t.to(torch.int8)), "expected float32"),
        "booleans": (become(NORM, lambda t: t > 1), "expected float32"),
        "8-bit floats": (become(LAST, lambda t: t.to(torch.float8_e4m3fn)), "expected float32"),
        "sparse": (become(LAST, lambda t: t.relu().to_sparse()), "plain tensor"),
        "compressed rows": (
            become(NORM, lambda t: torch.ones(64, 64).to_sparse_csr()),
            "plain tensor|not a readable",
        ),
        "quantised": (
            become(LAST, lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
            "plain tensor",
        ),
        "meta": (become(LAST, lambda t: t.to("meta")), "plain tensor|claims"),
        "expanded to a huge shape": (put(LAST, torch.zeros(()).expand(1 << 20, 1 << 18)), "shape|claims"),
        "halves expanded to a huge shape": (
            put(LAST, torch.zeros((), dtype=torch.half).expand(1 << 20, 1 << 18)),
            "shape|claims",
        ),
        "a shortcut expanded to a huge shape": (
            put("layer2.0.downsample.0.weight", torch.zeros(()).expand(1 << 18, 1 << 18, 3, 3)),
            "shape|claims",
        ),
        "a counter expanded to a huge shape": (
            put(f"bn1.{COUNTER}", torch.zeros((), dtype=torch.int32).expand(1 << 40)),
            "shape|claims",
        ),
        "a counter that is no integer": (put(f"bn1.{COUNTER}", torch.tensor(3.5)), "expected an integer"),
        "never trained": (
            lambda s: {k: torch.zeros_like(v) if "mean" in k or COUNTER in k else v for k, v in s.items()},
            "an initialisation",
        ),
        "a name twice after unwrapping": (
            lambda s: {"state_dict": s, "state_dict/conv1.weight": s[STEM]},
            "two tensors",
        ),
        "a number and its text as keys": (
            lambda s: {**s, 1: torch.ones(1), "1": torch.ones(1)},
            "two tensors",
        ),
        "two networks": (lambda s: {"state_dict": s, "model": dict(s)}, ""),
        "another arch in its arch": (lambda s: {"state_dict": s, "arch": "resnet50"}, "the file says"),
        "a key of traversal": (put("../../etc/x", torch.ones(1)), "no known part"),
        "an absolute key": (put("/etc/passwd", torch.ones(1)), "no known part"),
        "a key with a zero byte": (put("a\0b", torch.ones(1)), "no known part"),
        "a key of a million characters": (put("x" * 1_000_000, torch.ones(1)), "no known part"),
        "a key of escape codes": (put("\x1b[2J\x1b]0;owned\x07", torch.ones(1)), "no known part"),
        "a key of half a character": (put("\ud800", torch.ones(1)), "no known part"),
        "a key of digits of another script": (put("layer1.٣.conv1.weight", torch.ones(1)), ""),
        "a number as key": (put(7, torch.ones(1)), "no known part"),
        "a tuple as key": (put(("conv1", "weight"), torch.ones(1)), "no known part"),
        "None as key": (put(None, torch.ones(1)), "no known part"),
        "an integer of 10 000 digits as key": (put(1 << 1000, torch.ones(1)), "no known part"),
        "a list of weights": (lambda s: list(s.values()), "no backbone found"),
        "nested 40 deep": (lambda s: nest(s, 40), "nested"),
    }
    found = [Case(f"weights: {label}", saved(change), says) for label, (change, says) in changes.items()]
    found.append(Case("weights: legacy, NaN", saved(fill(LAST, float("nan")), legacy=True), "NaN"))
    return found


def nest(content: object, depth: int) -> object:
    """Dictionaries in dictionaries."""
    for _ in range(depth):
        content = {"a": content}
    return content


def contract_cases() -> list[Case]:
    """Contract files whose tensors or header are not to be trusted."""

    def case(label: str, change: Callable[[State], object], says: str, **header: str) -> Case:
        def write(folder: Path) -> Path:
            state: State = good_state()
            change(state)
            save_file(state, folder / "input.safetensors", contract_header(**header))
            return folder / "input.safetensors"

        return Case(f"contract: {label}", write, says)

    same: Callable[[State], object] = lambda state: None  # noqa: E731
    return [
        case("NaN", fill(LAST, float("nan")), "NaN"),
        case("float64", become(LAST, lambda t: t.double()), "float32"),
        case("halves", become(LAST, lambda t: t.half()), "float32"),
        case("8-bit floats", become(LAST, lambda t: t.to(torch.float8_e4m3fn)), "float32"),
        case("complex", become(LAST, lambda t: t.to(torch.complex64)), "float32"),
        case("integers", become(LAST, lambda t: t.to(torch.int16)), "float32"),
        case("a counter that is a float", become(f"bn1.{COUNTER}", lambda t: t.float()), "int64"),
        case("another arch", same, "not the backbone", arch="resnet34"),
        case("a mean that is no number", same, "pixel_mean", pixel_mean="a,b,c"),
        case("a mean of one channel", same, "pixel_mean", pixel_mean="0.5"),
        case("a mean that is NaN", same, "pixel_mean", pixel_mean="nan,0,0"),
        case("a deviation of zero", same, "pixel_std", pixel_std="0,1,1"),
        case("an order that is none", same, "pixel_order", pixel_order="XYZ"),
    ]


def header_cases() -> list[Case]:
    """What detectron2's file says besides: counters and provenance that are none."""

    def case(label: str, says: str, **beside: object) -> Case:
        def write(folder: Path) -> Path:
            state = {key: value for key, value in good_state().items() if not key.endswith(COUNTER)}
            arrays = {key: value.numpy() for key, value in rename(state, DETECTRON2).items()}
            path = folder / "input.pkl"
            path.write_bytes(pickle.dumps({"model": arrays, **beside}, protocol=4))
            return path

        return Case(f"detectron2 file: {label}", write, says, "timm")

    counters = {key: 1 for key in good_state() if key.endswith(COUNTER)}
    half = contract_header(method="\ud800")
    return [
        case("counters beyond 64 bits", "counter", **{COUNTER: counters | {f"bn1.{COUNTER}": 1 << 70}}),
        case("negative counters", "counter", **{COUNTER: counters | {f"bn1.{COUNTER}": -1}}),
        case("half a character as method", "method", provenance=half),
        case("escape codes as method", "method", provenance=contract_header(method="\x1b[2Jmec")),
        case("a mean that is no number", "pixel_mean", provenance=contract_header(pixel_mean="x")),
    ]
