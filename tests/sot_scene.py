"""Single-object sequences small enough to reason about: a bright square on grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FRAMEWORK_WARNINGS = [  # what the frameworks say on import or in a first run; none is about our use of them
    pytest.mark.filterwarnings(f"ignore:{start}")
    for start in (
        "On January 1, 2023, MMCV will release:UserWarning",
        ".*MultiScaleDeformableAttention.*:ImportWarning",
        "setting max_epochs in run is deprecated:DeprecationWarning",  # mmtrack calling mmcv
        "invalid escape sequence:DeprecationWarning",  # while Python compiles mmdet for the first time
    )
]


def write_sequence(root: Path, name: str, num_frames: int = 3, separator: str = ",") -> Path:
    """Write a 96x80 sequence whose square of 20 pixels moves by 2 a frame; add it to ``root/list.txt``."""
    folder = root / name
    (folder / "img").mkdir(parents=True)
    lines = []
    for frame in range(num_frames):
        left, top = 30 + 2 * frame, 25
        pixels = np.full((80, 96, 3), 90, dtype=np.uint8)
        pixels[top : top + 20, left : left + 20] = 230
        Image.fromarray(pixels).save(folder / "img" / f"{frame + 1:04d}.png")
        lines.append(separator.join(str(value) for value in (left, top, 20, 20)))
    (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
    with (root / "list.txt").open("a") as handle:
        handle.write(name + "\n")
    return folder
