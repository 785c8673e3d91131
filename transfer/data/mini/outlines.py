"""Boxes and COCO polygons of a mask."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from skimage.measure import label

from transfer.data.mini.sprites import Mask

Point = tuple[int, int]


def mask_box(mask: Mask) -> tuple[int, int, int, int]:
    """The tight box ``(x, y, width, height)`` of a mask, in pixels, x and y from 0.

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("an empty mask has no box")
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def mask_polygons(mask: Mask) -> list[list[int]]:
    """COCO ``segmentation`` of a mask: one ``[x1, y1, x2, y2, ...]`` for each connected part.

    The polygons run along pixel borders, so that pycocotools fills exactly the mask. COCO polygons
    cannot have holes; a hole (as in a zero) is joined to its outline by a slit of no width.
    """
    parts = label(mask, connectivity=1)  # type: ignore[no-untyped-call]  # scikit-image has no types
    polygons = []
    for number in range(1, int(parts.max()) + 1):
        loops = _border_loops(parts == number)
        outline = next(loop for loop in loops if _signed_area(loop) > 0)
        for hole in loops:
            if hole is not outline:
                outline = _join(outline, hole)
        polygons.append([coordinate for point in outline for coordinate in point])
    return polygons


def _border_loops(part: Mask) -> list[list[Point]]:
    """Closed pixel borders of a 4-connected part, inside to the right (y points down)."""
    inside = np.pad(part, 1)
    steps: dict[Point, list[Point]] = defaultdict(list)  # corner -> directions in which a border leaves it
    # neighbour that must be outside, corner where that side of the pixel starts, direction
    sides = (
        ((-1, 0), (0, 0), (1, 0)),
        ((0, 1), (1, 0), (0, 1)),
        ((1, 0), (1, 1), (-1, 0)),
        ((0, -1), (0, 1), (0, -1)),
    )
    for (row, column), (right, down), direction in sides:
        bare = inside & ~np.roll(inside, (-row, -column), axis=(0, 1))
        for y, x in np.argwhere(bare):
            steps[int(x) - 1 + right, int(y) - 1 + down].append(direction)
    loops = []
    while steps:
        start = point = next(iter(steps))
        direction = steps[point][0]
        loop: list[Point] = []
        while True:
            # Where two pixels touch at a corner only, turning right stays on the same pixel.
            right_turn = (-direction[1], direction[0])
            leaving = steps[point]
            chosen = right_turn if right_turn in leaving else leaving[0]
            if chosen != direction or not loop:
                loop.append(point)
            leaving.remove(chosen)
            if not leaving:
                del steps[point]
            direction = chosen
            point = (point[0] + direction[0], point[1] + direction[1])
            if point == start:
                break
        loops.append(loop)
    return loops


def _signed_area(loop: list[Point]) -> int:
    """Twice the area; positive for an outline, negative for a hole."""
    following = loop[1:] + loop[:1]
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(loop, following, strict=True))


def _join(outline: list[Point], hole: list[Point]) -> list[Point]:
    """Splice a hole into an outline at the nearest pair of corners."""
    _, at, there = min(
        ((ax - bx) ** 2 + (ay - by) ** 2, a, b)
        for a, (ax, ay) in enumerate(outline)
        for b, (bx, by) in enumerate(hole)
    )
    return outline[: at + 1] + hole[there:] + hole[: there + 1] + outline[at:]
