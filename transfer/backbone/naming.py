"""Names: what torchvision, detectron2 and others call the same tensor of a ResNet.

A table maps the contract's names (torchvision's) to another naming, one template a kind of tensor.
A template's field in braces stands for every value in :data:`FIELDS`; ``{stage+1}`` is the stage
number plus one. Tables are read in both directions, so no inverse is ever written down.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from torch import Tensor

FIELDS = {
    "stage": "[1-4]",
    "block": r"\d+",
    "conv": "[1-3]",
    "norm": "weight|bias|running_mean|running_var|num_batches_tracked",
}
COUNTER = "num_batches_tracked"  # of a batch norm; counts training steps, takes no part in inference

DETECTRON2 = {
    "conv1.weight": "stem.conv1.weight",
    "bn1.{norm}": "stem.conv1.norm.{norm}",
    "layer{stage}.{block}.conv{conv}.weight": "res{stage+1}.{block}.conv{conv}.weight",
    "layer{stage}.{block}.bn{conv}.{norm}": "res{stage+1}.{block}.conv{conv}.norm.{norm}",
    "layer{stage}.{block}.downsample.0.weight": "res{stage+1}.{block}.shortcut.weight",
    "layer{stage}.{block}.downsample.1.{norm}": "res{stage+1}.{block}.shortcut.norm.{norm}",
}
TORCHVISION = {name: name for name in DETECTRON2}  # timm, mmcv and most code bases keep these names
MMCV = {name: f"backbone.{name}" for name in DETECTRON2}
# nn.Sequential(*list(resnet.children())[:-1]): children 0 and 1 are the stem, 4 to 7 the stages.
SEQUENTIAL = {
    "conv1.weight": "0.weight",
    "bn1.{norm}": "1.{norm}",
    "layer{stage}.{block}.conv{conv}.weight": "{stage+3}.{block}.conv{conv}.weight",
    "layer{stage}.{block}.bn{conv}.{norm}": "{stage+3}.{block}.bn{conv}.{norm}",
    "layer{stage}.{block}.downsample.0.weight": "{stage+3}.{block}.downsample.0.weight",
    "layer{stage}.{block}.downsample.1.{norm}": "{stage+3}.{block}.downsample.1.{norm}",
}
TRANSFORMERS = {  # Hugging Face's ResNetModel
    "conv1.weight": "embedder.embedder.convolution.weight",
    "bn1.{norm}": "embedder.embedder.normalization.{norm}",
    "layer{stage}.{block}.conv{conv}.weight": (
        "encoder.stages.{stage-1}.layers.{block}.layer.{conv-1}.convolution.weight"
    ),
    "layer{stage}.{block}.bn{conv}.{norm}": (
        "encoder.stages.{stage-1}.layers.{block}.layer.{conv-1}.normalization.{norm}"
    ),
    "layer{stage}.{block}.downsample.0.weight": (
        "encoder.stages.{stage-1}.layers.{block}.shortcut.convolution.weight"
    ),
    "layer{stage}.{block}.downsample.1.{norm}": (
        "encoder.stages.{stage-1}.layers.{block}.shortcut.normalization.{norm}"
    ),
}

CAFFE2 = {  # Detectron's, as detectron2's ImageNet models keep them
    "conv1.weight": "conv1_w",
    "layer{stage}.{block}.conv1.weight": "res{stage+1}_{block}_branch2a_w",
    "layer{stage}.{block}.conv2.weight": "res{stage+1}_{block}_branch2b_w",
    "layer{stage}.{block}.conv3.weight": "res{stage+1}_{block}_branch2c_w",
    "layer{stage}.{block}.downsample.0.weight": "res{stage+1}_{block}_branch1_w",
} | {
    f"{here}.{ours}": f"{there}_bn_{theirs}"
    for here, there in {
        "bn1": "res_conv1",
        "layer{stage}.{block}.bn1": "res{stage+1}_{block}_branch2a",
        "layer{stage}.{block}.bn2": "res{stage+1}_{block}_branch2b",
        "layer{stage}.{block}.bn3": "res{stage+1}_{block}_branch2c",
        "layer{stage}.{block}.downsample.1": "res{stage+1}_{block}_branch1",
    }.items()
    for ours, theirs in {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "running_mean",
        "running_var": "running_var",
    }.items()
}

_FIELD = re.compile(r"\{(\w+?)([+-]\d+)?\}")


def inverse(rules: dict[str, str]) -> dict[str, str]:
    """The table read from right to left."""
    return {there: here for here, there in rules.items()}


def rename_key(key: str, rules: dict[str, str]) -> str | None:
    """The new name of ``key`` by the one rule that matches it, or None where no rule does.

    Raises:
        ValueError: several rules match.
    """
    found = [new for match in _compile(tuple(rules.items())) if (new := match(key)) is not None]
    if len(found) > 1:
        raise ValueError(f"{key}: {len(found)} renaming rules match, expected one: {found}")
    return found[0] if found else None


def rename(state: dict[str, Tensor], rules: dict[str, str]) -> dict[str, Tensor]:
    """Rename every key.

    Raises:
        ValueError: a key matched by no rule or by several, or two keys with the same new name.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        new_key = rename_key(key, rules)
        if new_key is None:
            raise ValueError(f"{key}: no renaming rule matches")
        if new_key in renamed:
            raise ValueError(f"{key}: its new name {new_key} is already taken; a tensor was mapped twice")
        renamed[new_key] = tensor
    return renamed


@lru_cache
def _compile(rules: tuple[tuple[str, str], ...]) -> list[Callable[[str], str | None]]:
    return [_matcher(template, new) for template, new in rules]


def _matcher(template: str, new: str) -> Callable[[str], str | None]:
    """A function from a key to its new name, or to None where ``template`` does not match it."""
    pattern, offsets, end = "", {}, 0
    for field in _FIELD.finditer(template):
        name, offset = field[1], int(field[2] or 0)
        # A shifted field is written as another number; FIELDS is checked after undoing the shift.
        values = r"\d+" if offset else FIELDS[name]
        pattern += re.escape(template[end : field.start()]) + f"(?P<{name}>{values})"
        offsets[name], end = offset, field.end()
    compiled = re.compile(pattern + re.escape(template[end:]))

    def match(key: str) -> str | None:
        found = compiled.fullmatch(key)
        if found is None:
            return None
        values = {
            name: str(int(value) - offsets[name]) if offsets[name] else value
            for name, value in found.groupdict().items()
        }
        if any(not re.fullmatch(FIELDS[name], value) for name, value in values.items()):
            return None
        return _FIELD.sub(lambda field: _shift(values[field[1]], int(field[2] or 0)), new)

    return match


def _shift(value: str, offset: int) -> str:
    return str(int(value) + offset) if offset else value
