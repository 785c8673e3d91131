"""A sheet to draw on: matplotlib artists in points from the top left, one style, one shipped font.

Axes, ticks and layout engines of matplotlib are not used: positions are computed here, so they are the
same for every version of numpy and whatever a reader's matplotlibrc says. Text is never parsed as
mathematics, control characters in it become spaces.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D

Point = tuple[float, float]
Anchor = Literal["left", "center", "right"]

FAMILY = "DejaVu Sans"
MISSING_GLYPH = r"Glyph \d+ .* missing from font"  # what matplotlib warns
WIDTH = 720.0  # points of every sheet
MARGIN = 16.0
LINE_HEIGHT = 1.4  # of footnotes, in font sizes
LONGEST = 400  # characters of one text

# Okabe and Ito 2008: distinguishable with any colour vision. Vermilion is MEC, blue whoever is beside it.
ACCENT = "#c44e00"
SECOND = "#0067a5"
INK = "#1f2328"
QUIET = "#5c6570"
MUTED = "#98a1ac"
FAINT = "#c9cfd6"
GRID = "#e6e9ed"
TINT = "#fbeee4"  # the accent, as an area
SHADE = "#f3f5f7"
PAPER = "#ffffff"
BAD = "#a4262c"

DASHES: dict[str, tuple[float, ...]] = {"solid": (), "dashed": (3.0, 2.0), "dotted": (0.8, 1.6)}


class Label(Text):
    """A line of text put where it belongs at once: nothing to lay out, and no markup is looked for."""

    def draw(self, renderer: RendererBase) -> None:
        """Hand text and start of the baseline to the backend."""
        x, y = self.get_transform().transform(self.get_unitless_position())
        prop, text = self.get_fontproperties(), self.get_text()
        width = measure(text, prop.get_size_in_points(), prop.get_weight() == "bold")
        x -= width * {"left": 0.0, "center": 0.5, "right": 1.0}[self.get_horizontalalignment()]
        if renderer.flipy():
            y = renderer.get_canvas_width_height()[1] - y
        gc = renderer.new_gc()
        gc.set_foreground(self.get_color())
        renderer.draw_text(gc, x, y, text, prop, 0.0, ismath=False, mtext=self)
        gc.restore()


class Sheet:
    """One figure while it is drawn; ``y`` grows downwards."""

    def __init__(self, height: float, title: str, width: float = WIDTH) -> None:
        self.width, self.height, self.title = width, height, clean(title)
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=PAPER)
        self.figure.set_label(self.title)
        self._transform = Affine2D().scale(1, -1).translate(0, height)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 8.0,
        colour: str = INK,
        bold: bool = False,
        anchor: Anchor = "left",
    ) -> None:
        """One line of text whose baseline starts, ends or is centred at ``x``, ``y``."""
        artist = Label(
            x,
            y,
            clean(text),
            color=colour,
            fontproperties=font(size, bold),
            horizontalalignment=anchor,
            parse_math=False,
            usetex=False,
            transform=self._transform,
        )
        self.figure.add_artist(artist, clip=False)

    def line(
        self,
        points: Sequence[Point],
        *,
        colour: str = INK,
        width: float = 1.0,
        dash: str = "solid",
        gid: str | None = None,
    ) -> None:
        """A line through the points."""
        style = (0.0, DASHES[dash]) if DASHES[dash] else "-"
        artist = Line2D(
            [x for x, _ in points],
            [y for _, y in points],
            color=colour,
            linewidth=width,
            linestyle=style,
            solid_joinstyle="round",
            solid_capstyle="round",
            dash_capstyle="butt",
            transform=self._transform,
            gid=gid,
        )
        self.figure.add_artist(artist, clip=False)

    def area(self, points: Sequence[Point], colour: str) -> None:
        """A filled polygon."""
        artist = Polygon(list(points), closed=True, facecolor=colour, edgecolor="none")
        artist.set_transform(self._transform)
        self.figure.add_artist(artist, clip=False)

    def dot(
        self,
        x: float,
        y: float,
        *,
        colour: str = INK,
        hollow: bool = False,
        marker: str = "o",
        size: float = 5.0,
        gid: str | None = None,
    ) -> None:
        """A point: a disc, a ring (``hollow``) or another of matplotlib's markers."""
        artist = Line2D(
            [x],
            [y],
            linestyle="none",
            marker=marker,
            markersize=size,
            markerfacecolor=PAPER if hollow else colour,
            markeredgecolor=colour,
            markeredgewidth=1.1,
            transform=self._transform,
            gid=gid,
        )
        self.figure.add_artist(artist, clip=False)

    def heading(self, subtitle: str = "") -> None:
        """The sheet's title, top left, and a line below it."""
        self.text(MARGIN, 26, self.title, size=12, bold=True)
        if subtitle:
            self.text(MARGIN, 41, fit(subtitle, self.width - 2 * MARGIN, 8.0), colour=QUIET)

    def footnotes(self, y: float, notes: Sequence[str]) -> None:
        """Small print from ``y`` down; :func:`notes_height` says how much room it takes."""
        for line in wrap_notes(notes, self.width):
            y += 7 * LINE_HEIGHT
            self.text(MARGIN, y, line, size=7, colour=QUIET)


@functools.cache
def font(size: float, bold: bool = False) -> FontProperties:
    """DejaVu Sans as matplotlib ships it, whatever the system has under that name."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    weight = "bold" if bold else "normal"
    return FontProperties(family=FAMILY, weight=weight, size=size, fname=file)


def measure(text: str, size: float, bold: bool = False) -> float:
    """Width of a text in points, by the font's advances (kerning is left out)."""
    return size * math.fsum(_advance(character, bold) for character in clean(text))


@functools.lru_cache(maxsize=4096)
def _advance(character: str, bold: bool) -> float:
    """Width of one character of a text of one point; of a box where the font lacks it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        return float(text_to_path.get_text_width_height_descent(character, font(100.0, bold), False)[0]) / 100


def clean(text: str) -> str:
    """One line without control characters, of bounded length."""
    shown = "".join(c if c.isprintable() else " " for c in text[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def fit(text: str, width: float, size: float, bold: bool = False) -> str:
    """The text, shortened by an ellipsis where it is wider than ``width``."""
    text = clean(text)
    if measure(text, size, bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(text[:middle].rstrip() + "…", size, bold) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def wrap_notes(notes: Sequence[str], width: float) -> list[str]:
    """Notes as lines that fit a sheet's width."""
    lines = []
    for note in notes:
        line = ""
        for word in clean(note).split():
            longer = f"{line} {word}".strip()
            if line and measure(longer, 7) > width - 2 * MARGIN:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(fit(line, width - 2 * MARGIN, 7))
    return lines


def notes_height(notes: Sequence[str], width: float = WIDTH) -> float:
    """Room that footnotes take."""
    return len(wrap_notes(notes, width)) * 7 * LINE_HEIGHT + MARGIN
