"""Which tables there are, how ids are displayed, and the notes that stand below a section."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer.report.appendix import (
    FIGURE_4,
    FIGURE_5,
    IMAGE_SETS,
    NORMALISATION,
    TABLE_5,
    TABLE_6,
    TABLE_7,
    TABLE_8_FINE_TUNED,
    TABLE_8_LINEAR,
    TABLE_9,
)
from transfer.report.papers import TABLE_1, TABLE_2, TABLE_3, TABLE_4, Paper
from transfer.report.rows import TASKS
from transfer.report.variants import VARIANTS


@dataclass(frozen=True)
class Plan:
    """What a table shows: numbers of its tasks, except those whose source another table names."""

    title: str
    tasks: tuple[str, ...]  # every task has exactly one table for what stands nowhere else
    papers: tuple[Paper, ...] = ()  # laid out as printed, first in the table
    sources: tuple[str, ...] = ()  # beginnings of sources that belong here whatever their task


SIDE_BY_SIDE = "protocols"  # the tables that transfer.report.side_by_side fills: classification,
VIDEO = "tracking"  # and frozen features in video, behind the papers'
PLANS: dict[str, Plan] = {
    "linear": Plan("Linear probe", ("linear",), (TABLE_1, TABLE_6, TABLE_7)),
    "knn": Plan("Nearest neighbours and few shots", ("knn", "fewshot")),
    "semisup": Plan("Semi-supervised fine-tuning", ("semisup",), (TABLE_2,)),
    SIDE_BY_SIDE: Plan("Classification protocols side by side", ()),
    "detect": Plan("Object detection and instance segmentation", ("detect",), (TABLE_3,)),
    VIDEO: Plan(
        "Five video tasks with a frozen backbone", ("vos", "mots", "pose"), (TABLE_4,), ("UniTrack ",)
    ),
    "sot": Plan("Single-object tracking", ("sot",)),
    "mot": Plan("Multi-object tracking", ("mot", "vis")),
    "transfer": Plan(
        "Transfer to other image sets", ("finetune",), (TABLE_8_LINEAR, TABLE_8_FINE_TUNED, TABLE_9)
    ),
    "ablations": Plan("Ablations of pre-training", (), (*TABLE_5, NORMALISATION, FIGURE_4, FIGURE_5)),
    "pretraining": Plan("The loss and the cost of pre-training", ("objective", "pretrain")),
}

# Display names; the order is the order of lines and columns. Unknown ids show as they are, last.
METHODS: dict[str, str] = {
    "random": "Random init.",
    "supervised": "Supervised",
    "insdis": "InsDis",
    "moco-v1": "MoCo v1",
    "simclr": "SimCLR",
    "moco-v2": "MoCo v2",
    "moco-v3": "MoCo v3",
    "infomin": "InfoMin",
    "pirl": "PIRL",
    "byol": "BYOL",
    "swav": "SwAV",
    "dino": "DINO",
    "barlow-twins": "Barlow Twins",
    "vicreg": "VICReg",
    "simsiam": "SimSiam",
    "obow": "OBoW",
    "unigrad": "UniGrad",
    "ibot": "iBOT",
    "mae": "MAE",
    "pixpro": "PixPro",
    "detco": "DetCo",
    "mec": "MEC",
}
# How a method learns; a method that stands nowhere is in OTHER_GROUP.
GROUPS: dict[str, tuple[str, ...]] = {
    "random init": ("random",),
    "supervised": ("supervised",),
    "contrastive": (
        *("insdis", "moco-v1", "simclr", "moco-v2", "moco-v3", "infomin", "pirl", "pixpro", "detco"),
    ),
    "non-contrastive": (*("byol", "swav", "dino", "barlow-twins", "vicreg", "simsiam", "obow", "unigrad"),),
    "masked": ("ibot", "mae"),
    "ours": ("mec",),
}
OTHER_GROUP = "other"
DATASETS: dict[str, str] = {
    "imagenet-1k": "ImageNet",
    "imagenet-1k-1pct": "ImageNet 1 %",
    "imagenet-1k-10pct": "ImageNet 10 %",
    "voc07": "VOC07",
    "voc07+12": "VOC07+12",
    "coco2017": "COCO",
    "otb2015": "OTB2015",
    "davis2017": "DAVIS2017",
    "mot16": "MOT16",
    "mots20": "MOTS20",
    "posetrack": "PoseTrack",
    "posetrack2018": "PoseTrack 2018",
    "cifar10": "CIFAR-10",
    "cifar10-1pct": "CIFAR-10 1 %",
    "cifar10-10pct": "CIFAR-10 10 %",
    "cifar100": "CIFAR-100",
    "places365": "Places365",
    **{dataset: name for dataset, (name, _) in IMAGE_SETS.items() if not dataset.startswith("cifar")},
    **{f"samples-{count}": f"{count} samples" for count in (256, 512, 1024, 2048)},
}
# Metrics side by side as papers order them; the others follow in the order of the metric table.
METRIC_ORDER = ("top1", "top5", "box_ap50", "box_ap", "box_ap75", "mask_ap50", "mask_ap", "mask_ap75")
# No column has these; they stand in the tables' CSVs only.
CSV_ONLY = tuple(f"{part}_ap_{size}" for part in ("box", "mask") for size in ("small", "medium", "large"))


def method_name(method: str) -> str:
    """Its display name; a variant is its method and what was changed."""
    variant = VARIANTS.get(method)
    if variant is not None:
        return f"{method_name(variant.method)}, {variant.setting}"
    return METHODS.get(method, method)


def method_group(method: str) -> str:
    """The group whose lines stand together; a variant is in the group of its method."""
    variant = VARIANTS.get(method)
    if variant is not None:
        return method_group(variant.method)
    return next((group for group, methods in GROUPS.items() if method in methods), OTHER_GROUP)


def method_rank(method: str) -> tuple[object, ...]:
    """Sorts by group, method and variant."""
    groups = (*GROUPS, OTHER_GROUP)
    variant = VARIANTS.get(method)
    base = variant.method if variant else method
    return (groups.index(method_group(base)), rank_in(tuple(METHODS), base), rank_in(tuple(VARIANTS), method))


def rank_text(text: str) -> tuple[float, str]:
    """Sorts numbers by their size and before them whatever is no number."""
    return (float(text) if text.isdecimal() else -1.0, text)


def rank_in(order: Sequence[str], name: str) -> tuple[int, str]:
    """Sorts by a fixed order, and by name what is not in it, last."""
    return (order.index(name) if name in order else len(order), name)


@dataclass(frozen=True)
class Note:
    """A sentence shown below every section that has this dataset of this task; task ``*`` is any task."""

    task: str
    dataset: str
    note: str


def read_notes(path: Path) -> list[Note]:
    """Read ``task,dataset,note`` lines.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another header, or a line with an empty cell; names file and line.
    """
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.reader(handle)
        if next(reader, None) != ["task", "dataset", "note"]:
            raise ValueError(f"{path}:1: expected the header task,dataset,note")
        notes = []
        for cells in reader:
            if len(cells) != 3 or not all(cells) or cells[0] not in ("*", *TASKS):
                raise ValueError(
                    f"{path}:{reader.line_num}: expected a task (*, {', '.join(TASKS)}), a dataset "
                    f"and a note, found {cells}"
                )
            notes.append(Note(*cells))
    return notes
