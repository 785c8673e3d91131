"""The tracking benchmarks: where each comes from and where its files belong."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from transfer.data.download import Archive
from transfer.data.prepare_tracking_given import check_given_boxes, check_given_masks, check_given_poses
from transfer.data.tracking_names import (
    MOT16_TEST,
    MOT16_TRAIN,
    MOT17_DETECTORS,
    MOTS20_TEST,
    MOTS20_TRAIN,
    OTB100,
)
from transfer.data.verify_tracking import (
    Frames,
    verify_davis,
    verify_lasot,
    verify_mot,
    verify_otb,
    verify_posetrack,
)

Verify = Callable[[Path, Sequence[str]], Iterator[str]]
CheckGiven = Callable[[Path, Path, Sequence[str]], str]  # the set's folder, the detections', names
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
    check_given: CheckGiven | None = None  # where a detector's output is tracked

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


def _mot_pattern(names: str) -> str:
    rest = r"(?P<rest>(?:img1/\d+\.(?:jpg|png)|gt/gt\.txt|det/det\.txt|seqinfo\.ini))"
    return rf"(?:.*/)?(?P<split>train|test)/(?P<sequence>{names})/{rest}"


def _mot_set(
    title: str, names: str, address: str, verify: Verify, check_given: CheckGiven = check_given_boxes
) -> TrackingSet:
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
        check_given,
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
        check_given_masks,
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
        check_given=check_given_poses,
    ),
}
