"""Heads that published protocols have and detectron2 lacks."""

from __future__ import annotations

from typing import Any


def register_heads() -> None:
    """Let ``MODEL.ROI_HEADS.NAME`` be ``Res5ROIHeadsExtraNorm``; doing it twice is harmless.

    It is MoCo's C4 head (arXiv 1911.05722, appendix A.1: conv5 with global pooling "followed by a BN layer"):
    detectron2's, with one more norm behind res5, of the backbone's kind (MODEL.RESNETS.NORM). Box and mask
    predictors both read what comes out of it. It is called ``norm`` inside ``res5``, as in MoCo's code
    (commit 7397dfe, detection/train_net.py), so that detectors that were trained there load.
    """
    from detectron2.layers import get_norm
    from detectron2.modeling import ROI_HEADS_REGISTRY
    from detectron2.modeling.roi_heads import Res5ROIHeads
    from torch import nn

    name = "Res5ROIHeadsExtraNorm"
    if name in ROI_HEADS_REGISTRY:
        return

    class Res5ROIHeadsExtraNorm(Res5ROIHeads):  # type: ignore[misc]  # detectron2 is untyped
        """The fifth ResNet stage on regions, and a norm behind it."""

        @classmethod
        def _build_res5_block(cls, cfg: Any) -> tuple[nn.Sequential, int]:
            stage, num_channels = super()._build_res5_block(cfg)
            norm = get_norm(cfg.MODEL.RESNETS.NORM, num_channels)
            if norm is None:
                raise ValueError(f"MODEL.RESNETS.NORM: {name} needs one, found none")
            stage.add_module("norm", norm)
            return stage, num_channels

    ROI_HEADS_REGISTRY.register(Res5ROIHeadsExtraNorm)
