"""Rows that tests of the report start from."""

from __future__ import annotations

from transfer.report.rows import METRICS, Row

MEC = Row(
    *("mec", "resnet18", "mini", "40", "ab" * 32, "online", "linear", "mini", "val", "linear-cached-lars"),
    *("torch", "top1", 40.0, "percent", True, 0, 10, "last", "ok", "python -m transfer linear c.yaml"),
    *("cd" * 32, "0.1.0", "2 cores", 1.5),
)


def of(row: Row, metric: str, value: float | None, **changes: object) -> Row:
    """The row with another metric and value, and whatever else changes."""
    kind = METRICS[metric]
    cells = {name: getattr(row, name) for name in row.__dataclass_fields__}
    cells |= {"metric": metric, "value": value, "unit": kind.unit, "higher_is_better": kind.higher_is_better}
    return Row(**(cells | changes))
