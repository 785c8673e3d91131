"""A re-identification head without weights, for a backbone that is used as it is.

Importing this module registers the head with mmcls; it is imported when a tracker is built.
"""

from __future__ import annotations

from typing import Any

from mmcls.models.builder import HEADS
from mmcv.runner import BaseModule
from torch import Tensor
from torch.nn.functional import normalize


@HEADS.register_module()
class UnitFeatureHead(BaseModule):  # type: ignore[misc]
    """Scale pooled features to length one, so that their distances lie in 0..2."""

    def __init__(self, in_channels: int, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.out_channels = in_channels

    def forward_train(self, features: Tensor) -> tuple[Tensor]:
        """``(N, D) -> ((N, D),)``; the name is the one that mmtrack's BaseReID calls, in testing too."""
        return (normalize(features, dim=1),)
