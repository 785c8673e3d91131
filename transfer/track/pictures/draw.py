"""One frame with its objects: tracks in a colour of their identity, the truth in thin white."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transfer.data.posetrack import JOINTS, UNTRACKED
from transfer.track.pictures.read import Mark

Colour = tuple[int, int, int]
TRUTH: Colour = (255, 255, 255)
OUTLINE: Colour = (0, 0, 0)
MASK_SHARE = 0.5  # of the colour in a mask's pixels
GOLDEN = 0.6180339887  # steps of the hue that keep the next colours apart, however many there are
LINKS = (
    *(("head_top", "nose"), ("nose", "head_bottom")),
    *(("head_bottom", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")),
    *(("head_bottom", "right_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist")),
    *(("left_shoulder", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle")),
    *(("right_shoulder", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle")),
)


def colour_of(identity: int) -> Colour:
    """A bright colour; the same identity has the same one in every frame and every picture."""
    # Neighbours in number also differ in brightness, for those who see no red or no green.
    value = (1.0, 0.8)[identity % 2]
    red, green, blue = colorsys.hsv_to_rgb(identity * GOLDEN % 1, 0.75, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_frame(path: Path, tracks: Sequence[Mark], truths: Sequence[Mark], max_side: int) -> Image.Image:
    """The frame, no larger than ``max_side`` pixels, with its marks.

    Raises:
        FileNotFoundError: no such frame.
        ValueError: not an image, or a mask of another size.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such frame, but the index of the tracks names it")
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except Exception as error:  # damaged files make Pillow raise far more types than OSError
        raise ValueError(f"{path}: no image that can be read: {error}") from error
    for marks in (tracks, truths):
        for mark in marks:
            if mark.mask is not None and mark.mask.shape != (image.height, image.width):
                found = "x".join(map(str, mark.mask.shape[::-1]))
                raise ValueError(f"{path}: {image.width}x{image.height} pixels, but its mask has {found}")
    image = _blend(image, tracks)
    scale = min(1.0, max_side / max(image.size))
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    image = image.resize(size, Image.Resampling.LANCZOS) if scale < 1 else image
    pen = ImageDraw.Draw(image)
    width = max(round(max(size) / 320), 1)
    for mark in truths:
        _draw(pen, image, mark, TRUTH, 1, scale)
    for mark in tracks:
        _draw(pen, image, mark, colour_of(mark.identity), width, scale)
        _label(pen, mark, scale, size)
    return image


def contour(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask ``(H, W)`` that have a neighbour outside of it, above, below, left or right."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: NDArray[np.bool_] = mask & ~inner
    return edge


def anchor(mark: Mark) -> tuple[float, float] | None:
    """Where a mark's label goes, ``(x, y)`` in pixels of the frame: the top left of what is drawn."""
    if mark.box is not None:
        return float(mark.box[0]), float(mark.box[1])
    if mark.mask is not None:
        rows, columns = np.nonzero(mark.mask)
        return (float(columns.min()), float(rows.min())) if len(rows) else None
    if mark.joints is not None and np.isfinite(mark.joints).all(axis=1).any():
        return float(np.nanmin(mark.joints[:, 0])), float(np.nanmin(mark.joints[:, 1]))
    return None


def _blend(image: Image.Image, tracks: Sequence[Mark]) -> Image.Image:
    masks = [(mark.mask, colour_of(mark.identity)) for mark in tracks if mark.mask is not None]
    if not masks:
        return image
    pixels = np.asarray(image).astype(np.float64)
    for mask, colour in masks:
        pixels[mask] += MASK_SHARE * (np.array(colour) - pixels[mask])
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _draw(
    pen: ImageDraw.ImageDraw, image: Image.Image, mark: Mark, colour: Colour, width: int, scale: float
) -> None:
    if mark.box is not None:
        left, top, across, down = (float(value) * scale for value in mark.box)
        corners = (left, top, left + max(across - 1, 0), top + max(down - 1, 0))
        if width > 1:
            pen.rectangle(corners, outline=OUTLINE, width=width + 2)
        pen.rectangle(corners, outline=colour, width=width)
    if mark.mask is not None:
        edge = Image.fromarray(contour(mark.mask)).resize(image.size, Image.Resampling.NEAREST)
        image.paste(colour, mask=edge)
    if mark.joints is not None:
        points = {name: point * scale for name, point in zip(JOINTS, mark.joints, strict=True)}
        there = {name: (float(x), float(y)) for name, (x, y) in points.items() if np.isfinite([x, y]).all()}
        for first, second in LINKS:
            if first in there and second in there:
                pen.line((*there[first], *there[second]), fill=colour, width=width)
        for x, y in there.values():
            pen.ellipse((x - width, y - width, x + width, y + width), fill=colour)


def _label(pen: ImageDraw.ImageDraw, mark: Mark, scale: float, size: tuple[int, int]) -> None:
    place = anchor(mark)
    if place is None:
        return
    font = ImageFont.load_default()
    text = "-" if mark.joints is not None and mark.identity == UNTRACKED else str(mark.identity)
    _, _, right, bottom = pen.textbbox((0, 0), text, font=font)
    x = min(max(place[0] * scale, 0), size[0] - right - 2)
    y = min(max(place[1] * scale - bottom - 2, 0), size[1] - bottom - 2)
    pen.rectangle((x, y, x + right + 2, y + bottom + 1), fill=OUTLINE)
    pen.text((x + 1, y), text, fill=colour_of(mark.identity), font=font)
