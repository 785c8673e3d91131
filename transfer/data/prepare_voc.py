"""PASCAL VOC as detectron2 looks for it: ``VOC2007`` and ``VOC2012``, each with its images, XML and lists."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from transfer.data.detection_folders import SUBSET, Source, check_set, draw, whole_folder
from transfer.data.download import Archive, get_archives
from transfer.detect.sets import VOC_CLASSES, Registered, SetFiles, read_names

ADDRESS = "http://host.robots.ox.ac.uk/pascal/VOC"
VOC_ARCHIVES: dict[int, tuple[Archive, ...]] = {
    2007: (
        Archive(
            "VOCtrainval_06-Nov-2007.tar",
            f"{ADDRESS}/voc2007/VOCtrainval_06-Nov-2007.tar",
            "c52e279531787c972589f7e41ab4ae64",
        ),
        Archive(
            "VOCtest_06-Nov-2007.tar",
            f"{ADDRESS}/voc2007/VOCtest_06-Nov-2007.tar",
            "b6e924de25625d8de591ea690078ad9f",
        ),
    ),
    2012: (
        Archive(
            "VOCtrainval_11-May-2012.tar",
            f"{ADDRESS}/voc2012/VOCtrainval_11-May-2012.tar",
            "6cd6e144f989b92b3379bac3b3de84fd",
        ),
    ),
}
Counts = Mapping[int, Mapping[str, int]]  # images of each split of each year
VOC: Counts = {2007: {"trainval": 5_011, "test": 4_952}, 2012: {"trainval": 11_540, "train": 5_717}}
LISTS = ("train", "val", "trainval", "test")  # the others are of single classes


def prepare_voc(
    target: Path,
    source: Path | None = None,
    downloaded: bool = False,
    dry_run: bool = False,
    years: Sequence[int] = (2007, 2012),
    subset: int = 0,
    subset_test: int | None = None,
    seed: int = 0,
    expected: Counts = VOC,
    archives: Mapping[int, tuple[Archive, ...]] = VOC_ARCHIVES,
) -> Iterator[str]:
    """Lay VOC out below ``target``, all of it or a drawn part, or verify it; yields what was done.

    Args:
        target: gets, or has, a folder ``VOC<year>`` for each year.
        source: holds the archives, or folders that are laid out (for a subset); None: verify, unless
            ``downloaded``.
        downloaded: fetch the archives that ``source`` lacks into it; without ``source``, into
            ``target/archives``.
        dry_run: write nothing.
        years: 2007, 2012.
        subset: images to draw of each year's trainval, and half as many (rounded up) of its test list;
            in each of the lists every class has an object that is not difficult. 0: all.
        subset_test: images of a subset to test on, instead.
        seed: of the draw.
        expected: images of each list.
        archives: by checksum.

    Raises:
        FileNotFoundError: an archive or file is missing.
        FileExistsError: a subset where a folder is there.
        ValueError: other checksums or counts, unusable images, or a draw that cannot be made. Nothing is
            left of the year that was being written.
    """
    from_somewhere = source is not None or downloaded
    if subset_test is not None and not subset:
        raise ValueError("images to test on are those of a subset: give --subset N, or no --subset-test")
    if subset and not from_somewhere:
        raise ValueError("a subset comes from archives or a folder: give --from DIR, or --download")
    for year in years:
        folder = target / f"VOC{year}"
        if not subset and (folder.exists() or not from_somewhere):
            if from_somewhere:
                yield f"{folder}: is there already"
            yield from verify_voc(folder, year, expected[year])
            continue
        if folder.exists():
            raise FileExistsError(f"{folder}: is there already; remove it, or give another --to")
        place = source or target / "archives"
        unpacked = next((path for path in _places(place, year) if path.is_dir()), None)
        if unpacked is not None and not subset:
            raise ValueError(f"{unpacked}: is laid out already; verify it by --to {unpacked.parent} alone")
        if unpacked is None:
            yield from get_archives(archives[year], place, downloaded, dry_run)
        if dry_run:
            yield f"{folder}: would be written from {unpacked or place}"
            continue
        files = Source(
            archives=() if unpacked else tuple(place / archive.name for archive in archives[year]),
            folder=unpacked,
            prefix=PurePosixPath("VOCdevkit", f"VOC{year}"),
        )
        numbers = {"trainval": subset, "test": -(-subset // 2) if subset_test is None else subset_test}
        with whole_folder(folder) as building:
            if subset:
                _write_subset(files, building, year, numbers, seed)
            else:
                files.put(building, _is_wanted)
            lines = list(verify_voc(building, year, expected[year]))
        yield from (line.replace(str(building), str(folder)) for line in lines)


def verify_voc(folder: Path, year: int, expected: Mapping[str, int]) -> Iterator[str]:
    """Check one year's folder: its counts (a subset's own, where there is one), every XML, every image.

    Raises:
        FileNotFoundError, ValueError: as :func:`prepare_voc`.
    """
    part = ""
    if (folder / SUBSET).is_file():
        expected = json.loads((folder / SUBSET).read_text(encoding="utf-8"))["counts"]
        part = ", a subset"
    for split, count in expected.items():
        files = SetFiles(voc_dir=str(folder), split=split, year=year)
        found = len(read_names(files))
        if found != count:
            raise ValueError(f"{folder}: {split}: expected {count} images, found {found}")
        check_set(Registered(f"voc_{year}_{split}", "voc", found, 0, VOC_CLASSES, files), split != "test")
        yield f"{folder}: {split}: {found} images, as expected{part}; no file is unusable"


def _places(source: Path, year: int) -> tuple[Path, Path]:
    return source / f"VOC{year}", source / "VOCdevkit" / f"VOC{year}"


def _is_wanted(path: PurePosixPath) -> bool:
    return str(path.parent) in ("Annotations", "JPEGImages", "ImageSets/Main")


def _write_subset(files: Source, folder: Path, year: int, numbers: Mapping[str, int], seed: int) -> None:
    files.put(folder, lambda path: str(path.parent) == "Annotations" or _is_list(path))
    lists = {path.stem: path for path in sorted((folder / "ImageSets" / "Main").iterdir())}
    drawn: dict[str, Any] = {"of": f"VOC {year}", "seed": seed, "counts": {}, "images": {}}
    kept: set[str] = set()
    for split in ("trainval", "test"):
        if split in lists:
            names = read_names(SetFiles(voc_dir=str(folder), split=split))
            classes_of = {name: _classes_of(folder / "Annotations" / f"{name}.xml") for name in names}
            drawn["images"][split] = draw(classes_of, VOC_CLASSES, numbers[split], seed, f"VOC{year} {split}")
            kept.update(drawn["images"][split])
    drawn["counts"] = {split: len(names) for split, names in drawn["images"].items()}
    for split, path in lists.items():
        names = read_names(SetFiles(voc_dir=str(folder), split=split))
        left = drawn["images"].get(split, [name for name in names if name in kept])
        path.write_text("".join(f"{name}\n" for name in left), encoding="utf-8")
    for path in (folder / "Annotations").iterdir():
        if path.stem not in kept:
            path.unlink()
    files.put(folder, lambda path: str(path.parent) == "JPEGImages" and path.stem in kept)
    (folder / SUBSET).write_text(json.dumps(drawn, indent=1) + "\n", encoding="utf-8")


def _is_list(path: PurePosixPath) -> bool:
    return str(path.parent) == "ImageSets/Main" and path.stem in LISTS


def _classes_of(path: Path) -> set[str]:
    """The classes of an image's objects that are not difficult.

    Raises:
        ValueError: not XML.
    """
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not XML: {error}") from error
    return {
        (entry.findtext("name") or "").strip()
        for entry in objects
        if (entry.findtext("difficult") or "0").strip() != "1"
    }
