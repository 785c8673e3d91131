"""Walking stick figures: joints that swing, limbs as thick strokes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transfer.data.mini.sprites import Layer, Mask, Pixels, draw, random_colour

Joint = tuple[int, int]

KEYPOINTS = (
    "nose", "head_bottom", "head_top", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
LIMBS = (  # drawn in this order: legs, trunk, arms
    ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
)  # fmt: skip
TRUNK = (("head_bottom", "left_hip"), ("head_bottom", "right_hip"), ("left_shoulder", "right_shoulder"))


@dataclass(frozen=True)
class Figure:
    """A person who walks on a line.

    ``height`` is from head to ankle in pixels, ``start`` the top of the head in the first frame,
    ``speed`` pixels a frame to the right (negative: to the left), ``phase`` and ``period`` of the step
    in frames. Colours: head, trunk, limbs.
    """

    height: int
    start: Joint
    speed: int
    phase: int
    period: int
    colours: tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

    def joints(self, frame: int) -> dict[str, Joint]:
        """Name of each joint but the ears -> its pixel ``(x, y)``, perhaps outside the image."""
        h = self.height
        x, y = self.start[0] + self.speed * frame, self.start[1]
        swing = _triangle(frame + self.phase, self.period)  # percent
        arm, leg = h * 14 * swing // 10000, h * 16 * swing // 10000
        ahead = 1 if self.speed > 0 else -1

        def at(right: int, down: int) -> Joint:
            return x + h * right // 100, y + h * down // 100

        def moved(joint: Joint, right: int) -> Joint:
            return joint[0] + right, joint[1]

        return {
            "nose": at(3 * ahead, 9),
            "head_bottom": at(0, 17),
            "head_top": at(0, 0),
            "left_shoulder": at(9, 20),
            "right_shoulder": at(-9, 20),
            "left_elbow": moved(at(12, 35), arm // 2),
            "right_elbow": moved(at(-12, 35), -arm // 2),
            "left_wrist": moved(at(12, 49), arm),
            "right_wrist": moved(at(-12, 49), -arm),
            "left_hip": at(6, 52),
            "right_hip": at(-6, 52),
            "left_knee": moved(at(6, 76), -leg // 2),
            "right_knee": moved(at(-6, 76), leg // 2),
            "left_ankle": moved(at(6, 100), -leg),
            "right_ankle": moved(at(-6, 100), leg),
        }

    def layers(self, frame: int, width: int, height: int) -> list[Layer]:
        """Limbs, trunk and head on a canvas of this size, from back to front."""
        joints = self.joints(frame)
        head, trunk, limbs = self.colours
        thick = max(self.height // 24, 2)
        strokes = {
            limbs: [(joints[a], joints[b], thick) for a, b in LIMBS],
            trunk: [(joints[a], joints[b], thick * 2) for a, b in TRUNK],
            head: [(joints["head_top"], joints["head_bottom"], self.height // 11)],
        }
        layers = []
        for colour, parts in strokes.items():
            mask = np.zeros((height, width), dtype=np.bool_)
            for start, end, radius in parts:
                mask |= stroke(start, end, radius, width, height)
            alpha: Pixels = mask.astype(np.uint8) * np.uint8(255)
            layers.append(Layer(alpha, colour, int(mask.sum())))
        return layers


def stroke(start: Joint, end: Joint, radius: int, width: int, height: int) -> Mask:
    """The pixels of a canvas whose distance to a line segment is at most ``radius``."""
    (x0, y0), (x1, y1) = start, end
    rows, columns = np.mgrid[:height, :width].astype(np.int64)
    x, y = columns - x0, rows - y0
    across, down = x1 - x0, y1 - y0
    squared = max(across * across + down * down, 1)
    along = np.clip(x * across + y * down, 0, squared)  # of the nearest point of the segment, x squared
    off_x, off_y = x * squared - along * across, y * squared - along * down
    inside: Mask = off_x * off_x + off_y * off_y <= (radius * squared) ** 2
    return inside


def random_figure(rng: np.random.Generator, ground: int, width: int, height: int, num_frames: int) -> Figure:
    """A person who crosses an image of this size; some enter late and some leave early."""
    tall = draw(rng, height * 45 // 100, height * 70 // 100)
    rightwards = draw(rng, 0, 1) == 1
    speed = draw(rng, 3, 7)
    begin = draw(rng, -width // 8, width // 3)
    x = begin if rightwards else width - begin
    y = draw(rng, height // 20, height - tall - height // 10)
    colours = (random_colour(rng, ground), random_colour(rng, ground), random_colour(rng, ground))
    period = draw(rng, 8, 14)
    return Figure(tall, (x, y), speed if rightwards else -speed, draw(rng, 0, num_frames), period, colours)


def _triangle(frame: int, period: int) -> int:
    """A triangle wave between -100 and 100."""
    place = frame % period * 400 // period  # 0..399
    return place - 100 if place <= 200 else 300 - place
