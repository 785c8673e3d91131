"""What a number is the mean of: written with the rows, read strictly, refused where it contradicts them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_rows import MEC, of

from transfer.report.aggregate import collect, find_results, read_all
from transfer.report.items import (
    CELL_LENGTH,
    COLUMNS,
    Items,
    check_items,
    item_key,
    items_path,
    matching,
    name_items,
    read_items,
    write_items,
)
from transfer.report.rows import Row, write_rows

HITS = name_items([f"cat/{i}.png" for i in range(10)], [1, 0, 0, 1, 0, 0, 1, 0, 1, 0])  # 4 of 10
TRACKS = name_items(["A/img", "B/img", "C/img"], [10.0, 20.0, 30.25])
SOT = of(MEC, "success", 20.083, task="sot", protocol="siamrpn-frozen-mini", n=3, backend="mmtrack")


@pytest.fixture
def results_path(tmp_path: Path) -> Path:
    """Two rows with items, one without."""
    path = tmp_path / "run" / "results.csv"
    rows = [MEC, SOT, of(MEC, "top5", 90.0)]
    write_rows(path, rows)
    write_items(items_path(path), [(MEC, HITS), (SOT, TRACKS)])
    return path


def edit_cell(path: Path, line: int, column: str, text: str) -> None:
    lines = path.read_text().splitlines()
    cells = lines[line - 1].split(",")
    cells[COLUMNS.index(column)] = text
    lines[line - 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")


def test_items_survive_writing_and_reading(results_path: Path) -> None:
    assert read_items([results_path], read_all([results_path])) == {
        item_key(MEC): HITS,
        item_key(SOT): TRACKS,
    }
    text = items_path(results_path).read_text()
    assert text.splitlines()[1].endswith(",1001001010")
    assert text.splitlines()[2].endswith(",10;20;30.25")
    assert sorted(path.name for path in results_path.parent.iterdir()) == ["items.csv", "results.csv"]


def test_rows_without_items_stay_rows_without_items(tmp_path: Path) -> None:
    write_rows(tmp_path / "old.csv", [MEC])
    assert read_items([tmp_path / "old.csv"], [MEC]) == {}
    assert matching([MEC], {}) == []


def test_writing_no_items_leaves_no_file(results_path: Path) -> None:
    write_items(items_path(results_path), [])
    assert [path.name for path in results_path.parent.iterdir()] == ["results.csv"]


def test_a_file_of_items_is_none_of_rows(tmp_path: Path, results_path: Path) -> None:
    into = tmp_path / "measured" / "mini.csv"
    assert collect(tmp_path / "run", into) == 3
    assert sorted(path.name for path in into.parent.iterdir()) == ["mini.csv", "mini.items.csv"]
    assert find_results(into.parent) == [into]
    assert read_items([into], read_all([into])) == {item_key(MEC): HITS, item_key(SOT): TRACKS}
    with pytest.raises(ValueError, match=r"that of the items beside"):
        collect(tmp_path / "run", tmp_path / "mini.items.csv")


def test_collecting_runs_without_items_removes_old_ones(tmp_path: Path, results_path: Path) -> None:
    into = tmp_path / "mini.csv"
    collect(tmp_path / "run", into)
    items_path(results_path).unlink()
    collect(tmp_path / "run", into)
    assert not items_path(into).exists()


@pytest.mark.parametrize(
    ("line", "column", "text", "message"),
    [
        (2, "values", "1001001011", "values: their mean is 50, the row's top1 is 40"),
        (2, "values", "100100101", "n: is '10', but there are 9 values"),
        (2, "values", "1001001012", "values: expected 0 and 1 only"),
        (2, "values", "", "values: expected 0 and 1 only"),
        (3, "values", "10;20;nan", "values: 'nan' is not a finite number"),
        (3, "values", "10;20;", "values: '' is not a finite number"),
        (3, "values", "10;20;30.26", "values: their mean is 20.08666667, the row's success is 20.083"),
        (2, "n", "11", "n: is '11'"),
        (2, "seed", "7", "no row beside this file is this one"),
        (2, "config_sha256", "ef" * 32, "no row beside this file is this one"),
        (2, "names_sha256", "abc", "names_sha256: 'abc' is not a SHA-256"),
        (2, "method", "a,b", "expected 15 cells, found 16"),
    ],
)
def test_a_violation_is_named_with_file_line_and_column(
    results_path: Path, line: int, column: str, text: str, message: str
) -> None:
    edit_cell(items_path(results_path), line, column, text)
    with pytest.raises(ValueError, match=rf"items\.csv:{line}: ") as caught:
        read_items([results_path], read_all([results_path]))
    assert message in str(caught.value)


def test_a_wrong_header_or_file_is_named(results_path: Path) -> None:
    path = items_path(results_path)
    path.write_text(path.read_text().replace("names_sha256", "digest", 1))
    with pytest.raises(ValueError, match=r"items\.csv:1: expected the header method,"):
        read_items([results_path], read_all([results_path]))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"items\.csv:1: not UTF-8"):
        read_items([results_path], read_all([results_path]))
    path.write_text(",".join(COLUMNS) + '\n"' + "0" * (CELL_LENGTH + 1) + '"\n')
    with pytest.raises(ValueError, match=r"items\.csv:2: field larger than field limit"):
        read_items([results_path], read_all([results_path]))


def test_two_files_may_repeat_items_but_not_differ(tmp_path: Path, results_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    write_rows(copy, [MEC])
    write_items(items_path(copy), [(MEC, HITS)])
    rows = read_all([results_path, copy])
    assert len(read_items([results_path, copy], rows)) == 2
    write_items(items_path(copy), [(MEC, Items(HITS.values[::-1], HITS.names_sha256))])
    with pytest.raises(ValueError, match=r"copy\.items\.csv:2: values: differ .* at .*run/items\.csv:2"):
        read_items([results_path, copy], rows)


@pytest.mark.parametrize(
    ("row", "items", "message"),
    [
        (of(MEC, "box_ap", 40.0), HITS, "metric: box_ap is no mean of items"),
        (replace(MEC, n=11), HITS, "10 of them, the row says n = 11"),
        (replace(MEC, value=None, status="failed: x"), HITS, "beside a row that says 'failed: x'"),
        (replace(MEC, value=40.001), HITS, "their mean is 40, the row's top1 is 40.001"),
        (MEC, Items((0.4,) * 10, HITS.names_sha256), "hits 0 and 1 only"),
        (SOT, Items((1.0, 2.0, float("inf")), TRACKS.names_sha256), "their mean is inf"),
        (replace(MEC, n=None), Items((), HITS.names_sha256), "0 of them"),
    ],
)
def test_items_that_contradict_their_row_are_not_written(
    row: Row, items: Items, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"metric|values") as caught:
        write_items(tmp_path / "items.csv", [(row, items)])
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_one_flipped_hit_of_fifty_thousand_is_seen() -> None:
    held = name_items([str(i) for i in range(50_000)], [1] * 30_000 + [0] * 20_000)
    check_items(replace(MEC, n=50_000, value=60.0), held)
    with pytest.raises(ValueError, match=r"mean is 60, the row's top1 is 60\.002"):
        check_items(replace(MEC, n=50_000, value=60.002), held)


def test_names_are_unique_and_one_a_value() -> None:
    assert name_items(["a", "b"], [1, 0]).names_sha256 != name_items(["b", "a"], [1, 0]).names_sha256
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="values for"):
            name_items(names, [1, 0])
