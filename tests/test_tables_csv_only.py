"""AP of small, medium and large objects is kept, and stands in no column."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from report_rows import MEC, of

from transfer.report.aggregate import to_cells
from transfer.report.layout import CSV_ONLY, PLANS
from transfer.report.markdown import to_markdown
from transfer.report.page.render import render_page
from transfer.report.render import render_all
from transfer.report.rows import METRICS, Row
from transfer.report.tables import build_tables

SAME = {"task": "detect", "dataset": "coco2017", "split": "val", "backend": "detectron2", "n": 5000}
SHOWN = ("box_ap50", "box_ap", "box_ap75", "mask_ap50", "mask_ap", "mask_ap75")


@pytest.fixture
def rows() -> list[Row]:
    metrics = [*SHOWN, *CSV_ONLY]
    return [
        of(MEC, metric, 10.0 + k, **SAME, protocol="moco-mask-rcnn-c4-2x", seed=seed)
        for k, metric in enumerate(metrics)
        for seed in (0, 1)
    ]


def test_they_are_known_and_in_percent() -> None:
    assert len(CSV_ONLY) == 6
    assert {METRICS[metric].unit for metric in CSV_ONLY} == {"percent"}
    assert METRICS["mask_ap_small"].name == "mask AP small"


def test_no_column_shows_them_and_the_csv_has_them(rows: list[Row]) -> None:
    tables = {table.name: table for table in build_tables(to_cells([], rows), ())}
    assert set(tables) == set(PLANS)
    (section,) = tables["detect"].sections
    assert [name for _, name in section.columns] == [METRICS[metric].name for metric in SHOWN]
    assert not re.search("small|medium|large", to_markdown(tables["detect"]))
    files = render_all(list(tables.values()))
    lines = list(csv.DictReader(io.StringIO(files["detect.csv"])))
    assert {line["metric"]: (line["value"], line["seeds"], line["section"]) for line in lines[6:]} == {
        metric: (str(16 + k), "0; 1", "In no section") for k, metric in enumerate(CSV_ONLY)
    }
    assert [line["metric"] for line in lines[:6]] == list(SHOWN)


def test_the_other_tables_and_formats_are_the_same_without_them(rows: list[Row]) -> None:
    kept = [row for row in rows if row.metric not in CSV_ONLY]
    all_files, fewer_files = (render_all(build_tables(to_cells([], some), ())) for some in (rows, kept))
    assert [name for name in all_files if all_files[name] != fewer_files[name]] == ["detect.csv"]
    assert all_files["detect.csv"].startswith(fewer_files["detect.csv"])


def test_the_page_is_the_same_without_them(rows: list[Row]) -> None:
    kept = [row for row in rows if row.metric not in CSV_ONLY]
    page = render_page(to_cells([], rows))
    assert page == render_page(to_cells([], kept))
    assert json.dumps("mask AP75") in page


def test_a_set_with_nothing_else_still_keeps_them(rows: list[Row]) -> None:
    few = [row for row in rows if row.metric in CSV_ONLY]
    table = next(table for table in build_tables(to_cells([], few), ()) if table.name == "detect")
    assert table.sections == ()
    assert len(table.beside) == 6
