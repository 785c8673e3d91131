"""The files and folders that a task's configuration reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transfer.mmtrack_inputs import read_data_paths
from transfer.tasks import TASKS


def data_paths(task: str, config: Any) -> tuple[Path, ...]:
    """The files and folders that a resolved configuration reads, there or not, each once.

    A folder that a run makes of something else (an unpacked archive, a decoded video) gives way to what it
    is made of: that one is the same before and after the first run.

    Raises:
        ValueError: an mmtrack file whose paths cannot be told without running it.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r} is unknown; known: {', '.join(TASKS)}")
    package = TASKS[task].package
    if package == "classify":
        found = _of_images(config)
    elif package == "detect":
        found = _of_detection(config)
    else:
        found = READ_BY[task](config)
    return tuple(dict.fromkeys(found))


def _of_images(config: Any) -> Iterator[Path]:
    root = Path(config.data_dir)
    if config.archive:
        yield Path(config.archive)
    elif config.layout == "folders":
        yield root / config.train_split
        yield root / config.val_split
    else:
        from transfer.data.many_shot import MANY_SHOT  # imported here: it imports torch

        known = MANY_SHOT.get(config.layout)
        yield root if known is None else root / known.folder
    if getattr(config, "subset_list", ""):
        yield Path(config.subset_list)


def _of_detection(config: Any) -> Iterator[Path]:
    for files in config.sets.values():
        if files.voc_dir:
            place = Path(files.voc_dir)
            yield place / "ImageSets" / "Main" / f"{files.split}.txt"
            yield place / "Annotations"
            yield place / "JPEGImages"
        else:
            yield Path(files.annotations_path)
            yield Path(files.images_dir)


def _of_frozen_sot(config: Any) -> Iterator[Path]:
    root = Path(config.root)
    if config.layout == "davis":
        yield from (root / "JPEGImages", root / "Annotations")
    elif config.layout == "lasot":
        yield root
    else:
        yield from (_otb_folder(root, name) for name in config.sequences)
        if not config.sequences:
            yield root


def _otb_folder(root: Path, name: str) -> Path:
    """A target's folder: ``Jogging-1`` and ``Jogging-2`` may lie in one, ``Jogging``."""
    video = root / name.rpartition("-")[0]
    return video if "-" in name and video.is_dir() and not (root / name).is_dir() else root / name


def _of_vos(config: Any) -> Iterator[Path]:
    root = Path(config.root)
    yield from (root / "JPEGImages", root / "Annotations")
    if config.image_set:
        yield root / "ImageSets"


def _of_frozen_mot(config: Any) -> Iterator[Path]:
    yield from _given_video(config)
    yield from _sequences(config, config)
    if config.detections:
        yield Path(config.detections)


def _of_mots(config: Any) -> Iterator[Path]:
    root = Path(config.root)
    yield from (root / name for name in config.sequences)
    if not config.sequences:
        yield root
    if config.detections:
        yield Path(config.detections)


def _of_pose(config: Any) -> Iterator[Path]:
    root = Path(config.root)
    yield from (root / "images" / config.split, root / "annotations" / config.split)
    yield Path(config.detections) if config.detections else root / "detections" / config.split


def _of_mot(config: Any) -> Iterator[Path]:
    yield from _given_video(config)
    yield from _sequences(config.train, config)
    yield from _sequences(config.test, config)


def _of_vis(config: Any) -> Iterator[Path]:
    for part in (config.train, config.test):
        yield from (Path(part.annotations), Path(part.images))


def _of_sot(config: Any) -> Iterator[Path]:
    yield from read_data_paths(Path(config.mmtrack_config), config.options)


def _given_video(config: Any) -> Iterator[Path]:
    video = config.video
    for place in (video.path, video.ground_truth, getattr(video, "detections", "")):
        if place:
            yield Path(place)


def _sequences(source: Any, config: Any) -> Iterator[Path]:
    """Folders of sequences, but for the one that is made of the configuration's video."""
    root = Path(source.root)
    made = config.video.sequence_dir if config.video.path else ""
    for name in source.sequences:
        if not made or root / name != Path(made):
            yield root / name
    if not source.sequences:
        yield root


READ_BY = {
    "frozen-sot": _of_frozen_sot,
    "frozen-vos": _of_vos,
    "frozen-mot": _of_frozen_mot,
    "frozen-mots": _of_mots,
    "frozen-pose": _of_pose,
    "sot": _of_sot,
    "mot": _of_mot,
    "vis": _of_vis,
}
