"""Videos for benchmarks/frozen_tracking.py: the bundled set's digits, at a benchmark's size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from transfer.data.davis import MaskSequence, write_mask
from transfer.data.detections import Detections
from transfer.data.mini.motion import inside_path, random_camera, random_mover
from transfer.data.mini.outlines import mask_box
from transfer.data.mini.sprites import generator, owners_of, paint
from transfer.data.mot_sequences import MotSequence
from transfer.data.motchallenge import SequenceInfo
from transfer.data.otb import BoxSequence

PHOTOGRAPHS = ("motorcycle_left", "coffee", "chelsea", "gravel")
SIZES = (90, 150)  # pixels, of a digit's stamp
SPAN = 40  # frames in which a digit crosses


@dataclass(frozen=True)
class Videos:
    """The same frames as each task's reader gives them."""

    boxes: BoxSequence
    masks: MaskSequence
    mot: MotSequence


def make_video(
    folder: Path, number: int, size: tuple[int, int], num_frames: int, num_objects: int = 20
) -> Videos:
    """A video of digits that move on a photograph; frames beyond :data:`SPAN` go back and forth.

    Args:
        folder: frames and masks are written into ``folder/v<number>``.
        number: of the video, from 0; decides what it shows.
        size: width and height.
        num_frames: at least 2.
        num_objects: the first is the target of SOT, the first two those of VOS, all of them MOT's.
    """
    (width, height), name = size, f"v{number}"
    rng = generator(90, number)
    camera = random_camera(rng, PHOTOGRAPHS[number % len(PHOTOGRAPHS)], "val", width, height, SPAN, pan=0)
    paths = [inside_path(rng, width, height, SIZES[1] // 2) for _ in range(num_objects)]
    movers = [random_mover(rng, "val", camera.ground, SIZES, path, (0, SPAN - 1)) for path in paths]
    frames, masks, boxes = [], [], []
    for k in range(min(num_frames, SPAN)):
        layers = [layer for mover in reversed(movers) if (layer := mover.layer(k, width, height))]
        frame, mask = folder / name / f"{k:05d}.jpg", folder / name / f"{k:05d}.png"
        owners = num_objects + 1 - owners_of(layers, height, width)  # the first mover lies on top
        write_mask(mask, np.where(owners <= 2, owners, 0).astype(np.uint8))
        Image.fromarray(paint(camera.view(k), layers)).save(frame, quality=90)
        frames.append(frame)
        masks.append(mask)
        boxes.append(np.array([mask_box(layer.mask) for layer in reversed(layers)], dtype=np.float64))
    there = len(frames)
    order = [k % (2 * there - 2) if there > 1 else 0 for k in range(num_frames)]
    order = [k if k < there else 2 * there - 2 - k for k in order]
    files, found = tuple(frames[k] for k in order), [boxes[k] for k in order]
    truth = folder / name
    target = np.stack([box[0] for box in found]) + np.array([1, 1, 0, 0])
    given = {k: np.column_stack([box, np.full(len(box), 0.9)]) for k, box in enumerate(found, start=1)}
    info = SequenceInfo(name, folder / name, ".", ".jpg", num_frames, width, height, 30.0)
    return Videos(
        BoxSequence(name, files, target, size, truth),
        MaskSequence(name, files, tuple(masks[k] for k in order), (1, 2), size),
        MotSequence(name, info, files, truth, (), Detections(given)),
    )
