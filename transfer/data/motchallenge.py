"""MOTChallenge sequences: read them, cut them, make them from a video, list them as CocoVID.

A sequence is a folder ``NAME/`` with ``seqinfo.ini``, ``img1/000001.jpg``, ... and ``gt/gt.txt``, whose
lines are ``frame, id, left, top, width, height, consider, class, visibility`` (frames count from 1,
boxes in pixels). In MOT16, MOT17 and MOT20 class 1 is a pedestrian and ``consider`` 0 marks what the
evaluation ignores (https://motchallenge.net/instructions). Older files (MOT15, PETS09) have ten columns, the
last three a place in the world or ``-1,-1,-1``: there everything is a pedestrian.
"""

from __future__ import annotations

import configparser
import json
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PEDESTRIAN = 1
LOOKALIKES = (
    2,
    7,
    8,
    12,
)  # person on vehicle, static person, distractor, reflection: neither right nor wrong
EVERY_FRAME = slice(None)


@dataclass(frozen=True)
class SequenceInfo:
    """What ``seqinfo.ini`` says; sizes in pixels."""

    name: str
    path: Path
    image_dir: str
    extension: str
    num_frames: int
    width: int
    height: int
    frame_rate: float

    def image(self, frame: int) -> Path:
        """Path of a frame, relative to the sequence's folder; frames count from 1."""
        return Path(self.image_dir) / f"{frame:06d}{self.extension}"


@dataclass(frozen=True)
class Box:
    """One line of ``gt.txt``; left and top are pixels as in the file (officially 1-based)."""

    frame: int
    identity: int
    left: float
    top: float
    width: float
    height: float
    consider: bool
    class_id: int
    visibility: float

    @property
    def is_target(self) -> bool:
        """Whether the evaluation expects a tracker to find this box."""
        return self.consider and self.class_id == PEDESTRIAN


def read_sequence(sequence_dir: Path) -> SequenceInfo:
    """Read ``seqinfo.ini``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a field is missing, not a number or not above 0, or a name that is none of a folder.
    """
    path = sequence_dir / "seqinfo.ini"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; {sequence_dir} is no MOTChallenge sequence")
    parser = configparser.ConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        section = parser["Sequence"]
        info = SequenceInfo(
            name=section["name"],
            path=sequence_dir,
            image_dir=section["imDir"],
            extension=section["imExt"],
            num_frames=int(section["seqLength"]),
            width=int(section["imWidth"]),
            height=int(section["imHeight"]),
            frame_rate=float(section["frameRate"]),
        )
        if min(info.num_frames, info.width, info.height) < 1 or not 0 < info.frame_rate < math.inf:
            raise ValueError("seqLength, imWidth, imHeight and frameRate: expected numbers above 0")
        if Path(info.name).name != info.name:  # cut_sequence replaces a folder of this name
            raise ValueError(f"name: expected the name of a folder, found {info.name!r}")
    except (configparser.Error, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a MOTChallenge seqinfo.ini ({error})") from error
    return info


def read_boxes(path: Path) -> list[Box]:
    """Read a ground truth file, in the order of its lines.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line with too few or wrong cells; the message gives file and line. Boxes may be NaN.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such ground truth file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error})") from error
    boxes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = line.split(",")
        try:
            values = [float(cell) for cell in cells]
            legacy = len(values) == 10
            if len(values) < 9:
                raise ValueError(f"expected at least 9 cells, found {len(values)}")
            if not all(value.is_integer() for value in (*values[:2], *([] if legacy else values[7:8]))):
                raise ValueError(f"expected whole frame, id and class, found {line.strip()[:50]!r}")
            if math.isnan(values[6]) or not math.isfinite(values[8]):
                raise ValueError(f"expected numbers as flag and visibility, found {line.strip()[:50]!r}")
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        left, top, width, height = values[2:6]
        class_id, visibility = (PEDESTRIAN, 1.0) if legacy else (int(values[7]), values[8])
        boxes.append(
            Box(
                int(values[0]), int(values[1]), left, top, width, height, values[6] != 0, class_id, visibility
            )
        )
    return boxes


def frame_numbers(info: SequenceInfo, frames: slice = EVERY_FRAME) -> range:
    """The frames (counting from 1) that a slice (counting from 0, as Python does) selects.

    Raises:
        ValueError: none is left, or the slice has a step.
    """
    if frames.step not in (None, 1):
        raise ValueError(f"{info.path}: frames must be consecutive, found a step of {frames.step}")
    chosen = range(1, info.num_frames + 1)[frames]
    if not chosen:
        raise ValueError(f"{info.path}: {frames} selects none of its {info.num_frames} frames")
    return chosen


def cut_sequence(sequence_dir: Path, out_dir: Path, frames: slice = EVERY_FRAME) -> Path:
    """Write ``out_dir/NAME``: some frames as a sequence of its own, numbered from 1; images are links.

    Raises:
        FileNotFoundError: a frame that ``seqinfo.ini`` promises is not there.
    """
    info = read_sequence(sequence_dir)
    chosen = frame_numbers(info, frames)
    target = out_dir / info.name
    sources = [(sequence_dir / info.image(frame)).resolve() for frame in chosen]
    absent = [path for path in sources if not path.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{absent[0]}: missing, as are {len(absent) - 1} more; "
            f"{sequence_dir}/seqinfo.ini counts {info.num_frames} frames"
        )
    temporary = out_dir / f".{info.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / info.image_dir).mkdir(parents=True)
    for number, source in enumerate(sources, start=1):
        (temporary / info.image(number)).symlink_to(source)
    boxes = [box for box in read_boxes(sequence_dir / "gt" / "gt.txt") if box.frame in chosen]
    _write_sequence(temporary, info, len(chosen), boxes, first_frame=chosen.start)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return target


def decode_video(video_path: Path, gt_path: Path, sequence_dir: Path) -> Path:
    """Decode a video beside its ground truth into a sequence; frame 1 is the video's first picture.

    Raises:
        FileNotFoundError: no such video.
        ValueError: the video cannot be decoded, or is shorter than its ground truth.
    """
    import cv2

    if not video_path.is_file():
        raise FileNotFoundError(f"{video_path}: no such video")
    boxes = read_boxes(gt_path)
    temporary = sequence_dir.with_name(f".{sequence_dir.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "img1").mkdir(parents=True)
    capture = cv2.VideoCapture(str(video_path))
    count, height, width = 0, 0, 0
    while True:
        decoded, image = capture.read()
        if not decoded:
            break
        count, (height, width) = count + 1, image.shape[:2]
        cv2.imwrite(str(temporary / "img1" / f"{count:06d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    last = max((box.frame for box in boxes), default=0)
    if count == 0 or count < last:
        shutil.rmtree(temporary)
        raise ValueError(f"{video_path}: decoded {count} frames, but {gt_path} reaches frame {last}")
    rate = capture.get(cv2.CAP_PROP_FPS)
    info = SequenceInfo(sequence_dir.name, temporary, "img1", ".jpg", count, width, height, rate)
    _write_sequence(temporary, info, count, boxes, first_frame=1)
    temporary.rename(sequence_dir)
    return sequence_dir


def to_coco_video(sequence_dirs: Sequence[Path], out_json: Path, frames: slice = EVERY_FRAME) -> None:
    """Write the CocoVID file that mmtrack reads; image paths are relative to the sequences' parent.

    Targets are pedestrians with the ``consider`` flag; boxes of :data:`LOOKALIKES`, and pedestrians
    without the flag, become crowd regions, in which a detector's training is neither rewarded nor
    punished; every other class is background. Boxes keep the files' pixel origin, as mmtrack's own
    converter does, because mmtrack compares its boxes with ``gt.txt`` as they are. ``frames`` applies
    to each sequence.

    Raises:
        ValueError: no sequence, sequences with different parents or the same name, or no target box.
    """
    if not sequence_dirs:
        raise ValueError(f"{out_json}: no sequence given")
    infos = [read_sequence(path) for path in sequence_dirs]
    roots = {info.path.resolve().parent for info in infos}
    if len(roots) != 1 or len({info.name for info in infos}) != len(infos):
        raise ValueError(f"{out_json}: sequences need one parent folder and distinct names: {sequence_dirs}")
    content: dict[str, list[dict[str, object]]] = {
        "categories": [{"id": 1, "name": "pedestrian"}],
        "videos": [],
        "images": [],
        "annotations": [],
    }
    instance_ids: dict[tuple[str, int], int] = {}
    for video_id, info in enumerate(infos, start=1):
        size: dict[str, object] = {"width": info.width, "height": info.height}
        content["videos"].append({"id": video_id, "name": info.name, "fps": info.frame_rate, **size})
        image_ids = {}
        for index, frame in enumerate(frame_numbers(info, frames)):
            image_ids[frame] = len(content["images"]) + 1
            content["images"].append(
                {
                    "id": image_ids[frame],
                    "video_id": video_id,
                    "file_name": f"{info.name}/{info.image(frame).as_posix()}",
                    "frame_id": index,
                    "mot_frame_id": frame,
                    **size,
                }
            )
        for box in read_boxes(info.path / "gt" / "gt.txt"):
            if box.frame not in image_ids or box.class_id not in (PEDESTRIAN, *LOOKALIKES):
                continue
            key = (info.name, box.identity)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_ids[box.frame],
                    "video_id": video_id,
                    "category_id": 1,
                    "instance_id": instance_ids.setdefault(key, len(instance_ids) + 1),
                    "mot_instance_id": box.identity,
                    "bbox": [box.left, box.top, box.width, box.height],
                    "area": box.width * box.height,
                    "iscrowd": int(not box.is_target),
                    "visibility": box.visibility,
                }
            )
    if all(annotation["iscrowd"] for annotation in content["annotations"]):
        raise ValueError(f"{out_json}: no target box in {', '.join(info.name for info in infos)}")
    _write_text(out_json, json.dumps(content))


def _write_sequence(
    sequence_dir: Path, info: SequenceInfo, num_frames: int, boxes: Iterable[Box], first_frame: int
) -> None:
    """Write ``gt/gt.txt`` (nine columns, renumbered so that ``first_frame`` is 1) and ``seqinfo.ini``."""
    lines = []
    for box in boxes:
        corner_and_size = ",".join(f"{value:.8g}" for value in (box.left, box.top, box.width, box.height))
        flags = f"{int(box.consider)},{box.class_id},{box.visibility:g}"
        lines.append(f"{box.frame - first_frame + 1},{box.identity},{corner_and_size},{flags}\n")
    _write_text(sequence_dir / "gt" / "gt.txt", "".join(lines))
    _write_text(
        sequence_dir / "seqinfo.ini",
        f"[Sequence]\nname={info.name}\nimDir={info.image_dir}\nframeRate={info.frame_rate:g}\n"
        f"seqLength={num_frames}\nimWidth={info.width}\nimHeight={info.height}\nimExt={info.extension}\n",
    )


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
