"""Proof of a conversion: the target framework's own model computes what torchvision computes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from transfer.backbone.contract import STAGES, Backbone, build_resnet, stage_features

TOLERANCE = 1e-5  # largest difference of a stage over the stage's largest magnitude, in float32


@dataclass(frozen=True)
class StageError:
    """How far a stage's features differ, and how large they are."""

    stage: str
    max_abs_difference: float
    max_abs_feature: float

    @property
    def relative(self) -> float:
        """Largest difference over the largest magnitude."""
        return self.max_abs_difference / self.max_abs_feature


def probe_images() -> Tensor:
    """The fixed input of every proof: ``(2, 3, 128, 160)`` normalised pixels, not square on purpose."""
    generator = torch.Generator().manual_seed(20221020)
    return torch.randn(2, 3, 128, 160, generator=generator)


def reference_features(backbone: Backbone, images: Tensor) -> dict[str, Tensor]:
    """Stage features of torchvision's own ResNet carrying the backbone."""
    with torch.inference_mode():
        return stage_features(build_resnet(backbone), images)


def compare_features(reference: dict[str, Tensor], found: dict[str, Tensor]) -> list[StageError]:
    """Compare res2..res5 and refuse any difference beyond :data:`TOLERANCE`.

    Raises:
        ValueError: a missing stage, another shape, features that cannot prove anything (constant or
            not finite), or a difference beyond the tolerance; names the stage and both figures.
    """
    errors = []
    for stage in STAGES:
        if stage not in found:
            raise ValueError(f"{stage}: the target model returned no such stage, only {sorted(found)}")
        a, b = reference[stage], found[stage]
        if a.shape != b.shape:
            raise ValueError(f"{stage}: expected features {tuple(a.shape)}, found {tuple(b.shape)}")
        if not torch.isfinite(a).all() or a.std() == 0:
            raise ValueError(
                f"{stage}: torchvision's features are constant or not finite; they prove nothing"
            )
        error = StageError(stage, float((a - b).abs().max()), float(a.abs().max()))
        if not error.relative <= TOLERANCE:  # also refuses NaN
            raise ValueError(
                f"{stage}: features differ by {error.relative:.3g} of their largest magnitude, "
                f"allowed {TOLERANCE:g}; the converted weights do not mean the same network"
            )
        errors.append(error)
    return errors
