"""Tiny tracking sets in every layout: bright squares that move over grey, 96x64, known to the pixel.

Square ``k`` (from 0) has a side of 16; in frame ``f`` (from 0) its corner is at ``(6 + 3 f, 6 + 28 k)``
counted from 0. Every function returns the root that the reader of its layout takes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer.data.davis import write_mask
from transfer.data.posetrack import JOINTS, KEYPOINTS_2018
from transfer.data.run_lengths import encode_mask

WIDTH, HEIGHT, SIDE, STEP = 96, 64, 16, 3
GREY = 90
COLOURS = ((230, 60, 60), (60, 230, 60))


def corner(frame: int, target: int = 0) -> tuple[int, int]:
    """Left and top of a square, from 0."""
    return 6 + STEP * frame, 6 + 28 * target


def draw_ids(frame: int, num_targets: int = 1) -> NDArray[np.uint8]:
    """(H, W): 0 background, k + 1 in square k."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for target in range(num_targets):
        left, top = corner(frame, target)
        ids[top : top + SIDE, left : left + SIDE] = target + 1
    return ids


def draw_frame(frame: int, num_targets: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: the squares on grey, with a little noise that is the same for the same seed."""
    ids = draw_ids(frame, num_targets)
    noise = np.random.default_rng((seed, frame)).integers(-8, 9, (HEIGHT, WIDTH, 3))
    table = np.array([(GREY, GREY, GREY), *COLOURS])
    pixels: NDArray[np.uint8] = np.clip(table[ids] + noise, 0, 255).astype(np.uint8)
    return pixels


def write_frames(
    folder: Path, num_frames: int, num_targets: int = 1, first: int = 1, digits: int = 6, suffix: str = ".png"
) -> list[Path]:
    """Frames numbered from ``first``; JPEG (``suffix=".jpg"``) changes the pixels a little."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{first + frame:0{digits}d}{suffix}" for frame in range(num_frames)]
    for frame, path in enumerate(paths):
        Image.fromarray(draw_frame(frame, num_targets)).save(path)
    return paths


def write_otb(root: Path, names: tuple[str, ...] = ("Square",), num_frames: int = 4) -> Path:
    """OTB: boxes counted from 1."""
    for name in names:
        write_frames(root / name / "img", num_frames, digits=4)
        (root / name / "groundtruth_rect.txt").write_text(_box_lines(num_frames))
    return root


def write_lasot(root: Path, names: tuple[str, ...] = ("square-1",), num_frames: int = 4) -> Path:
    """LaSOT: the folder of a class around its sequences, and flags of absence."""
    for name in names:
        folder = root / name.split("-")[0] / name
        write_frames(folder / "img", num_frames, digits=8)
        (folder / "groundtruth.txt").write_text(_box_lines(num_frames))
        for flags in ("full_occlusion.txt", "out_of_view.txt"):
            (folder / flags).write_text(",".join("0" * num_frames) + "\n")
    return root


def _box_lines(num_frames: int) -> str:
    corners = [corner(frame) for frame in range(num_frames)]
    return "".join(f"{left + 1},{top + 1},{SIDE},{SIDE}\n" for left, top in corners)


def write_davis(
    root: Path, names: tuple[str, ...] = ("square",), num_frames: int = 4, num_targets: int = 2
) -> Path:
    """DAVIS 2017: palette masks and the list of the split ``val``."""
    for name in names:
        write_frames(root / "JPEGImages" / "480p" / name, num_frames, num_targets, first=0, digits=5)
        for frame in range(num_frames):
            mask_path = root / "Annotations" / "480p" / name / f"{frame:05d}.png"
            write_mask(mask_path, draw_ids(frame, num_targets))
    list_path = root / "ImageSets" / "2017" / "val.txt"
    list_path.parent.mkdir(parents=True, exist_ok=True)
    list_path.write_text("".join(f"{name}\n" for name in names))
    return root


def write_mot(
    root: Path, names: tuple[str, ...] = ("TINY-01",), num_frames: int = 4, num_targets: int = 2
) -> Path:
    """MOT16: nine columns of ground truth, and detections that are right to the pixel, score 0.9."""
    for name in names:
        _write_sequence(root / name, num_frames, num_targets)
        truth, given = [], []
        for target in range(num_targets):
            for frame in range(num_frames):
                left, top = corner(frame, target)
                box = f"{left + 1},{top + 1},{SIDE},{SIDE}"
                truth.append(f"{frame + 1},{target + 1},{box},1,1,1\n")
                given.append(f"{frame + 1},-1,{box},0.9,-1,-1,-1\n")
        _write_lines(root / name, truth, given)
    return root


def write_mots(
    root: Path, names: tuple[str, ...] = ("TINY-05",), num_frames: int = 4, num_targets: int = 2
) -> Path:
    """MOTS20: masks of pedestrians, ids 2001, 2002; detections are the same masks without ids."""
    for name in names:
        _write_sequence(root / name, num_frames, num_targets)
        truth, given = [], []
        for frame in range(num_frames):
            ids = draw_ids(frame, num_targets)
            for target in range(num_targets):
                cells = f"2 {HEIGHT} {WIDTH} {encode_mask(ids == target + 1)}\n"
                truth.append(f"{frame + 1} {2001 + target} {cells}")
                given.append(f"{frame + 1} {target + 1} {cells}")
        _write_lines(root / name, truth, given)
    return root


def write_posetrack(
    root: Path, names: tuple[str, ...] = ("000001_tiny",), num_frames: int = 4, num_targets: int = 2
) -> Path:
    """PoseTrack 2018, split ``val``: 15 joints in each square, given poses in ``detections/val``."""
    for video, name in enumerate(names, start=1):
        folder = root / "images" / "val" / name
        write_frames(folder, num_frames, num_targets, first=0)
        images, truth, given = [], [], []
        for frame in range(num_frames):
            image_id = 10_000_000_000 + video * 10_000 + frame
            images.append(
                {
                    "id": image_id,
                    "frame_id": image_id,
                    "vid_id": f"{video:06d}",
                    "file_name": f"images/val/{name}/{frame:06d}.png",
                    "nframes": num_frames,
                    "is_labeled": True,
                    "ignore_regions_x": [],
                    "ignore_regions_y": [],
                }
            )
            for target in range(num_targets):
                left, top = corner(frame, target)
                person = {"id": image_id * 100 + target, "image_id": image_id, "category_id": 1}
                person |= {"bbox": [left, top, SIDE, SIDE], "bbox_head": [left + 4, top, 8, 4]}
                points = keypoints(frame, target)
                truth.append({**person, "track_id": target, "keypoints": points, "scores": []})
                scores = [0.9 * seen for seen in points[2::3]]
                given.append({**person, "keypoints": points, "scores": scores, "score": 0.9})
        category = {"id": 1, "name": "person", "keypoints": list(KEYPOINTS_2018), "skeleton": []}
        for kind, people in (("annotations", truth), ("detections", given)):
            path = root / kind / "val" / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"images": images, "annotations": people, "categories": [category]}))
    return root


def keypoints(frame: int, target: int = 0) -> list[float]:
    """A person's 51 numbers: joint ``n`` of JOINTS on a lattice of 5x3 in the square, the ears absent."""
    left, top = corner(frame, target)
    cells: list[float] = []
    for name in KEYPOINTS_2018:
        if name in JOINTS:
            row, column = divmod(JOINTS.index(name), 5)
            cells += [left + 2 + 3 * column, top + 2 + 6 * row, 1]
        else:
            cells += [0, 0, 0]
    return cells


def _write_sequence(folder: Path, num_frames: int, num_targets: int) -> None:
    write_frames(folder / "img1", num_frames, num_targets)
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=30\nseqLength={num_frames}\n"
        f"imWidth={WIDTH}\nimHeight={HEIGHT}\nimExt=.png\n"
    )


def _write_lines(folder: Path, truth: list[str], given: list[str]) -> None:
    for kind, lines in (("gt", truth), ("det", given)):
        (folder / kind).mkdir()
        (folder / kind / f"{kind}.txt").write_text("".join(lines))
