"""The tables of MEC's paper as data: which numbers stand where, under which names, and what is marked.

Everything else that is published is laid out by its rows alone; see :mod:`transfer.report.sections`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Bold = Literal["best", "near", "pair", "line"]
Underline = Literal["", "second", "top two"]


@dataclass(frozen=True)
class Heading:
    """One column of a paper's table: the question, and the headings over it.

    Two protocols are two numbers in one cell, ``a / b``. ``epochs`` and ``arch`` narrow the question to
    numbers of that pre-training length or network; empty is any. ``setting`` asks for the variant of the
    line's method with that setting; empty is the method itself.
    """

    group: str
    name: str
    dataset: str
    protocols: tuple[str, ...]
    metric: str
    epochs: str = ""
    arch: str = ""
    setting: str = ""
    split: str | None = None  # None: that of SPLITS
    measured_split: str = ""  # of measured numbers, where the paper states none

    def questions(self, protocol: str) -> list[tuple[str, ...]]:
        """What a number must agree with, in one of these, to stand here under one of the protocols."""
        split = SPLITS.get(self.dataset, "") if self.split is None else self.split
        splits = dict.fromkeys((split, self.measured_split or split))
        return [(self.dataset, each, protocol, self.metric) for each in splits]


SPLITS: dict[str, str] = {
    "imagenet-1k": "val",
    "imagenet-1k-1pct": "val",
    "imagenet-1k-10pct": "val",
    "voc07": "test",
    "voc07+12": "test",
    "coco2017": "val",
    "otb2015": "test",
    "davis2017": "val",
    "mot16": "train",  # the default of UniTrack's documentation; MEC does not state it
    "mots20": "train",
    "posetrack": "val",
    "cifar10": "test",
}  # of other datasets the papers state none


@dataclass(frozen=True)
class Paper:
    """One table as a paper prints it."""

    title: str
    head: str  # over the names
    source: str  # how the source of its rows begins
    lines: tuple[tuple[str, str], ...]  # method, and its name in this table, in the order printed
    headings: tuple[Heading, ...]
    marks: str  # the paper's rule in words
    bold: Bold = "best"
    underline: Underline = ""
    noted: bool = False  # shows what notes.csv says about the published numbers of its tasks and datasets


def _linear(epochs: str) -> Heading:
    return Heading("", f"{epochs} ep.", "imagenet-1k", ("mec-linear",), "top1", epochs)


def _labels(percent: str) -> tuple[Heading, ...]:
    asked = f"imagenet-1k-{percent}pct", ("mec-semisup",)
    return Heading(f"{percent} %", "top-1", *asked, "top1"), Heading(f"{percent} %", "top-5", *asked, "top5")


def _precision(group: str, dataset: str, protocol: str, kind: str = "box") -> tuple[Heading, ...]:
    metrics = (("AP50", "ap50"), ("AP", "ap"), ("AP75", "ap75"))
    return tuple(Heading(group, name, dataset, (protocol,), f"{kind}_{metric}") for name, metric in metrics)


def _layers(group: str, name: str, dataset: str, metric: str, protocol: str = "unitrack") -> Heading:
    return Heading(group, name, dataset, (f"{protocol}-layer3", f"{protocol}-layer4"), metric)


MEC = "MEC (arXiv 2210.11464)"
TABLE_1 = Paper(
    "MEC's Table 1: linear probe on ImageNet, top-1, by pre-training epochs",
    "method",
    f"{MEC} Table 1,",
    (
        *(("simclr", "SimCLR"), ("moco-v2", "MoCo v2"), ("byol", "BYOL"), ("swav", "SwAV")),
        *(("simsiam", "SimSiam"), ("barlow-twins", "Barlow"), ("mec", "MEC")),
    ),
    tuple(_linear(epochs) for epochs in ("100", "200", "400", "800")),
    "bold: best of the column",
    noted=True,
)
TABLE_2 = Paper(
    "MEC's Table 2: fine-tuning on 1 % and 10 % of ImageNet's labels",
    "method",
    f"{MEC} Table 2,",
    (
        *(("supervised", "Supervised"), ("simclr", "SimCLR"), ("byol", "BYOL"), ("barlow-twins", "Barlow")),
        *(("dino", "DINO"), ("vicreg", "VICReg"), ("mec", "MEC")),
    ),
    (*_labels("1"), *_labels("10")),
    "bold: best of the column",
    noted=True,
)
TABLE_3 = Paper(
    "MEC's Table 3: object detection and instance segmentation, C4",
    "pre-train",
    f"{MEC} Table 3,",
    (
        *(("random", "Scratch"), ("supervised", "Supervised"), ("simclr", "SimCLR"), ("moco-v2", "MoCo v2")),
        *(("byol", "BYOL"), ("swav", "SwAV"), ("barlow-twins", "Barlow"), ("simsiam", "SimSiam")),
        ("mec", "MEC"),
    ),
    (
        *_precision("VOC07", "voc07", "mec-faster-rcnn-c4"),
        *_precision("VOC07+12", "voc07+12", "mec-faster-rcnn-c4-24k"),
        *_precision("COCO box", "coco2017", "mec-mask-rcnn-c4-1x"),
        *_precision("COCO mask", "coco2017", "mec-mask-rcnn-c4-1x", "mask"),
    ),
    "bold: within 0.2 of the best of the column",
    bold="near",
    noted=True,
)
TABLE_4 = Paper(
    "MEC's Table 4: five video tasks, layer3 / layer4",
    "pre-train",
    f"{MEC} Table 4,",
    (
        *(("random", "Rand. Init."), ("supervised", "Supervised"), ("insdis", "InsDis")),
        *(("moco-v1", "MoCo v1"), ("simclr", "SimCLR"), ("moco-v2", "MoCo v2"), ("infomin", "Infomin")),
        *(("barlow-twins", "BarLow"), ("byol", "BYOL"), ("swav", "SwAV"), ("pixpro", "PixPro")),
        *(("detco", "DetCo"), ("mec", "MEC")),
    ),
    (
        _layers("SOT", "AUC XCorr", "otb2015", "success", "unitrack-xcorr"),
        _layers("SOT", "AUC DCF", "otb2015", "success", "unitrack-dcf"),
        _layers("VOS", "J-mean", "davis2017", "j_mean"),
        _layers("MOT", "IDF1", "mot16", "idf1"),
        _layers("MOT", "HOTA", "mot16", "hota"),
        _layers("MOTS", "IDF1", "mots20", "idf1"),
        _layers("MOTS", "HOTA", "mots20", "hota"),
        _layers("PoseTrack", "IDF1", "posetrack", "idf1"),
        _layers("PoseTrack", "IDs ↓", "posetrack", "id_switches"),
    ),
    "bold: the better of layer3 and layer4; underlined: the two best lines of the column, ties included",
    bold="pair",
    underline="top two",
    noted=True,
)
