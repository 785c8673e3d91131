"""The bytes of figures depend on rows and matplotlib alone: not on order, hash seed, settings, clock."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from figure_scene import curve, measured_row, published_cells

from transfer.report.aggregate import Cell, to_cells
from transfer.report.curves import CurvePoint
from transfer.report.figures.draw import render_figures

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import hashlib, sys
sys.path[:0] = ["tests", "."]
from test_report_figures_bytes import draw
print(hashlib.sha256(b"".join(draw().values())).hexdigest())
print([name for name in ("torch", "torchvision", "matplotlib.pyplot") if name in sys.modules])
"""


def draw() -> dict[str, bytes]:
    """Some published cells, some measured, and a curve."""
    return render_figures(scene(), {"mini": points()})


def scene() -> list[Cell]:
    rows = [measured_row(40.0 + seed, seed=seed, method=m) for seed in range(3) for m in ("mec", "byol")]
    published = [c for c in published_cells() if c.column.task in ("linear", "pose", "semisup", "detect")]
    return [*published, *to_cells([], rows)]


def points() -> list[CurvePoint]:
    return [*curve("loss", -0.1, -0.5, -0.7), *curve("knn_top1", 25.0, 31.5, 40.0)]


def digest(files: dict[str, bytes]) -> str:
    return hashlib.sha256(b"".join(files.values())).hexdigest()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return draw()


def test_two_calls_give_the_same_bytes(files: dict[str, bytes]) -> None:
    assert draw() == files
    assert {name.partition(".")[2] for name in files} == {"svg", "pdf"}


def test_order_of_cells_and_points_does_not_matter(files: dict[str, bytes]) -> None:
    for seed in range(3):
        cells, drawn = scene(), points()
        random.Random(seed).shuffle(cells)
        random.Random(seed).shuffle(drawn)
        assert render_figures(cells, {"mini": drawn}) == files


@pytest.mark.parametrize("seed", ["0", "1234"])
def test_another_process_gives_the_same_bytes_and_imports_no_torch(
    files: dict[str, bytes], seed: str, tmp_path: Path
) -> None:
    """With another hash seed, clock zone and locale, a hostile matplotlibrc, and no font cache."""
    (tmp_path / "matplotlibrc").write_text(
        "svg.fonttype: path\nfont.family: serif\nlines.linewidth: 9\npdf.compression: 9\ntext.usetex: True\n"
        "path.simplify: True\nlines.marker: s\nfigure.dpi: 300\nsavefig.bbox: tight\n"
        "svg.hashsalt: other\nlines.antialiased: False\ntext.parse_math: True\npath.sketch: 3, 100, 2\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"},
        "PYTHONHASHSEED": seed,
        "MPLCONFIGDIR": str(tmp_path),
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [digest(files), "[]"], done.stderr


def test_settings_are_put_back(files: dict[str, bytes]) -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"svg.fonttype": "path", "lines.linewidth": 7.0}):
        assert draw() == files
        assert matplotlib.rcParams["lines.linewidth"] == 7.0
    assert dict(matplotlib.rcParams) == before


def test_one_digit_changes_one_figure(files: dict[str, bytes]) -> None:
    """Negative control: the comparison would notice."""
    cells = to_cells([], [measured_row(40.1, dataset="other")])
    changed = render_figures([*scene(), *cells], {"mini": points()})
    assert {name for name in changed if changed[name] != files.get(name)} == {
        "intervals-linear.pdf",
        "intervals-linear.svg",
    }


def test_no_date_version_or_machine_stands_in_a_file(files: dict[str, bytes]) -> None:
    for name, content in files.items():
        assert not re.search(rb"(?i)matplotlib|CreationDate|ModDate|<dc:date|\b20[23]\d-\d\d", content), name
        assert os.uname().nodename.encode() not in content, name


def test_svg_identifiers_are_counted_not_hashed(files: dict[str, bytes]) -> None:
    """A hash would contain numpy's way to write numbers, which changed with numpy 2."""
    for name, content in files.items():
        if name.endswith(".svg"):
            ids = re.findall(rb'(?<= id=")[^"]*', content)
            assert len(set(ids)) == len(ids), name
            assert not [i for i in ids if re.fullmatch(rb"[a-z][0-9a-f]{10}", i)], name
