"""Where data lie, which tasks read them, and how to get what is not there. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

DATA: dict[str, str] = {  # folder below the bundled set -> tasks that read it
    "classify": "pretrain, knn, linear, semisup, finetune, fewshot",
    "detect": "detect",
    "sot": "sot, frozen-sot",
    "davis": "frozen-vos",
    "mot": "mot, frozen-mot",
    "mots": "frozen-mots",
    "posetrack": "frozen-pose",
}

REAL_DATA: dict[str, tuple[str, str]] = {  # below MEC_TRANSFER_DATA -> tasks that read it, how to get it
    "cifar10.tar.gz": ("pretrain, knn, linear, semisup, fewshot", "tools/prepare_data.py cifar10 --help"),
    "imagenet": ("pretrain, knn, linear, semisup", "unpack ILSVRC 2012 into train/ and val/"),
    "imagenet_subsets": ("semisup on ImageNet", "tools/prepare_data.py imagenet-lists --to DIR"),
}
MANY_SHOT = "many_shot"  # and the folders below it, as torchvision's classes want them
MANY_SHOT_SETS = (
    *(
        "food-101",
        "cifar-10-batches-py",
        "cifar-100-python",
        "SUN397",
        "stanford_cars",
        "fgvc-aircraft-2013b",
    ),
    *("VOCdevkit/VOC2007", "dtd/dtd", "oxford-iiit-pet", "caltech101", "flowers-102"),
)

PREPARE = "tools/prepare_data.py"
# Names in a path (a/b: both) -> how to get what lies there; the first that fits.
NEXT_STEPS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("mini",), "python -m transfer.data.mini data/mini"),
    (("coco200_person",), f"{PREPARE} coco --help, as configs/detect/coco200_person.yaml says"),
    (("imagenet_subsets",), f"{PREPARE} imagenet-lists --to DIR/imagenet_subsets"),
    (("imagenet",), "unpack ILSVRC 2012 into imagenet/train and imagenet/val"),
    (("ILSVRC",), "ImageNet VID and DET by mmtrack's converters, as configs/track/sot_lasot.yaml says"),
    (("many_shot",), f"{PREPARE} many-shot --help"),
    (("cifar10.tar.gz", "cifar10"), f"{PREPARE} cifar10 --help"),
    (("VOC2007", "VOC2012"), f"{PREPARE} voc --help"),
    (("coco",), f"{PREPARE} coco --help"),
    (("otb100",), f"{PREPARE} otb --help"),
    (("lasot",), f"{PREPARE} lasot --help"),
    (("davis2017",), f"{PREPARE} davis --help"),
    (("fairmot", "costa", "lighttrack_msra152"), "the authors' given observations, as docs/tracking.md says"),
    (("mot16",), f"{PREPARE} mot16 --help"),
    (("mot17",), f"{PREPARE} mot17 --help"),
    (("mots20",), f"{PREPARE} mots --help"),
    (("posetrack18",), f"{PREPARE} posetrack --help"),
    (
        ("data/pets09",),
        "configs/track/frozen/mot_pets09.yaml makes it of the video, when frozen-mot runs it first",
    ),
    (("youtube_vis_2019",), "lay it out as configs/track/vis_youtube.yaml says"),
)


def how_to_get(path: str) -> str:
    """The next step for data that are not there, by a name in their path."""
    parts = Path(path).parts
    for names, step in NEXT_STEPS:
        if any(all(part in parts for part in name.split("/")) for name in names):
            return step
    return "docs/ says how the data of this task are laid out; set the path in the configuration"


def data_lines(checkout: Path) -> Iterator[tuple[str, str]]:
    """Name and state of each data folder."""
    for folder, tasks in DATA.items():
        place = checkout / "data/mini" / folder
        state = "there" if place.is_dir() else "absent; next: python -m transfer.data.mini data/mini"
        yield f"data/mini/{folder} ({tasks})", state
    real = os.environ.get("MEC_TRANSFER_DATA")
    if real is None:
        yield "MEC_TRANSFER_DATA (real data)", "not set; only configurations that name it need it"
    elif not Path(real).is_dir():
        yield "MEC_TRANSFER_DATA (real data)", f"{real} is no folder"
    else:
        yield "MEC_TRANSFER_DATA (real data)", "there"
        yield from real_data_lines(Path(real))


def real_data_lines(root: Path) -> Iterator[tuple[str, str]]:
    """Name and state of each real set; that one is absent is no fault."""
    for name, (tasks, how) in REAL_DATA.items():
        yield f"  {name} ({tasks})", "there" if (root / name).exists() else f"absent; next: {how}"
    found = [name for name in MANY_SHOT_SETS if (root / MANY_SHOT / name).is_dir()]
    state = f"{len(found)} of {len(MANY_SHOT_SETS)} sets there" + (f": {', '.join(found)}" if found else "")
    how = "" if len(found) == len(MANY_SHOT_SETS) else "; next: tools/prepare_data.py many-shot --help"
    yield f"  {MANY_SHOT} (linear, finetune)", state + how
