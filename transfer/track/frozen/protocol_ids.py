"""Ids of the frozen protocols' rows: what deviates from the published constants is in the id.

``unitrack-layer3`` becomes ``unitrack-layer3@img_size=544x304``, as a detector's does
(:func:`transfer.detect.settings.protocol_of`): no number passes for one of the plain protocol.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

# Fields of every task's configuration that choose data, rows or how a machine computes: no deviations.
COMMON = frozenset(
    (
        *("dataset", "split", "protocol", "seed", "root", "sequences", "layers", "floors", "motion"),
        *("device", "frames_at_once", "videos_at_once"),
    )
)


def row_ids(config: Any, stems: Sequence[str], data_fields: Collection[str] = ()) -> tuple[str, ...]:
    """The protocols of a configuration's rows, one a stem.

    Args:
        config: a task's configuration, a dataclass whose defaults are the published constants.
        stems: ids of the published protocols.
        data_fields: fields besides :data:`COMMON` that are no constants of these protocols: where data
            lies, or what only other rows of the same configuration use.
    """
    deviations = ",".join(
        f"{item.name}={_shown(getattr(config, item.name))}"
        for item in sorted(fields(config), key=lambda item: item.name)
        if item.name not in COMMON
        and item.name not in data_fields
        and getattr(config, item.name) != _default(item)
    )
    return tuple(f"{stem}@{deviations}" if deviations else stem for stem in stems)


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, (list, tuple)):
        return "x".join(map(_shown, value))
    return str(value)
