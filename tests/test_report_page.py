"""The results page as text: its bytes, escaping, nesting, and that it asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
import html
import random
import re
import subprocess
import sys
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import pytest
from page_scene import (
    HOSTILE,
    IMAGE,
    SCRIPT,
    TABLE_1,
    Walk,
    measured_rows,
    published_rows,
    scene_cells,
    scene_page,
)
from report_rows import MEC, of

from transfer.report.aggregate import to_cells
from transfer.report.page import render_page
from transfer.report.page.overview import build_overview
from transfer.report.page.records import LABELS, list_fields, to_script_json
from transfer.report.page.views import identify
from transfer.report.rows import Row

ROOT = Path(__file__).resolve().parent.parent
ASKS = re.compile(r"https?:|//[a-z]|url\(|@import|\bfetch\(|XMLHttp|\bimport\(|sendBeacon|WebSocket", re.I)


def find_foreign(page: str) -> list[str]:
    """Elements and attributes that no row may bring: code, and addresses outside the page."""
    faults = []
    for tag, attributes, _ in Walk(page).elements:
        if tag in ("iframe", "object", "embed", "base", "audio", "video", "source"):
            faults.append(tag)
        for name, value in attributes.items():
            inside = (value or "").startswith(("#", "data:,", "data:image/svg+xml;base64,"))
            if name.startswith("on") or (name in ("href", "src", "srcset", "action") and not inside):
                faults.append(f"{tag} {name}={value}")
    scripts = [attributes for attributes, _ in Walk(page).of("script")]
    return faults + ([f"{len(scripts)} scripts"] if len(scripts) != 3 else [])


# ------------------------------------------------------------------------------------------ bytes


def test_same_rows_give_the_same_bytes_in_any_order() -> None:
    published, measured = published_rows(), measured_rows()
    page = scene_page()
    for seed in range(3):
        order = random.Random(seed)
        order.shuffle(published)
        order.shuffle(measured)
        cells = to_cells(published, measured)
        order.shuffle(cells)
        assert scene_page(cells) == page
    measured[0] = replace(measured[0], hardware="another machine")
    assert scene_page(to_cells(published, measured)) != page  # the comparison can fail


def test_same_bytes_in_another_process() -> None:
    code = (
        "import sys; sys.path[:0] = ['tests', '.']; import hashlib; from page_scene import scene_page;"
        "assert 'torch' not in sys.modules; print(hashlib.sha256(scene_page().encode()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True
    )
    assert run.stdout.strip() == hashlib.sha256(scene_page().encode()).hexdigest(), run.stderr


def test_an_address_of_a_number_is_for_good() -> None:
    (cell,) = to_cells([of(TABLE_1, "top1", 70.6, pretrain_epochs="100")], [])
    assert identify(cell) == "n-0252aaf2f9e3"


# ------------------------------------------------------------------------------------------ escaping


def test_everything_from_rows_stays_text() -> None:
    page = scene_page()
    assert find_foreign(page) == []
    texts = {text for _, text in Walk(page).of("span") + Walk(page).of("a")}
    assert SCRIPT in texts
    assert IMAGE in texts  # the whole reason
    assert set(HOSTILE) <= set(Walk(page).data()["strings"])


def test_escaping_is_needed_and_its_check_fires() -> None:
    page = scene_page()
    assert find_foreign(html.unescape(page))
    assert find_foreign(page.replace("\\u003c", "<").replace("\\u003e", ">"))
    assert find_foreign(page.replace("<h1>", '<h1><a href="javascript:alert(1)">x</a>'))
    assert find_foreign(page.replace("<h1>", '<h1 onclick="x">'))


def test_data_cannot_end_its_script_element() -> None:
    text = to_script_json({"a": "</script><!-- & \u2028", "__proto__": 1})
    assert not set("<>&\u2028") & set(text)
    with pytest.raises(ValueError, match="JSON"):
        to_script_json({"a": float("nan")})


def test_only_the_scripts_of_the_page_may_run() -> None:
    walk = Walk(scene_page())
    policy = next(a["content"] for a, _ in walk.of("meta") if "http-equiv" in a)
    assert policy is not None
    allowed = set(re.findall(r"sha256-([^']+)", policy))
    code = [text for attributes, text in walk.of("script") if "type" not in attributes]
    assert {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code} == allowed
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy.split("style-src")[0]


def test_figures_cannot_run_anything() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    page = render_page(scene_cells(), figures={"radar.svg": svg, "intervals_linear": svg})
    assert find_foreign(page) == []
    images = [attributes["src"] or "" for attributes, _ in Walk(page).of("img")]
    assert [base64.b64decode(image.split(",")[1]).decode() for image in images] == [svg, svg]
    assert page.index("Radar") < page.index('id="filters"') < page.index("Intervals linear")


# ------------------------------------------------------------------------------------------ form


def test_elements_are_nested_and_named_once() -> None:
    walk = Walk(scene_page())
    assert walk.faults == []
    ids = [attributes["id"] for _, attributes, _ in walk.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = {(attributes["href"] or "")[1:] for attributes, _ in walk.of("a")}
    assert targets <= set(ids)
    labels = {a["aria-labelledby"] for _, a, _ in walk.elements if "aria-labelledby" in a}
    assert labels - {"provenance-h"} <= set(ids)


def test_wrong_nesting_is_found() -> None:
    page = scene_page()
    assert Walk(page.replace("</table>", "", 1)).faults
    assert Walk(page.replace("</h1>", "</h2>")).faults
    assert Walk(page.replace("<h1>", '<p><p><h1 class="a" class="b">')).faults


def test_nothing_is_asked_of_a_network() -> None:
    page = scene_page(to_cells(published_rows(), []))
    assert ASKS.findall(page) == []
    for code in ("fetch('x')", "url(a.png)", '@import "a"', "<img src=http:x>", "<a href=//x.y>"):
        assert ASKS.search(code)


def test_every_asset_is_shipped() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    line = next(line for line in text.splitlines() if line.startswith('"transfer.report.page"'))
    shipped = set(re.findall(r'"\*(\.[a-z]+)"', line))
    assets = {Path(file.name).suffix for file in files("transfer.report.page").iterdir() if file.is_file()}
    assert assets - {".py"} == shipped


# ------------------------------------------------------------------------------------------ contrast

TEXT = ("ink", "soft", "link", "own", "warn")
GROUNDS = ("paper", "raised", "own-ground")


def read_colours(css: str) -> dict[str, tuple[str, str]]:
    """Name -> light and dark colour."""
    pattern = r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)"
    return {name: (light, dark) for name, light, dark in re.findall(pattern, css)}


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [0, 1], ids=["light", "dark"])
def test_text_and_controls_have_contrast(dark: int) -> None:
    colours = read_colours((files("transfer.report.page") / "colours.css").read_text())
    assert set(colours) == {*TEXT, *GROUNDS, "line", "edge", "focus"}
    for ground in GROUNDS:
        for text in TEXT:
            assert contrast(colours[text][dark], colours[ground][dark]) >= 4.5, (text, ground)  # AA, text
        for control in ("edge", "focus"):  # AA, controls
            assert contrast(colours[control][dark], colours[ground][dark]) >= 3, (control, ground)
    assert contrast(colours["line"][dark], colours["paper"][dark]) < 3  # decoration; the measure can fail


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the standard's own near miss


def test_styles_name_no_colour_of_their_own() -> None:
    for name in ("page.css", "tables.css", "print.css"):
        text = (files("transfer.report.page") / name).read_text()
        assert re.findall(r"#[0-9a-f]{3,8}\b", text) == []


# ------------------------------------------------------------------------------------------ content


def test_every_number_stands_there_once_with_all_its_fields() -> None:
    cells = scene_cells()
    walk = Walk(scene_page(cells))
    data = walk.data()
    names = [name for name, *_ in data["fields"]]
    assert sorted(names) == sorted(field.name for field in fields(Row))
    anchors = [a["id"] for a, _ in walk.of("a") if "n" in (a.get("class") or "").split() and "id" in a]
    assert sorted(anchors) == sorted(map(identify, cells))
    by_id = {number[0]: number for number in data["numbers"]}
    for cell in cells:
        _, first, count, value, *_ = by_id[identify(cell)]
        assert value == cell.value
        for row, indices in zip(cell.rows, data["rows"][first : first + count], strict=True):
            texts = {name: data["strings"][index] for name, index in zip(names, indices, strict=True)}
            assert texts["source"] == row.source
            assert texts["value"] == ("" if row.value is None else f"{row.value:.10g}")
            assert texts["seed"] == ("" if row.seed is None else str(row.seed))
            assert texts["higher_is_better"] == "true"


def test_fields_without_a_label_come_last_under_their_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LABELS, "The number", {"value": "value"})
    listed = list_fields()
    assert next(field for field in listed if field[2] == "Else") == ("metric", "metric", "Else")
    assert len(listed) == len(fields(Row))


def test_missing_stays_empty_and_failures_say_why() -> None:
    page = scene_page()
    row = next(line for line in page.splitlines() if "<span>SimSiam</span>" in line)
    assert row.count("<td></td>") == 3  # after 200, 400 and 800 epochs
    assert "failed: out of memory" in page
    assert ">50.0</a><sup>†</sup> <small>[" in page
    assert "42.0</a> <small>± 2.0</small>" in page  # mean and std of 40, 42, 44


def test_overview_compares_by_hand() -> None:
    overview = build_overview(scene_cells())
    (line,) = overview.published
    assert (line.title, line.ours.text) == ("ImageNet", "74.5")
    assert line.other is not None
    assert (line.other.text, line.other.who) == ("74.3", "BYOL, 800 ep.")
    assert (line.difference, line.ahead) == ("+0.2", True)
    assert [dot.ours for dot in line.dots] == [False] * 8 + [True]
    assert ("2", "failed or not run, with the reason") in overview.facts


def test_lower_is_better_counts_as_ahead_below() -> None:
    rows = [of(MEC, "id_switches", 3.0, task="mot"), of(MEC, "id_switches", 9.0, task="mot", method="random")]
    (line,) = build_overview(to_cells([], rows)).measured
    assert (line.difference, line.ahead) == ("−6", True)


def test_no_rows_make_an_empty_page() -> None:
    page = render_page([])
    assert Walk(page).faults == []
    assert "0 numbers" in page


def test_five_thousand_rows_stay_below_three_megabytes() -> None:
    rows = [
        of(
            *(MEC, "top1", 40 + number % 37 / 7),
            backbone_sha256=hashlib.sha256(b"%d" % number).hexdigest(),
            config_sha256=hashlib.sha256(b"c%d" % (number % 50)).hexdigest(),
            source=f"python -m transfer linear configs/classify/linear_mini.yaml --backbone runs/{number}/b",
            protocol=("linear-cached-lars", "knn-k20", "mec-code-linear", "semisup-ft")[number % 4],
        )
        for number in range(5000)
    ]
    page = render_page(to_cells([], rows))
    assert len(page.encode()) < 3_000_000
