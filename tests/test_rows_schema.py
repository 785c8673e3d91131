"""A results file is read strictly: what a row must not say is named with file and line."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
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


PUBLISHED = replace(
    ROW, backbone_sha256="", branch="", config_sha256="", code_version="", hardware="", wall_s=None,
    seed=None, n=None, selection="unknown", source="a paper", reported="own",
)  # fmt: skip


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
    assert read_rows(tmp_path / "results.csv") == [ROW, failed]
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]  # no temporary file is left


def test_rows_carry_their_place(results_path: Path) -> None:
    assert [place for place, _ in read_placed_rows(results_path)] == [
        f"{results_path}:2",
        f"{results_path}:3",
    ]


FAULTS = [
    ("metric", "top2", "'top2' is unknown; known: top1, top5"),
    ("task", "depth", "'depth' is unknown; known: linear, knn"),
    ("protocol", "linear-best", "'linear-best' is unknown; the known ones stand in"),
    ("value", "nan", "'nan' is not finite"),
    ("value", "-inf", "'-inf' is not finite"),
    ("value", "Infinity", "'Infinity' is not finite"),
    ("value", "", "'' is not finite"),
    ("value", "100.1", "'100.1' lies outside 0..100 percent"),
    ("value", "-0.1", "'-0.1' lies outside 0..100 percent"),
    ("value", "1e3", "'1e3' lies outside 0..100 percent"),
    ("value", "much", "'much' is not a number"),
    ("value", "1_0", "'1_0' is not a number"),
    ("value", " 10", "' 10' is not a number"),
    ("value", "x" * 99, f"'{'x' * 59}…' is not a number"),
    ("unit", "count", "'count' is not what the metric table says"),
    ("higher_is_better", "false", "'false' is not what the metric table says"),
    ("higher_is_better", "True", "'True' expected true or false"),
    ("seed", "0.5", "'0.5' is not a whole number"),
    ("seed", "0", "the same number and seed stand already in line 2"),
    ("n", "many", "'many' is not a whole number"),
    ("n", "-1", "'-1' is not a whole number"),
    ("wall_s", "nan", "'nan' is not a finite number"),
    ("selection", "best", "'best' is none of last, best-val"),
    ("status", "done", "'done' is neither ok"),
    ("status", "failed:", "'failed:' is neither ok"),
    ("method", "", "must not be empty"),
    ("task", "", "must not be empty"),
    ("dataset", "", "must not be empty"),
    ("protocol", "", "must not be empty"),
    ("source", "", "must not be empty"),
    ("backbone_sha256", "", "must not be empty in a measured row"),
    ("config_sha256", "", "must not be empty in a measured row"),
    ("code_version", "", "must not be empty in a measured row"),
    ("backbone_sha256", "AB" * 32, "is not a SHA-256"),
    ("config_sha256", "ab", "is not a SHA-256"),
    ("std", "0.2", "'0.2' stands beside no published number"),
    ("std", "wide", "'wide' is not a finite number"),
    ("reported", "someone", "'someone' is none of own, quoted, unknown"),
]
PUBLISHED_FAULTS = [
    ("reported", "", "must not be empty where backbone_sha256, config_sha256, code_version are"),
    ("source", "", "must not be empty"),
    ("backbone_sha256", "ab" * 32, "must be empty in a published row"),
    ("code_version", "0.1.0", "'0.1.0' must be empty in a published row"),
    ("std", "-0.2", "'-0.2' is negative"),
    ("std", "nan", "'nan' is not a finite number"),
    ("value", "", "'' is not finite"),
]


def test_what_did_not_run_may_have_had_no_backbone(results_path: Path) -> None:
    for column, text in (("value", ""), ("status", "not-run: no such checkpoint"), ("backbone_sha256", "")):
        edit_cell(results_path, column, text)
    assert read_rows(results_path)[1].backbone_sha256 == ""
    edit_cell(results_path, "status", "failed: out of memory")
    with pytest.raises(ValueError, match="backbone_sha256: '' must not be empty in a measured row"):
        read_rows(results_path)


@pytest.mark.parametrize(("column", "text", "message"), FAULTS)
def test_a_fault_is_named_with_file_line_and_column(
    results_path: Path, column: str, text: str, message: str
) -> None:
    assert len(read_rows(results_path)) == 2  # the file is sound before the edit
    edit_cell(results_path, column, text)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(results_path))}:3: ") as caught:
        read_rows(results_path)
    assert f"results.csv:3: {column}: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(("column", "text", "message"), PUBLISHED_FAULTS)
def test_a_fault_of_a_published_row_is_named(tmp_path: Path, column: str, text: str, message: str) -> None:
    path = tmp_path / "published.csv"
    write_rows(path, [PUBLISHED, replace(PUBLISHED, method="byol", std=0.2)])
    assert len(read_rows(path, published=True)) == 2
    edit_cell(path, column, text)
    with pytest.raises(ValueError, match=rf"published\.csv:3: {column}: ") as caught:
        read_rows(path)
    assert message in str(caught.value)


def test_published_and_measured_rows_stand_in_the_files_meant_for_them(
    results_path: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "published.csv", [PUBLISHED])
    assert read_rows(results_path, published=False)
    for path, published in ((results_path, True), (tmp_path / "published.csv", False)):
        assert read_rows(path)
        with pytest.raises(ValueError, match=rf"{path.name}:2: reported: .* wrong file\?"):
            read_rows(path, published=published)


def test_two_sources_may_publish_the_same_number(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    rows = [PUBLISHED, replace(PUBLISHED, source="another paper")]
    write_rows(path, rows)
    assert read_rows(path) == rows
    write_rows(path, [*rows, replace(PUBLISHED, value=13.0)])
    with pytest.raises(ValueError, match=r"published\.csv:4: seed: the same .* in line 2"):
        read_rows(path)


def test_two_commands_for_one_measured_number_are_a_duplicate(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", [ROW, replace(ROW, source="another command", value=13.0)])
    with pytest.raises(ValueError, match=r"results\.csv:3: seed: the same"):
        read_rows(tmp_path / "results.csv")


def test_a_failure_needs_no_number_but_its_backbone(results_path: Path) -> None:
    write_rows(results_path, [replace(ROW, value=None, n=None, status="failed: loss is NaN")])
    assert [row.value for row in read_rows(results_path)] == [None]
    text = results_path.read_text()
    for value in ("12.5", "nan"):
        results_path.write_text(text.replace("top1,,", f"top1,{value},"))
        with pytest.raises(ValueError, match=rf"csv:2: value: '{value}' stands beside a status"):
            read_rows(results_path)


def test_the_first_ten_faults_are_said_at_once_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    write_rows(path, [replace(ROW, seed=seed, source="s") for seed in range(15)])
    text = path.read_text().replace("top1,12.5,", "top1,112.5,")
    path.write_text(text.replace("linear-cached-lars", "lars", 1) + "one,two\n")
    with pytest.raises(ValueError, match="lies outside") as caught:
        read_rows(path)
    said = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in said[:3]] == [f"{path}:2", f"{path}:2", f"{path}:3"]
    assert [line.split(": ")[1] for line in said[:3]] == ["protocol", "value", "value"]
    assert said[10] == f"{path}: and {15 + 1 + 1 - 10} more"
    assert len(said) == 11


def test_a_line_with_too_few_or_too_many_cells_is_named(results_path: Path) -> None:
    text = results_path.read_text()
    for broken, found in ((text + "a,b\n", 2), (text + "\n", 0), (text.replace(",s,", ",s,t,"), 27)):
        results_path.write_text(broken)
        with pytest.raises(
            ValueError, match=rf"results\.csv:[234]: \(all\): expected 26 cells, found {found}"
        ):
            read_rows(results_path)


def test_text_that_is_no_csv_is_named(results_path: Path) -> None:
    whole = results_path.read_bytes()
    for broken, message in ((whole + b'a"b,"c\n', "csv:[45]: "), (whole + b"\xff\n", "not UTF-8")):
        results_path.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"results\.{message}" if "csv" in message else message):
            read_rows(results_path)


def test_a_wrong_header_names_what_is_missing_and_what_is_unknown(results_path: Path) -> None:
    results_path.write_text(results_path.read_text().replace("wall_s", "hours", 1))
    with pytest.raises(ValueError, match=r"results\.csv:1: .*missing \['wall_s'\], unknown \['hours'\]"):
        read_rows(results_path)


def test_another_order_of_columns_is_refused(results_path: Path) -> None:
    text = results_path.read_text()
    results_path.write_text(text.replace("method,arch", "arch,method", 1))
    with pytest.raises(ValueError, match=r"results\.csv:1: .*expected this order: method,arch,"):
        read_rows(results_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.csv").touch()
    with pytest.raises(ValueError, match=r"results\.csv:1: header"):
        read_rows(tmp_path / "results.csv")


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


def test_a_file_without_rows_is_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", [])
    assert read_rows(tmp_path / "results.csv") == []


@pytest.mark.parametrize("changes", [{"std": -0.1}, {"std": math.inf}, {"reported": "me"}])
def test_a_published_row_with_a_bad_spread_or_reporter_is_not_made(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"std|reported"):
        replace(PUBLISHED, **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="std"):
        replace(ROW, std=0.1)


def test_writing_imports_neither_pandas_nor_pandera(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from transfer.report.rows import *; "
        "write_rows(Path(sys.argv[1]), []); print(sorted({'pandas', 'pandera'} & set(sys.modules))); "
        "read_rows(Path(sys.argv[1])); print(sorted({'pandas', 'pandera', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "results.csv"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "['pandas', 'pandera']"]


def test_a_hundred_thousand_rows_are_read_in_seconds(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    text = [",".join(COLUMNS)]
    write_rows(path, [replace(ROW, seed=987654321, source="s")])
    line = path.read_text().splitlines()[1]
    text += [line.replace("987654321", str(seed)) for seed in range(100_000)]
    path.write_text("\n".join(text) + "\n")
    start = time.process_time()
    assert len(read_rows(path)) == 100_000
    path.write_text(path.read_text().replace("top1,", "top9,"))
    with pytest.raises(ValueError, match=f"and {100_000 - 10} more"):
        read_rows(path)
    assert time.process_time() - start < 30  # 6 s on one core
