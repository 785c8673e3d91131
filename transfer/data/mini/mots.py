"""``mots``: several digits at once with a mask each, in the layout of MOTS20.

A line of ``gt.txt`` and of ``det.txt`` is ``frame id class height width run-lengths``. The class is 2,
MOTS's pedestrian, and identities are ``2000 + n``, as in MOTS. Masks of one frame share no pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from transfer.data.mini.mot import FRAME_RATE, HEIGHT, WIDTH, random_movers
from transfer.data.mini.motion import Camera, random_camera
from transfer.data.mini.sprites import SPLITS, Mask, draw, generator, owners_of, paint, save_png
from transfer.data.run_lengths import encode_mask

SEQUENCES = {  # name -> photograph behind it
    "train": {"MINI-05": "gravel"},
    "val": {"MINI-06": "coffee", "MINI-07": "brick"},
}
NUM_FRAMES = {"train": 20, "val": 24}
CAR, PEDESTRIAN = 1, 2
FIRST_IDENTITY = 1000 * PEDESTRIAN
MIN_VISIBLE_PERCENT = 10  # a digit is annotated while this much of it is seen
SEED = 24


class MaskTruth(NamedTuple):
    """One mask of a frame (from 1); ``mask`` is ``(height, width)``."""

    frame: int
    identity: int
    mask: Mask


def write_mots(root: Path) -> None:
    """Write ``mots/{train,val}/<sequence>`` with ``img1/``, ``gt/``, ``det/`` and ``seqinfo.ini``."""
    for number, split in enumerate(SPLITS):
        for index, (name, photograph) in enumerate(SEQUENCES[split].items()):
            rng = generator(SEED, number, index)
            camera = random_camera(rng, photograph, split, WIDTH, HEIGHT, NUM_FRAMES[split], pan=0)
            write_sequence(rng, root / "mots" / split / name, split, camera)


def write_sequence(rng: np.random.Generator, folder: Path, split: str, camera: Camera) -> list[MaskTruth]:
    """Write one sequence; return its annotations."""
    for name in ("img1", "gt", "det"):
        (folder / name).mkdir(parents=True)
    movers = random_movers(rng, split, camera.ground, camera.num_frames)
    identities: dict[int, int] = {}  # index of the mover -> identity, in order of appearance
    truths = []
    for frame in range(1, camera.num_frames + 1):
        present = [
            (index, layer)
            for index, mover in enumerate(movers)
            if (layer := mover.layer(frame, WIDTH, HEIGHT))
        ]
        layers = [layer for _, layer in present]
        owners = owners_of(layers, HEIGHT, WIDTH)
        save_png(Image.fromarray(paint(camera.view(frame - 1), layers)), folder / "img1" / f"{frame:06d}.png")
        for number, (index, layer) in enumerate(present, start=1):
            visible = owners == number
            if 100 * int(visible.sum()) >= MIN_VISIBLE_PERCENT * layer.full_area:
                identity = identities.setdefault(index, FIRST_IDENTITY + len(identities) + 1)
                truths.append(MaskTruth(frame, identity, visible))
    lines = [_line(truth.frame, truth.identity, PEDESTRIAN, truth.mask) for truth in truths]
    (folder / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")
    (folder / "det" / "det.txt").write_text("\n".join(detections(rng, truths, camera.num_frames)) + "\n")
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={FRAME_RATE}\nseqLength={camera.num_frames}\n"
        f"imWidth={WIDTH}\nimHeight={HEIGHT}\nimExt=.png\n"
    )
    return truths


def detections(rng: np.random.Generator, truths: list[MaskTruth], num_frames: int) -> list[str]:
    """Given masks: the true ones moved by up to two pixels, 12 % missed, some false, some of cars.

    Their identities count within the frame and say nothing about the track.
    """
    lines = []
    for frame in range(1, num_frames + 1):
        found: list[tuple[int, Mask]] = []
        for truth in (truth for truth in truths if truth.frame == frame):
            shift = (draw(rng, -2, 2), draw(rng, -2, 2))
            if draw(rng, 1, 100) > 12:
                found.append((PEDESTRIAN, _shifted(truth.mask, *shift)))
        for class_id in (PEDESTRIAN, CAR):
            if draw(rng, 1, 100) <= 15:
                found.append((class_id, _rectangle(rng)))
        taken = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
        for number, (class_id, mask) in enumerate(found, start=1):
            free = mask & ~taken
            taken |= mask
            if free.any():
                lines.append(_line(frame, number, class_id, free))
    return lines


def _shifted(mask: Mask, right: int, down: int) -> Mask:
    padded = np.pad(mask, 2)
    height, width = mask.shape
    return padded[2 - down : 2 - down + height, 2 - right : 2 - right + width]


def _rectangle(rng: np.random.Generator) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    width, height = draw(rng, 16, 40), draw(rng, 16, 40)
    x, y = draw(rng, 0, WIDTH - width), draw(rng, 0, HEIGHT - height)
    mask[y : y + height, x : x + width] = True
    return mask


def _line(frame: int, identity: int, class_id: int, mask: Mask) -> str:
    return f"{frame} {identity} {class_id} {mask.shape[0]} {mask.shape[1]} {encode_mask(mask)}"
