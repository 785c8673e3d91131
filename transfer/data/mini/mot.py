"""``mot``: several digits at once, in the layout of MOTChallenge, with CocoVID JSON.

Boxes are ``x, y, width, height`` of the whole digit cut at the image's borders, with x and y from
0: the numbers in ``gt.txt`` and in the JSON are the same, as the trackers' own converters leave
them. Frames and identities count from 1 in the text files, as everywhere in MOTChallenge.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from transfer.data.mini.motion import Camera, Mover, crossing_path, random_camera, random_mover
from transfer.data.mini.outlines import mask_box
from transfer.data.mini.sprites import SPLITS, draw, generator, owners_of, paint, save_png

SEQUENCES = {  # name -> photograph behind it
    "train": {"MINI-01": "chelsea", "MINI-02": "brick"},
    "val": {"MINI-03": "grass", "MINI-04": "motorcycle_left"},
}
NUM_FRAMES = {"train": 40, "val": 30}
WIDTH, HEIGHT, FRAME_RATE = 256, 192, 10
STAMP_SIZES = (48, 72)  # pixels; the digit fills 0.8 of its stamp
MIN_INSIDE_PERCENT = 25  # a digit is annotated while this much of it lies in the image
SEED = 21


class Truth(NamedTuple):
    """One annotated box: frame and identity from 1, box in pixels, visible share in percent."""

    frame: int
    identity: int
    box: tuple[int, int, int, int]
    visible_percent: int


def write_mot(root: Path) -> None:
    """Write ``mot/{train,val}/<sequence>`` and ``mot/annotations/{train,val}.json``."""
    (root / "mot" / "annotations").mkdir(parents=True)
    for number, split in enumerate(SPLITS):
        content: dict[str, Any] = {
            "info": {"description": "MEC Transfer bundled set: moving digits", "version": "1"},
            "categories": [{"id": 1, "name": "digit"}],
            "videos": [],
            "images": [],
            "annotations": [],
        }
        for index, (name, photograph) in enumerate(SEQUENCES[split].items()):
            rng = generator(SEED, number, index)
            camera = random_camera(rng, photograph, split, WIDTH, HEIGHT, NUM_FRAMES[split], pan=0)
            truths = write_sequence(rng, root / "mot" / split / name, split, camera)
            add_video(content, name, NUM_FRAMES[split], truths)
        (root / "mot" / "annotations" / f"{split}.json").write_text(json.dumps(content))


def write_sequence(rng: np.random.Generator, folder: Path, split: str, camera: Camera) -> list[Truth]:
    """Write ``img1/``, ``gt/gt.txt``, ``det/det.txt`` and ``seqinfo.ini``; return the annotations."""
    for name in ("img1", "gt", "det"):
        (folder / name).mkdir(parents=True)
    num_frames = camera.num_frames
    movers = random_movers(rng, split, camera.ground, num_frames)
    identities: dict[int, int] = {}  # index of the mover -> identity, in order of appearance
    truths = []
    for frame in range(1, num_frames + 1):
        present = [
            (index, layer)
            for index, mover in enumerate(movers)
            if (layer := mover.layer(frame, WIDTH, HEIGHT))
        ]
        layers = [layer for _, layer in present]
        image, owners = paint(camera.view(frame - 1), layers), owners_of(layers, HEIGHT, WIDTH)
        save_png(Image.fromarray(image), folder / "img1" / f"{frame:06d}.png")
        for number, (index, layer) in enumerate(present, start=1):
            if 100 * int(layer.mask.sum()) >= MIN_INSIDE_PERCENT * layer.full_area:
                identity = identities.setdefault(index, len(identities) + 1)
                visible = 100 * int((owners == number).sum()) // layer.full_area
                truths.append(Truth(frame, identity, mask_box(layer.mask), visible))
    lines = [
        f"{t.frame},{t.identity},{','.join(map(str, t.box))},1,1,{t.visible_percent / 100:.2f}"
        for t in truths
    ]
    (folder / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")
    (folder / "det" / "det.txt").write_text("\n".join(detections(rng, truths, num_frames)) + "\n")
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={FRAME_RATE}\nseqLength={num_frames}\n"
        f"imWidth={WIDTH}\nimHeight={HEIGHT}\nimExt=.png\n"
    )
    return truths


def random_movers(rng: np.random.Generator, split: str, ground: int, num_frames: int) -> list[Mover]:
    """Five relays of digits that cross the image, one after another in each relay."""
    movers = []
    for relay in range(5):
        start = 1 - draw(rng, 4, 24) if relay < 4 else draw(rng, 4, 12)
        while start < num_frames - 4:
            end = start + draw(rng, 30, 44)
            path = crossing_path(rng, WIDTH, HEIGHT, STAMP_SIZES[1] // 2)
            movers.append(random_mover(rng, split, ground, STAMP_SIZES, path, (start, end)))
            start = end - draw(rng, 0, 4)
    return movers


def detections(rng: np.random.Generator, truths: list[Truth], num_frames: int) -> list[str]:
    """Public detections: the true boxes shifted and resized by up to a tenth, 12 % missed, some false."""
    lines = []
    for frame in range(1, num_frames + 1):
        for truth in (truth for truth in truths if truth.frame == frame):
            x, y, width, height = truth.box
            jitter = [draw(rng, -side // 10, side // 10) for side in (width, height, width, height)]
            confidence = draw(rng, 50, 99)
            if draw(rng, 1, 100) > 12:
                box = (x + jitter[0], y + jitter[1], width + jitter[2], height + jitter[3])
                lines.append(_detection(frame, box, confidence))
        if draw(rng, 1, 100) <= 25:
            width, height = draw(rng, 24, 56), draw(rng, 24, 56)
            box = (draw(rng, 0, WIDTH - width), draw(rng, 0, HEIGHT - height), width, height)
            lines.append(_detection(frame, box, draw(rng, 5, 60)))
    return lines


def _detection(frame: int, box: tuple[int, int, int, int], confidence_percent: int) -> str:
    return f"{frame},-1,{','.join(map(str, box))},{confidence_percent / 100:.2f},-1,-1,-1"


def add_video(content: dict[str, Any], name: str, num_frames: int, truths: list[Truth]) -> None:
    """Append a sequence to CocoVID content; identities become unique over the file's videos."""
    video_id = len(content["videos"]) + 1
    first_image, first_instance = len(content["images"]), content.get("num_instances", 0)
    content["videos"].append(
        {"id": video_id, "name": name, "fps": FRAME_RATE, "width": WIDTH, "height": HEIGHT}
    )
    for frame in range(1, num_frames + 1):
        content["images"].append(
            {
                "id": first_image + frame,
                "video_id": video_id,
                "file_name": f"{name}/img1/{frame:06d}.png",
                "width": WIDTH,
                "height": HEIGHT,
                "frame_id": frame - 1,
                "mot_frame_id": frame,
            }
        )
    for truth in truths:
        content["annotations"].append(
            {
                "id": len(content["annotations"]) + 1,
                "image_id": first_image + truth.frame,
                "video_id": video_id,
                "category_id": 1,
                "instance_id": first_instance + truth.identity - 1,
                "bbox": list(truth.box),
                "area": truth.box[2] * truth.box[3],
                "iscrowd": 0,
                "visibility": truth.visible_percent / 100,
                "mot_instance_id": truth.identity,
                "mot_conf": 1.0,
                "mot_class_id": 1,
            }
        )
    content["num_instances"] = first_instance + max((truth.identity for truth in truths), default=0)
