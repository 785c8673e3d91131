"""A results file is read strictly: what a row must not say is named with file and line."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from transfer.report.rows import COLUMNS, METRICS, Row, read_placed_rows, read_rows, write_rows

ROW = Row(
    method="mec",
    arch="resnet18",
    pretrain_data="mini",
    pretrain_epochs="40",
    backbone_sha256="ab" * 32,
    branch="online",
    task="linear",
    dataset="mini",
    split="val",
    protocol="linear-cached-lars",
    backend="torch",
    metric="top1",
    value=12.5,
    unit="percent",
    higher_is_better=True,
    seed=0,
    n=8,
    selection="last",
    status="ok",
    source='python -m transfer linear "a, b.yaml"',
    config_sha256="cd" * 32,
    code_version="0.1.0",
    hardware="2 cores",
    wall_s=1.5,
)


def edit_cell(path: Path, column: str, text: str) -> None:
    """Replace one cell of the second data line, line 3 of the file, without the row's own checks."""
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[COLUMNS.index(column)] = text
    lines[2] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def results_path(tmp_path: Path) -> Path:
    path = tmp_path / "results.csv"
    write_rows(path, [replace(ROW, source="s"), replace(ROW, source="s", seed=1)])
    return path


def test_rows_survive_writing_and_reading(tmp_path: Path) -> None:
    failed = replace(
        ROW, value=None, n=None, wall_s=None, seed=None, status="failed: loss is NaN, again\nline two"
    )
    write_rows(tmp_path / "results.csv", [ROW, failed])
    assert list(read_rows(tmp_path / "results.csv")) == [ROW, failed]
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]  # no temporary file is left


def test_rows_carry_their_place(results_path: Path) -> None:
    assert [place for place, _ in read_placed_rows(results_path)] == [
        f"{results_path}:2",
        f"{results_path}:3",
    ]


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("metric", "top2", "metric 'top2' is unknown"),
        ("value", "nan", "finite"),
        ("value", "inf", "finite"),
        ("value", "", "finite"),
        ("value", "100.1", "outside 0..100"),
        ("value", "-0.1", "outside 0..100"),
        ("value", "12,5", "expected 24 cells"),
        ("value", "much", "value is 'much', expected float"),
        ("unit", "count", "expected unit percent"),
        ("higher_is_better", "false", "higher_is_better True"),
        ("higher_is_better", "True", "expected true or false"),
        ("seed", "0.5", "seed is '0.5', expected int"),
        ("n", "many", "n is 'many', expected int"),
        ("selection", "best", "selection 'best'"),
        ("status", "done", "status 'done'"),
        ("status", "failed: no memory", "a value beside status"),
        ("method", "", "method must not be empty"),
        ("dataset", "", "dataset must not be empty"),
        ("source", "", "source must not be empty"),
    ],
)
def test_a_violation_is_named_with_file_and_line(
    results_path: Path, column: str, text: str, message: str
) -> None:
    assert len(list(read_rows(results_path))) == 2  # the file is sound before the edit
    edit_cell(results_path, column, text)
    with pytest.raises(ValueError, match=r"results\.csv:3: ") as caught:
        list(read_rows(results_path))
    assert message in str(caught.value)


def test_a_wrong_header_names_what_is_missing_and_what_is_unknown(results_path: Path) -> None:
    results_path.write_text(results_path.read_text().replace("wall_s", "hours", 1))
    with pytest.raises(ValueError, match=r"results\.csv:1: .*missing \['wall_s'\], unknown \['hours'\]"):
        list(read_rows(results_path))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.csv").touch()
    with pytest.raises(ValueError, match=r"results\.csv:1: header"):
        list(read_rows(tmp_path / "results.csv"))


def test_mota_alone_may_be_negative() -> None:
    assert replace(ROW, metric="mota", value=-250.0).value == -250.0
    with pytest.raises(ValueError, match="outside"):
        replace(ROW, metric="idf1", value=-250.0)


def test_counts_are_whole_and_not_negative() -> None:
    count = replace(ROW, metric="id_switches", unit="count", higher_is_better=False, value=6665.0)
    for value in (-1.0, 0.5):
        with pytest.raises(ValueError, match="not a count"):
            replace(count, value=value)


def test_an_interrupted_write_leaves_the_old_file(results_path: Path) -> None:
    before = results_path.read_bytes()

    def broken_rows() -> object:
        yield ROW
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(results_path, broken_rows())  # type: ignore[arg-type]
    assert results_path.read_bytes() == before
    assert [path.name for path in results_path.parent.iterdir()] == ["results.csv"]


def test_every_metric_has_a_unit_and_a_finite_example() -> None:
    for name, metric in METRICS.items():
        row = replace(ROW, metric=name, unit=metric.unit, higher_is_better=metric.higher_is_better, value=1.0)
        assert row.value is not None
        assert math.isfinite(row.value)
