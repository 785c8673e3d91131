"""A MOTChallenge sequence small enough to count by hand: grey frames, bright squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 64, 48
FRAMEWORK_WARNINGS = [  # what the frameworks say on import or in a first run; none is about our use of them
    pytest.mark.filterwarnings(f"ignore:{start}")
    for start in (
        "On January 1, 2023, MMCV will release:UserWarning",
        "``MultiScaleDeformableAttention`` has been moved:ImportWarning",
        "invalid escape sequence:DeprecationWarning",  # while Python compiles mmdet for the first time
    )
]


def write_scene(root: Path, name: str, lines: list[str], num_frames: int = 4) -> Path:
    """Write ``root/name`` with ``gt.txt`` holding ``lines`` and a bright square for every box."""
    folder = root / name
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("".join(f"{line}\n" for line in lines))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={name}\nimDir=img1\nframeRate=10\nseqLength={num_frames}\n"
        f"imWidth={WIDTH}\nimHeight={HEIGHT}\nimExt=.png\n"
    )
    for frame in range(1, num_frames + 1):
        pixels = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
        for line in lines:
            number, _, left, top, width, height = (int(float(cell)) for cell in line.split(",")[:6])
            if number == frame:
                pixels[top : top + height, left : left + width] = 230
        Image.fromarray(pixels).save(folder / "img1" / f"{frame:06d}.png")
    return folder


def walk(identity: int, top: int, frames: int = 4) -> list[str]:
    """One pedestrian of 16x16 pixels that moves two pixels a frame to the right."""
    return [f"{frame},{identity},{4 + 2 * frame},{top},16,16,1,1,1" for frame in range(1, frames + 1)]
