"""The results page in a real Chromium: sorting, filters, provenance, keys, links, themes, print, phone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import Browser, Page
from page_scene import ENDING, LINK, QUOTES, SCRIPT, find_cell, scene_cells, scene_page

from transfer.report.page.records import list_fields
from transfer.report.page.texts import plain
from transfer.report.page.views import identify

pytestmark = pytest.mark.browser
TABLE = "#t-linear-mec-s-table-1-linear-probe-on-imagenet-top-1-by-pre-training-epochs"
OWN = "#c-linear .own"
SHOWN = "element => element.offsetParent !== null"


def column(page: Page, table: str, number: int) -> list[str]:
    """A column as shown, top to bottom."""
    texts: list[str] = page.js(
        f"[...document.querySelector({json.dumps(table)}).querySelectorAll('tbody tr')]"
        f".filter({SHOWN}).map(row => (row.cells[{number}].querySelector('a, span') ?? row.cells[{number}])"
        ".textContent)"
    )
    return texts


def press_heading(page: Page, table: str, number: int) -> str | None:
    page.click(f'{table} th[data-col="{number}"] button')
    order: str | None = page.js(
        f"document.querySelector('{table} th[data-col=\"{number}\"]').getAttribute('aria-sort')"
    )
    return order


# ------------------------------------------------------------------------------------------ sorting


def test_a_heading_sorts_by_number_with_missing_last(page: Page) -> None:
    printed = ["70.4", "74.3", "71.8", "", "74.5"]
    assert column(page, TABLE, 4) == printed
    assert press_heading(page, TABLE, 4) == "descending"  # higher is better
    assert column(page, TABLE, 4) == ["74.5", "74.3", "71.8", "70.4", ""]
    assert press_heading(page, TABLE, 4) == "ascending"
    assert column(page, TABLE, 4) == ["70.4", "71.8", "74.3", "74.5", ""]
    assert press_heading(page, TABLE, 4) is None
    assert column(page, TABLE, 4) == printed


def test_numbers_are_not_sorted_as_text(page: Page) -> None:
    heads = f"[...document.querySelectorAll('{OWN} thead th')]"
    top1 = int(page.js(f"{heads}.find(th => th.textContent.startsWith('top-1')).dataset.col"))
    press_heading(page, OWN, top1)
    numbers = column(page, OWN, top1)
    assert numbers[:2] == ["42.0", "5.0"]
    assert sorted(numbers[2:]) == ["", "failed: out of memory"]
    assert sorted(["42.0", "5.0"], reverse=True) != numbers[:2]  # as text it would be the other way


def test_names_sort_by_key_and_keyboard(page: Page) -> None:
    page.js(f"document.querySelector('{TABLE} th[data-col=\"0\"] button').focus()")
    page.press("Enter")
    assert column(page, TABLE, 0) == ["BYOL", "MEC", "SimCLR", "SimSiam", "SwAV"]
    page.press(" ")
    assert column(page, TABLE, 0) == ["SwAV", "SimSiam", "SimCLR", "MEC", "BYOL"]
    assert "descending" in page.js("document.getElementById('said').textContent")


# ------------------------------------------------------------------------------------------ filters


def choose(page: Page, name: str, value: str) -> None:
    page.js(
        f"(() => {{ const box = document.getElementById('filters').elements[{json.dumps(name)}];"
        f"box.value = {json.dumps(value)}; box.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
    )
    page.settle()


def shown_numbers(page: Page) -> list[str]:
    texts: list[str] = page.js(
        f"[...document.querySelectorAll('.chapter a.n')].filter({SHOWN})"
        ".filter(a => !a.classList.contains('off')).map(a => a.textContent)"
    )
    return texts


def count(page: Page) -> str:
    text: str = page.js("document.getElementById('count').textContent")
    return text


def test_filters_leave_what_matches_and_drop_empty_tables(page: Page) -> None:
    assert count(page) == f"{len(scene_cells())} numbers"
    choose(page, "method", "byol")
    assert shown_numbers(page) == ["66.5", "74.3"]
    assert count(page) == f"2 of {len(scene_cells())} numbers"
    assert page.js(f"document.querySelector('{OWN}').hidden")
    assert column(page, TABLE, 0) == ["BYOL"]
    assert page.js(f"[...document.querySelectorAll('{TABLE} th.num')].filter({SHOWN}).length") == 2
    choose(page, "method", "")
    choose(page, "origin", "measured")
    measured = [cell for cell in scene_cells() if not cell.line.published]
    assert len(shown_numbers(page)) == len(measured)
    assert page.js(f"document.querySelector('{TABLE}').hidden")
    choose(page, "protocol", "mec-linear")
    assert (shown_numbers(page), page.js("document.getElementById('nothing').hidden")) == ([], False)


def test_words_are_searched_in_every_field(page: Page) -> None:
    page.js("document.querySelector('[name=q]').focus()")
    page.type("OUT memory")
    assert shown_numbers(page) == ["failed: out of memory"]
    page.click("#filters button[type=reset]")
    page.settle()
    assert len(shown_numbers(page)) == len(scene_cells())
    assert page.js("location.hash") == ""


def test_a_filter_has_an_address(page: Page, address: str) -> None:
    choose(page, "method", SCRIPT)
    choose(page, "protocol", "linear-cached-lars")
    link = page.js("location.href")
    assert SCRIPT not in link
    page.go("about:blank")
    page.go(link)
    assert page.js("document.getElementById('filters').elements.method.value") == SCRIPT
    assert len(shown_numbers(page)) == 2


# ------------------------------------------------------------------------------------------ provenance


def dialog_fields(page: Page) -> dict[str, str]:
    """Field name -> text, of what all seeds agree on."""
    shown: dict[str, str] = page.js(
        "Object.fromEntries([...document.querySelectorAll('#provenance dl [data-field]')]"
        ".map(e => [e.dataset.field, e.textContent]))"
    )
    return shown


@pytest.mark.parametrize(
    ("method", "metric", "epochs", "protocol"),
    [
        ("mec", "top1", "800", "mec-linear"),
        ("mec", "top5", "", "linear-cached-lars"),
        ("random", "top1", "", "linear-cached-lars"),
        (SCRIPT, "top5", "", "linear-cached-lars"),
    ],
)
def test_a_click_shows_every_field_of_the_row(
    page: Page, method: str, metric: str, epochs: str, protocol: str
) -> None:
    cell = find_cell(method, metric, epochs, protocol)
    page.click(f"#{identify(cell)}")
    (row,) = cell.rows
    expected = {name: plain(getattr(row, name)) for name, _, _ in list_fields()}
    assert dialog_fields(page) == {name: text for name, text in expected.items() if text}
    absent = page.js("document.querySelector('#provenance .remark')?.textContent ?? ''")
    for name, label, _ in list_fields():
        assert (label in absent) == (expected[name] == "")


def test_seeds_stand_one_by_one(page: Page) -> None:
    cell = find_cell("mec", "top1")
    page.click(f"#{identify(cell)}")
    rows = page.js(
        "[...document.querySelectorAll('#provenance .seeds tbody tr')]"
        ".map(row => Object.fromEntries([...row.cells].map(c => [c.dataset.field, c.textContent])))"
    )
    assert [(row["seed"], row["value"], row["wall_s"]) for row in rows] == [
        ("0", "40", "0.5"),
        ("1", "42", "1.5"),
        ("2", "44", "2.5"),
    ]
    summary = page.js("document.getElementById('summary').textContent")
    assert "mean of 3 seeds42" in summary
    assert "sample standard deviation2" in summary
    assert cell.spread is not None
    assert f"95 % interval, {cell.spread.kind}" in summary
    assert f"{cell.spread.low:.4g} to {cell.spread.high:.4g}" in summary


def test_a_failure_says_why_in_the_dialog(page: Page) -> None:
    page.click(f"#{identify(find_cell('random', 'top1'))}")
    assert page.js("document.querySelector('#provenance h2').textContent") == "No number"
    assert page.js("document.querySelector('#provenance .failed').textContent") == "failed: out of memory"


def test_copy_gives_the_whole_text(page: Page) -> None:
    page.click(f"#{identify(find_cell('mec', 'top5'))}")
    page.js("window.copied = []; navigator.clipboard.writeText = async text => { window.copied.push(text) }")
    for selector in ('button[aria-label^="Copy configuration"]', "footer button:last-child"):
        page.click(f"#provenance {selector}")
    digest, rows = page.js("window.copied")
    assert digest == "cd" * 32
    (row,) = json.loads(rows)
    assert row == {
        name: plain(getattr(find_cell("mec", "top5").rows[0], name)) for name, _, _ in list_fields()
    }


# ------------------------------------------------------------------------------------------ hostile rows


def test_hostile_rows_stay_text_everywhere(page: Page) -> None:
    for metric in ("top1", "top5"):
        page.click(f"#{identify(find_cell(SCRIPT, metric))}")
        fields = dialog_fields(page)
        assert (fields["method"], fields["arch"], fields["backend"], fields["source"]) == (
            *(SCRIPT, QUOTES, LINK, ENDING),
        )
        page.press("Escape")
    choose(page, "method", SCRIPT)
    assert page.js("document.querySelectorAll('script').length") == 3
    assert page.js("document.querySelectorAll('img, iframe, [onmouseover], [onerror]').length") == 0
    assert page.js("[...document.links].every(a => a.getAttribute('href').startsWith('#'))")
    # The fixture asserts that no alert was opened; this is how one would look:
    assert page.events("Page.javascriptDialogOpening") == []


def test_an_injected_script_would_not_run_and_one_in_a_plain_page_would(
    browser: Browser, tmp_path: Path
) -> None:
    injected = scene_page().replace("<h1>", "<script>document.title = 'owned'</script><h1>")
    free = injected.replace('http-equiv="Content-Security-Policy"', 'name="x"')
    titles = []
    for name, text in (("injected", injected), ("free", free)):
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        opened = browser.open((tmp_path / f"{name}.html").as_uri())
        titles.append(opened.js("document.title"))
        opened.close()
    assert titles == ["MEC Transfer: results", "owned"]


def test_a_request_would_be_seen_and_is_refused(browser: Browser, address: str) -> None:
    opened = browser.open(address)
    opened.js("{ const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; }")
    opened.settle()
    assert any("Content Security Policy" in e["entry"]["text"] for e in opened.events("Log.entryAdded"))
    opened.close()
