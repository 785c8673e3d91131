"""tools/make_tables.py --compare: which numbers changed beyond noise, and the exit status that says so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from report_rows import MEC, of

from transfer.report.compare import compare_files, exit_status, render_changes
from transfer.report.items import Items, items_path, name_items, write_items
from transfer.report.rows import Row, write_rows

COMMAND = Path(__file__).resolve().parent.parent / "tools" / "make_tables.py"
BIG = replace(MEC, n=1000)
BOX = of(MEC, "box_ap", 20.0, task="detect", protocol="mask-rcnn-r18-fpn-mini", backend="detectron2")
PAPER = replace(
    MEC, reported="own", backbone_sha256="", config_sha256="", code_version="", seed=None, source="a paper"
)


def verdict(old: Sequence[Row], new: Sequence[Row], folder: Path) -> tuple[str, int]:
    """Of the only number, with the exit status."""
    write_rows(folder / "a.csv", old)
    write_rows(folder / "b.csv", new)
    changes = compare_files(folder / "a.csv", folder / "b.csv")
    (change,) = changes
    return change.verdict, exit_status(changes)


def seeds(row: Row, *values: float) -> list[Row]:
    return [replace(row, seed=seed, value=value) for seed, value in enumerate(values)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([BIG], [replace(BIG, code_version="0.2.0", hardware="GPU", wall_s=9.9)], ("unchanged", 0)),
        ([BIG], [replace(BIG, value=42.0)], ("within noise", 0)),  # two shares of 1000: ± 4.3
        ([BIG], [replace(BIG, value=45.0)], ("beyond noise", 1)),
        (seeds(BIG, 40.0, 42.0, 47.0), seeds(BIG, 41.0, 43.1, 48.0), ("beyond noise", 1)),  # +1.03 ± 0.14
        (seeds(BIG, 40.0, 42.0, 47.0), seeds(BIG, 41.0, 39.0, 49.0), ("within noise", 0)),
        (seeds(BIG, 40.0, 40.0, 40.0), seeds(BIG, 40.5, 40.5, 40.5), ("within noise", 0)),  # kNN
        ([BOX], [replace(BOX, value=20.1)], ("changed, no spread known", 1)),
        (seeds(BOX, 20.0, 20.2), seeds(BOX, 20.1, 20.0), ("within noise", 0)),
        ([BOX], [replace(BOX, value=None, status="failed: x")], ("has no number now", 1)),
        ([BOX], [replace(BOX, value=None, split="", status="failed: x")], ("has no number now", 1)),
        ([replace(BOX, value=None, split="", status="failed: x")], [BOX], ("has a number now", 0)),
        ([BOX], [], ("only in A", 0)),
        ([], [BOX], ("only in B", 0)),
        ([BIG], [replace(BIG, value=41.0, backbone_sha256="99" * 32)], ("within noise", 0)),
        ([PAPER], [replace(PAPER, value=40.1)], ("changed, no spread known", 1)),
        ([replace(PAPER, hardware="8 GPUs")], [PAPER], ("unchanged", 0)),
    ],
)
def test_a_change_is_judged_by_what_is_known(
    old: list[Row], new: list[Row], expected: tuple[str, int], tmp_path: Path
) -> None:
    assert verdict(old, new, tmp_path) == expected


def test_common_images_show_a_change_that_two_shares_hide(tmp_path: Path) -> None:
    better = replace(BIG, value=41.0)
    assert verdict([BIG], [better], tmp_path) == ("within noise", 0)
    names = [str(i) for i in range(1000)]
    for name, row, hits in (("a", BIG, 400), ("b", better, 410)):
        items = name_items(names, [1] * hits + [0] * (1000 - hits))
        write_items(items_path(tmp_path / f"{name}.csv"), [(row, items)])
    (change,) = compare_files(tmp_path / "a.csv", tmp_path / "b.csv")
    assert (change.verdict, change.comparison and change.comparison.test) == (
        *("beyond noise", "McNemar, 1000 items"),
    )
    write_items(items_path(tmp_path / "b.csv"), [(better, Items(items.values, "0" * 64))])  # other images
    (change,) = compare_files(tmp_path / "a.csv", tmp_path / "b.csv")
    assert change.verdict == "within noise"


def test_another_backbone_file_is_matched_where_there_is_one_on_each_side(tmp_path: Path) -> None:
    first, second, third = (replace(BIG, backbone_sha256=f"{i}{i}" * 32) for i in (1, 2, 3))
    write_rows(tmp_path / "a.csv", [BIG, first])
    write_rows(tmp_path / "b.csv", [replace(BIG, value=60.0), second])
    found = compare_files(tmp_path / "a.csv", tmp_path / "b.csv")
    assert [change.verdict for change in found] == ["beyond noise", "unchanged"]
    assert found[1].remark == "other backbone file"
    write_rows(tmp_path / "b.csv", [BIG, second, third])
    found = compare_files(tmp_path / "a.csv", tmp_path / "b.csv")
    assert [change.verdict for change in found] == ["only in A", "only in B", "only in B", "unchanged"]


def compare(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(COMMAND), "--compare", *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_prints_a_table_and_exits_by_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    write_rows(old, [BIG, BOX, of(BIG, "top5", 90.0)])
    write_rows(
        new, [replace(BIG, value=45.0), of(BIG, "top5", 90.0, config_sha256="0" * 64), replace(BOX, seed=1)]
    )
    done = compare(old, new)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"A: {old}", f"B: {new}"]
    assert len({len(line) for line in lines if line.startswith("|")}) == 1  # aligned
    (top1,) = [line for line in lines if "top-1" in line]
    cells = [cell.strip() for cell in top1.strip("|").split(" | ")]
    assert cells[:4] == [
        "mec resnet18 mini 40 abababab linear mini val linear-cached-lars top-1 last",
        *("40", "45", "+5"),
    ]
    assert cells[4].endswith("] Wilson, 1000 and 1000 items unpaired")
    assert cells[5].strip() == "beyond noise"
    assert "3 numbers: 1 beyond noise, 2 unchanged." in lines
    assert "Of 1 compared numbers, 0.1 fall beyond a 95 % interval by chance alone." in lines
    assert compare(old, old).returncode == 0
    assert "3 numbers: 3 unchanged." in compare(old, old).stdout


def test_input_that_cannot_be_read_is_status_2(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    write_rows(good, [BIG])
    bad.write_text(good.read_text().replace("40,percent", "140,percent"))
    for words, message in (
        ((good, bad), "bad.csv:2: "),
        ((good, tmp_path / "absent.csv"), "absent.csv"),
        ((tmp_path, good), str(tmp_path)),
    ):
        done = compare(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_help_explains_with_examples() -> None:
    done = subprocess.run(
        [sys.executable, str(COMMAND), "--help"], capture_output=True, text=True, check=True
    )
    assert "tools/make_tables.py --compare old.csv results/measured/mini.csv" in done.stdout


def test_text_of_files_cannot_break_the_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [replace(BIG, method="a|b\nc")])
    write_rows(tmp_path / "b.csv", [])
    text = render_changes(compare_files(tmp_path / "a.csv", tmp_path / "b.csv"), ("a", "b"))
    assert r"| a\|b c resnet18" in text


def test_no_order_of_the_rows_changes_the_output(tmp_path: Path) -> None:
    rows = [BIG, BOX, of(BIG, "top5", 90.0), *seeds(replace(BIG, method="swav"), 1.0, 2.0, 4.0)]
    texts = set()
    for ordered in (rows, rows[::-1], rows[3:] + rows[:3]):
        write_rows(tmp_path / "a.csv", ordered)
        write_rows(tmp_path / "b.csv", [replace(BIG, value=50.0), replace(BOX, value=3.0)])
        texts.add(render_changes(compare_files(tmp_path / "a.csv", tmp_path / "b.csv"), ("a", "b")))
    assert len(texts) == 1
