"""Skip what needs a framework that is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

MODULES = {"detectron2": "detectron2", "mmtrack": "mmtrack"}  # marker -> module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, module in MODULES.items():
        if find_spec(module) is not None:
            continue
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"{module} is not installed"))
