"""Training images that are held out, so that no reported image takes part in choosing a learning rate."""

from __future__ import annotations

import hashlib
import json
import logging
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfer.detect.sets import SetFiles, kind_of, list_path, read_coco, read_names
from transfer.writing import write_text

logger = logging.getLogger(__name__)
REST, HELD = "rest", "holdout"  # names of the files, without .json or .txt


@dataclass(frozen=True)
class Candidate:
    """An image that may be held out."""

    name: str  # file name (COCO) or the list's name (VOC)
    classes: frozenset[str]  # of its objects; crowd regions and difficult objects are none


def hold_out(files: SetFiles, num_images: int, seed: int, folder: Path) -> tuple[SetFiles, SetFiles]:
    """Split a set into what remains and ``num_images`` held-out images, as files in ``folder``.

    COCO: ``rest.json`` and ``holdout.json``, each with all categories and its own images' annotations. VOC:
    the lists ``rest.txt`` and ``holdout.txt``, whose absolute path is the ``split``. The set's order is kept.
    The files depend on nothing but the set and the seed, so every process may write them.

    Args:
        files: a set without the faults of ``transfer/detect/faults.py``.
        num_images: held-out images; see :func:`draw`.
        seed: of the draw.
        folder: made if it is not there.

    Raises:
        FileNotFoundError: as ``register`` says, or a VOC image without its XML.
        ValueError: not a set, or fewer images to hold out than asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind_of("holdout", files) == "coco":
        return _hold_out_coco(files, num_images, seed, folder)
    return _hold_out_voc(files, num_images, seed, folder)


def draw(candidates: Sequence[Candidate], num_images: int, seed: int, where: str) -> set[int]:
    """``num_images`` indices into the candidates; fewer images are always a part of more.

    Images are ranked by a hash of seed and name. Each class, the rarest first, gets its first image unless
    one that is drawn already shows it; then the best ranked ones follow. An image that is the last one of a
    class is passed over. So every class keeps an image to train on, and those of which no image was drawn
    are logged: there were more classes than room, or each of their images is the last one of some class.

    Args:
        candidates: images with objects; one without classes is never drawn.
        num_images: at least 1.
        seed: of the draw.
        where: opens the error message.

    Raises:
        ValueError: fewer images can be held out than asked for, or none is asked for.
    """
    remaining = Counter(label for candidate in candidates for label in candidate.classes)
    rare_first = sorted(remaining, key=lambda label: (remaining[label], label))
    order = sorted(
        (index for index, candidate in enumerate(candidates) if candidate.classes),
        key=lambda index: (
            hashlib.sha256(f"holdout\0{seed}\0{candidates[index].name}".encode()).digest(),
            index,
        ),
    )
    members: dict[str, list[int]] = {label: [] for label in rare_first}
    for index in order:
        for label in candidates[index].classes:
            members[label].append(index)
    if num_images < 1:
        raise ValueError(f"{where}: holdout_images: expected at least 1, found {num_images}")
    held: set[int] = set()
    shown: set[str] = set()

    def take_first(indices: Sequence[int], limit: int) -> None:
        for index in indices:
            if len(held) >= num_images or limit == 0:
                return
            classes = candidates[index].classes
            if index not in held and all(remaining[label] > 1 for label in classes):
                held.add(index)
                shown.update(classes)
                remaining.subtract(classes)
                limit -= 1

    for label in rare_first:
        if label not in shown:
            take_first(members[label], 1)
    take_first(order, len(order))
    if len(held) < num_images:
        raise ValueError(
            f"{where}: holdout_images: expected at most {len(held)}, found {num_images}; {len(order)} images "
            "have objects, and every class keeps at least one to train on"
        )
    absent = [label for label in rare_first if label not in shown]
    if absent:
        logger.warning("%s: no held-out image of %d classes: %s", where, len(absent), ", ".join(absent[:8]))
    return held


def _hold_out_coco(files: SetFiles, num_images: int, seed: int, folder: Path) -> tuple[SetFiles, SetFiles]:
    content = read_coco(Path(files.annotations_path))
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    classes: dict[Any, set[str]] = {image["id"]: set() for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] in classes and not annotation.get("iscrowd", 0):
            classes[annotation["image_id"]].add(names[annotation["category_id"]])
    candidates = [
        Candidate(image["file_name"], frozenset(classes[image["id"]])) for image in content["images"]
    ]
    drawn = draw(candidates, num_images, seed, files.annotations_path)
    held = {image["id"] for index, image in enumerate(content["images"]) if index in drawn}
    paths = {}
    for name in (REST, HELD):
        part = {
            **content,
            "images": [image for image in content["images"] if (image["id"] in held) == (name == HELD)],
            "annotations": [
                annotation
                for annotation in content["annotations"]
                if (annotation["image_id"] in held) == (name == HELD)
            ],
        }
        paths[name] = folder / f"{name}.json"
        write_text(paths[name], json.dumps(part))
    return (
        replace(files, annotations_path=str(paths[REST])),
        replace(files, annotations_path=str(paths[HELD])),
    )


def _hold_out_voc(files: SetFiles, num_images: int, seed: int, folder: Path) -> tuple[SetFiles, SetFiles]:
    names = read_names(files)
    annotations = Path(files.voc_dir, "Annotations")
    candidates = [Candidate(name, _voc_classes_of(annotations / f"{name}.xml")) for name in names]
    drawn = draw(candidates, num_images, seed, str(list_path(files)))
    for part in (REST, HELD):
        lines = [name for index, name in enumerate(names) if (index in drawn) == (part == HELD)]
        write_text(folder / f"{part}.txt", "".join(f"{name}\n" for name in lines))
    base = (
        folder.resolve()
    )  # detectron2 joins a list's path to the folder of lists, and an absolute one stays
    return replace(files, split=str(base / REST)), replace(files, split=str(base / HELD))


def _voc_classes_of(path: Path) -> frozenset[str]:
    """The classes of an image's objects, leaving out those marked difficult, which no score counts."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file")
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: expected XML, found {error}") from error
    return frozenset(
        entry.findtext("name", "").strip()
        for entry in objects
        if (entry.findtext("difficult") or "0").strip() != "1"
    )
