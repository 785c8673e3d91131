"""Rows become cells: seeds together, failures visible, conflicts refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from transfer.report.aggregate import STATED, collect, find_results, read_all, to_cells
from transfer.report.items import item_key, name_items
from transfer.report.resampling import bootstrap_interval
from transfer.report.rows import Row, read_rows, write_rows
from transfer.report.statistics import wilson_interval

ROW = Row(
    *("mec", "resnet18", "mini", "40", "ab" * 32, "online", "linear", "mini", "val", "linear-cached-lars"),
    *("torch", "top1", 40.0, "percent", True, 0, 1000, "last", "ok", "python -m transfer linear c.yaml"),
    *("cd" * 32, "0.1.0", "2 cores", 1.5),
)


def test_seeds_give_mean_and_sample_deviation() -> None:
    rows = [replace(ROW, seed=seed, value=value) for seed, value in enumerate((40.0, 42.0, 47.0))]
    (cell,) = to_cells([], rows)
    assert cell.value == pytest.approx((40 + 42 + 47) / 3)  # 43
    assert cell.std == pytest.approx(((9 + 1 + 16) / 2) ** 0.5)  # divided by seeds - 1
    half = 4.302652729749464 * (13 / 3) ** 0.5  # t of 2 degrees of freedom, times std / sqrt(3)
    assert cell.interval == pytest.approx((43 - half, 43 + half))
    assert cell.spread is not None
    assert cell.spread.kind == "t over 3 seeds"


def test_one_failed_seed_leaves_the_cell_without_a_number() -> None:
    failed = replace(ROW, seed=1, value=None, status="failed: loss is NaN")
    (cell,) = to_cells([], [ROW, failed])
    assert (cell.value, cell.std, cell.interval) == (None, None, None)
    assert cell.failures == ("failed: loss is NaN",)


def test_one_seed_of_a_classification_accuracy_has_the_wilson_interval() -> None:
    average_precision = replace(ROW, task="detect", metric="box_ap")
    cells = {cell.column.metric: cell for cell in to_cells([], [ROW, average_precision])}
    assert cells["top1"].interval == pytest.approx((37.0, 43.1), abs=0.05)
    assert cells["top1"].spread is not None
    assert cells["top1"].spread.kind == "Wilson, 1000 images"
    assert cells["box_ap"].spread is None


def test_seeds_that_change_nothing_have_the_interval_of_one() -> None:
    (cell,) = to_cells([], [replace(ROW, seed=seed) for seed in range(3)])
    assert (cell.std, cell.interval) == (0.0, wilson_interval(40.0, 1000))


def test_a_t_interval_ends_where_the_metric_does() -> None:
    (cell,) = to_cells([], [replace(ROW, seed=seed, value=value) for seed, value in enumerate((99.0, 100.0))])
    assert cell.interval is not None
    assert cell.interval == pytest.approx((99.5 - 12.7062047 * 0.5, 100.0))


def test_a_mean_over_sequences_has_the_bootstrap_interval() -> None:
    scores = [50.0, 60.0, 40.0, 55.0, 45.0, 20.0]
    row = replace(ROW, task="sot", metric="success", value=45.0, n=6)
    items = {item_key(row): name_items("ABCDEF", scores)}
    (cell,) = to_cells([], [row], items)
    assert cell.interval == bootstrap_interval(scores)
    assert cell.spread is not None
    assert cell.spread.kind == "bootstrap over 6 sequences"
    few = {item_key(row): name_items("ABCD", scores[:4])}
    assert to_cells([], [row], few)[0].spread is None  # too few to resample
    assert to_cells([], [row])[0].spread is None


def test_a_stated_spread_is_shown_as_stated_and_is_no_interval() -> None:
    row = replace(
        ROW, seed=None, backbone_sha256="", config_sha256="", code_version="", reported="own", std=0.5
    )
    (cell,) = to_cells([row], [])
    assert cell.spread is not None
    assert (cell.spread.low, cell.spread.high, cell.spread.kind) == (39.5, 40.5, STATED)
    assert (cell.interval, cell.std) == (None, None)
    assert to_cells([replace(row, std=None)], [])[0].spread is None


def test_a_line_with_fewer_seeds_than_another_of_its_column_is_marked() -> None:
    other = replace(ROW, method="random", backbone_sha256="ef" * 32)
    rows = [replace(ROW, seed=seed) for seed in range(3)] + [replace(other, seed=seed) for seed in range(2)]
    apart = replace(other, protocol="linear-sgd-mini")
    cells = {(cell.line.method, cell.column.protocol): cell for cell in to_cells([], [*rows, apart])}
    assert {key: (cell.planned, cell.is_short) for key, cell in cells.items()} == {
        ("mec", ROW.protocol): (3, False),
        ("random", ROW.protocol): (3, True),
        ("random", "linear-sgd-mini"): (1, False),
    }


def test_numbers_selected_in_another_way_are_another_cell() -> None:
    best = replace(ROW, seed=1, selection="best-test", value=50.0)
    assert sorted(cell.value or 0.0 for cell in to_cells([], [ROW, best])) == [40.0, 50.0]


def test_a_failure_without_split_stands_in_every_split_of_its_task() -> None:
    rows = [replace(ROW, split=split) for split in ("val", "train")]
    failed = replace(
        ROW, method="random", backbone_sha256="ef" * 32, split="", value=None, status="failed: x"
    )
    cells = to_cells([], [*rows, failed])
    assert {(cell.column.split, cell.line.method) for cell in cells} == {
        *(("train", "mec"), ("train", "random")),
        *(("val", "mec"), ("val", "random")),
    }
    other_protocol = replace(failed, protocol="linear-sgd")
    assert "" in {cell.column.split for cell in to_cells([], [*rows, other_protocol])}


def test_an_identical_row_in_two_files_counts_once(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_rows(tmp_path / name, [ROW])
    assert read_all([tmp_path / "a.csv", tmp_path / "b.csv"]) == [ROW]


def test_two_answers_to_one_question_are_refused_with_both_places(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [replace(ROW, seed=1), ROW])
    write_rows(tmp_path / "b.csv", [replace(ROW, value=41.0, wall_s=2.0)])
    with pytest.raises(ValueError, match=r"b\.csv:2: .* first at .*a\.csv:3; they differ in value, wall_s"):
        read_all([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_a_failed_and_a_good_row_of_one_seed_are_refused() -> None:
    failed = replace(ROW, split="", value=None, status="failed: x")
    with pytest.raises(ValueError, match=r"2 rows \(failed: x, ok\), expected one a seed"):
        to_cells([], [ROW, failed])


def test_run_folders_give_their_results_files_and_nothing_else(tmp_path: Path) -> None:
    write_rows(tmp_path / "mec" / "linear" / "results.csv", [ROW])
    (tmp_path / "mec" / "linear" / "pedestrian_detailed.csv").write_text("seq,HOTA\n")
    assert find_results(tmp_path) == [tmp_path / "mec" / "linear" / "results.csv"]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match=path.name):
            find_results(path)


def test_collect_joins_runs_in_an_order_of_its_own(tmp_path: Path) -> None:
    rows = [replace(ROW, seed=seed) for seed in range(3)]
    for seed in (2, 0, 1):
        write_rows(tmp_path / "runs" / f"{'xyz'[-seed]}" / "results.csv", [rows[seed]])
    assert collect(tmp_path / "runs", tmp_path / "mini.csv") == 3
    assert list(read_rows(tmp_path / "mini.csv")) == rows
    assert {row.source for row in read_rows(tmp_path / "mini.csv")} == {ROW.source}
    with pytest.raises(ValueError, match="lies inside"):
        collect(tmp_path / "runs", tmp_path / "runs" / "results.csv")
