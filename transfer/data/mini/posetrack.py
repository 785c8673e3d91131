"""``posetrack``: walking stick figures with 17 joints, in the layout and JSON of PoseTrack 2018.

``annotations/val/<sequence>.json`` is the ground truth, ``detections/val/<sequence>.json`` the given
poses in the same format with a score for each joint and no identities. A joint that another figure
covers or that lies outside the image is ``0, 0, 0``, as are the ears, which PoseTrack leaves out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transfer.data.mini.figures import KEYPOINTS, Figure, random_figure
from transfer.data.mini.motion import random_camera
from transfer.data.mini.outlines import mask_box
from transfer.data.mini.sprites import Layer, Mask, draw, generator, owners_of, paint, save_png

SEQUENCES = {"figures-a": "motorcycle_left", "figures-b": "chelsea"}  # name -> photograph behind it
SPLIT = "val"
NUM_FRAMES, NUM_FIGURES = 20, 4
WIDTH, HEIGHT = 240, 180
MIN_JOINTS = 6  # a figure is annotated while this many of its joints are seen
HEAD = ("nose", "head_bottom", "head_top")
SEED = 25
SKELETON = (
    ("right_ankle", "right_knee"), ("right_knee", "right_hip"), ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"), ("right_hip", "left_hip"), ("right_shoulder", "right_hip"),
    ("left_shoulder", "left_hip"), ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"),
    ("right_shoulder", "right_elbow"), ("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"),
    ("nose", "head_bottom"), ("nose", "head_top"),
)  # fmt: skip


def write_posetrack(root: Path) -> None:
    """Write ``posetrack/{images,annotations,detections}/val``."""
    for kind in ("annotations", "detections"):
        (root / "posetrack" / kind / SPLIT).mkdir(parents=True)
    for number, (name, photograph) in enumerate(SEQUENCES.items(), start=1):
        rng = generator(SEED, number)
        camera = random_camera(rng, photograph, SPLIT, WIDTH, HEIGHT, NUM_FRAMES, pan=0)
        figures = [random_figure(rng, camera.ground, WIDTH, HEIGHT, NUM_FRAMES) for _ in range(NUM_FIGURES)]
        folder = root / "posetrack" / "images" / SPLIT / name
        folder.mkdir(parents=True)
        images, people = [], []
        for frame in range(NUM_FRAMES):
            file = folder / f"{frame:06d}.png"
            of_figures = [figure.layers(frame, WIDTH, HEIGHT) for figure in figures]
            layers = [layer for parts in of_figures for layer in parts]
            save_png(Image.fromarray(paint(camera.view(frame), layers)), file)
            images.append(image_entry(number, name, frame))
            people += annotate(figures, layers, frame, images[-1]["id"])
        given = detections(rng, people, [image["id"] for image in images])
        for kind, poses in (("annotations", people), ("detections", given)):
            content = {"images": images, "annotations": poses, "categories": [category()]}
            path = root / "posetrack" / kind / SPLIT / f"{name}.json"
            path.write_text(json.dumps(content))


def category() -> dict[str, Any]:
    """PoseTrack's only category: names of the joints and, from 1, which of them are joined."""
    pairs = [[KEYPOINTS.index(a) + 1, KEYPOINTS.index(b) + 1] for a, b in SKELETON]
    return {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(KEYPOINTS),
        "skeleton": pairs,
    }


def image_entry(video: int, name: str, frame: int) -> dict[str, Any]:
    """An image as PoseTrack lists it: its id is ``1``, six digits of the video, four of the frame."""
    return {
        "has_no_densepose": True,
        "is_labeled": True,
        "has_labeled_person": True,
        "file_name": f"images/{SPLIT}/{name}/{frame:06d}.png",
        "frame_id": 10_000_000_000 + video * 10_000 + frame,
        "id": 10_000_000_000 + video * 10_000 + frame,
        "vid_id": f"{video:06d}",
        "nframes": NUM_FRAMES,
        "ignore_regions_x": [],
        "ignore_regions_y": [],
    }


def annotate(figures: list[Figure], layers: list[Layer], frame: int, image_id: int) -> list[dict[str, Any]]:
    """The annotations of a frame; ``layers`` are those of all figures, equally many for each."""
    owners = (owners_of(layers, HEIGHT, WIDTH) - 1) // (len(layers) // len(figures))  # -1: background
    found = []
    for number, figure in enumerate(figures):
        joints = figure.joints(frame)
        cells = []
        for name in KEYPOINTS:
            x, y = joints.get(name, (-1, -1))
            seen = 0 <= x < WIDTH and 0 <= y < HEIGHT and owners[y, x] == number
            cells += [x, y, 1] if seen else [0, 0, 0]
        if sum(cells[2::3]) >= MIN_JOINTS:
            own: Mask = owners == number
            head = [joints[name] for name in HEAD]
            left, top = min(x for x, _ in head) - figure.height // 11, min(y for _, y in head)
            head_box = [left, top, 2 * (figure.height // 11), max(y for _, y in head) - top]
            found.append(
                {
                    "bbox": list(mask_box(own)),
                    "bbox_head": head_box,
                    "category_id": 1,
                    "id": image_id * 100 + number,
                    "image_id": image_id,
                    "keypoints": cells,
                    "scores": [],
                    "track_id": number,
                }
            )
    return found


def detections(
    rng: np.random.Generator, people: list[dict[str, Any]], image_ids: list[int]
) -> list[dict[str, Any]]:
    """Given poses: joints moved by up to two pixels, 5 % of them and 10 % of the people missed.

    In one frame of ten, someone is found where nobody is.
    """
    found: list[dict[str, Any]] = []
    for image_id in image_ids:
        here = [person for person in people if person["image_id"] == image_id]
        poses = [person["keypoints"] for person in here if draw(rng, 1, 100) > 10]
        if here and draw(rng, 1, 100) <= 10:
            shift = draw(rng, 30, 60)
            ghost = here[0]["keypoints"]
            poses.append(
                [cell + shift if i % 3 == 0 and ghost[i + 2] else cell for i, cell in enumerate(ghost)]
            )
        for number, pose in enumerate(poses):
            cells = []
            for x, y, seen in zip(pose[::3], pose[1::3], pose[2::3], strict=True):
                jitter = (draw(rng, -2, 2), draw(rng, -2, 2), draw(rng, 55, 99), draw(rng, 1, 100))
                if seen and jitter[3] > 5:
                    cells += [max(x + jitter[0], 0), max(y + jitter[1], 0), jitter[2] / 100]
                else:
                    cells += [0, 0, 0]
            found.append(
                {
                    "bbox": _joint_box(cells),
                    "category_id": 1,
                    "id": image_id * 100 + number,
                    "image_id": image_id,
                    "keypoints": cells,
                    "scores": cells[2::3],
                }
            )
    return found


def _joint_box(cells: list[float]) -> list[float]:
    """The box of the joints that were found, a fifth larger than they need."""
    seen = [(x, y) for x, y, score in zip(cells[::3], cells[1::3], cells[2::3], strict=True) if score]
    left, top = min(x for x, _ in seen), min(y for _, y in seen)
    width, height = max(x for x, _ in seen) - left + 1, max(y for _, y in seen) - top + 1
    return [left - width // 10, top - height // 10, width + 2 * (width // 10), height + 2 * (height // 10)]
