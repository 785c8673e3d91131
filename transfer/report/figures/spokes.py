"""What the radar shows: the axes of MEC's Figure 1 (App. C, p. 17) and every method's number on each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transfer.report.aggregate import Cell
from transfer.report.figures.scale import nice_scale
from transfer.report.layout import METHODS
from transfer.report.papers import SPLITS

MEC = "mec"
BASELINES = ("random", "supervised")  # would leave the others no room on the image axes; ranks count them
LEAST_IMAGE_AXES = 3
HOLE = 0.22  # where the low end of an axis stands, as a share of the radius
LAYERS = ("layer3", "layer4")


@dataclass(frozen=True)
class Axis:
    """One spoke. ``protocols`` of which the best number of a method counts."""

    name: str
    what: str
    dataset: str
    protocols: tuple[str, ...]
    metric: str
    epochs: str = ""
    by_rank: bool = False


def _video(name: str, what: str, dataset: str, metric: str, *heads: str) -> Axis:
    stems = [f"unitrack-{head}" if head else "unitrack" for head in heads or ("",)]
    protocols = tuple(f"{stem}-{layer}" for stem in stems for layer in LAYERS)
    return Axis(name, what, dataset, protocols, metric, by_rank=True)


AXES = (
    Axis("LIN", "ImageNet linear, top-1", "imagenet-1k", ("mec-linear",), "top1", "800"),
    Axis("SEMI", "ImageNet 1 %, top-1", "imagenet-1k-1pct", ("mec-semisup",), "top1"),
    Axis("VOC", "VOC07+12, AP", "voc07+12", ("mec-faster-rcnn-c4-24k",), "box_ap"),
    Axis("COCO", "COCO, box AP", "coco2017", ("mec-mask-rcnn-c4-1x",), "box_ap"),
    Axis("SEG", "COCO, mask AP", "coco2017", ("mec-mask-rcnn-c4-1x",), "mask_ap"),
    _video("SOT", "OTB2015, AUC", "otb2015", "success", "xcorr", "dcf"),
    _video("VOS", "DAVIS2017, J mean", "davis2017", "j_mean"),
    _video("MOT", "MOT16, IDF1", "mot16", "idf1"),
    _video("MOTS", "MOTS20, IDF1", "mots20", "idf1"),
    _video("POSE", "PoseTrack, IDF1", "posetrack", "idf1"),
)


@dataclass(frozen=True)
class Spoke:
    """An axis with the numbers on it, by method."""

    axis: Axis
    values: Mapping[str, float]  # in the metric's unit, or ranks
    low: float  # at the inner end
    high: float

    def share(self, method: str) -> float | None:
        """How far out a method is, as a share of the radius; None without a number."""
        value = self.values.get(method)
        if value is None:
            return None
        place = (value - self.low) / (self.high - self.low) if self.high != self.low else 1.0
        return HOLE + (1 - HOLE) * place

    def show(self, method: str) -> str:
        """The number as text."""
        value = self.values[method]
        return show_ordinal(int(value)) if self.axis.by_rank else f"{value:.1f}"


def build_spokes(cells: Sequence[Cell]) -> list[Spoke]:
    """Every axis with its numbers and ends."""
    spokes = []
    for axis in AXES:
        found: dict[str, float] = {}
        for cell in cells:
            if _asks(cell, axis) and cell.value is not None:
                found[cell.line.method] = max(cell.value, found.get(cell.line.method, -math.inf))
        if axis.by_rank:
            ranks = {
                m: 1 + sum(other > round(value, 6) for other in map(lambda v: round(v, 6), found.values()))
                for m, value in found.items()
            }
            spokes.append(Spoke(axis, ranks, max(len(found), 2), 1))
        else:
            shown = [value for m, value in found.items() if m not in BASELINES] or [0.0, 1.0]
            scale = nice_scale(shown, 0, 1, intervals=3)
            spokes.append(Spoke(axis, found, scale.low, scale.high))
    return spokes


def _asks(cell: Cell, axis: Axis) -> bool:
    column, line = cell.column, cell.line
    return (
        line.published
        and line.source.startswith("MEC (arXiv 2210.11464) Table ")
        and line.arch in ("", "resnet50")
        and (column.dataset, column.metric, column.split) == (axis.dataset, axis.metric, SPLITS[axis.dataset])
        and column.protocol in axis.protocols
        and axis.epochs in ("", line.pretrain_epochs)
    )


def drawn_methods(spokes: Sequence[Spoke]) -> list[str]:
    """Who is drawn, in the order of tables."""
    image = [spoke for spoke in spokes if not spoke.axis.by_rank]
    counts = {m: sum(m in spoke.values for spoke in image) for spoke in image for m in spoke.values}
    return sorted(
        (m for m, count in counts.items() if count >= LEAST_IMAGE_AXES and m not in BASELINES),
        key=lambda m: (method_rank(m), m),
    )


def method_rank(method: str) -> int:
    return list(METHODS).index(method) if method in METHODS else len(METHODS)


def show_ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
