"""Cells become tables: what may stand in one column, what is bold, what is said beneath."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import replace
from pathlib import Path

import pytest

from transfer.report.aggregate import Cell, to_cells
from transfer.report.layout import PLANS, Note, read_notes
from transfer.report.marks import bold_in_line, bold_places, underlined_places
from transfer.report.render import render_all
from transfer.report.rows import METRICS, Row, read_rows
from transfer.report.shown import show
from transfer.report.tables import build_tables

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


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def line(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def test_every_table_has_three_forms_and_they_are_always_the_same_files() -> None:
    names = {f"{name}.{form}" for name in PLANS for form in ("csv", "md", "tex")}
    assert set(render([])) == set(render([MEC])) == names


def test_no_order_of_the_rows_changes_a_byte() -> None:
    measured = [
        of(row, metric, 10.0 + seed, seed=seed)
        for row in (MEC, RANDOM)
        for metric in ("top1", "top5")
        for seed in (0, 1)
    ]
    measured += [imagenet(), imagenet(backbone_sha256="12" * 32), imagenet(protocol="mec-code-linear")]
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
    assert line(measured, "| *MEC*").endswith("| ***45.2 [42.1, 48.3]*** |")
    assert line(measured, "| *Random init.*").endswith("| *30.1 [27.3, 33.0]* |")
    assert "All lines: network resnet18, backend torch, selection last, seeds 0." in measured


def imagenet(**changes: object) -> Row:
    same = {"dataset": "imagenet-1k", "protocol": "mec-linear", "arch": "resnet50", "pretrain_epochs": "100"}
    return replace(MEC, **{**same, "value": 71.2, "n": 50_000, **changes})  # type: ignore[arg-type]


def test_a_measured_row_joins_the_published_column_only_on_the_same_question() -> None:
    text = render([imagenet()])["linear.md"].split("## MEC's Table 6")[0]
    assert line(text, "| measured | *MEC (a)*").endswith(
        "| *71.2 [70.8, 71.6] (+0.6)* |  |  |  |"
    )  # 71.2 - 70.6
    assert "| **70.6** | **71.9**" in line(text, "| ours | MEC")  # the marks are the paper's
    assert "a: measured with this repository; network resnet50, data mini, epochs 100" in text
    for change in (
        {"split": "test"},
        {"protocol": "linear-sgd"},
        {"dataset": "in"},
        {"pretrain_epochs": "16"},
    ):
        apart = render([imagenet(**change)])["linear.md"]
        assert "## Measured: " in apart
        assert "71.2" not in apart.split("## Measured: ")[0]


def test_a_backbone_that_two_backends_scored_in_other_columns_has_one_line() -> None:
    """VOC's columns are scored by detectron2, COCO's by another evaluator."""
    detect = replace(MEC, task="detect", arch="resnet50", pretrain_epochs="800", selection="best-val")
    voc = {"dataset": "voc07", "split": "test", "protocol": "mec-faster-rcnn-c4", "backend": "detectron2"}
    coco = {"dataset": "coco2017", "protocol": "mec-mask-rcnn-c4-1x", "backend": "detectron2, hotcoco"}
    rows = [of(detect, "box_ap", 48.1, **voc), of(detect, "box_ap", 39.6, **coco)]
    text = render(rows)["detect.md"]
    (measured,) = [row for row in text.splitlines() if row.startswith("| measured ")]
    assert [cell for cell in measured.split(" | ") if "." in cell] == ["*48.1 (-0.2)*", "*39.6 (-0.2)*"]
    assert "backend detectron2 (VOC07) and detectron2, hotcoco (COCO), selection best-val" in text
    assert render(rows[::-1])["detect.md"] == text
    twice = [*rows, of(detect, "box_ap", 39.5, **{**coco, "backend": "detectron2"})]
    text = render(twice)["detect.md"]
    assert [row.split(" | ")[1] for row in text.splitlines() if "(-0." in row] == ["*MEC (a)*", "*MEC (b)*"]
    assert "backend detectron2, selection" in text


def test_a_measured_row_of_a_published_protocol_says_how_it_reads_what_that_leaves_open() -> None:
    text = render([imagenet(value=70.1)])["linear.md"]
    assert line(text, "| measured | *MEC (a)*").endswith("| *70.1 [69.7, 70.5] (-0.5)* |  |  |  |")
    assert "mec-linear read as: base learning rate 0.03 and batch normalisation" in text
    assert "read as" not in render([])["linear.md"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "57.3 (+0.3, outside ±0.2)"),  # MoCo's README: 57.0 ± 0.2
        ({"value": 56.9}, "56.9 (-0.1, inside ±0.2)"),
        ({"value": 56.8}, "56.8 (-0.2, inside ±0.2)"),  # at the border
        ({"arch": "resnet18"}, "57.3"),  # another network repeats nothing
        ({"pretrain_epochs": "400"}, "57.3"),  # nor does another length
        ({"method": "mec"}, "57.3"),  # nor another method
        ({"selection": "best-test"}, "57.3† (+0.3, outside ±0.2)"),
    ],
)
def test_a_measured_number_shows_its_difference_and_whether_it_is_inside_the_published_spread(
    changes: dict[str, object], text: str
) -> None:
    measured = of(
        *(imagenet(), "box_ap", 57.3),
        **{"method": "moco-v2", "task": "detect", "dataset": "voc07+12", "split": "test", "n": 4952},
        **{"protocol": "moco-faster-rcnn-c4-24k", "backend": "detectron2", "pretrain_epochs": "200"},
    )
    files = render([replace(measured, **changes)])  # type: ignore[arg-type]
    shown = line(files["detect.md"].split("## MoCo README")[1].split("\n## ")[0], "| measured |")
    assert f"| *{text}* |" in shown
    (cells,) = [
        cells
        for cells in read_csv(files["detect.csv"])
        if cells["origin"] == "measured" and cells["section"].startswith("MoCo README")
    ]
    assert (cells["published_value"], cells["published_std"]) == (("57", "0.2") if "(" in text else ("", ""))
    assert cells["inside_std"] == ("true" if "inside" in text else "false" if "outside" in text else "")


def test_a_measured_layer_stands_in_its_place_of_the_cell_of_both_layers() -> None:
    track = {"task": "mot", "dataset": "mot16", "split": "train", "n": 7, "backend": "unitrack"}
    layer3 = of(imagenet(), "idf1", 72.4, protocol="unitrack-layer3", **track)
    layer4 = of(imagenet(), "idf1", 75.5, protocol="unitrack-layer4", **track)
    for rows, text in (
        ([layer3, layer4], "72.4 (-0.3) / 75.5 (+0.5)"),  # MEC's Table 4: 72.7 / 75.0
        ([layer4], "– / 75.5 (+0.5)"),
        ([layer3], "72.4 (-0.3) / –"),
    ):
        assert f"| *{text}* |" in line(render(rows)["tracking.md"], "| measured | *MEC (a)*")


def test_a_cell_with_fewer_seeds_than_others_is_marked_and_the_mark_explained() -> None:
    rows = [MEC, replace(MEC, seed=1, value=46.0), RANDOM]
    text = render(rows)["linear.md"].split("## Measured: ")[1]
    assert line(text, "| *Random init.*").endswith("| *30.1 [27.3, 33.0]‡* |")
    assert "- ‡: fewer seeds than other lines of the column." in text


def test_ranks_follow_the_direction_and_ties_at_the_precision_shown() -> None:
    def column(metric: str, *values: float) -> dict[tuple[int, int], Cell]:
        rows = [of(MEC, metric, value, backbone_sha256=f"{i:064}") for i, value in enumerate(values)]
        return {(i, 0): cell for i, cell in enumerate(to_cells([], rows))}

    switches = column("id_switches", 12.0, 40.0, 13.0)
    assert bold_places(switches, "best", 1) == {(0, 0)}
    assert underlined_places(switches, "second", 1) == {(2, 0)}
    tied = column("top1", 30.14, 30.06, 20.0, 10.0)
    assert bold_places(tied, "best", 1) == {(0, 0), (1, 0)}
    assert underlined_places(tied, "second", 1) == set()  # two are first, so the next is third
    assert underlined_places(tied, "top two", 1) == {(0, 0), (1, 0)}
    assert bold_places(column("top1", 50.0, 49.8, 49.7), "near", 1) == {(0, 0), (1, 0)}
    assert bold_places(column("top1", 50.0), "best", 1) == set()  # nothing to be better than
    assert (
        underlined_places(column("top1", 50.0, 40.0), "second", 1) == set()
    )  # the second of two is the last
    assert bold_in_line(column("top1", 50.0, 60.0), 1) == {(1, 0)}


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
        r"| *failed: RuntimeError: a \| b\_c \& 50 % xxxxxxxxxx…* |  |"
    )
    failed = r"\textit{failed: RuntimeError: a \textbar{} b\_c \& 50 \% xxxxxxxxxx\dots{}} &  \\"
    assert failed in files["linear.tex"]
    statuses = [cells["status"] for cells in read_csv(files["linear.csv"])]
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
