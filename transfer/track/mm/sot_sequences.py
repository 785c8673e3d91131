"""Single-object sequences in the layout of OTB, as a dataset of mmtrack's.

    <root>/<Sequence>/img/0001.jpg ...      numbered without a gap, any width, any image suffix
    <root>/<Sequence>/groundtruth_rect.txt  one ``x,y,width,height`` a line, commas, tabs or spaces

mmtrack's own ``OTB100Dataset`` reads ``%04d.jpg`` only, takes frame ranges from a separate list and
integers only; the full benchmark, with its special cases (Tiger1, Board), goes through it by
naming it in the mmtrack configuration. Boxes are used as written: OTB counts pixels from 1, and
neither mmtrack nor this reader shifts them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOXES_NAME = "groundtruth_rect.txt"
DATASET_TYPE = "SequenceFolder"  # the name under which mmtrack configurations ask for it
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_boxes(path: Path) -> NDArray[np.float64]:
    """Boxes of a sequence: ``(N, 4)`` as ``x, y, width, height`` in pixels, as written.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an empty file, or a line that is not four finite numbers; names file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation; expected one box a line")
    lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    boxes = []
    for number, line in enumerate(lines, start=1):
        try:
            box = [float(cell) for cell in re.split(r"[,\s]+", line.strip())]
        except ValueError:
            box = []
        if len(box) != 4 or not np.isfinite(box).all():
            raise ValueError(f"{path}:{number}: expected four finite numbers, found {line!r}")
        boxes.append(box)
    if not boxes:
        raise ValueError(f"{path}: holds no box")
    return np.array(boxes, dtype=np.float64)


def read_names(path: Path) -> list[str]:
    """Names of the sequences of a split, one a line.

    Raises:
        FileNotFoundError: no such list.
        ValueError: an empty list.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of sequences; expected one name a line")
    names = path.read_text(encoding="utf-8").split()
    if not names:
        raise ValueError(f"{path}: names no sequence")
    return names


def sequence_info(root: Path, name: str) -> dict[str, Any]:
    """What mmtrack's ``BaseSOTDataset`` wants to know about a sequence.

    Raises:
        FileNotFoundError: no image folder or no annotation.
        ValueError: frames that are not numbered without a gap, or more or fewer boxes than frames.
    """
    image_dir = root / name / "img"
    if not image_dir.is_dir():
        raise FileNotFoundError(f"{image_dir}: no such folder; expected numbered frames in it")
    frames = sorted(path for path in image_dir.iterdir() if path.suffix.lower() in FRAME_SUFFIXES)
    if not frames:
        raise ValueError(f"{image_dir}: holds no image ({', '.join(FRAME_SUFFIXES)})")
    first = frames[0]
    if not first.stem.isdigit():
        raise ValueError(f"{first}: expected a frame number as the name")
    template = f"%0{len(first.stem)}d{first.suffix}"
    start, end = int(first.stem), int(first.stem) + len(frames) - 1
    for number, frame in enumerate(frames, start=start):
        if frame.name != template % number:
            raise ValueError(f"{frame}: expected {template % number}; frames must be numbered without a gap")
    num_boxes = len(read_boxes(root / name / BOXES_NAME))
    if num_boxes != len(frames):
        raise ValueError(f"{root / name}: {len(frames)} frames but {num_boxes} boxes in {BOXES_NAME}")
    return {
        "video_path": f"{name}/img",
        "ann_path": f"{name}/{BOXES_NAME}",
        "start_frame_id": start,
        "end_frame_id": end,
        "framename_template": template,
    }


def register_dataset() -> None:
    """Make :data:`DATASET_TYPE` known to mmtrack; safe to call again.

    Its ``img_prefix`` is the root folder and its ``ann_file`` a list of sequence names; everything
    else, sampling and evaluation included, is mmtrack's.
    """
    from mmtrack.datasets import DATASETS
    from mmtrack.datasets.base_sot_dataset import BaseSOTDataset

    class SequenceFolder(BaseSOTDataset):  # type: ignore[misc]  # mmtrack has no types
        def load_data_infos(self, split: str = "test") -> list[dict[str, Any]]:
            return [sequence_info(Path(self.img_prefix), name) for name in read_names(Path(self.ann_file))]

        def get_bboxes_from_video(self, video_ind: int) -> NDArray[np.float64]:
            return read_boxes(Path(self.img_prefix) / self.data_infos[video_ind]["ann_path"])

    DATASETS.register_module(name=DATASET_TYPE, module=SequenceFolder, force=True)
