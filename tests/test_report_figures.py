"""Figures show the cells' numbers, leave gaps where there are none, and keep every text a text."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from figure_scene import (
    curve,
    lines,
    measured_row,
    parse,
    positions,
    published_cells,
    read_value,
    texts,
    ticks,
)

from transfer.report.aggregate import Cell, to_cells
from transfer.report.curves import DERIVED, OBJECTIVE, CurvePoint
from transfer.report.figures.curves import draw_curves
from transfer.report.figures.draw import draw_figures
from transfer.report.figures.intervals import MAIN, build_panels, draw_intervals
from transfer.report.figures.names import cell_id, label_lines
from transfer.report.figures.output import to_svg
from transfer.report.figures.radar import draw_radar
from transfer.report.figures.spokes import AXES, build_spokes
from transfer.report.figures.studies import draw_ablations, draw_epochs
from transfer.report.variants import VARIANTS

NEAR = 0.02  # of a tick step: SVG coordinates have two decimals
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return published_cells()


def radar_svg(cells: list[Cell]) -> str:
    sheet = draw_radar(cells)
    assert sheet is not None
    return to_svg(sheet.figure)


def curves_svg(name: str, points: list[CurvePoint]) -> str:
    sheet = draw_curves(name, points)
    assert sheet is not None
    return to_svg(sheet.figure)


def without(cells: list[Cell], method: str, dataset: str) -> list[Cell]:
    return [c for c in cells if (c.line.method, c.column.dataset) != (method, dataset)]


# ------------------------------------------------------------------------------------------ radar


def test_radar_numbers_are_those_of_the_papers_tables(cells: list[Cell]) -> None:
    spokes = {spoke.axis.name: spoke for spoke in build_spokes(cells)}
    image = {name: spokes[name].values["mec"] for name in ("LIN", "SEMI", "VOC", "COCO", "SEG")}
    assert image == {"LIN": 74.5, "SEMI": 55.9, "VOC": 57.5, "COCO": 39.8, "SEG": 34.7}
    # Ranks by the better of both layers, from Table 4: three methods beat MEC on J mean (62.6, 62.3, 62.3
    # against 62.0) and on MOT IDF1 (75.6, 75.6, 75.3 against 75.0), one on PoseTrack (74.3 against 74.1).
    video = {name: spokes[name].values["mec"] for name in ("SOT", "VOS", "MOT", "MOTS", "POSE")}
    assert video == {"SOT": 1, "VOS": 4, "MOT": 4, "MOTS": 1, "POSE": 2}
    assert {spoke.low for spoke in spokes.values() if spoke.axis.by_rank} == {13}


def test_radar_places_agree_with_the_numbers(cells: list[Cell]) -> None:
    found = positions(radar_svg(cells))
    centre = (470 / 2, 58 + 335 / 2 - 6)
    for spoke in build_spokes(cells):
        x, y = found[f"radar-mec-{spoke.axis.name.lower()}"]
        share = spoke.share("mec")
        assert share is not None
        assert math.hypot(x - centre[0], y - centre[1]) == pytest.approx(118 * share, abs=0.02)


def test_radar_leaves_a_gap_where_a_number_is_missing(cells: list[Cell]) -> None:
    """MoCo v2 has no semi-supervised number: its outline is one open line from VOC round to LIN."""
    svg = radar_svg(cells)
    assert "small-moco-v2-semi" not in positions(svg)
    edges = {name: at for name, at in lines(svg).items() if name.startswith("small-moco-v2-edge")}
    assert [len(corners) for corners in edges.values()] == [len(AXES) - 1]
    (outline,) = edges.values()
    assert outline[0] != outline[-1]


def test_radar_outline_closes_when_nothing_is_missing(cells: list[Cell]) -> None:
    (outline,) = (at for name, at in lines(radar_svg(cells)).items() if name == "small-simclr-edge0")
    assert (len(outline), outline[0]) == (len(AXES) + 1, outline[-1])


def test_radar_splits_a_line_at_two_gaps(cells: list[Cell]) -> None:
    """Negative control: BYOL has all ten numbers; without VOC and MOT its outline is two open lines."""
    svg = radar_svg(without(without(cells, "byol", "voc07+12"), "byol", "mot16"))
    edges = [at for name, at in lines(svg).items() if name.startswith("small-byol-edge")]
    assert sorted(len(at) for at in edges) == [4, 4]
    assert "no VOC, MOT" in texts(svg)


def test_radar_draws_no_method_with_two_image_axes(cells: list[Cell]) -> None:
    svg = radar_svg(without(cells, "moco-v2", "coco2017"))
    assert not any(name.startswith("small-moco-v2") for name in positions(svg))
    assert any(text.startswith("Not drawn: ") and "MoCo v2" in text for text in texts(svg))


def test_radar_without_mec_is_none(cells: list[Cell]) -> None:
    assert draw_radar([c for c in cells if c.line.method != "mec"]) is None


def test_radar_ignores_numbers_of_other_sources(cells: list[Cell]) -> None:
    """The leaderboard's 1 % number of MEC is another one (44.442)."""
    (semi,) = (spoke for spoke in build_spokes(cells) if spoke.axis.name == "SEMI")
    assert semi.values["mec"] == 55.9


# ------------------------------------------------------------------------------------------ intervals


def test_every_point_of_the_interval_plots_stands_at_its_value(cells: list[Cell]) -> None:
    measured = [measured_row(v, seed=s) for s, v in enumerate((45.0, 46.0, 48.0))]
    everything = [*cells, *to_cells([], [*measured, measured_row(30.0, method="random")])]
    sheets = draw_intervals(everything)
    assert set(sheets) == {f"intervals-{task}" for task in MAIN if task in {c.column.task for c in cells}}
    checked = 0
    for task, groups in MAIN.items():
        if f"intervals-{task}" not in sheets:
            continue  # nothing was published or measured yet
        svg = to_svg(sheets[f"intervals-{task}"].figure)
        found = positions(svg)
        for panel in build_panels([c for c in everything if c.column.task == task], groups):
            scale = ticks(svg, cell_id(panel.cells[0]))
            step = (max(scale) - min(scale)) / (len(scale) - 1)
            for cell in panel.cells:
                if cell_id(cell) in found:
                    shown = read_value(scale, found[cell_id(cell)][0])
                    assert shown == pytest.approx(cell.value, abs=NEAR * step)
                    checked += 1
                else:
                    assert f"{cell_id(cell)}-off" in found
                    assert cell.line.method in ("random", "supervised")
    assert checked > 350


def test_whiskers_end_where_the_interval_ends() -> None:
    (cell,) = to_cells([], [measured_row(v, seed=s) for s, v in enumerate((45.0, 46.0, 48.0))])
    svg = to_svg(draw_intervals([cell])["intervals-linear"].figure)
    (low, _), (high, _) = lines(svg)[f"{cell_id(cell)}-interval"]
    scale = ticks(svg, cell_id(cell))
    assert cell.spread is not None
    assert read_value(scale, low) == pytest.approx(cell.spread.low, abs=0.05)
    assert read_value(scale, high) == pytest.approx(cell.spread.high, abs=0.05)
    assert any("t interval over seeds" in text for text in texts(svg))


def test_a_number_without_interval_has_no_whisker() -> None:
    row = measured_row(45.0, n=None, task="detect", metric="box_ap", dataset="coco200")
    (cell,) = to_cells([], [row])
    svg = to_svg(draw_intervals([cell])["intervals-detect"].figure)
    assert cell_id(cell) in positions(svg)
    assert f"{cell_id(cell)}-interval" not in lines(svg)


def test_a_failed_number_is_marked_with_its_reason() -> None:
    rows = [measured_row(45.0), measured_row(None, method="byol", status="failed: out of memory")]
    drawn = to_cells([], rows)
    svg = to_svg(draw_intervals(drawn)["intervals-linear"].figure)
    failed = next(cell for cell in drawn if cell.value is None)
    assert f"{cell_id(failed)}-failed" in positions(svg)
    assert "failed: out of memory" in texts(svg)


def test_a_panel_of_failures_alone_has_no_axis() -> None:
    (cell,) = to_cells([], [measured_row(None, status="not-run: no data")])
    svg = to_svg(draw_intervals([cell])["intervals-linear"].figure)
    assert (ticks(svg, cell_id(cell)), "not-run: no data" in texts(svg)) == ({}, True)


def test_every_line_of_a_panel_has_a_label_of_its_own(cells: list[Cell]) -> None:
    for task, groups in MAIN.items():
        for panel in build_panels([c for c in cells if c.column.task == task], groups):
            labels = label_lines(panel.cells)
            assert len(set(labels)) == len(labels), panel.subtitle


def test_numbers_of_different_protocols_never_share_a_panel(cells: list[Cell]) -> None:
    for task, groups in MAIN.items():
        for panel in build_panels([c for c in cells if c.column.task == task], groups):
            assert len({cell.column for cell in panel.cells}) == 1


# ------------------------------------------------------------------------------------------ studies


@pytest.mark.parametrize("draw", [draw_epochs, draw_ablations])
def test_points_of_the_studies_stand_at_their_values(cells: list[Cell], draw: object) -> None:
    sheet = draw(cells)  # type: ignore[operator]
    svg = to_svg(sheet.figure)
    found, by_id = positions(svg), {cell_id(cell): cell for cell in cells}
    panels = {name.split("-", 1)[1].rsplit("-", 1)[0] for name in lines(svg) if name.startswith("tick-")}
    groups: dict[tuple[object, str], str] = {(by_id[p].column, by_id[p].line.source): p for p in panels}
    drawn = [by_id[name] for name in found if name in by_id]
    assert len(drawn) == (28 + 4 if draw is draw_epochs else 5 + 4 + 4 + 5 + 2 * 5)
    for cell in drawn:
        scale = ticks(svg, groups[cell.column, cell.line.source])
        shown = read_value(scale, found[cell_id(cell)][1])
        assert shown == pytest.approx(cell.value, abs=NEAR * (max(scale) - min(scale)))


def test_ablations_lie_in_the_order_of_the_setting(cells: list[Cell]) -> None:
    sheet = draw_ablations(cells)
    assert sheet is not None
    found = positions(to_svg(sheet.figure))
    order = [c for c in cells if c.line.method.startswith("mec-order-") and c.column.metric == "top1"]
    places = sorted((found[cell_id(c)][0], VARIANTS[c.line.method].value) for c in order)
    assert [setting for _, setting in places] == [1, 2, 3, 4, 5]


def test_seeds_of_one_setting_are_no_ablation(cells: list[Cell]) -> None:
    order = [c for c in cells if c.line.method.startswith("mec-order-") and c.column.metric == "top1"]
    assert draw_ablations(order) is not None
    again = [replace(c, line=replace(c.line, backbone_sha256="f" * 64)) for c in order]
    assert draw_ablations([*order, *again]) is None


def test_one_length_alone_is_no_line(cells: list[Cell]) -> None:
    assert draw_epochs([c for c in cells if c.line.pretrain_epochs == "800"]) is None


# ------------------------------------------------------------------------------------------ curves


def test_curves_pass_through_their_points() -> None:
    points = [*curve("loss", -0.1, -0.5, -0.7), *curve("spectral_norm", 0.2, 0.6, 0.9)]
    svg = curves_svg("mini", points)
    for metric, values in (("loss", (-0.1, -0.5, -0.7)), ("spectral_norm", (0.2, 0.6, 0.9))):
        scale = ticks(svg, metric)
        shown = [read_value(scale, y) for _, y in lines(svg)[f"{metric}-0"]]
        assert shown == pytest.approx(values, abs=0.005)
    assert "not measured for this run" in texts(svg)  # kNN and coding length


def test_curves_of_several_runs_are_named() -> None:
    points = [*curve("loss", -0.1, -0.5, run="order 1"), *curve("loss", -0.2, -0.5, run="order 4")]
    svg = curves_svg("orders", points)
    assert {"order 1", "order 4"} <= set(texts(svg))
    assert {"loss-0", "loss-1"} <= set(lines(svg))


def said(points: list[CurvePoint], source: str) -> list[CurvePoint]:
    return [replace(point, source=source) for point in points]


@pytest.mark.parametrize(
    ("points", "subtitle"),
    [
        (said(curve("coding_length", 1.0), DERIVED + "a log"), "nats per batch, by the series trained with"),
        (curve("coding_length", 1.0), "nats per batch, Eq. 1 of one view at the final λ"),
        (
            [
                *curve("coding_length", 1.0),
                *said(curve("coding_length", 1.0, run="old"), DERIVED + "a log"),
            ],
            "nats per batch, by two definitions",
        ),
        (curve("loss", -0.5), "minus the coding length, scaled"),
        (said(curve("loss", 9.0), f"a log{OBJECTIVE}vicreg"), "of the objective trained with"),
    ],
)
def test_curves_say_which_definition_they_show(points: list[CurvePoint], subtitle: str) -> None:
    kind = {"coding_length": "nats per batch", "loss": "minus|of the objective"}[points[0].metric]
    (found,) = [text for text in texts(curves_svg("mini", points)) if re.match(kind, text)]
    assert found.startswith(subtitle)


def test_online_knn_is_drawn_where_no_checkpoint_was_evaluated() -> None:
    online, checkpoints = curve("online_knn_top1", 20.0, 30.0), curve("knn_top1", 25.0, 35.0)
    svg = curves_svg("mini", online)
    assert "kNN while training" in texts(svg)
    assert "online_knn_top1-0-124" in positions(svg)
    svg = curves_svg("mini", [*online, *checkpoints])
    assert "kNN while training" not in texts(svg)
    assert {name for name in positions(svg) if "knn" in name} == {"knn_top1-0-62", "knn_top1-0-124"}


# ------------------------------------------------------------------------------------------ text


@pytest.mark.parametrize(
    "name", [HOSTILE, "$x^2$", "50%_a&b", r"\frac{1}{2}", "a -- > b", "方法", "a\nb\x07"]
)
def test_any_method_name_stays_text(name: str) -> None:
    drawn = to_cells([], [measured_row(45.0, method=name), measured_row(44.0)])
    svg = to_svg(draw_intervals(drawn)["intervals-linear"].figure)
    names = {element.tag.rpartition("}")[2] for element in parse(svg).iter()}
    assert names <= {"svg", "g", "path", "use", "defs", "style", "text"}
    assert name.replace("\n", " ").replace("\x07", " ") in texts(svg)
    assert "<script" not in svg


def test_a_hostile_run_or_file_name_stays_text() -> None:
    svg = curves_svg(HOSTILE + '"', curve("loss", 1.0, 2.0, run=HOSTILE))
    assert (parse(svg).get("aria-label"), "<script" in svg) == (f'Pre-training: {HOSTILE}"', False)


def test_a_long_name_is_shortened_to_its_room() -> None:
    drawn = to_cells([], [measured_row(45.0, method="m" * 300)])
    svg = to_svg(draw_intervals(drawn)["intervals-linear"].figure)
    assert any(text.startswith("mmm") and text.endswith("…") and len(text) < 30 for text in texts(svg))


def test_a_crowd_is_cut_and_the_figure_says_so() -> None:
    rows = [
        measured_row(i / 100, method=f"m{i}", pretrain_epochs=e) for i in range(900) for e in ("10", "20")
    ]
    drawn = draw_figures(to_cells([], rows))
    found = texts(to_svg(drawn["intervals-linear"]))
    assert {"and 1740 more in the tables", "m899, 10 ep."} <= set(found)
    assert "m0, 10 ep." not in found
    assert any("18 of 900 lines, the best" in text for text in texts(to_svg(drawn["epochs"])))


def test_figures_of_nothing_are_none() -> None:
    assert draw_figures([]) == {}


def test_a_single_measured_number_is_enough() -> None:
    (cell,) = to_cells([], [replace(measured_row(0.0), n=None)])
    assert list(draw_figures([cell])) == ["intervals-linear"]
