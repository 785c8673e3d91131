"""Which tables there are, how ids are displayed, and the notes that stand below a section."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """What a table shows. Every task must have one table that shows its measured rows."""

    title: str
    published_tasks: tuple[str, ...]
    measured_tasks: tuple[str, ...]
    epochs_as_columns: bool = False  # published numbers by pre-training length, as MEC's Table 1


VIDEO_TASKS = ("sot", "vos", "mot", "mots", "pose")
PLANS: dict[str, Plan] = {
    "linear": Plan("Linear probe", ("linear",), ("linear",), epochs_as_columns=True),
    "knn": Plan("Nearest neighbours", ("knn",), ("knn",)),
    "semisup": Plan("Semi-supervised fine-tuning", ("semisup",), ("semisup",)),
    "detect": Plan("Object detection and instance segmentation", ("detect",), ("detect",)),
    "sot": Plan("Single-object tracking", ("sot",), ("sot",)),
    "mot": Plan("Multi-object tracking", ("mot",), ("mot",)),
    "tracking": Plan("Five video tasks with a frozen backbone", VIDEO_TASKS, ("vos", "mots", "pose")),
}

# Display names; the order is the order of lines and columns. Unknown ids show as they are, last.
METHODS: dict[str, str] = {
    "random": "Random init.",
    "supervised": "Supervised",
    "insdis": "InsDis",
    "moco-v1": "MoCo v1",
    "simclr": "SimCLR",
    "moco-v2": "MoCo v2",
    "infomin": "InfoMin",
    "byol": "BYOL",
    "swav": "SwAV",
    "dino": "DINO",
    "barlow-twins": "Barlow Twins",
    "vicreg": "VICReg",
    "simsiam": "SimSiam",
    "pixpro": "PixPro",
    "detco": "DetCo",
    "mec": "MEC",
}
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
}
PROTOCOLS: dict[str, str] = {
    "unitrack-xcorr-layer3": "XCorr layer3",
    "unitrack-xcorr-layer4": "XCorr layer4",
    "unitrack-dcf-layer3": "DCF layer3",
    "unitrack-dcf-layer4": "DCF layer4",
    "unitrack-layer3": "layer3",
    "unitrack-layer4": "layer4",
}
TASK_ORDER = ("linear", "knn", "semisup", "detect", *VIDEO_TASKS)


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
            if len(cells) != 3 or not all(cells) or cells[0] not in ("*", *TASK_ORDER):
                raise ValueError(
                    f"{path}:{reader.line_num}: expected a task (*, {', '.join(TASK_ORDER)}), a dataset "
                    f"and a note, found {cells}"
                )
            notes.append(Note(*cells))
    return notes
