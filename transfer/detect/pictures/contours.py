"""COCO segmentations as SVG paths."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Loop = NDArray[np.float64]  # (points, 2), x and y in image pixels, closed
TRY_PNG = 600  # characters; no picture of a mask is shorter


@dataclass(frozen=True)
class Shape:
    """A mask as SVG draws it: a path, or a picture at ``x``, ``y`` where that is shorter."""

    path: str = ""
    rule: str = "evenodd"
    url: str = ""
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0


def draw(mask: Any, width: int, height: int, tolerance: float, colour: str) -> Shape:
    """The shape of a segmentation: COCO polygons, or RLE of an image of that size.

    Args:
        tolerance: how far, in pixels, the outline may run beside the mask's.
        colour: ``#rrggbb``, for a mask that is drawn as a picture.

    Raises:
        ValueError: neither polygons nor an RLE of this size.
    """
    if isinstance(mask, list):
        loops = [_polygon(part) for part in mask if not _is_short(part)]
        return Shape(path=to_path(simplify(loop, tolerance) for loop in loops), rule="nonzero")
    pixels = decode(mask, width, height)
    path = to_path(simplify(loop, tolerance) for loop in outline(pixels))
    return _picture(pixels, colour, path) if len(path) > TRY_PNG else Shape(path=path)


def decode(rle: Any, width: int, height: int) -> NDArray[np.bool_]:
    """Pixels ``(height, width)`` of an RLE, compressed or a list of run lengths."""
    from pycocotools import mask as coco

    if not isinstance(rle, dict) or list(rle.get("size", ())) != [height, width]:
        found = rle.get("size") if isinstance(rle, dict) else rle
        raise ValueError(
            f"mask: expected polygons or an RLE of size [{height}, {width}], found {found!r:.80}"
        )
    counts = rle.get("counts")
    try:
        if isinstance(counts, list):
            if sum(counts) != width * height:
                raise ValueError(f"runs of {sum(counts)} pixels in {width * height}")
            rle = coco.frPyObjects(rle, height, width)
        return np.asarray(coco.decode(rle), dtype=bool)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"mask: no RLE under counts: {error}") from error


def outline(pixels: NDArray[np.bool_]) -> list[Loop]:
    """The borders of a mask ``(height, width)`` as closed loops of axis-parallel edges, holes included.

    Corners of a region of pixels pair up along each row, and along each column, of the grid of pixel corners:
    the edges are what joins the pairs. Filled by the even-odd rule the loops give the mask back exactly.
    """
    p = np.pad(pixels, 1)
    a, b, c, d = p[:-1, :-1], p[:-1, 1:], p[1:, :-1], p[1:, 1:]
    # 1 where one or three of the four pixels are in, 2 where two that touch by their corner are.
    corners = (a ^ b ^ c ^ d) + 2 * ((a == d) & (b == c) & (a != b))
    ys, xs = np.nonzero(corners)
    times = corners[ys, xs]
    ys, xs = np.repeat(ys, times), np.repeat(xs, times)  # row by row
    by_column = np.lexsort((ys, xs))
    beside = np.empty(len(xs), dtype=np.int64)
    beside[by_column[0::2]], beside[by_column[1::2]] = by_column[1::2], by_column[0::2]
    vertical = beside.tolist()
    left = set(range(len(xs)))
    loops = []
    while left:
        i = start = min(left) if len(left) < 64 else next(iter(left))
        walk = []
        while True:
            for j in (i, i ^ 1):  # row-wise partners are neighbours in this order
                left.discard(j)
                walk.append(j)
            i = vertical[i ^ 1]
            if i == start:
                break
        loops.append(np.stack([xs[walk], ys[walk]], axis=1).astype(np.float64))
    return loops


def simplify(loop: Loop, tolerance: float) -> Loop:
    """Douglas and Peucker's line simplification of a closed loop; one that would vanish stays as it is."""
    if len(loop) < 4:
        return loop
    far = int(np.argmax(np.square(loop - loop[0]).sum(axis=1)))
    closed = np.concatenate([loop, loop[:1]])
    keep = {0, far}
    stack = [(0, far), (far, len(loop))]
    while stack:
        start, stop = stack.pop()
        if stop - start < 2:
            continue
        between = closed[start + 1 : stop] - closed[start]
        chord = closed[stop] - closed[start]
        length = float(np.hypot(*chord))
        if length:
            distances = np.abs(between[:, 0] * chord[1] - between[:, 1] * chord[0]) / length
        else:
            distances = np.hypot(between[:, 0], between[:, 1])
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = start + 1 + worst
            keep.add(middle)
            stack += [(start, middle), (middle, stop)]
    return loop[sorted(keep)] if len(keep) > 2 else loop


def to_path(loops: Iterable[Loop]) -> str:
    """SVG path data: absolute starts, relative steps, tenths of a pixel."""
    parts = []
    for loop in loops:
        tenths = np.rint(loop * 10).astype(np.int64)
        steps = np.diff(tenths, axis=0)
        steps = steps[(steps != 0).any(axis=1)]
        start = f"M{_tenths(tenths[0, 0])} {_tenths(tenths[0, 1])}"
        body = "".join(
            f"{'' if k and x < 0 else ' ' if k else ''}{_tenths(x)}{'' if y < 0 else ' '}{_tenths(y)}"
            for k, (x, y) in enumerate(steps.tolist())
        )
        parts.append(f"{start}l{body}z" if body else f"{start}z")
    return "".join(parts)


def _tenths(value: int) -> str:
    whole, rest = divmod(abs(int(value)), 10)
    return ("-" if value < 0 else "") + (f"{whole}.{rest}" if rest else str(whole))


def _is_short(part: Any) -> bool:
    """Whether it is a polygon that detectron2 leaves out."""
    return isinstance(part, list) and (len(part) < 6 or len(part) % 2 == 1)


def _polygon(flat: Any) -> Loop:
    try:
        points = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise ValueError(f"mask: expected a polygon [x, y, x, y, …], found {flat!r:.80}") from error
    if not np.isfinite(points).all():
        raise ValueError(f"mask: expected a polygon of finite numbers, found {flat!r:.80}")
    return points


def _picture(pixels: NDArray[np.bool_], colour: str, path: str) -> Shape:
    """The mask as a picture of one bit a pixel, or the path where that is shorter."""
    ys, xs = np.nonzero(pixels.any(axis=1))[0], np.nonzero(pixels.any(axis=0))[0]
    x, y, width, height = int(xs[0]), int(ys[0]), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1
    picture = Image.fromarray(pixels[y : y + height, x : x + width].astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, *bytes.fromhex(colour.removeprefix("#"))])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=1, transparency=0, optimize=True)
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Shape(path=path) if len(path) <= len(url) else Shape("", "", url, x, y, width, height)
