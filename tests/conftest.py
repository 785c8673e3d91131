"""Skip what needs a framework that is not installed; import the one that must not be imported late."""

from __future__ import annotations

import importlib
import warnings
from importlib.util import find_spec

import pytest
from browser import find_chromium

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
    if find_chromium() is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason="no Chromium is installed"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Import mmcv before any test: its progress bar keeps for good the sys.stdout of its first import.

    First imported inside a test that captures output, it would write to a closed file in all later ones.
    """
    if find_spec("mmcv") is not None and any(item.get_closest_marker("mmtrack") for item in session.items):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tests that import it name its warnings
            importlib.import_module("mmcv")
