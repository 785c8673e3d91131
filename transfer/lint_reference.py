"""What linters compare a configuration with: networks, pixels, the published training protocol.

Sources: MoCo's ``detection/configs`` (facebookresearch/moco at 7397dfe), detectron2's
``Base-RCNN-C4.yaml``, appendices C.2 of Barlow Twins and C.3 of VICReg, mmtrack 0.14's packaged
configurations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transfer.backbone.architecture import ARCHS, Arch
from transfer.backbone.contract import BackboneInfo
from transfer.findings import Finding

PIXEL_TOLERANCE = 0.05  # of a mean or deviation in 0..255: 123.68 is 123.675
RATIO_TOLERANCE = 0.01  # of learning rates and lengths
TRAINED_NORMS = ("BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")  # detectron2's names
PUBLISHED_NORM = "naiveSyncBN"  # MoCo's Base-RCNN-C4-BN.yaml; plain batch norm in a single process


def framework_network(arch: str) -> Arch | None:
    """What detectron2 and mmdet must build for these weights; None where their ResNets cannot be it.

    Both have one stem, 7x7 with max pooling, so the small stem for CIFAR images exists in neither.
    """
    network = ARCHS.get(arch)
    return None if network is None or network.cifar_stem else network


@dataclass(frozen=True)
class Schedule:
    """A published schedule in iterations of :data:`BATCH` images."""

    name: str
    datasets: str  # pattern of detectron2's names of training sets
    iterations: int
    steps: tuple[int, ...]
    warmup: int
    rate: float

    def scaled(self, batch: float) -> Schedule:
        """The same number of images in batches of another size."""
        factor = BATCH / batch
        return Schedule(
            f"{self.name} at batch {batch:g}",
            self.datasets,
            round(self.iterations * factor),
            tuple(round(step * factor) for step in self.steps),
            round(self.warmup * factor),
            round(self.rate / factor, 8),
        )


BATCH, RATE = 16, 0.02  # over all devices
COCO, VOC0712 = r"coco_2017_train", r"voc_2007_trainval voc_2012_train(val)?"
SCHEDULES = (  # of one length, the first is what a configuration that follows none of them is compared with
    Schedule("COCO 1x", COCO, 90_000, (60_000, 80_000), 1000, RATE),
    Schedule("COCO 1x, Barlow Twins", COCO, 90_000, (60_000, 80_000), 1000, 0.03),
    Schedule("COCO 1x, VICReg", COCO, 90_000, (60_000, 80_000), 50, 0.04),
    Schedule("COCO 2x", COCO, 180_000, (120_000, 160_000), 1000, RATE),
    Schedule("VOC 24k", VOC0712, 24_000, (18_000, 22_000), 100, RATE),
    Schedule("VOC 24k, Barlow Twins and VICReg", VOC0712, 24_000, (18_000, 22_000), 1000, 0.1),
    # MoCo (arXiv 1911.05722) Table 4 gives the length; the steps are derived from those of 24k.
    Schedule("VOC 2007 9k", r"voc_2007_trainval", 9000, (6750, 8250), 100, RATE),
)


def published_schedule(
    datasets: Sequence[str], iterations: float, batch: float, rate: float, warmup: float | None
) -> Schedule | None:
    """The published schedule of these training sets whose length is nearest, scaled to the batch.

    Of several of one length, the one with this rate and warm-up (None: any), else the first.
    """
    names = " ".join(sorted(datasets))
    fitting = [s.scaled(batch) for s in SCHEDULES if re.fullmatch(s.datasets, names)]
    if not fitting:
        return None
    nearest = min(fitting, key=lambda s: abs(math.log(s.iterations / max(iterations, 1))))
    alike = [s for s in fitting if s.iterations == nearest.iterations]
    followed = (
        s
        for s in alike
        if not off_ratio(rate, s.rate) and (warmup is None or not off_ratio(warmup, s.warmup))
    )
    return next(followed, alike[0])


def off_ratio(found: float, expected: float) -> bool:
    """Whether a rate or a length is not the expected one."""
    return not math.isclose(found, expected, rel_tol=RATIO_TOLERANCE)


def pixel_findings(found: dict[str, Any], settings: dict[str, str], info: BackboneInfo) -> list[Finding]:
    """Compare ``order``, ``mean`` and ``std``, where ``settings`` names where each is set.

    Args:
        found: values for pixels in 0..255; a key that is absent is not compared.
        settings: dotted setting of each key of ``found``.
        info: what the weights were trained on.
    """
    findings = []
    if "order" in found and found["order"] != info.pixel_order:
        fix = ((settings["order"], info.pixel_order),)
        findings.append(Finding("channel-order", settings["order"], found["order"], info.pixel_order, fix))
    for key, values in (("mean", info.mean()), ("std", info.std())):
        expected = [round(255.0 * value, 4) for value in values]
        if key in found and not same_pixels(found[key], expected):
            fix = ((settings[key], expected),)  # type: ignore[assignment]
            findings.append(Finding(f"pixel-{key}", settings[key], found[key], expected, fix))
    return findings


def same_pixels(found: Sequence[float], expected: Sequence[float]) -> bool:
    """Whether two means or deviations in 0..255 are the same figures, written with other precision."""
    return len(found) == len(expected) and all(
        abs(a - b) <= PIXEL_TOLERANCE for a, b in zip(found, expected, strict=True)
    )
