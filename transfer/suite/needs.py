"""What a job takes: the files it reads, and hours, disk and GPUs so far as a run or a paper says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transfer.suite.costs import Cost, cost_of, measured_hours
from transfer.suite.job import Needs
from transfer.suite.machine import has_gpu_node
from transfer.tasks import TASKS

# What a run leaves at most where the costs do not say, by the task's package; docs/costs.md has the sums.
DISK_GB = {"classify": 0.5, "detect": 0.6, "track": 0.3}


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
    from transfer.suite.mmtrack_data import read_data_paths

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


def needs_of(
    task: str,
    config_path: Path,
    config: Any,
    *,
    cores: int,
    memory_gb: float,
    num_gpus: int,
    num_machines: int = 1,
) -> Needs:
    """What a job of this configuration takes; docs/costs.md says how each number comes about.

    Args:
        config: as resolved.
        cores, memory_gb: of each job, as the suite says; 0 where it does not.
        num_gpus, num_machines: that each job is to share. Where no line of the costs gives the configuration
            to a GPU, it takes one only if this machine has some, or if several are asked for.
    """
    cost = cost_of(config_path)
    gpus = _gpus(config, cost, num_gpus)
    hours, hours_source = measured_hours(config, config_path, gpus)
    if not hours and cost and cost.hours:
        shared = gpus * num_machines
        hours = cost.hours * cost.gpus / shared if shared else 0.0
        scaled = (
            "" if shared == cost.gpus else f", from {cost.gpus} to {shared} GPUs as if speed grew with them"
        )
        hours_source = f"{cost.source} ({cost.gpu}{scaled})" if hours else ""
    return Needs(
        cores=cores,
        memory_gb=memory_gb or (cost.memory_gb if cost else 0.0),
        gpus=gpus,
        machines=num_machines,
        gpu_memory_gb=cost.gpu_memory_gb if cost and gpus else 0.0,
        disk_gb=cost.disk_gb if cost and cost.disk_gb else DISK_GB[TASKS[task].package],
        hours=hours,
        hours_source=hours_source,
        data=tuple(map(str, data_paths(task, config))),
        packages=task,
    )


def _gpus(config: Any, cost: Cost | None, num_gpus: int) -> int:
    if str(config.device).startswith("cpu"):
        return 0
    needed = num_gpus > 1 or (cost is not None and cost.gpus > 0)
    return max(num_gpus, 1) if needed or has_gpu_node() else 0
