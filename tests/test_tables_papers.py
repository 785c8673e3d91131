"""MEC's Tables 1 to 4 come out as printed, compared with a second typing; the others have their cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mec_tables
import pytest
from table_grids import latex_grid, markdown_grid

from transfer.report.aggregate import to_cells
from transfer.report.render import render_all
from transfer.report.rows import Row, read_rows
from transfer.report.tables import build_tables

TABLES = Path(__file__).resolve().parent.parent / "results" / "tables"
PUBLISHED = read_rows(TABLES.parent / "published.csv")


def without_corner(grid: list[list[str]]) -> list[list[str]]:
    """The name over the methods is ours."""
    return [["", *grid[0][1:]], *grid[1:]]


@pytest.mark.parametrize("number", mec_tables.PRINTED)
def test_a_table_of_the_paper_is_as_printed_in_markdown(number: int) -> None:
    text = (TABLES / f"{mec_tables.FILES[number]}.md").read_text()
    shown = markdown_grid(text, f"MEC's Table {number}:")
    assert without_corner(shown) == mec_tables.grid(mec_tables.PRINTED[number])


@pytest.mark.parametrize("number", mec_tables.PRINTED)
def test_a_table_of_the_paper_is_as_printed_in_latex(number: int) -> None:
    text = (TABLES / f"{mec_tables.FILES[number]}.tex").read_text()
    shown, above = latex_grid(text, f"MEC's Table {number}:")
    assert without_corner(shown) == mec_tables.grid(mec_tables.PRINTED[number])
    assert tuple(above) == mec_tables.RULES[number]


def render(rows: list[Row]) -> dict[str, str]:
    return render_all(build_tables(to_cells(rows, []), ()))


@pytest.mark.parametrize("change", [{"value": 70.7}, {"value": 60.6}, {"method": "dino"}, {"split": "test"}])
def test_the_comparison_with_the_second_typing_can_fail(change: dict[str, object]) -> None:
    (row,) = [
        row
        for row in PUBLISHED
        if (row.method, row.pretrain_epochs) == ("mec", "100") and "Table 1," in row.source
    ]
    changed = replace(row, **change)  # type: ignore[arg-type]
    text = render([changed, *(other for other in PUBLISHED if other is not row)])["linear.md"]
    shown = markdown_grid(text, "MEC's Table 1:")
    assert without_corner(shown) != mec_tables.grid(mec_tables.TABLE_1)


def test_other_sources_of_the_same_methods_stand_in_sections_of_their_own() -> None:
    text = (TABLES / "detect.md").read_text()
    (line,) = [
        line
        for line in markdown_grid(text, "SimSiam (arXiv 2011.10566) Table 5")
        if line[0] == "SimSiam, base recipe"
    ]
    assert line[1:4] == ["75.5", "47.0", "50.2"]
    assert "75.5 / 47.0" not in text


def test_ablations_rank_settings_and_show_each_part_of_table_5() -> None:
    text = (TABLES / "ablations.md").read_text()
    parts = {part: markdown_grid(text, f"MEC's Table 5({part}):") for part in "abcdef"}
    assert parts["a"] == [
        ["method", "30 ep.", "50 ep.", "70 ep.", "100 ep."],
        ["MEC", "62.1", "67.5", "69.2", "*70.6"],
    ]
    assert parts["b"] == [["method", "128", "256", "512", "1024"], ["MEC", "69.5", "70.1", "70.4", "*70.6"]]
    assert parts["c"] == [["method", "0.02", "0.06", "0.25", "1"], ["MEC", "70.5", "*70.6", "70.2", "69.5"]]
    assert parts["d"][1] == ["MEC", "69.0", "70.1", "70.4", "*70.6", "70.2"]
    assert parts["e"][1] == ["MEC", "70.0", "70.3", "70.5", "*70.6", "*70.6"]
    assert parts["f"] == [
        ["method", "asymmetric", "symmetric", "4096", "8192"],
        ["MEC", "70.6", "70.1", "70.7", "*71.2"],
    ]


IMAGE_SETS = (
    "| Food101 | CIFAR10 | CIFAR100 | SUN397 | Cars | Aircraft | VOC2007 | DTD | Pets | Caltech-101 | Flowers"
)
LINEAR = """
method | 75.6 | 92.1 | 78.4 | 62.7 | 67.2 | 61.5 | 82.7 | 75.8 | 90.9 | 94.6 | 96.0
"""
RANDOM = """
method | 86.9 | 95.9 | 80.2 | 53.6 | 91.4 | 85.9 | 67.3 | 64.8 | 81.5 | 72.6 | 92.0
"""


def unmarked(cells: list[str]) -> list[str]:
    return [cell.strip("*_") for cell in cells[1:]]


def test_transfer_to_eleven_image_sets_and_places_stands_in_the_order_of_the_paper() -> None:
    text = (TABLES / "transfer.md").read_text()
    linear = markdown_grid(text, "MEC's Table 8: transfer to 11 image sets, linear")
    assert linear[0][1:] == mec_tables.grid(IMAGE_SETS)[0][1:]
    assert [line[0] for line in linear[1:]] == ["Supervised", "SimCLR", "BYOL", "MEC"]
    assert unmarked(linear[-1]) == mec_tables.grid(LINEAR)[0][1:]
    tuned = markdown_grid(text, "MEC's Table 8: transfer to 11 image sets, fine-tuned")
    assert [line[0] for line in tuned[1:]] == ["Random init", "Supervised", "SimCLR", "BYOL", "MEC"]
    assert unmarked(tuned[1]) == mec_tables.grid(RANDOM)[0][1:]
    places = markdown_grid(text, "MEC's Table 9:")
    assert places[1:] == [["SimCLR", "53.0", "56.5"], ["BYOL", "_53.2", "_58.5"], ["MEC", "*53.8", "*59.9"]]


def test_no_published_number_is_lost_or_shown_twice() -> None:
    cells = to_cells(PUBLISHED, [])
    shown = [cell for table in build_tables(cells, ()) for cell in table.cells]
    assert sorted(map(id, shown)) == sorted(map(id, cells))


def test_the_difference_to_the_supervised_line_stands_where_a_source_has_it() -> None:
    text = (TABLES / "detect.md").read_text()
    lines = markdown_grid(text, "MoCo README")
    (line,) = [line for line in lines if line[:2] == ["MoCo v2", "200"]]
    assert line[-2:] == ["_57.0 ± 0.2 (+3.5)", "_63.6 ± 0.4 (+4.8)"]  # 57.0 - 53.5, 63.6 - 58.8
    assert lines[1][-1] == "58.8 ± 0.4"
