"""Digits that move: paths, sizes that change, and a camera that may pan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transfer.data.mini.sprites import (
    Glyph,
    Layer,
    Pixels,
    draw,
    glyphs,
    luminance,
    place,
    random_background,
    random_colour,
    stamp,
)

FINE = 16  # positions are integers in sixteenths of a pixel
Position = tuple[int, int]


@dataclass(frozen=True)
class Mover:
    """A digit on a quadratic Bezier path.

    ``path`` holds start, control point and end of the centre, in sixteenths of a pixel; ``sizes``
    the height of the stamp in pixels at start and end; ``frames`` the first and last frame of its
    life, which may lie outside the video.
    """

    glyph: Glyph
    colour: tuple[int, int, int]
    width_percent: int
    sizes: tuple[int, int]
    path: tuple[Position, Position, Position]
    frames: tuple[int, int]

    def layer(self, frame: int, width: int, height: int) -> Layer | None:
        """The digit in one frame of a video of this size, or None outside its life."""
        first, last = self.frames
        if not first <= frame <= last:
            return None
        span, elapsed = max(last - first, 1), frame - first
        left = span - elapsed
        size = (self.sizes[0] * left + self.sizes[1] * elapsed) // span
        alpha = stamp(self.glyph, size * self.width_percent // 100, size)
        x, y = (
            (left * left * start + 2 * left * elapsed * control + elapsed * elapsed * end) // (span * span)
            for start, control, end in zip(*self.path, strict=True)
        )
        corner_x = x // FINE - alpha.shape[1] // 2
        corner_y = y // FINE - alpha.shape[0] // 2
        return place(alpha, self.colour, corner_x, corner_y, width, height)


def random_mover(
    rng: np.random.Generator,
    split: str,
    ground: int,
    sizes: tuple[int, int],
    path: tuple[Position, Position, Position],
    frames: tuple[int, int],
) -> Mover:
    """A digit of the split with a random look, visible on a ground of this luminance.

    Sizes at start and end are drawn from the range ``sizes``; ``path`` is given in whole pixels.
    """
    choices = glyphs(split, draw(rng, 0, 9))
    start, control, end = ((x * FINE, y * FINE) for x, y in path)
    return Mover(
        glyph=choices[draw(rng, 0, len(choices) - 1)],
        colour=random_colour(rng, ground),
        width_percent=draw(rng, 85, 110),
        sizes=(draw(rng, *sizes), draw(rng, *sizes)),
        path=(start, control, end),
        frames=frames,
    )


def inside_path(
    rng: np.random.Generator, width: int, height: int, margin: int
) -> tuple[Position, Position, Position]:
    """A path that stays ``margin`` pixels from the borders (the curve lies in its points' hull)."""
    points = [(draw(rng, margin, width - margin), draw(rng, margin, height - margin)) for _ in range(3)]
    return points[0], points[1], points[2]


def crossing_path(
    rng: np.random.Generator, width: int, height: int, margin: int
) -> tuple[Position, Position, Position]:
    """A path that enters at one side and leaves at another; both ends lie ``margin`` pixels outside."""
    entry = draw(rng, 0, 3)
    leave = (entry + draw(rng, 1, 3)) % 4

    def end(side: int) -> Position:
        along_x, along_y = draw(rng, width // 5, width * 4 // 5), draw(rng, height // 5, height * 4 // 5)
        return (
            (-margin, along_y),
            (along_x, -margin),
            (width + margin, along_y),
            (along_x, height + margin),
        )[side]

    middle = (draw(rng, width // 4, width * 3 // 4), draw(rng, height // 4, height * 3 // 4))
    return end(entry), middle, end(leave)


@dataclass(frozen=True)
class Camera:
    """A window that glides over a larger still background, ``(height + pan, width + pan, 3)``."""

    scene: Pixels
    width: int
    height: int
    num_frames: int
    rightwards: bool

    @property
    def ground(self) -> int:
        """Mean luminance of the scene, 0..255."""
        return luminance(
            [int(x) for x in self.scene.sum(axis=(0, 1), dtype=np.int64) // self.scene[..., 0].size]
        )

    def view(self, frame: int) -> Pixels:
        """The background of a frame (from 0), ``(height, width, 3)``."""
        pan = self.scene.shape[0] - self.height
        shift = pan * frame // max(self.num_frames - 1, 1)
        x = shift if self.rightwards else pan - shift
        return self.scene[shift : shift + self.height, x : x + self.width]


def random_camera(
    rng: np.random.Generator, photograph: str, split: str, width: int, height: int, num_frames: int, pan: int
) -> Camera:
    """A camera over the split's half of a photograph that moves ``pan`` pixels in the whole video."""
    scene = random_background(rng, photograph, split, width + pan, height + pan)
    return Camera(scene, width, height, num_frames, bool(draw(rng, 0, 1)))
