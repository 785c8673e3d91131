"""Get and verify the data that classification and detection read: the logic of ``tools/prepare_data.py``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from transfer.data.archives import extract_once
from transfer.data.fetch import copy, fetch
from transfer.data.folders import ImageSplit, check_classes, read_split
from transfer.data.many_shot import MANY_SHOT, read_set
from transfer.data.prepare_coco import prepare_coco
from transfer.data.prepare_tracking import add_commands, from_options
from transfer.data.prepare_tracking_sets import SETS
from transfer.data.prepare_voc import VOC_ARCHIVES, prepare_voc
from transfer.data.scan import check_files
from transfer.data.subsets import SIMCLR_LISTS, PublishedList, check_published, read_list

LISTS_URL = (  # of the lists that papers used, by commit: a branch can change
    "https://raw.githubusercontent.com/google-research/simclr/"
    "383d4143fd8cf7879ae10f1046a9baeb753ff438/imagenet_subsets"
)
Counts = tuple[int, int, int]  # classes, training images, validation images
IMAGENET: Counts = (1000, 1_281_167, 50_000)
CIFAR10: Counts = (10, 50_000, 10_000)


def get_lists(
    target: Path,
    source: Path | None = None,
    dry_run: bool = False,
    url: str = LISTS_URL,
    lists: Mapping[str, PublishedList] = SIMCLR_LISTS,
) -> Iterator[str]:
    """Put the published lists into a folder, from their address or from a local folder; yields what was done.

    Raises:
        FileNotFoundError: the local folder lacks one.
        ValueError: a list that is not the published one, also where it is there already; nothing is left
            of what was fetched.
    """
    for name, published in lists.items():
        path = target / name
        if path.exists():
            check_published(path, published)
            yield f"{path}: is there already, and is the published list"
            continue
        origin = f"{url}/{name}" if source is None else str(source / name)
        if dry_run:
            yield f"{path}: would be fetched from {origin}"
            continue

        def check(found: Path, published: PublishedList = published, origin: str = origin) -> None:
            check_published(found, published, origin)

        if source is None:
            fetch(origin, path, check)
        else:
            copy(source / name, path, check)
        yield f"{path}: {published.num_images} images of {published.num_classes} classes, from {origin}"


def verify_imagenet(
    data_dir: Path,
    lists_dir: Path,
    expected: Counts = IMAGENET,
    lists: Mapping[str, PublishedList] = SIMCLR_LISTS,
) -> Iterator[str]:
    """Check an ImageNet folder: its classes and counts, every image's header, and both lists against it.

    Raises:
        FileNotFoundError: a split, a class without images, or a list is missing.
        ValueError: other counts, classes that disagree, unusable files, or a list that does not fit.
    """
    train, val = read_split(data_dir, "train"), read_split(data_dir, "val")
    check_classes(train, val)
    check_counts(str(data_dir), train, val, expected)
    check_files(train, val)
    yield _summary(str(data_dir), train, val)
    for name, published in lists.items():
        indices = read_list(lists_dir / name, train, published.sha256)
        yield f"{lists_dir / name}: all {len(indices)} images are in {train.split_dir}"


def unpack_cifar10(
    archive: Path, target: Path, dry_run: bool = False, expected: Counts = CIFAR10
) -> Iterator[str]:
    """Unpack an archive of ``train/CLASS/*`` and ``test/CLASS/*`` and verify it; wrong ones leave nothing.

    Raises:
        FileNotFoundError: no such archive, or it lacks a split.
        ValueError: other counts, unusable files, or a folder that is there and came from elsewhere.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"{archive}: no such archive")
    if dry_run and not target.exists():
        yield f"{target}: would be unpacked from {archive}"
        return
    there = target.exists()
    folder = target if there else target.with_name(f".{target.name}.unpacked.{os.getpid()}")
    try:
        extract_once(archive, folder)
        train, val = read_split(folder, "train"), read_split(folder, "test")
        check_counts(str(archive), train, val, expected)
        check_files(train, val)
        if not there:
            folder.rename(target)
        yield _summary(str(target), train, val)
    finally:
        if not there:
            shutil.rmtree(folder, ignore_errors=True)


def verify_many_shot(name: str, root: Path) -> Iterator[str]:
    """Check one of the eleven sets below torchvision's root: counts, every image's header.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_set` and :func:`check_files`, or other counts.
    """
    entry = MANY_SHOT[name]
    train, test = read_set(name, root)
    check_counts(f"{root}: {name}", train, test, (entry.num_classes, entry.num_train, entry.num_test))
    check_files(train, test)
    yield _summary(name, train, test)
    yield f"{name}: metric {entry.metric}; split: {entry.source}"


def check_counts(place: str, train: ImageSplit, val: ImageSplit, expected: Counts) -> None:
    """Raise ValueError unless there are as many classes and images as published."""
    found = (len(train.classes), len(train), len(val))
    if found != expected:
        raise ValueError(
            f"{place}: expected {expected[0]} classes, {expected[1]} training and {expected[2]} validation "
            f"images, found {found[0]}, {found[1]} and {found[2]}"
        )


def _summary(place: str, train: ImageSplit, val: ImageSplit) -> str:
    return (
        f"{place}: {len(train.classes)} classes, {len(train)} training and {len(val)} validation images, "
        "as published; no file is unusable"
    )


EXAMPLES = """\
examples:
  tools/prepare_data.py imagenet-lists --to data/imagenet_subsets
  tools/prepare_data.py imagenet data/imagenet --lists data/imagenet_subsets
  tools/prepare_data.py cifar10 --from cifar10.tar.gz --to data/cifar10
  tools/prepare_data.py many-shot pets --root data/many_shot
  tools/prepare_data.py coco --from archives --to data
  tools/prepare_data.py voc --download --to data --years 2007
  tools/prepare_data.py davis --from archives --to data
"""
COCO_EXAMPLES = """\
archives: train2017.zip, val2017.zip, annotations_trainval2017.zip; 19 GB to fetch, as much again unpacked.
DIR is what detectron2 calls DETECTRON2_DATASETS.

examples:
  tools/prepare_data.py coco --to DIR                            verify DIR/coco
  tools/prepare_data.py coco --from archives --to DIR            lay it out from the official archives
  tools/prepare_data.py coco --download --to DIR                 the same, fetched into DIR/archives
  tools/prepare_data.py coco --from archives --to small --subset 200 --classes person,car
"""
VOC_EXAMPLES = """\
archives: VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar, VOCtrainval_11-May-2012.tar.
DIR is what detectron2 calls DETECTRON2_DATASETS.

examples:
  tools/prepare_data.py voc --to DIR                             verify DIR/VOC2007 and DIR/VOC2012
  tools/prepare_data.py voc --from archives --to DIR             lay them out from the official archives
  tools/prepare_data.py voc --download --to DIR --years 2007     fetched into DIR/archives
  tools/prepare_data.py voc --from archives --to small --years 2007 --subset 100
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when everything is as published, else 1 and what is not, on standard error."""
    options = _parser().parse_args(arguments)
    try:
        for line in _chosen(options):
            print(line)
    except (OSError, ValueError) as error:
        print(f"prepare_data: {error}", file=sys.stderr)
        return 1
    return 0


def _chosen(options: argparse.Namespace) -> Iterator[str]:
    if options.command == "imagenet-lists":
        return get_lists(options.to, options.source, options.dry_run)
    if options.command == "imagenet":
        return verify_imagenet(options.data_dir, options.lists)
    if options.command == "cifar10":
        return unpack_cifar10(options.source, options.to, options.dry_run)
    if options.command in ("coco", "voc"):
        where = (options.to, options.source, options.download, options.dry_run)
        if options.command == "voc":
            return prepare_voc(*where, options.years, options.subset, options.subset_test, options.seed)
        classes = [name.strip() for name in options.classes.split(",") if name.strip()]
        return prepare_coco(*where, options.subset, options.subset_test, classes, options.seed)
    if options.command in SETS:
        return from_options(options)
    return verify_many_shot(options.name, options.root)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "prepare_data.py", description="Get and verify data sets.", epilog=EXAMPLES, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="command", required=True)
    lists = commands.add_parser(
        "imagenet-lists", help="get SimCLR's lists of 1 %% and 10 %% of ImageNet's labels, by checksum"
    )
    lists.add_argument("--to", type=Path, required=True, metavar="DIR")
    lists.add_argument("--from", dest="source", type=Path, metavar="DIR", help="a local copy, not the net")
    imagenet = commands.add_parser("imagenet", help="verify an ImageNet folder, and the two lists against it")
    imagenet.add_argument(
        "data_dir", type=Path, metavar="DIR", help="holds train/ and val/, a folder a class"
    )
    imagenet.add_argument("--lists", type=Path, required=True, metavar="DIR", help="what imagenet-lists made")
    cifar10 = commands.add_parser("cifar10", help="unpack and verify CIFAR-10 as image folders")
    cifar10.add_argument("--from", dest="source", type=Path, required=True, metavar="ARCHIVE")
    cifar10.add_argument("--to", type=Path, required=True, metavar="DIR")
    many_shot = commands.add_parser(
        "many-shot",
        help="verify one of the eleven sets of MEC's Table 8",
        epilog="what each expects below --root:\n"
        + "\n".join(f"  {name}: {entry.folder}/ with {entry.layout}" for name, entry in MANY_SHOT.items()),
        formatter_class=raw,
    )
    many_shot.add_argument("name", choices=list(MANY_SHOT), metavar="NAME", help=", ".join(MANY_SHOT))
    many_shot.add_argument("--root", type=Path, required=True, metavar="DIR", help="torchvision's root")
    coco = commands.add_parser(
        "coco",
        help="lay out COCO 2017 for detection, or verify it",
        epilog=COCO_EXAMPLES,
        formatter_class=raw,
    )
    voc = commands.add_parser(
        "voc", help="lay out VOC 2007 and 2012 for detection", epilog=VOC_EXAMPLES, formatter_class=raw
    )
    coco.add_argument("--classes", default="", metavar="A,B", help="of a subset: only these categories")
    voc.add_argument("--years", type=int, nargs="+", choices=list(VOC_ARCHIVES), default=list(VOC_ARCHIVES))
    for command in (coco, voc):
        command.add_argument(
            "--from", dest="source", type=Path, metavar="DIR", help="the archives, or a set to draw from"
        )
        command.add_argument("--to", type=Path, required=True, metavar="DIR", help="gets, or has, the layout")
        command.add_argument("--download", action="store_true", help="fetch the archives that are missing")
        command.add_argument(
            "--subset", type=int, default=0, metavar="N", help="draw N training images, and N/2 to test on"
        )
        command.add_argument("--subset-test", type=int, metavar="M", help="M to test on instead")
        command.add_argument("--seed", type=int, default=0, help="of the draw")
    add_commands(commands)
    for command in (lists, cifar10, coco, voc):
        command.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    return parser
