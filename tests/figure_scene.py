"""Rows for the tests of figures, and what an SVG says: ids, positions, texts."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from transfer.report.aggregate import Cell, read_all, to_cells
from transfer.report.curves import CurvePoint
from transfer.report.rows import METRICS, Row

RESULTS = Path(__file__).resolve().parent.parent / "results"
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"


def published_cells() -> list[Cell]:
    """Everything that is shipped from papers."""
    return to_cells(read_all([RESULTS / "published.csv"], published=True), [])


def measured_row(value: float | None, *, method: str = "mec", seed: int = 0, **changes: object) -> Row:
    """A measured linear probe."""
    metric = METRICS[str(changes.get("metric", "top1"))]
    fields: dict[str, object] = {
        "method": method,
        "arch": "resnet18",
        "pretrain_data": "mini",
        "pretrain_epochs": "16",
        "backbone_sha256": "ab" * 32,
        "branch": "online",
        "task": "linear",
        "dataset": "mini",
        "split": "val",
        "protocol": "linear-cached-lars",
        "backend": "torch",
        "metric": "top1",
        "value": value,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "seed": seed,
        "n": 2000,
        "selection": "last",
        "status": "ok",
        "source": "python -m transfer linear c.yaml",
        "config_sha256": "cd" * 32,
        "code_version": "0.1.0",
        "hardware": "2 cores",
        "wall_s": 1.0,
    }
    return Row(**(fields | changes))  # type: ignore[arg-type]


def curve(metric: str, *values: float, run: str = "mini") -> list[CurvePoint]:
    """One value an epoch of 62 steps, the first at epoch 1."""
    return [
        CurvePoint(run, 62 * i, float(i), metric, value, "metrics.jsonl", "ab" * 32, "", "")
        for i, value in enumerate(values, 1)
    ]


def parse(svg: str) -> ElementTree.Element:
    """The document; raises where it is no XML."""
    return ElementTree.fromstring(svg)


def positions(svg: str) -> dict[str, tuple[float, float]]:
    """Where each marker with an id stands, in points from the top left."""
    found = {}
    for group in parse(svg).iter(f"{SVG}g"):
        name, use = group.get("id"), group.find(f".//{SVG}use")
        if name and use is not None:
            found[name] = (float(use.get("x", "nan")), float(use.get("y", "nan")))
    return found


def lines(svg: str) -> dict[str, list[tuple[float, float]]]:
    """The corners of each line with an id."""
    found = {}
    for group in parse(svg).iter(f"{SVG}g"):
        name, path = group.get("id"), group.find(f"{SVG}path")
        if name and path is not None:
            numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d", ""))]
            found[name] = list(zip(numbers[::2], numbers[1::2], strict=True))
    return found


def texts(svg: str) -> list[str]:
    """Every text of the document."""
    return [element.text or "" for element in parse(svg).iter(f"{SVG}text")]


def ticks(svg: str, panel: str) -> dict[float, float]:
    """Value -> position of a panel's ticks: x of vertical lines, y of horizontal ones."""
    found = {}
    for name, corners in lines(svg).items():
        start = f"tick-{panel}-"
        if name.startswith(start):
            (x0, y0), (x1, _) = corners
            value = float(name.removeprefix(start).replace("\N{MINUS SIGN}", "-"))
            found[value] = x0 if x0 == x1 else y0
    return found


def read_value(scale: dict[float, float], place: float) -> float:
    """What stands at a position, by the two outer ticks."""
    low, high = min(scale), max(scale)
    return low + (place - scale[low]) / (scale[high] - scale[low]) * (high - low)
