"""The backbone inside mmdet: one place that loads it, and one that proves every tensor arrived.

mmcv reads pre-trained weights with ``strict=False`` and only logs what did not fit, so a tracker can
train on a random backbone without anyone noticing. Nothing here trusts that log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfer.backbone.architecture import ARCHS, STAGES
from transfer.backbone.contract import BackboneInfo

PREFIX = "backbone."  # of every key in the mmcv file, as in a whole detector's checkpoint


def mmdet_resnet(arch: str) -> dict[str, Any]:
    """The settings of mmdet's backbone that has the tensors of ``arch``.

    Raises:
        ValueError: an arch whose network mmdet's backbones cannot be.
    """
    shape = ARCHS[arch]
    if shape.cifar_stem:
        raise ValueError(
            f"{arch} cannot run inside mmdet: its ResNet has a 7x7 stem of stride 2 and max pooling; "
            "evaluate this backbone with knn, linear or semisup."
        )
    if shape.groups == 1 and shape.width != 64:
        raise ValueError(
            f"{arch} cannot run inside mmdet: its bottlenecks get wider only together with groups; "
            "evaluate this backbone in detectron2, or with knn, linear or semisup."
        )
    if shape.groups > 1:
        return {"type": "ResNeXt", "depth": shape.depth, "groups": shape.groups, "base_width": shape.width}
    network = {"type": "ResNet", "depth": shape.depth}
    return {**network, "style": "caffe"} if shape.stride_in_1x1 else network


def pretrained(weights_path: Path) -> dict[str, str]:
    """The ``init_cfg`` of a backbone that takes its weights from an mmcv file of ours."""
    return {"type": "Pretrained", "checkpoint": str(weights_path), "prefix": PREFIX}


def image_norm(info: BackboneInfo) -> dict[str, Any]:
    """The ``img_norm_cfg`` under which mmcv's BGR 0..255 images become what the backbone was trained on.

    Returns:
        ``mean`` and ``std`` for pixels in 0..255 in the order after conversion, and ``to_rgb``.

    Raises:
        ValueError: a pixel order other than RGB and BGR.
    """
    if info.pixel_order not in ("RGB", "BGR"):
        raise ValueError(f"pixel order: expected RGB or BGR, found {info.pixel_order!r}")
    return {
        "mean": [255.0 * value for value in info.mean()],
        "std": [255.0 * value for value in info.std()],
        "to_rgb": info.pixel_order == "RGB",
    }


def models(target: str, info: BackboneInfo) -> tuple[str, ...]:
    """The backbone that a file for ``mmcv`` (mmdet's) or ``mmtrack-sot`` is proven in."""
    return ("SOTResNet",) if target == "mmtrack-sot" else (str(mmdet_resnet(info.arch)["type"]),)


def features(weights_path: Path, info: BackboneInfo, images: Tensor, model: str = "") -> dict[str, Tensor]:
    """Stage features of mmdet's or mmtrack's own backbone that loaded an mmcv file as a user's config does.

    Args:
        weights_path: an mmcv ``.pth`` (``state_dict`` under the prefix ``backbone.``).
        info: the contract's header; says which depth to build.
        images: ``(B, 3, H, W)`` normalised pixels in the order of ``info``.
        model: ``SOTResNet`` for mmtrack's, else mmdet's backbone of this arch.

    Returns:
        ``res2`` to ``res5``: ``(B, C, H/4, W/4)`` to ``(B, C, H/32, W/32)``, in eval mode; SOTResNet's
        res4 and res5 have res3's size.

    Raises:
        ValueError: an arch that the framework lacks, or a file whose tensors did not all arrive.
    """
    if model == "SOTResNet":
        import mmtrack.models  # noqa: F401 - registers SOTResNet

        settings = {"type": "SOTResNet", "depth": 50, "strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}
    else:
        settings = mmdet_resnet(info.arch)
    from mmdet.models.builder import build_backbone

    network = build_backbone(
        {"style": "pytorch", **settings, "out_indices": (0, 1, 2, 3), "init_cfg": pretrained(weights_path)}
    )
    with quiet():
        network.init_weights()
    assert_loaded(network, read_mmcv_state(weights_path), str(weights_path))
    network.eval()
    with torch.inference_mode():
        return dict(zip(STAGES, network(images), strict=True))


def read_mmcv_state(weights_path: Path) -> dict[str, Tensor]:
    """The tensors of an mmcv file under torchvision's names.

    Raises:
        ValueError: a key without the prefix ``backbone.``.
    """
    content = torch.load(weights_path, map_location="cpu", weights_only=True)
    state = content["state_dict"]
    strangers = [key for key in state if not key.startswith(PREFIX)]
    if strangers:
        raise ValueError(
            f"{weights_path}: expected only keys that start with {PREFIX!r}, found {strangers[:5]}"
        )
    return {key.removeprefix(PREFIX): tensor for key, tensor in state.items()}


def assert_loaded(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Compare a built backbone with the tensors it must carry: equal in every bit, in the model's precision.

    Args:
        module: mmdet's ResNet (a tracker's ``backbone``), on any device.
        state: torchvision key names, as in the contract.
        where: opens the error message, for example the file that was loaded.

    Raises:
        ValueError: names every tensor that is absent, added or different.
    """
    found = module.state_dict()
    faults = [f"  - {key} is not in the model" for key in state.keys() - found.keys()]
    faults += [f"  + {key} got no value from the file" for key in found.keys() - state.keys()]
    for key in found.keys() & state.keys():
        if not torch.equal(found[key].cpu(), state[key].cpu().to(found[key].dtype)):
            faults.append(f"  ! {key} differs from the backbone's")
    if faults:
        more = f"\n  … and {len(faults) - 12} more" if len(faults) > 12 else ""
        raise ValueError(
            f"{where}: the model does not carry the backbone, {len(faults)} tensors are wrong:\n"
            + "\n".join(sorted(faults)[:12])
            + more
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence mmcv's one log line per parameter; warnings and errors still pass."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
