"""``--check`` after one digit in one file was changed: exit status 1, and the cell is named."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from transfer.report.command import RESULTS, main
from transfer.report.figures import draw
from transfer.report.rows import Row, read_rows, write_rows

ROW = Row(
    *("mec", "resnet18", "mini", "40", "ab" * 32, "online", "linear", "mini", "val", "linear-cached-lars"),
    *("torch", "top1", 45.2, "percent", True, 0, 1000, "last", "ok", "python -m transfer linear c.yaml"),
    *("cd" * 32, "0.1.0", "2 cores 8", 12.0),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the published rows and of the notes, two measured seeds, and tables that agree with them."""
    folder = tmp_path_factory.mktemp("prepared") / "results"
    for name in ("published.csv", "notes.csv"):
        folder.mkdir(exist_ok=True)
        shutil.copy(RESULTS / name, folder / name)
    write_rows(folder / "measured" / "mini.csv", [ROW, replace(ROW, seed=1, value=46.0, wall_s=13.0)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "render_figures", lambda cells, curves: {})
        assert check(folder) == 0
    return folder


@pytest.fixture
def results(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Such a folder to change. Figures are left out: they take the most time and have their own tests."""
    monkeypatch.setattr(draw, "render_figures", lambda cells, curves: {})
    return Path(shutil.copytree(prepared, tmp_path / "results"))


def check(folder: Path, *words: object) -> int:
    paths = ["--published", folder / "published.csv", "--notes", folder / "notes.csv"]
    paths += ["--measured", folder / "measured", "--out", folder / "tables"]
    return main([*map(str, paths), *map(str, words)])


def change(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[line - 1].count(old) == 1, lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    path.write_text("\n".join(lines), encoding="utf-8")


def line_of(path: Path, *words: str) -> int:
    lines = path.read_text(encoding="utf-8").split("\n")
    (number,) = [n for n, line in enumerate(lines, 1) if all(word in line for word in words)]
    return number


def test_check_agrees_where_nothing_was_changed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    assert check(results, "--check") == 0
    assert "tables: 33 files" in (said := capsys.readouterr().out)
    assert "agree with the rows" in said
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_a_changed_digit_in_the_published_rows_is_named_with_its_cell(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results / "published.csv"
    line = line_of(path, "mec,resnet50,imagenet-1k,800", "Table 3,", "voc07+12", "box_ap75")
    change(path, line, "64.5", "64.6")
    assert check(results, "--check") == 1
    said = capsys.readouterr().err
    table = line_of(results / "tables" / "detect.csv", "Table 3,", ",mec,", "voc07+12", "box_ap75")
    assert f"{results}/tables/detect.csv:{table}: published mec resnet50 800 detect voc07+12" in said
    assert "column value: the rows give '64.6', the file has '64.5'" in said
    assert f"from {path}:{line}, column value" in said


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [
        ("46", "47", "value"),
        (",13,", ",14,", "wall_s"),
        ("2 cores 8", "2 cores 9", "hardware"),
        ("0.1.0", "0.1.1", "code_version"),
        ("1000", "1001", "n"),
        (",40,", ",41,", "num_seeds"),  # one cell of two seeds becomes two cells
        ("resnet18", "resnet19", "num_seeds"),
    ],
)
def test_a_changed_digit_in_any_column_of_a_measured_row_is_named(
    results: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, column: str
) -> None:
    path = results / "measured" / "mini.csv"
    change(path, 3, old, new)
    assert check(results, "--check") == 1
    said = capsys.readouterr().err
    assert re.search(r"linear\.csv:\d+: measured mec .* linear mini val linear-cached-lars top1", said)
    assert f"column {column}" in said.split("from ")[0].replace("values", "value") or column in said
    assert f"{path}:3" in said


def test_a_digit_that_makes_a_row_unreadable_fails_the_check_and_names_the_cell(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(results / "measured" / "mini.csv", 2, "top1", "top9")
    assert check(results, "--check") == 1
    assert f"{results}/measured/mini.csv:2: metric: 'top9' is unknown" in capsys.readouterr().err
    assert check(results) == 2  # without --check nothing can be written


IN_TABLES = [
    (
        "linear.csv",
        "top1,mec,resnet50,imagenet-1k,100,",
        ",own,70.6,",
        ",own,70.7,",
        "column value: the rows give",
    ),
    (
        "linear.md",
        "| ours | MEC | **70.6",
        "74.5",
        "74.6",
        "column 6 (ours MEC): '**74.5** |' or '**74.6** |'",
    ),
    ("linear.tex", r"MEC & \textbf{70.6}", "74.5", "74.4", "column 5 (MEC"),
    ("semisup.md", "- Pre-training epochs: 800", "800", "801", "the rows give '- Pre-training epochs: 800"),
]


@pytest.mark.parametrize(("name", "word", "old", "new", "said"), IN_TABLES)
def test_a_changed_digit_in_a_table_is_named_with_its_cell(
    results: Path, capsys: pytest.CaptureFixture[str], name: str, word: str, old: str, new: str, said: str
) -> None:
    path = results / "tables" / name
    line = line_of(path, word, old)
    change(path, line, old, new)
    assert check(results, "--check") == 1
    error = capsys.readouterr().err
    assert f"{path}:{line}: " in error
    assert said in error


def test_a_changed_note_is_named_with_its_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / "notes.csv"
    line = line_of(path, "means of 5 runs")
    change(path, line, "5 runs", "6 runs")
    assert check(results, "--check") == 1
    said = capsys.readouterr().err
    assert "detect.md:" in said
    assert "6 runs" in said
    assert f"from {path}:{line}" in said


def test_missing_and_added_lines_are_named_with_the_rows_they_are_from(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results / "tables" / "linear.csv"
    original = path.read_text()
    lines = original.splitlines(keepends=True)
    path.write_text("".join([*lines[:5], *lines[6:]]))
    assert check(results, "--check") == 1
    assert f"{path}: line 6 is missing: published" in (said := capsys.readouterr().err)
    assert f"from {results}/published.csv:" in said
    path.write_text(original + lines[5].replace(",mec-linear,", ",mec-linear-2,"))
    assert check(results, "--check") == 1
    assert f"{path}:{len(lines) + 1}: published" in (said := capsys.readouterr().err)
    assert "no row gives this line" in said


def test_a_row_that_moves_to_another_table_is_named_as_the_likely_cause(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results / "published.csv"
    line = line_of(path, "mec-order-3", "Table 5(e), p. 8")
    change(path, line, "Table 5(e), p. 8", "Table 6(e), p. 8")
    assert check(results, "--check") == 1
    said = capsys.readouterr().err
    assert "ablations.csv" in said
    assert "no row gives this line" in said
    assert "perhaps from " in said
    assert f"{path}:{line} (column source: 'MEC (arXiv 2210.11464) Table 6(e), p. 8')" in said


def test_missing_and_foreign_files_are_differences(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "tables" / "extra.md").touch()
    assert check(results, "--check") == 1
    assert "extra.md: not a file of this project" in capsys.readouterr().err
    (results / "tables" / "extra.md").unlink()
    (results / "tables" / "knn.tex").unlink()
    assert check(results, "--check") == 1
    assert "knn.tex: missing" in capsys.readouterr().err


def test_unusable_rows_stop_the_command_and_write_nothing(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(results / "measured" / "mini.csv", 2, "45.2", "145.2")
    assert check(results, "--out", tmp_path / "other" / "tables") == 2
    assert "mini.csv:2: value: '145.2' lies outside 0..100 percent" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_collected_runs_give_the_same_tables(results: Path, tmp_path: Path) -> None:
    rows = read_rows(results / "measured" / "mini.csv")
    for row in rows:
        write_rows(tmp_path / "runs" / f"seed{row.seed}" / "results.csv", [row])
    assert main(["--collect", str(tmp_path / "runs"), "--into", str(tmp_path / "mini.csv")]) == 0
    assert read_rows(tmp_path / "mini.csv") == rows
    assert check(results, "--measured", tmp_path / "mini.csv", "--check") == 0
    assert check(results, "--measured", tmp_path / "runs", "--check") == 0
    with pytest.raises(SystemExit, match="2"):
        main(["--collect", str(tmp_path / "runs")])


def test_every_digit_of_a_measured_row_changes_the_tables(results: Path) -> None:
    """Or makes the row unreadable: none can be changed without the check failing."""
    path = results / "measured" / "mini.csv"
    original = path.read_text()
    start = original.index("\n") + 1
    for place in [i for i, character in enumerate(original) if i > start and character.isdigit()][::9]:
        digit = str((int(original[place]) + 1) % 10)
        path.write_text(original[:place] + digit + original[place + 1 :])
        assert check(results, "--check") == 1, original[place - 20 : place + 20]
