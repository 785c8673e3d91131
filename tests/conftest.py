"""Skip what needs a framework that is not installed; import the one that must not be imported late."""

from __future__ import annotations

import importlib
import shutil
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import Browser, Page, find_chromium
from slurm import missing as missing_slurm

MODULES = {"detectron2": "detectron2", "mmtrack": "mmtrack"}  # marker -> module


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-docs", action="store_true", help="rewrite what docs/ holds of measured tables")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, module in MODULES.items():
        if find_spec(module) is not None:
            continue
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"{module} is not installed"))
    if shutil.which("pdflatex") is None:
        for item in items:
            if item.get_closest_marker("latex"):
                item.add_marker(pytest.mark.skip(reason="no pdflatex is installed"))
    if find_chromium() is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason="no Chromium is installed"))
    if reason := missing_slurm():
        for item in items:
            if item.get_closest_marker("slurm"):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Import mmcv before any test: its progress bar keeps for good the sys.stdout of its first import.

    First imported inside a test that captures output, it would write to a closed file in all later ones.
    """
    if find_spec("mmcv") is not None and any(item.get_closest_marker("mmtrack") for item in session.items):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tests that import it name its warnings
            importlib.import_module("mmcv")


@pytest.fixture
def trusted() -> Iterator[None]:
    """Configurations in a test's own folder may be executed."""
    from transfer.trust import trusting

    with trusting(True):
        yield


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    from page_scene import scene_page

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
