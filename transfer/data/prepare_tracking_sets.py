"""The tracking benchmarks: where each comes from, where its files belong, and what it must hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from transfer.data.davis import read_davis
from transfer.data.download import Archive
from transfer.data.mot_sequences import read_mot_sequences, read_mots_sequences
from transfer.data.mots import PEDESTRIAN
from transfer.data.otb import read_lasot, read_otb
from transfer.data.posetrack import read_posetrack
from transfer.data.tracking_names import (
    DAVIS2017_VAL,
    DAVIS2017_VAL_COUNTS,
    LASOT_TEST,
    MOT16_TEST,
    MOT16_TRAIN,
    MOT17_DETECTORS,
    MOTS20_TEST,
    MOTS20_TRAIN,
    OTB100,
    POSETRACK18_VIDEOS,
)
from transfer.data.video_faults import VideoFaults

Verify = Callable[[Path, Sequence[str]], Iterator[str]]
Frames = Mapping[str, int]  # of each sequence
MOTCHALLENGE = "https://motchallenge.net/data"
OTB_ADDRESS = "http://cvlab.hanyang.ac.kr/tracker_benchmark/seq"


@dataclass(frozen=True)
class TrackingSet:
    """One benchmark.

    ``pattern`` is matched against the whole path of a file inside of an archive or folder; the file is
    wanted where it matches, and ``layout`` filled with its groups is where it belongs. The group
    ``sequence`` names its sequence.
    """

    title: str
    folder: str
    expected: str  # what the source must hold, in words
    by_hand: str  # how to get it
    pattern: str
    layout: str
    verify: Verify
    archives: tuple[Archive, ...] = ()  # with a public address

    def place(self, inner: PurePosixPath) -> PurePosixPath | None:
        """Where a file belongs below the set's folder; None: it is not of the set."""
        match = re.fullmatch(self.pattern, str(inner))
        groups = {key: value or "" for key, value in match.groupdict().items()} if match else {}
        return PurePosixPath(self.layout.format(**groups)) if match else None

    def is_wanted(self, placed: PurePosixPath, sequences: Collection[str]) -> bool:
        """Whether a placed file is of one of these sequences, or of none; without sequences all are."""
        match = re.fullmatch(self.pattern, str(placed))
        name = match["sequence"] if match else None
        targets = {re.sub(r"-\d$", "", sequence) for sequence in sequences}  # Jogging, of Jogging-1
        return not sequences or name is None or name in sequences or name in targets

    def is_of(self, archive: Archive, sequences: Collection[str]) -> bool:
        """Whether an archive of one sequence is needed; others always are."""
        alone = len(self.archives) > 1
        targets = {re.sub(r"-\d$", "", sequence) for sequence in sequences} | set(sequences)
        return not (alone and sequences) or Path(archive.name).stem in targets


def verify_otb(folder: Path, names: Sequence[str] = (), expected: Frames = OTB100) -> Iterator[str]:
    """OTB-2015: a hundred targets, each with the benchmark's frames."""
    sequences = read_otb(folder, names or list(expected))
    frames = {sequence.name: len(sequence.frames) for sequence in sequences}
    yield _check_frames(folder, frames, expected, partial=bool(names))


def verify_lasot(
    folder: Path, names: Sequence[str] = (), expected: Sequence[str] = LASOT_TEST
) -> Iterator[str]:
    """LaSOT: the 280 sequences of its test set; the others are of its training set."""
    sequences = read_lasot(folder, names or expected)
    frames = sum(len(sequence.frames) for sequence in sequences)
    part = "" if names else ", the test set"
    yield f"{folder}: {len(sequences)} sequences with {frames} frames{part}; no file is unusable"


def verify_davis(
    folder: Path,
    names: Sequence[str] = (),
    expected: Sequence[str] = DAVIS2017_VAL,
    counts: tuple[int, int] = DAVIS2017_VAL_COUNTS,
) -> Iterator[str]:
    """DAVIS-2017: the 30 sequences of its validation set, at 480p."""
    sequences = read_davis(folder, "" if names else "val", names or expected)
    found = (
        sum(len(sequence.frames) for sequence in sequences),
        sum(len(sequence.object_ids) for sequence in sequences),
    )
    if not names and found != counts:
        raise ValueError(
            f"{folder}: val: expected {counts[0]} frames and {counts[1]} objects, "
            f"found {found[0]} and {found[1]}; DAVIS-2016 has one object a sequence"
        )
    part = "" if names else ", as published"
    yield f"{folder}: val: {len(sequences)} sequences, {found[0]} frames, {found[1]} objects{part}"


def verify_mot(
    folder: Path, names: Sequence[str], train: Frames, test: Frames, targets: int, masks: bool
) -> Iterator[str]:
    """MOT16, MOT17 or MOTS20: its training set, and its test set where that is there.

    Args:
        folder: holds ``train`` and perhaps ``test``.
        names: only these sequences.
        train, test: frames of each sequence.
        targets: boxes or masks of pedestrians that count in the whole training set.
        masks: the objects are masks.
    """
    unknown = set(names) - {*train, *test}
    if unknown:
        raise ValueError(f"{folder}: no sequence {', '.join(sorted(unknown))}; it has {', '.join(train)}")
    found: dict[str, int] = {}
    chosen = [name for name in names or train if name in train]
    if chosen and masks:
        opened = read_mots_sequences(folder / "train", chosen, given=False)
        found = {sequence.name: len(sequence.frames) for sequence in opened}
        count = sum(line.class_id == PEDESTRIAN for sequence in opened for line in sequence.masks)
    elif chosen:
        boxed = read_mot_sequences(folder / "train", chosen)
        found = {sequence.name: len(sequence.frames) for sequence in boxed}
        count = sum(box.is_target for sequence in boxed for box in sequence.boxes)
    if chosen:
        if not names and count != targets:
            raise ValueError(f"{folder}/train: expected {targets} pedestrians that count, found {count}")
        line = _check_frames(folder / "train", found, train, partial=bool(names))
        yield f"{line}; {count} pedestrians"
    chosen = [name for name in names or test if name in test]
    if (folder / "test").is_dir() and chosen:
        read = read_mots_sequences if masks else read_mot_sequences
        tested = read(folder / "test", chosen, truth=False, given=False)
        found = {sequence.name: len(sequence.frames) for sequence in tested}
        yield _check_frames(folder / "test", found, test, partial=bool(names))


def verify_posetrack(
    folder: Path, names: Sequence[str] = (), expected: Frames = POSETRACK18_VIDEOS
) -> Iterator[str]:
    """PoseTrack 2018: its validation set, and its training set where that is there."""
    for split, count in expected.items():
        if split != "val" and not (folder / "annotations" / split).is_dir():
            continue
        there = {path.stem for path in (folder / "annotations" / split).glob("*.json")}
        chosen = [name for name in names if name in there or split == "val"]
        if names and not chosen:
            continue
        sequences = read_posetrack(folder, split, chosen)
        if not names and len(sequences) != count:
            raise ValueError(f"{folder}: {split}: expected {count} videos, found {len(sequences)}")
        frames = sum(len(sequence.frames) for sequence in sequences)
        people = sum(len(frame.people) for sequence in sequences for frame in sequence.frames)
        yield f"{folder}: {split}: {len(sequences)} videos, {frames} frames, {people} poses"


def _check_frames(folder: Path, found: Frames, expected: Frames, partial: bool) -> str:
    """Raise ValueError with every sequence whose number of frames is not the published one."""
    faults = VideoFaults()
    for name, count in found.items():
        if name not in expected:
            faults.add(name, "is no sequence of the benchmark")
        elif count != expected[name]:
            faults.add(name, f"expected {expected[name]} frames, found {count}")
    faults.raise_found(folder)
    part = f" of {len(expected)}" if partial else ""
    return f"{folder}: {len(found)}{part} sequences with {sum(found.values())} frames, as published"


def _mot_pattern(names: str) -> str:
    rest = r"(?P<rest>(?:img1/\d+\.(?:jpg|png)|gt/gt\.txt|det/det\.txt|seqinfo\.ini))"
    return rf"(?:.*/)?(?P<split>train|test)/(?P<sequence>{names})/{rest}"


def _mot_set(title: str, names: str, address: str, verify: Verify) -> TrackingSet:
    name = address.rpartition("/")[2]
    return TrackingSet(
        title,
        title.lower(),
        "train/<Sequence>/img1, gt/gt.txt, det/det.txt, seqinfo.ini, and the same of test",
        f"get {address}",
        _mot_pattern(names),
        "{split}/{sequence}/{rest}",
        verify,
        (Archive(name, address),),
    )


def _of_detectors(frames: Frames) -> dict[str, int]:
    return {f"MOT17-{name}-{detector}": n for name, n in frames.items() for detector in MOT17_DETECTORS}


def _named(prefix: str, frames: Frames) -> dict[str, int]:
    return {f"{prefix}-{name}": number for name, number in frames.items()}


OTB_FOLDERS = tuple(dict.fromkeys(re.sub(r"-\d$", "", name) for name in OTB100))
SETS: dict[str, TrackingSet] = {
    "otb": TrackingSet(
        "OTB-2015",
        "otb100",
        "<Sequence>/img/0001.jpg and <Sequence>/groundtruth_rect.txt",
        f"get {OTB_ADDRESS}/<Sequence>.zip of each sequence",
        rf"(?:.*/)?(?P<sequence>(?:{'|'.join(OTB_FOLDERS)})(?:-\d)?)"
        r"/(?P<rest>img/\d+\.(?:jpg|png)|groundtruth_rect(?:\.\d)?\.txt)",
        "{sequence}/{rest}",
        verify_otb,
        tuple(Archive(f"{name}.zip", f"{OTB_ADDRESS}/{name}.zip") for name in OTB_FOLDERS),
    ),
    "lasot": TrackingSet(
        "LaSOT",
        "lasot",
        "<class>-<number>/img/00000001.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt",
        "get LaSOTTesting or the archives of classes from the authors' page, http://vision.cs.stonybrook.edu/~lasot/",
        r"(?:.*/)?(?P<sequence>(?P<kind>[A-Za-z]+)-\d+)"
        r"/(?P<rest>img/\d+\.(?:jpg|png)|(?:groundtruth|full_occlusion|out_of_view|nlp)\.txt)",
        "{kind}/{sequence}/{rest}",
        verify_lasot,
    ),
    "davis": TrackingSet(
        "DAVIS-2017",
        "davis2017",
        "JPEGImages/480p/<sequence>, Annotations/480p/<sequence>, ImageSets/2017",
        "get DAVIS-2017-trainval-480p.zip from https://davischallenge.org",
        r"(?:.*/)?(?P<path>(?:JPEGImages|Annotations)/480p/(?P<sequence>[\w-]+)/\d+\.(?:jpg|png)"
        r"|ImageSets/\w+/[\w-]+\.txt)",
        "{path}",
        verify_davis,
        (
            Archive(
                "DAVIS-2017-trainval-480p.zip",
                "https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-480p.zip",
            ),
        ),
    ),
    "mot16": _mot_set(
        "MOT16",
        r"MOT16-\d\d",
        f"{MOTCHALLENGE}/MOT16.zip",
        lambda folder, names: verify_mot(
            folder, names, _named("MOT16", MOT16_TRAIN), _named("MOT16", MOT16_TEST), 110_407, masks=False
        ),
    ),
    "mot17": _mot_set(
        "MOT17",
        rf"MOT17-\d\d-(?:{'|'.join(MOT17_DETECTORS)})",
        f"{MOTCHALLENGE}/MOT17.zip",
        lambda folder, names: verify_mot(
            folder, names, _of_detectors(MOT16_TRAIN), _of_detectors(MOT16_TEST), 3 * 112_297, masks=False
        ),
    ),
    "mots": _mot_set(
        "MOTS20",
        r"MOTS20-\d\d",
        f"{MOTCHALLENGE}/MOTS.zip",
        lambda folder, names: verify_mot(
            folder, names, _named("MOTS20", MOTS20_TRAIN), _named("MOTS20", MOTS20_TEST), 26_894, masks=True
        ),
    ),
    "posetrack": TrackingSet(
        "PoseTrack 2018",
        "posetrack18",
        "images/val/<sequence>/000000.jpg and annotations/val/<sequence>.json",
        "get PoseTrack 2018's images and annotations after registration at https://posetrack.net",
        r"(?:.*/)?(?P<kind>images|annotations)/(?P<split>train|val)/(?P<sequence>\d+_\w+?)"
        r"(?P<rest>/\d+\.(?:jpg|png)|\.json)",
        "{kind}/{split}/{sequence}{rest}",
        verify_posetrack,
    ),
}
