"""The results page in a real Chromium: sorting, filters, provenance, keys, links, themes, print, phone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from browser import Browser, Page
from page_scene import ENDING, LINK, QUOTES, SCRIPT, scene_cells, scene_page
from report_rows import MEC, of

from transfer.report.aggregate import Cell, to_cells
from transfer.report.page import render_page
from transfer.report.page.records import list_fields
from transfer.report.page.texts import plain
from transfer.report.page.views import identify

pytestmark = pytest.mark.browser
TABLE = "#t-linear-mec-s-table-1-linear-probe-on-imagenet-top-1-by-pre-training-epochs"
OWN = "#c-linear .own"
SHOWN = "element => element.offsetParent !== null"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(scene_page(), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page at 1440 px, and the proof that nothing went wrong or out while a test used it."""
    opened = browser.open(address)
    yield opened
    assert opened.events("Runtime.exceptionThrown") == []
    assert opened.events("Log.entryAdded") == []
    assert opened.events("Runtime.consoleAPICalled") == []
    assert opened.events("Page.javascriptDialogOpening") == []
    asked = {event["request"]["url"].split("#")[0] for event in opened.events("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} <= {address}
    opened.js("localStorage.clear()")
    opened.close()


def find_cell(method: str, metric: str, epochs: str = "", protocol: str = "linear-cached-lars") -> Cell:
    """The one cell of the scene that is meant."""
    (found,) = (
        cell
        for cell in scene_cells()
        if (cell.line.method, cell.column.metric, cell.column.protocol) == (method, metric, protocol)
        and epochs in ("", cell.line.pretrain_epochs)
    )
    return found


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


# ------------------------------------------------------------------------------------------ keyboard, links


def focused(page: Page) -> str:
    what: str = page.js("(e => e.id || e.className || e.textContent)(document.activeElement)")
    return what


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.press("Tab")
    assert focused(page) == "skip"
    assert page.js("document.activeElement.getBoundingClientRect().top >= 0")
    page.press("Enter")
    assert focused(page) == "content"
    links = page.js("document.querySelectorAll('.chapter table').length")
    assert (
        page.js("document.querySelectorAll('.chapter a.n[tabindex=\"0\"]').length") == links
    )  # one stop a table
    first = identify(find_cell("simclr", "top1", "100", "mec-linear"))
    page.js(f"document.getElementById('{first}').focus()")
    for key in ("ArrowDown", "ArrowRight", "ArrowLeft", "ArrowDown"):
        page.press(key)
    assert focused(page) == identify(find_cell("swav", "top1", "100", "mec-linear"))
    page.press("Enter")
    assert page.js("document.getElementById('provenance').open")
    for _ in range(12):  # the focus stays inside
        page.press("Tab")
        assert page.js(
            "(e => e === document.body || e.closest('#provenance') !== null)(document.activeElement)"
        )
    page.press("Escape")
    assert not page.js("document.getElementById('provenance').open")
    assert focused(page) == identify(find_cell("swav", "top1", "100", "mec-linear"))
    style = page.js("(s => [s.outlineStyle, s.outlineWidth])(getComputedStyle(document.activeElement))")
    assert style == ["solid", "2px"]


def test_arrows_skip_empty_cells(page: Page) -> None:
    page.js(f"document.getElementById('{identify(find_cell('swav', 'top1', '800', 'mec-linear'))}').focus()")
    page.press("ArrowDown")  # SimSiam has none after 800 epochs
    assert focused(page) == identify(find_cell("mec", "top1", "800", "mec-linear"))


def test_a_number_has_an_address(page: Page, address: str) -> None:
    name = identify(find_cell("mec", "top1"))
    page.click(f"#{name}")
    assert page.js("location.hash") == f"#{name}"
    page.press("Escape")
    assert page.js("location.hash") == ""
    page.go("about:blank")
    page.go(f"{address}#{name}")
    assert page.js("document.getElementById('provenance').open")
    assert "42.0 %" in page.js("document.querySelector('#provenance h2').textContent")
    page.press("Escape")
    assert focused(page) == name
    top, bottom = page.js("(b => [b.top, b.bottom])(document.activeElement.getBoundingClientRect())")
    assert 0 <= top < bottom <= 900


def test_an_address_of_nothing_changes_nothing(page: Page, address: str) -> None:
    page.go("about:blank")
    page.go(f"{address}#n-ffffffffffff")
    assert not page.js("document.getElementById('provenance').open")


# ------------------------------------------------------------------------------------------ themes, media


def ground(page: Page) -> str:
    colour: str = page.js("getComputedStyle(document.body).backgroundColor")
    return colour


LIGHT, DARK = "rgb(252, 251, 249)", "rgb(21, 23, 26)"


def test_the_theme_follows_the_system_and_the_button_persists(page: Page, address: str) -> None:
    page.media(scheme="light")
    assert ground(page) == LIGHT
    page.media(scheme="dark")
    assert ground(page) == DARK
    page.click("#theme")
    assert ground(page) == LIGHT
    page.go("about:blank")
    page.go(address)
    assert ground(page) == LIGHT
    assert page.js("document.getElementById('theme').textContent") == "Dark"
    page.click("#theme")  # back at the system's theme: it is followed again
    assert ground(page) == DARK
    page.media(scheme="light")
    assert ground(page) == LIGHT


def test_print_hides_what_cannot_be_used_and_shows_all_tables(page: Page) -> None:
    page.media("print", "dark")
    assert (
        page.js(
            f"['#filters', '.contents', '#theme', '.skip'].filter(s => ({SHOWN})(document.querySelector(s)))"
        )
        == []
    )
    assert page.js(f"[...document.querySelectorAll('.sheet table')].every({SHOWN})")
    assert page.js("getComputedStyle(document.querySelector('tbody tr')).breakInside") == "avoid"
    assert page.js("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert page.js("getComputedStyle(document.querySelector('h1')).color") == "rgb(29, 28, 26)"
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_only_tables_scroll_sideways(browser: Browser, address: str, width: int) -> None:
    opened = browser.open(address, width, 844)
    assert opened.js("document.documentElement.scrollWidth") == width
    boxes = "[...document.querySelectorAll('.scroll')]"
    if width <= 390:  # there is something that could have made the page scroll
        assert opened.js(f"{boxes}.some(box => box.scrollWidth > box.clientWidth)")
    sticky = opened.js(
        f"""(() => {{
          const box = document.querySelector('{OWN} .scroll'), name = box.querySelector('tbody th');
          const before = name.getBoundingClientRect().left;
          box.scrollLeft = 200;
          return [before, name.getBoundingClientRect().left];
        }})()"""
    )
    assert sticky[0] == sticky[1]
    opened.click("tbody a.n")
    assert opened.js("document.documentElement.scrollWidth") == width
    left, right = opened.js(
        "(b => [b.left, b.right])(document.querySelector('dialog').getBoundingClientRect())"
    )
    assert 0 <= left < right <= width
    opened.close()


def test_motion_is_reduced_where_asked(page: Page) -> None:
    def smooth(value: str) -> str:
        features = [{"name": "prefers-reduced-motion", "value": value}]
        page.call("Emulation.setEmulatedMedia", media="", features=features)
        behaviour: str = page.js("getComputedStyle(document.documentElement).scrollBehavior")
        return behaviour

    assert smooth("reduce") == "auto"
    assert smooth("no-preference") == "smooth"


def test_tables_are_readable_without_scripts(browser: Browser, address: str) -> None:
    opened = browser.open(address, scripts=False)
    assert not opened.js("document.documentElement.classList.contains('js')")  # none ran
    visible = {
        selector: opened.js(f"({SHOWN})(document.querySelector({json.dumps(selector)}))")
        for selector in (f"{TABLE} a.n", "noscript p", "#filters", "#theme")
    }
    assert visible == {f"{TABLE} a.n": True, "noscript p": True, "#filters": False, "#theme": False}
    assert opened.js(f"getComputedStyle(document.querySelector('{TABLE} a.b')).fontWeight") == "700"
    opened.close()


def test_five_thousand_numbers_stay_fluid(browser: Browser, tmp_path: Path) -> None:
    rows = [
        replace(of(MEC, "top1", 40 + number % 37 / 7), backbone_sha256=sha256(b"%d" % number).hexdigest())
        for number in range(5000)
    ]
    path = tmp_path / "many.html"
    path.write_text(render_page(to_cells([], rows)), encoding="utf-8")
    opened = browser.open(path.as_uri())
    took = opened.js(
        """(async () => {
          const drawn = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
          const time = async (act) => {
            const start = performance.now();
            act();
            await drawn();
            return Math.round(performance.now() - start);
          };
          const box = document.querySelector("[name=q]");
          const type = (text) => {
            box.value = text;
            box.dispatchEvent(new Event("input", { bubbles: true }));
          };
          const { loadEventEnd, navigationStart } = performance.timing;
          return {
            open: loadEventEnd - navigationStart,
            sort: await time(() => document.querySelector(".chapter th.num button").click()),
            search: await time(() => type("a1")),
            again: await time(() => type("a1b")),
            numbers: document.querySelectorAll(".chapter a.n").length,
          };
        })()"""
    )
    opened.close()
    print(took)
    assert took.pop("numbers") == 5000
    assert max(took.values()) < 10_000  # a shared machine; an idle one needs tenths of a second
