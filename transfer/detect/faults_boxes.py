"""Faults of boxes."""

from __future__ import annotations

import math

from transfer.detect.cases import Cases

TOLERANCE = 1.0  # pixels by which a box may pass the image's edge without a word: COCO's and VOC's do


def check_box(
    corners: tuple[float, float, float, float], size: tuple[float, float], where: str, cases: Cases
) -> bool:
    """Add the case of a box that is wrong; whether it can be learnt and found.

    Args:
        corners: left, top, right, bottom, pixels; the image's own are 0, 0, width, height.
        size: the image's width and height, pixels.
        where: names the object.
        cases: where it goes.
    """
    left, top, right, bottom = corners
    width, height = size
    if not math.isfinite(left + top + right + bottom) or right < left or bottom < top:
        cases.add("invalid-box", "%s: %g %g to %g %g", where, *corners)
        return False
    if right == left or bottom == top:
        cases.add("empty-box", "%s: %g x %g", where, right - left, bottom - top)
        return False
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        cases.add("box-outside", "%s: %g %g to %g %g in %g x %g", where, *corners, *size)
        return False
    over = max(-left, -top, right - width, bottom - height)
    if over > TOLERANCE:
        cases.add("box-over-edge", "%s by %g pixels", where, over)
    return True
