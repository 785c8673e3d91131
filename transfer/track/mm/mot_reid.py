"""Re-identification with a backbone used as it is, as two parts that mmtrack's registries know.

Importing this module registers them; it is imported when a tracker is built.
"""

from __future__ import annotations

from typing import Any

from mmcls.models.builder import HEADS
from mmcv.runner import BaseModule
from mmtrack.models import TRACKERS
from mmtrack.models.trackers import BaseTracker, SortTracker, TracktorTracker
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


def crop_with_border(
    tracker: Any, img: Tensor, img_metas: Any, bboxes: Tensor, rescale: bool = False
) -> Tensor:
    """mmtrack's ``crop_imgs``, except that a box squeezed onto the image's border still has a pixel.

    Clipping leaves a detection beyond the right or lower border without area; mmtrack then cuts out
    an empty crop and fails to resize it. A detector trained briefly from random weights makes such boxes.
    """
    height, width = img_metas[0]["img_shape"][:2]
    scale_x, scale_y = img_metas[0]["scale_factor"][:2] if rescale else (1.0, 1.0)
    bboxes[:, 0::2] = bboxes[:, 0::2].clamp(max=float((width - 1) / scale_x))
    bboxes[:, 1::2] = bboxes[:, 1::2].clamp(max=float((height - 1) / scale_y))
    return BaseTracker.crop_imgs(tracker, img, img_metas, bboxes, rescale)  # type: ignore[no-any-return]


@TRACKERS.register_module()
class BorderSortTracker(SortTracker):  # type: ignore[misc]
    """mmtrack's SortTracker with :func:`crop_with_border`."""

    def crop_imgs(self, img: Tensor, img_metas: Any, bboxes: Tensor, rescale: bool = False) -> Tensor:
        """Crops of ``bboxes (N, 4)`` (the caller's copy), resized: ``(N, 3, H, W)``."""
        return crop_with_border(self, img, img_metas, bboxes, rescale)


@TRACKERS.register_module()
class BorderTracktorTracker(TracktorTracker):  # type: ignore[misc]
    """mmtrack's TracktorTracker with :func:`crop_with_border`."""

    def crop_imgs(self, img: Tensor, img_metas: Any, bboxes: Tensor, rescale: bool = False) -> Tensor:
        """Crops of ``bboxes (N, 4)`` (the caller's copy), resized: ``(N, 3, H, W)``."""
        return crop_with_border(self, img, img_metas, bboxes, rescale)
