"""Words and numbers as a reader sees them: names of tasks and protocols, units, what a dataset is."""

from __future__ import annotations

from transfer.report.aggregate import STATED, Cell
from transfer.report.protocols import find_protocol
from transfer.report.rows import METRICS, Row

UNITS = {"percent": "%", "count": "", "hours": "h"}  # a count needs no unit
TASKS = {
    "linear": "linear probe",
    "knn": "nearest neighbours",
    "fewshot": "few-shot classification",
    "semisup": "semi-supervised fine-tuning",
    "finetune": "fine-tuning",
    "detect": "detection and instance segmentation",
    "sot": "single-object tracking",
    "vos": "video object segmentation",
    "mot": "multi-object tracking",
    "mots": "multi-object tracking and segmentation",
    "pose": "pose tracking",
    "vis": "video instance segmentation",
    "objective": "objective",
    "pretrain": "cost of pre-training",
}
DATASET_TEXTS = {
    "imagenet-1k": "ImageNet (ILSVRC 2012): 1.28 million images to train on, 50,000 in val, 1,000 classes.",
    "imagenet-1k-1pct": "1 % of ImageNet's labels, SimCLR's list of 12,811 images; evaluated on all of val.",
    "imagenet-1k-10pct": "10 % of its labels, SimCLR's list of 128,116 images; evaluated on all of val.",
    "places365": "Places365: scenes of 365 categories.",
    "voc07": "PASCAL VOC 2007: trained on trainval (5,000 images), evaluated on test; 11-point AP.",
    "voc07+12": "PASCAL VOC 2007 and 2012: trained on both trainval sets, evaluated on VOC07 test.",
    "coco2017": "COCO 2017: trained on train2017, evaluated on val2017 (5,000 images).",
    "otb2015": "OTB2015: 100 sequences with one object each.",
    "davis2017": "DAVIS 2017: video object segmentation from the masks of the first frame.",
    "mot16": "MOT16: pedestrians in street scenes, boxes.",
    "mots20": "MOTS20: pedestrians in street scenes, masks.",
    "posetrack": "PoseTrack: human poses tracked over time.",
    "cifar10": "CIFAR-10: 50,000 training and 10,000 test images of 32 × 32 pixels, ten classes.",
    "cifar10-1pct": "1 % of CIFAR-10's labels; evaluated on all of test.",
    "cifar10-10pct": "10 % of CIFAR-10's labels; evaluated on all of test.",
    "cifar100": "CIFAR-100: images of 32 × 32 pixels, a hundred classes.",
    "food101": "Food-101: dishes of 101 kinds.",
    "sun397": "SUN397: scenes of 397 categories.",
    "cars": "Stanford Cars: 196 models.",
    "aircraft": "FGVC Aircraft: 100 variants.",
    "voc07-classification": "PASCAL VOC 2007 as classification with several labels an image.",
    "dtd": "Describable Textures: 47 kinds.",
    "pets": "Oxford-IIIT Pets: 37 breeds.",
    "caltech101": "Caltech-101: objects of 101 categories.",
    "flowers": "Oxford Flowers: 102 species.",
    "mini": "The bundled set: digits and textures composed from images that Python packages ship.",
    "mini-1pct": "1 % of the bundled set's labels.",
    "mini-10pct": "10 % of the bundled set's labels.",
    "mini-sot": "Single-object sequences of the bundled set.",
    "mini-mot": "Multi-object sequences of the bundled set.",
    "coco200": "200 images of COCO: 100 of train2017 to train on and 100 of val2017 to evaluate.",
    "coco200-person": "People on those of the 200 COCO images that show any: 51 to train on, 58 to test.",
    "otb-crossing": "One sequence of OTB2015, Crossing.",
    "pets09-s2l1": "PETS09-S2L1: one video; trained on its first half, evaluated on its second.",
    "mot17": "The first frames of MOT17's training sequences; four to train on, three to evaluate.",
}


def name_task(task: str) -> str:
    """Display name of a task id."""
    return TASKS.get(task, task)


def name_protocol(protocol: str) -> str:
    """Display name of a protocol id."""
    known = find_protocol(protocol)
    return known.name if known else protocol


def describe_protocol(protocol: str) -> str:
    """Where a protocol is written down, or nothing."""
    known = find_protocol(protocol)
    return known.source if known else ""


def show_value(cell: Cell) -> tuple[str, str]:
    """A cell as ``(number, spread)``; empty where there is no number.

    A published number keeps the digits of its source, a measured one is shown to one decimal.
    """
    if cell.value is None:
        return "", ""
    unit = METRICS[cell.column.metric].unit
    text = f"{round(cell.value, 1) + 0.0:.1f}"  # + 0.0 turns -0.0 into 0.0
    if cell.line.published:
        exact = plain(cell.value)
        text = exact if unit != "percent" or "." in exact else f"{exact}.0"
    elif unit == "count" and cell.std is None:
        text = f"{cell.value:.0f}"
    std, interval = find_std(cell), find_interval(cell)
    if std is not None:
        return text, f"± {plain(std) if cell.line.published else f'{std:.1f}'}"
    if interval is not None:
        return text, f"[{interval[0]:.1f}, {interval[1]:.1f}]"
    return text, ""


def find_std(cell: Cell) -> float | None:
    """The spread over measured seeds, or the one that a published number comes with."""
    if cell.line.published and len(cell.rows) == 1:
        return cell.rows[0].std
    return cell.std


def find_interval(cell: Cell) -> tuple[float, float, str] | None:
    """Low and high end of the 95 % interval and its kind, where there is one."""
    spread = cell.spread
    return None if spread is None or spread.kind == STATED else (spread.low, spread.high, spread.kind)


def plain(value: object) -> str:
    """A field's text exactly as a results file has it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def row_texts(row: Row, names: tuple[str, ...]) -> list[str]:
    """The fields of a row as text."""
    return [plain(getattr(row, name)) for name in names]
