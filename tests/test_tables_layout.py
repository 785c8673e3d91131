"""Cells become tables: what may stand in one column, what is bold, what is said beneath."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import replace
from pathlib import Path

import pytest

from transfer.report.aggregate import to_cells
from transfer.report.layout import PLANS, Note, read_notes
from transfer.report.render import render_all
from transfer.report.rows import METRICS, Row, read_rows
from transfer.report.tables import best_cells, build_tables, show

PUBLISHED = list(read_rows(Path(__file__).resolve().parent.parent / "results" / "published.csv"))
MEC = Row(
    *("mec", "resnet18", "mini", "40", "ab" * 32, "online", "linear", "mini", "val", "linear-cached-lars"),
    *("torch", "top1", 45.2, "percent", True, 0, 1000, "last", "ok", "python -m transfer linear c.yaml"),
    *("cd" * 32, "0.1.0", "2 cores", 12.0),
)
RANDOM = replace(
    MEC,
    method="random",
    pretrain_data="none",
    pretrain_epochs="random",
    backbone_sha256="ef" * 32,
    branch="",
    value=30.1,
)


def render(measured: list[Row], notes: tuple[Note, ...] = ()) -> dict[str, str]:
    return render_all(build_tables(to_cells(PUBLISHED, measured), notes))


def of(row: Row, metric: str, value: float | None, **changes: object) -> Row:
    kind = METRICS[metric]
    changes |= {
        "metric": metric,
        "value": value,
        "unit": kind.unit,
        "higher_is_better": kind.higher_is_better,
    }
    return replace(row, **changes)  # type: ignore[arg-type]


def line(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def test_every_table_has_three_forms_and_they_are_always_the_same_files() -> None:
    names = {f"{name}.{form}" for name in PLANS for form in ("csv", "md", "tex")}
    assert set(render([])) == set(render([MEC])) == names


def test_published_linear_table_is_laid_out_as_in_the_paper() -> None:
    assert line(render([])["linear.md"], "| MEC") == (
        "| MEC | resnet50 | imagenet-1k | [1] | **70.6** | **71.9** | **73.5** | **74.5** |"
    )


def test_all_published_rows_stand_in_the_csv_tables() -> None:
    files = render([])
    tables = ("linear", "semisup", "detect", "tracking")
    assert sum(len(files[f"{name}.csv"].splitlines()) - 1 for name in tables) == len(PUBLISHED)


def test_no_order_of_the_rows_changes_a_byte() -> None:
    measured = [
        of(row, metric, 10.0 + seed, seed=seed)
        for row in (MEC, RANDOM)
        for metric in ("top1", "top5")
        for seed in (0, 1)
    ]
    expected = render(measured)
    for seed in range(3):
        shuffle = random.Random(seed).sample
        published = shuffle(PUBLISHED, len(PUBLISHED))
        assert render_all(build_tables(to_cells(published, shuffle(measured, len(measured))), ())) == expected
    assert render([replace(measured[0], value=10.5), *measured[1:]]) != expected


def test_measured_rows_of_another_set_stand_apart_and_the_table_says_why() -> None:
    note = Note("*", "mini", "Small budget: 5 minutes.")
    text = render([MEC, RANDOM], (note,))["linear.md"]
    published, measured = text.split("## Measured: mini, split val, protocol linear-cached-lars")
    assert "45.2" not in published
    assert "not comparable with published ones" in measured
    assert "Small budget: 5 minutes." in measured
    assert "Hardware: 2 cores. One run took 12 s." in measured
    assert line(measured, "| *MEC*").endswith("| **45.2 [42.1, 48.3]** |")
    assert line(measured, "| *Random init.*").endswith("| 30.1 [27.3, 33.0] |")


def test_a_measured_row_joins_the_published_column_only_on_the_same_question() -> None:
    same = replace(
        MEC, dataset="imagenet-1k", protocol="mec-linear", pretrain_epochs="100", value=71.2, n=50_000
    )
    text = render([same])["linear.md"]
    assert line(text, "| *MEC*").endswith("| **71.2 [70.8, 71.6]** |  |  |  |")
    assert "| 70.6 | **71.9**" in line(text, "| MEC")  # no longer the best of its column
    for other in (
        replace(same, split="test"),
        replace(same, protocol="linear-sgd"),
        replace(same, dataset="in"),
    ):
        apart = render([other])["linear.md"]
        assert "## Measured: " in apart
        assert "| **70.6** |" in line(apart, "| MEC")


def test_best_follows_the_direction_and_includes_ties_as_shown() -> None:
    sot = {"task": "mot", "dataset": "mini"}
    switches = to_cells([], [of(MEC, "id_switches", 12.0, **sot), of(RANDOM, "id_switches", 40.0, **sot)])
    assert {cell.line.method for cell in best_cells(switches)} == {"mec"}
    tied = to_cells([], [replace(MEC, value=30.14), replace(RANDOM, value=30.06)])
    assert {cell.line.method for cell in best_cells(tied)} == {"mec", "random"}
    assert best_cells(to_cells([], [MEC])) == set()  # one line has no best


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([replace(MEC, n=None)], "45.2"),
        ([MEC], "45.2 [42.1, 48.3]"),
        ([replace(MEC, value=40.0), replace(MEC, value=44.0, seed=1)], "42.0 ± 2.8"),  # sqrt(8)
        ([of(MEC, "id_switches", 6665.0)], "6665"),
        ([of(MEC, "mota", -0.01)], "0.0"),
        ([replace(MEC, value=None, status="failed: loss is NaN")], "failed: loss is NaN"),
        ([replace(MEC, value=None, status="failed: " + "x" * 99)], "failed: " + "x" * 39 + "…"),
        ([MEC, replace(MEC, seed=1, value=None, status="failed: x")], "failed: x (1 of 2 seeds)"),
    ],
)
def test_cells_are_shown_in_a_fixed_form(rows: list[Row], text: str) -> None:
    (cell,) = to_cells([], rows)
    assert show(cell) == text


def test_failed_and_missing_are_told_apart_and_the_csv_has_the_whole_reason() -> None:
    reason = "failed: RuntimeError: a | b_c & 50 % " + "x" * 60
    files = render([MEC, of(MEC, "top5", 75.0), replace(RANDOM, value=None, split="", status=reason)])
    assert line(files["linear.md"], "| *Random init.*").endswith(
        r"| failed: RuntimeError: a \| b\_c & 50 % xxxxxxxxxx… |  |"
    )
    assert r"failed: RuntimeError: a | b\_c \& 50 \% xxxxxxxxxx\dots{} &  \\" in files["linear.tex"]
    statuses = [cells["status"] for cells in csv.DictReader(io.StringIO(files["linear.csv"]))]
    assert statuses.count(reason) == 1


def test_latex_lines_have_one_cell_a_column_and_braces_balance() -> None:
    for name, text in render([MEC, RANDOM]).items():
        if not name.endswith(".tex"):
            continue
        assert text.count("{") == text.count("}")
        width = 0
        for text_line in text.splitlines():
            if text_line.startswith(r"\begin{tabular}"):
                width = len(text_line.rsplit("{", 1)[1].rstrip("}"))
            elif text_line.endswith(r"\\") and "multicolumn" not in text_line:
                assert text_line.replace(r"\&", "").count("&") == width - 1, text_line


def test_a_task_that_no_table_shows_is_refused() -> None:
    with pytest.raises(ValueError, match="no table shows task depth"):
        render([replace(MEC, task="depth")])


def test_notes_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("task,dataset,note\n*,mini,Small.\n")
    assert read_notes(path) == [Note("*", "mini", "Small.")]
    for text, place in (("task,note\n", ":1:"), ("task,dataset,note\n*,mini,A.\ndepth,mini,B.\n", ":3:")):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"notes\.csv{place} expected"):
            read_notes(path)
