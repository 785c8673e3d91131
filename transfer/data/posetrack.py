"""Poses of people in video, as PoseTrack 2018 lays them out, and given poses in either of its formats.

    <root>/images/<split>/<sequence>/000000.jpg
    <root>/annotations/<split>/<sequence>.json

The JSON of 2018 is COCO's with ``vid_id`` and ``track_id``: ``images``, ``annotations`` with ``keypoints``
(x, y, visible or score) of the names in ``categories``. That of the evaluation code is ``annolist``: an entry
a frame with ``annorect``, whose ``annopoints`` number the joints as :data:`JOINTS` does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer.data.video_faults import Size, VideoFaults, check_sizes, choose_names

JOINTS = (  # in the order of the evaluation code (poseval), whose numbers these are
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "head_bottom",
    "nose",
    "head_top",
)
UNUSED = ("left_ear", "right_ear", "left_eye", "right_eye")  # in the lists of names, never annotated
KEYPOINTS_2018 = (
    *("nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
# In a tracker's results the id of every pose that no track holds; poseval takes ids below 100,000.
UNTRACKED = 99_999
KEYPOINTS_15 = tuple(name for name in KEYPOINTS_2018 if name not in UNUSED)


@dataclass(frozen=True)
class PersonPose:
    """One person in one frame, pixels."""

    track_id: int  # -1 for a given pose
    points: NDArray[np.float64]  # (15, 3) x, y, visible or score, in the order of JOINTS; NaN where absent
    box: NDArray[np.float64]  # (4,) left, top, width, height of the person; NaN where not annotated
    head: NDArray[np.float64]  # (4,) of the head; NaN where not annotated
    score: float = 1.0


@dataclass(frozen=True)
class PoseFrame:
    """One frame."""

    path: Path
    image_id: int
    labelled: bool  # only such frames are scored
    people: tuple[PersonPose, ...]
    ignored: tuple[NDArray[np.float64], ...] = ()  # polygons (K, 2) of regions that are not scored


@dataclass(frozen=True)
class PoseSequence:
    """One video."""

    name: str
    frames: tuple[PoseFrame, ...]
    size: Size  # width, height, pixels
    ground_truth: Path


def read_posetrack(root: Path, split: str = "val", names: Sequence[str] = ()) -> list[PoseSequence]:
    """Sequences of a split; without names all that are there.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a sequence that is not there; or, together for all sequences: missing frames, frames of
            different sizes or that cannot be read, a damaged JSON, a person in a frame that does not exist,
            points or boxes that are not finite, an unknown joint, or an id twice in a frame.
    """
    folder = root / "annotations" / split
    there = sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []
    faults = VideoFaults()
    sequences = []
    for name in choose_names(folder, there, names):
        path = folder / f"{name}.json"
        frames = collect_poses(path, root, name, faults, tracks=True)
        size = check_sizes(name, [frame.path for frame in frames], faults)
        sequences.append(PoseSequence(name, frames, size, path))
    faults.raise_found(root)
    return sequences


def read_given_poses(path: Path, sequence: PoseSequence, root: Path) -> dict[Path, tuple[PersonPose, ...]]:
    """A detector's poses of a sequence, by frame; either format. Frames may be left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: all faults together, as :func:`collect_given_poses` finds them.
    """
    faults = VideoFaults()
    given = collect_given_poses(path, sequence, root, faults)
    faults.raise_found(path)
    return given


def collect_given_poses(
    path: Path, sequence: PoseSequence, root: Path, faults: VideoFaults
) -> dict[Path, tuple[PersonPose, ...]]:
    """As :func:`read_given_poses`; poses of frames that are none of the sequence are faults, too.

    Raises:
        FileNotFoundError: no such file.
    """
    frames = collect_poses(path, root, sequence.name, faults, tracks=False)
    # Detectors name frames by a path of their own, of which the last two parts are the benchmark's.
    known = {frame.path.parts[-2:]: frame.path for frame in sequence.frames}
    lost = [frame.path.name for frame in frames if frame.path.parts[-2:] not in known]
    faults.add_cases(sequence.name, f"frames of {path.name} do not exist", lost)
    return {known[frame.path.parts[-2:]]: frame.people for frame in frames if frame.path.parts[-2:] in known}


def collect_poses(
    path: Path, root: Path, place: object, faults: VideoFaults, tracks: bool
) -> tuple[PoseFrame, ...]:
    """Frames of a JSON of either format, in its order; ``tracks`` says that people have ids.

    Raises:
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such poses")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = _frames_of_annolist if "annolist" in content else _frames_of_coco
        frames = kind(content, root, place, faults, tracks)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        faults.add(place, f"{path}: not the JSON of PoseTrack ({reason})")
        return ()
    if not frames:
        faults.add(place, f"{path}: expected frames, found none")
    images = Counter(frame.path for frame in frames)
    again = [image.name for image, count in images.items() if count > 1]
    faults.add_cases(place, f"frames of {path.name} are listed twice", again)
    bad = [
        f"{frame.path.name} id {person.track_id}"
        for frame in frames
        for person in frame.people
        if np.isinf(person.points).any() or not np.isfinite(person.score)
    ]
    faults.add_cases(place, f"people of {path.name} have points that are not finite", bad)
    bad = [
        f"{frame.path.name} id {person.track_id}"
        for frame in frames
        for person in frame.people
        for box in (person.box, person.head)
        if np.isinf(box).any() or (box[2:] < 0).any()
    ]
    faults.add_cases(place, f"people of {path.name} have boxes that are not finite, or of negative size", bad)
    if tracks:
        twice = []
        for frame in frames:
            ids = [person.track_id for person in frame.people if person.track_id != UNTRACKED]
            twice += [f"{frame.path.name} ({i})" for i in sorted(set(ids)) if ids.count(i) > 1]
        faults.add_cases(place, f"frames of {path.name} have an id twice", twice)
    return frames


def _frames_of_coco(
    content: Mapping[str, Any], root: Path, place: object, faults: VideoFaults, tracks: bool
) -> tuple[PoseFrame, ...]:
    listed = next(
        (tuple(entry["keypoints"]) for entry in content.get("categories", ()) if entry.get("keypoints")), ()
    )
    people: dict[int, list[PersonPose]] = {int(image["id"]): [] for image in content["images"]}
    lost, unknown, bad = [], set(), []
    for entry in content["annotations"]:
        if entry["image_id"] not in people:
            lost.append(entry["image_id"])
            continue
        cells = np.array(entry["keypoints"], dtype=np.float64).reshape(-1, 3)
        names = listed or (KEYPOINTS_15 if len(cells) == len(JOINTS) else KEYPOINTS_2018)
        if len(names) != len(cells):
            bad.append(f"image {entry['image_id']} ({len(cells)} for {len(names)} names)")
            continue
        scores = entry.get("scores")
        if scores is not None and len(scores) == len(cells):
            cells[:, 2] = scores
        unknown |= set(names) - set(JOINTS) - set(UNUSED)
        points = np.full((len(JOINTS), 3), np.nan)
        for name, cell in zip(names, cells, strict=True):
            if name in JOINTS and cell.any():  # as poseval: a hidden joint that has a place counts
                points[JOINTS.index(name)] = np.where(np.isnan(cell), np.inf, cell)
        people[int(entry["image_id"])].append(
            PersonPose(
                int(entry["track_id"]) if tracks else -1,
                points,
                _box(entry.get("bbox")),
                _box(entry.get("bbox_head")),
                float(entry.get("score", 1.0)),
            )
        )
    faults.add_cases(place, "people are in images that do not exist", lost)
    faults.add_cases(place, "joints are unknown", sorted(unknown))
    faults.add_cases(place, "people have another number of points", bad)
    return tuple(
        PoseFrame(
            root / image["file_name"],
            int(image["id"]),
            bool(image.get("is_labeled", True)),
            tuple(people[int(image["id"])]),
            _regions(image),
        )
        for image in content["images"]
    )


def _frames_of_annolist(
    content: Mapping[str, Any], root: Path, place: object, faults: VideoFaults, tracks: bool
) -> tuple[PoseFrame, ...]:
    frames, unknown = [], set()
    for number, entry in enumerate(content["annolist"]):
        people = []
        for person in entry.get("annorect", ()):
            points = np.full((len(JOINTS), 3), np.nan)
            for group in person.get("annopoints", ()):
                for point in group["point"]:
                    joint = int(_first(point["id"]))
                    if not 0 <= joint < len(JOINTS):
                        unknown.add(joint)
                        continue
                    cell = np.array([_first(point["x"]), _first(point["y"]), _visible(point)], np.float64)
                    points[joint] = np.where(np.isnan(cell), np.inf, cell)
            corners = [_first(person.get(key, [np.nan])) for key in ("x1", "y1", "x2", "y2")]
            head = np.array([*corners[:2], corners[2] - corners[0], corners[3] - corners[1]], np.float64)
            people.append(
                PersonPose(
                    int(_first(person["track_id"])) if tracks else -1,
                    points,
                    _box(None),
                    head,
                    float(_first(person.get("score", [1.0]))),
                )
            )
        image_id = int(_first(entry["imgnum"])) if "imgnum" in entry else number
        labelled = bool(_first(entry.get("is_labeled", [True])))
        name = PurePosixPath(_first(entry["image"])["name"])
        frames.append(PoseFrame(root / name, image_id, labelled, tuple(people), _regions(entry)))
    faults.add_cases(place, "joints are unknown", sorted(unknown))
    return tuple(frames)


def _first(value: Any) -> Any:
    """The evaluation code's format wraps each value in a list of one."""
    return value[0] if isinstance(value, list) else value


def _visible(point: Mapping[str, Any]) -> float:
    """A given point has a score; an annotated one counts as there, seen or hidden."""
    return float(_first(point["score"])) if point.get("score") else 1.0


def _box(cells: Sequence[float] | None) -> NDArray[np.float64]:
    if not cells:
        return np.full(4, np.nan)
    box = np.array(cells, dtype=np.float64).reshape(4)
    return np.where(np.isnan(box), np.inf, box)  # NaN says that there is none


def _regions(entry: Mapping[str, Any]) -> tuple[NDArray[np.float64], ...]:
    """Polygons of regions that are not scored, in either format.

    2018's ``ignore_regions_x`` and ``_y`` are a list of lists, or one list where there is one region.
    """
    polygons = [
        [(_first(point["x"]), _first(point["y"])) for point in region["point"]]
        for region in entry.get("ignore_regions") or []
    ]
    columns, rows = entry.get("ignore_regions_x") or [], entry.get("ignore_regions_y") or []
    if columns and not isinstance(columns[0], list):
        columns, rows = [columns], [rows]
    polygons += [list(zip(x, y, strict=True)) for x, y in zip(columns, rows, strict=True)]
    return tuple(np.array(polygon, dtype=np.float64) for polygon in polygons if polygon)
