"""Figures as files: SVG and PDF whose bytes depend on the figure and matplotlib's version alone.

Nothing of the day, the machine, the hash seed, the Python or the numpy enters: no dates and no creator,
identifiers counted instead of hashed, SVG coordinates to a hundredth of a point, PDF streams not
compressed (zlib's output differs between builds). Text stays text: in the PDF with its font, in the SVG
with the width that it has in DejaVu Sans, so that another font fits the same room.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from xml.sax.saxutils import quoteattr, unescape

import matplotlib
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from transfer.report.figures.canvas import MISSING_GLYPH, measure

SETTINGS: dict[str, object] = {
    **{
        name: matplotlib.rcParamsDefault[name]
        for name in matplotlib.rcParamsDefault
        if name.partition(".")[0]
        in ("svg", "pdf", "path", "lines", "text", "patch", "figure", "savefig", "markers")
        or name in ("agg.path.chunksize", "axes.unicode_minus")
    },
    "svg.hashsalt": "transfer.report.figures",
    "svg.fonttype": "none",
    "svg.id": None,
    "pdf.compression": 0,
    "pdf.fonttype": 3,
    "path.simplify": False,
    "path.snap": False,
    "path.sketch": None,
    "savefig.dpi": 72,
}


def to_svg(figure: Figure) -> str:
    """The SVG document of a figure; elements with a gid keep it as their id."""
    title = str(figure.get_label())
    buffer = io.BytesIO()
    with settled():
        FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
            buffer, metadata={"Creator": None, "Date": None, "Format": None, "Type": None}
        )
    return _tidy(buffer.getvalue().decode(), title)


def to_pdf(figure: Figure) -> bytes:
    """The PDF document of a figure."""
    buffer = io.BytesIO()
    with settled():
        FigureCanvasPdf(figure).print_pdf(  # type: ignore[no-untyped-call]
            buffer,
            metadata={
                "Creator": None,
                "Producer": None,
                "CreationDate": None,
                "Title": str(figure.get_label()),
            },
        )
    return buffer.getvalue()


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Our settings, whatever a matplotlibrc says; a character that the font lacks is drawn as a box."""
    with warnings.catch_warnings(), matplotlib.rc_context(SETTINGS):
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        yield


_NUMBER = re.compile(r"-?\d+\.\d+")
_PLACES = re.compile(r'(?<= )[dxy]="[^"]*"|translate\([^)]*\)')
_TEXT = re.compile(
    r'<text style="(?P<style>[^"]*)" x="(?P<x>[^"]*)" y="(?P<y>[^"]*)"[^>]*>(?P<text>[^<]*)</text>'
)
_STYLE = "text{font-family:'DejaVu Sans',Verdana,sans-serif;white-space:pre}"
_AUTOMATIC = re.compile(r' id="(?:figure|patch|line2d|text|axes)_\d+"')
_HASHED = re.compile(r'(?<=["#])[a-z][0-9a-f]{10}(?=[")])')


def _tidy(svg: str, title: str) -> str:
    head, rest = svg[: svg.index("<svg")], svg[svg.index("<svg") :]
    rest = re.sub(r"\s*<metadata>.*?</metadata>", "", rest, count=1, flags=re.DOTALL)
    rest = _TEXT.sub(_to_text, rest)
    rest = _AUTOMATIC.sub("", rest)
    rest = _PLACES.sub(lambda found: _NUMBER.sub(_round, found[0]), rest)
    names: dict[str, str] = {}
    rest = _HASHED.sub(lambda found: names.setdefault(found[0], f"d{len(names) + 1}"), rest)
    rest = rest.replace("</style>", f"{_STYLE}</style>", 1)
    rest = rest.replace("<svg ", f'<svg role="img" aria-label={quoteattr(title)} ', 1)
    lines = (line.strip() for line in rest.splitlines())
    head = re.sub(r"<!DOCTYPE.*?>\s*", "", head, flags=re.DOTALL)
    return head + "\n".join(line for line in lines if line) + "\n"


def _to_text(found: re.Match[str]) -> str:
    """matplotlib's text without what it repeats; its length is that of the shipped font."""
    style = dict(part.strip().split(": ", 1) for part in found["style"].split(";"))
    size, bold = float(style["font-size"].removesuffix("px")), "font-weight" in style
    width = measure(unescape(found["text"]), size, bold)
    attributes = {
        "x": found["x"],
        "y": found["y"],
        "font-size": f"{size:g}",
        **({"font-weight": "bold"} if bold else {}),
        **({} if style["text-anchor"] == "start" else {"text-anchor": style["text-anchor"]}),
        "fill": style["fill"],
        "textLength": f"{width:.1f}",
        "lengthAdjust": "spacingAndGlyphs",
    }
    said = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<text{said}>{found['text']}</text>"


def _round(found: re.Match[str]) -> str:
    return f"{round(float(found[0]), 2) + 0.0:.2f}".rstrip("0").rstrip(".")  # + 0.0 turns -0.0 into 0.0
