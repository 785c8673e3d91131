"""A small page that has everything in it, friendly and hostile; and a walk over its elements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from report_rows import MEC, of

from transfer.report.aggregate import Cell, to_cells
from transfer.report.layout import Note
from transfer.report.page import render_page
from transfer.report.rows import Row

TABLE_1 = replace(
    MEC,
    arch="resnet50",
    pretrain_data="imagenet-1k",
    backbone_sha256="",
    branch="",
    dataset="imagenet-1k",
    protocol="mec-linear",
    seed=None,
    n=None,
    selection="unknown",
    source="MEC (arXiv 2210.11464) Table 1, p. 6",
    config_sha256="",
    code_version="",
    hardware="",
    wall_s=None,
    reported="quoted",
)
PUBLISHED = {
    "simclr": {"100": 66.5, "800": 70.4},
    "byol": {"100": 66.5, "800": 74.3},
    "swav": {"100": 66.5, "800": 71.8},
    "simsiam": {"100": 68.1},
    "mec": {"100": 70.6, "800": 74.5},
}
SCRIPT = "<script>alert(1)</script>"
ENDING = "</script><script>alert(2)</script>"
QUOTES = '" onmouseover="alert(3)" x=\''
LINK = "javascript:alert(4)"
IMAGE = "failed: <img src=x onerror=alert(5)> & more than forty-eight characters of it"
HOSTILE = (SCRIPT, ENDING, QUOTES, LINK, IMAGE)
NOTES = [Note("linear", "mini", f"A note {SCRIPT}")]


def published_rows() -> list[Row]:
    """Five methods of MEC's Table 1; SimSiam has no number after 800 epochs."""
    return [
        replace(
            of(TABLE_1, "top1", value, method=method, pretrain_epochs=epochs),
            reported="own" if method == "mec" else "quoted",
        )
        for method, numbers in PUBLISHED.items()
        for epochs, value in numbers.items()
    ]


def measured_rows() -> list[Row]:
    """Three seeds of MEC, one of random weights that failed, and a method of hostile fields."""
    random = replace(MEC, method="random", pretrain_epochs="random", branch="", backbone_sha256="ef" * 32)
    hostile = replace(MEC, method=SCRIPT, arch=QUOTES, backend=LINK, backbone_sha256="01" * 32, source=ENDING)
    return [
        *(of(MEC, "top1", 40.0 + 2 * seed, seed=seed, wall_s=seed + 0.5) for seed in range(3)),
        of(MEC, "top5", 90.0),
        of(random, "top1", None, status="failed: out of memory"),
        of(random, "top5", 50.0, selection="best-test"),
        of(hostile, "top1", 5.0),
        of(hostile, "top5", None, status=IMAGE),
    ]


def scene_cells() -> list[Cell]:
    """All of it."""
    return to_cells(published_rows(), measured_rows())


def find_cell(method: str, metric: str, epochs: str = "", protocol: str = "linear-cached-lars") -> Cell:
    """The one cell of the scene that is meant."""
    (found,) = (
        cell
        for cell in scene_cells()
        if (cell.line.method, cell.column.metric, cell.column.protocol) == (method, metric, protocol)
        and epochs in ("", cell.line.pretrain_epochs)
    )
    return found


def scene_page(cells: Sequence[Cell] | None = None) -> str:
    """The page of the scene."""
    return render_page(scene_cells() if cells is None else cells, notes=NOTES)


VOID = {"meta", "link", "input", "img", "br", "hr"}


class Walk(HTMLParser):
    """Every element of a page as ``(name, attributes, text directly in it)``, and what is nested wrongly."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.faults: list[str] = []
        self._open: list[int] = []
        self.feed(page)
        self.close()
        self.faults += [f"{self.elements[i][0]} is never closed" for i in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.faults.append(f"{tag} has an attribute twice: {names}")
        inside = {self.elements[i][0] for i in self._open}
        if (tag == "a" and "a" in inside) or (tag in ("p", "div", "ul", "section") and "p" in inside):
            self.faults.append(f"{tag} inside {sorted(inside)}")
        if tag not in VOID:
            self._open.append(len(self.elements))
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self.elements[self._open[-1]][0] != tag:
            open_now = [self.elements[i][0] for i in self._open]
            self.faults.append(f"</{tag}> at {self.getpos()} inside {open_now}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.elements[self._open[-1]][2].append(data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and direct text of all elements of that name."""
        return [(attributes, "".join(text)) for name, attributes, text in self.elements if name == tag]

    def data(self) -> dict[str, Any]:
        """What the page's script is given."""
        text = next(text for attributes, text in self.of("script") if attributes.get("id") == "data")
        loaded: dict[str, Any] = json.loads(text)
        return loaded
