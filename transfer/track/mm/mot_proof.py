"""Proof that a built tracker carries the backbone at every place where its configuration has one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from transfer.backbone.architecture import STAGES
from transfer.backbone.contract import Backbone
from transfer.backbone.verify import compare_features, probe_images, reference_features
from transfer.track.mm.backbone import assert_loaded
from transfer.track.mm.lint_nodes import backbones


def prove(model: nn.Module, settings: Any, backbone: Backbone, name: str) -> tuple[str, ...]:
    """Compare every backbone in the model with the one under test: each bit, then the features it gives.

    A backbone with fewer stages must carry those it has, a C4 head's ``shared_head`` the last one.

    Args:
        model: the built network.
        settings: its configuration; says where backbones are.
        backbone: what must be there.
        name: of the model, for the message.

    Returns:
        The places that were proven.

    Raises:
        ValueError: no backbone was found, a tensor did not arrive, or features differ by more than 1e-5.
    """
    places = []
    for path, node in backbones(settings):
        place = path.partition(".")[2]
        part = model.get_submodule(place)
        if place.endswith("shared_head"):
            prefix = f"layer{node.get('stage', 3) + 1}."
            state = {key: value for key, value in backbone.state.items() if key.startswith(prefix)}
            assert_loaded(part, state, f"{name}.{place}")
        else:
            absent = tuple(f"layer{stage + 1}." for stage in range(node.get("num_stages", 4), 4))
            state = {key: value for key, value in backbone.state.items() if not key.startswith(absent)}
            assert_loaded(part, state, f"{name}.{place} from {node.init_cfg['checkpoint']}")
        _compare(part, backbone, f"{name}.{place}")
        places.append(place)
    if not places:
        raise ValueError(f"{name}: no backbone was found in the configuration; nothing could be proven")
    return tuple(places)


def _compare(part: nn.Module, backbone: Backbone, where: str) -> None:
    """The features of all stages that a part has, against torchvision's; a C4 head continues from res4."""
    images = probe_images()
    reference = reference_features(backbone.state, backbone.info.arch, images)
    found = dict(reference)  # of the stages that the part has not
    was_training, indices = part.training, getattr(part, "out_indices", None)
    part.eval()
    with torch.inference_mode():
        if indices is None:
            found["res5"] = part(reference["res4"])
        else:
            stages = STAGES[: int(part.num_stages)]  # type: ignore[arg-type]
            part.out_indices = tuple(range(len(stages)))  # type: ignore[assignment]
            found.update(zip(stages, part(images), strict=True))
            part.out_indices = indices
    part.train(was_training)
    try:
        compare_features(reference, found)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
