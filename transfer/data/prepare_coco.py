"""COCO 2017 as detectron2 looks for it: ``coco`` with ``annotations``, ``train2017`` and ``val2017``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from transfer.data.detection_folders import SUBSET, Source, check_set, draw, whole_folder
from transfer.data.download import Archive, get_archives
from transfer.detect.sets import Registered, SetFiles, read_coco

COCO_ARCHIVES = (
    Archive(
        "annotations_trainval2017.zip",
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        "f4bbac642086de4f52a3fdda2de5fa2c",
    ),
    Archive(
        "train2017.zip",
        "http://images.cocodataset.org/zips/train2017.zip",
        "cced6f7f71b7629ddf16f17bbcfab6b2",
    ),
    Archive(
        "val2017.zip",
        "http://images.cocodataset.org/zips/val2017.zip",
        "442b8da7639aecaf257c1dceb8ba8c80",
    ),
)
Counts = Mapping[str, tuple[int, int]]  # of each split: images, annotations (crowds included)
COCO_2017: Counts = {"train": (118_287, 860_001), "val": (5_000, 36_781)}


def prepare_coco(
    target: Path,
    source: Path | None = None,
    downloaded: bool = False,
    dry_run: bool = False,
    subset: int = 0,
    subset_test: int | None = None,
    classes: Sequence[str] = (),
    seed: int = 0,
    expected: Counts = COCO_2017,
    archives: tuple[Archive, ...] = COCO_ARCHIVES,
) -> Iterator[str]:
    """Lay COCO 2017 out below ``target``, all of it or a drawn part, or verify it; yields what was done.

    Args:
        target: gets, or has, the folder ``coco``.
        source: holds the archives, or a set that is laid out (for a subset); None: verify, unless
            ``downloaded``.
        downloaded: fetch the archives that ``source`` lacks into it; without ``source``, into
            ``target/archives``.
        dry_run: write nothing.
        subset: training images to draw, and half as many (rounded up) to test on; 0: all.
        subset_test: images of a subset to test on, instead.
        classes: of a subset: only these categories, and images that show one of them.
        seed: of the draw.
        expected: images and annotations of each split.
        archives: by checksum.

    Raises:
        FileNotFoundError: an archive or file is missing.
        FileExistsError: a subset where a folder is there.
        ValueError: other checksums or counts, unusable images, or a draw that cannot be made. Nothing is
            left of what was written.
    """
    folder = target / "coco"
    from_somewhere = source is not None or downloaded
    if subset_test is not None and not subset:
        raise ValueError("images to test on are those of a subset: give --subset N, or no --subset-test")
    if subset and not from_somewhere:
        raise ValueError("a subset comes from archives or a folder: give --from DIR, or --download")
    if classes and not subset:
        raise ValueError("classes are those of a subset: give --subset N, or no --classes")
    if not subset and (folder.exists() or not from_somewhere):
        if from_somewhere:
            yield f"{folder}: is there already"
        yield from verify_coco(folder, expected)
        return
    if folder.exists():
        raise FileExistsError(f"{folder}: is there already; remove it, or give another --to")
    source = source or target / "archives"
    unpacked = next((path for path in (source / "coco", source) if (path / "annotations").is_dir()), None)
    if unpacked is not None and not subset:
        raise ValueError(f"{unpacked}: is laid out already; verify it by --to {unpacked.parent} alone")
    if unpacked is None:
        yield from get_archives(archives, source, downloaded, dry_run)
    if dry_run:
        yield f"{folder}: would be written from {unpacked or source}"
        return
    files = Source(
        archives=() if unpacked else tuple(source / archive.name for archive in archives), folder=unpacked
    )
    numbers = {"train": subset, "val": -(-subset // 2) if subset_test is None else subset_test}
    with whole_folder(folder) as building:
        if subset:
            _write_subset(files, building, numbers, classes, seed)
        else:
            files.put(building, _is_wanted)
        lines = list(verify_coco(building, expected))
    yield from (line.replace(str(building), str(folder)) for line in lines)


def verify_coco(folder: Path, expected: Counts = COCO_2017) -> Iterator[str]:
    """Check a layout: its counts (a subset's own, where there is one), every annotation, every image.

    Raises:
        FileNotFoundError, ValueError: as :func:`prepare_coco`.
    """
    part = ""
    if (folder / SUBSET).is_file():
        drawn = json.loads((folder / SUBSET).read_text(encoding="utf-8"))
        expected = {split: (images, annotations) for split, (images, annotations) in drawn["counts"].items()}
        part = ", a subset"
    for split, counts in expected.items():
        path, images_dir = folder / "annotations" / f"instances_{split}2017.json", folder / f"{split}2017"
        content = read_coco(path)
        found = (len(content["images"]), len(content["annotations"]))
        if found != tuple(counts):
            raise ValueError(
                f"{path}: expected {counts[0]} images and {counts[1]} annotations, "
                f"found {found[0]} and {found[1]}"
            )
        names = tuple(str(category["name"]) for category in content["categories"])
        del content  # gigabytes, and read again
        files = SetFiles(annotations_path=str(path), images_dir=str(images_dir))
        check_set(
            Registered(f"coco_2017_{split}", "coco", found[0], found[1], names, files), split == "train"
        )
        yield (
            f"{images_dir}: {found[0]} images with {found[1]} annotations of {len(names)} categories, "
            f"as expected{part}; no file is unusable"
        )


def _is_wanted(path: PurePosixPath) -> bool:
    return _is_annotations(path) or str(path.parent) in ("train2017", "val2017")


def _is_annotations(path: PurePosixPath) -> bool:
    return str(path) in ("annotations/instances_train2017.json", "annotations/instances_val2017.json")


def _write_subset(
    files: Source, folder: Path, numbers: Mapping[str, int], classes: Sequence[str], seed: int
) -> None:
    files.put(folder, _is_annotations)
    drawn: dict[str, Any] = {
        "of": "COCO 2017",
        "seed": seed,
        "classes": list(classes),
        "counts": {},
        "images": {},
    }
    wanted: set[str] = set()
    for split, number in numbers.items():
        path = folder / "annotations" / f"instances_{split}2017.json"
        content = read_coco(path)
        _keep(content, number, classes, seed, path.name)
        path.write_text(json.dumps(content), encoding="utf-8")
        names = [image["file_name"] for image in content["images"]]
        wanted |= {f"{split}2017/{name}" for name in names}
        drawn["counts"][split] = [len(names), len(content["annotations"])]
        drawn["images"][split] = names
    files.put(folder, lambda path: str(path) in wanted)
    (folder / SUBSET).write_text(json.dumps(drawn, indent=1) + "\n", encoding="utf-8")


def _keep(
    content: dict[str, list[dict[str, Any]]], num_images: int, classes: Sequence[str], seed: int, where: str
) -> None:
    """Leave a drawn part of a split's JSON in it."""
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    unknown = sorted(set(classes) - set(names.values()))
    if unknown:
        raise ValueError(f"{where}: no category {', '.join(unknown)}; it has {', '.join(names.values())}")
    kept = {number for number, name in names.items() if not classes or name in classes}
    shown: dict[int, set[str]] = {image["id"]: set() for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in shown:
            raise ValueError(f"{where}: annotation {annotation['id']} is of no image of it")
        if annotation["category_id"] in kept and not annotation.get("iscrowd", 0):
            shown[annotation["image_id"]].add(names[annotation["category_id"]])
    classes_of = {
        image["file_name"]: shown[image["id"]]
        for image in content["images"]
        if shown[image["id"]] or not classes
    }
    drawn = set(draw(classes_of, classes, num_images, seed, where))
    content["images"] = [image for image in content["images"] if image["file_name"] in drawn]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [
        annotation
        for annotation in content["annotations"]
        if annotation["image_id"] in ids and annotation["category_id"] in kept
    ]
    content["categories"] = [category for category in content["categories"] if category["id"] in kept]
