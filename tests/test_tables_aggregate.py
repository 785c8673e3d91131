"""Rows become cells: seeds together, failures visible, conflicts refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from transfer.report.aggregate import collect, find_results, read_all, to_cells, wilson_interval
from transfer.report.rows import Row, read_rows, write_rows

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
    assert cell.interval is None


def test_one_failed_seed_leaves_the_cell_without_a_number() -> None:
    failed = replace(ROW, seed=1, value=None, status="failed: loss is NaN")
    (cell,) = to_cells([], [ROW, failed])
    assert (cell.value, cell.std, cell.interval) == (None, None, None)
    assert cell.failures == ("failed: loss is NaN",)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (1, 10), (452, 1000), (37_000, 50_000)])
def test_wilson_interval_agrees_with_scipy(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(100 * correct / n, n) == pytest.approx((100 * expected.low, 100 * expected.high))


def test_only_classification_accuracies_get_an_interval() -> None:
    average_precision = replace(ROW, task="detect", metric="box_ap")
    intervals = {cell.column.metric: cell.interval for cell in to_cells([], [ROW, average_precision])}
    assert intervals["top1"] == pytest.approx((37.0, 43.1), abs=0.05)
    assert intervals["box_ap"] is None


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
