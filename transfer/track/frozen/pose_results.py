"""Tracked poses as PoseTrack 2018 JSON, one file a sequence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transfer.data.posetrack import JOINTS, KEYPOINTS_2018, PersonPose, PoseFrame
from transfer.writing import write_text


def write_poses(path: Path, frames: Sequence[PoseFrame], root: Path) -> None:
    """Write frames whose people have track ids; joints that are absent are zeros, as are the ears.

    Args:
        path: of the JSON.
        frames: in order.
        root: folder that the images' names are relative to.
    """
    images, annotations = [], []
    for number, frame in enumerate(frames):
        name = frame.path.relative_to(root) if frame.path.is_relative_to(root) else frame.path
        images.append(
            {
                "id": frame.image_id,
                "frame_id": frame.image_id,
                "file_name": name.as_posix(),
                "vid_id": path.stem,
                "nframes": len(frames),
                "is_labeled": frame.labelled,
            }
        )
        for order, person in enumerate(frame.people):
            annotations.append(
                {
                    "id": number * 1000 + order,
                    "image_id": frame.image_id,
                    "category_id": 1,
                    "track_id": person.track_id,
                    **_keypoints(person),
                    "score": person.score,
                }
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(KEYPOINTS_2018)}
        ],
    }
    write_text(path, json.dumps(content) + "\n")


def _keypoints(person: PersonPose) -> dict[str, list[float]]:
    cells: list[float] = []
    scores: list[float] = []
    for name in KEYPOINTS_2018:
        x, y, score = person.points[JOINTS.index(name)] if name in JOINTS else (np.nan,) * 3
        there = bool(np.isfinite(x) and np.isfinite(y))
        cells += [float(x), float(y), 1.0] if there else [0.0, 0.0, 0.0]
        scores.append(float(score) if there else 0.0)
    return {"keypoints": cells, "scores": scores}
