"""Whatever the order of the input rows, the same bytes and the same statistics come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_rows import MEC, of

from transfer.report.aggregate import to_cells
from transfer.report.build import render_tables
from transfer.report.items import item_key, items_path, name_items, write_items
from transfer.report.pairs import pairs
from transfer.report.rows import Row, write_rows

PUBLISHED = Path(__file__).resolve().parent.parent / "results" / "published.csv"
NOTES = PUBLISHED.with_name("notes.csv")
METHODS = ("mec", "swav", "50%_a&b")
QUESTIONS = (
    ("linear", "linear-cached-lars", "top1"),
    ("linear", "linear-cached-lars", "top5"),
    ("knn", "knn-k20", "top1"),
    ("sot", "siamrpn-frozen-mini", "success"),
)
NAMES = [f"{letter}/img" for letter in "ABCDEFGH"]


@st.composite
def measured_rows(draw: st.DrawFn) -> list[Row]:
    """Rows of a few lines, questions and seeds, each at most once; some failed, two without a split."""
    places = draw(
        st.lists(
            st.tuples(st.sampled_from(METHODS), st.sampled_from(QUESTIONS), st.integers(0, 3)),
            unique=True, min_size=1, max_size=14,
        )
    )  # fmt: skip
    rows = []
    for method, (task, protocol, metric), seed in places:
        value = draw(st.one_of(st.none(), st.integers(0, 16).map(lambda hits: 100 * hits / 16)))
        status = "ok" if value is not None else "failed: " + draw(st.sampled_from(["x", "loss is NaN"]))
        rows.append(
            of(
                MEC, metric, value, method=method, backbone_sha256=f"{len(method):02d}" * 32, seed=seed,
                task=task, protocol=protocol, n=8, status=status, wall_s=draw(st.sampled_from([None, 1.5])),
            )
        )  # fmt: skip
    return rows


@st.composite
def two_orders(draw: st.DrawFn) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows in two orders, and those of them that have items."""
    rows = draw(measured_rows())
    with_items = [row for row in rows if row.metric == "success" and row.value is not None]
    return rows, draw(st.permutations(rows)), with_items


def write(folder: Path, rows: Sequence[Row], with_items: Sequence[Row]) -> Path:
    path = folder / "results.csv"
    write_rows(path, rows)
    numbers = [(row, name_items(NAMES, [row.value or 0.0] * 8)) for row in rows if row in with_items]
    write_items(items_path(path), numbers)
    return path


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orders=two_orders(), turn=st.integers(1, 300))
def test_no_order_of_the_input_rows_changes_an_output_byte(
    orders: tuple[list[Row], list[Row], list[Row]], turn: int, tmp_path: Path
) -> None:
    rows, shuffled, with_items = orders
    header, *lines = PUBLISHED.read_text(encoding="utf-8").splitlines(keepends=True)
    turned = tmp_path / "published.csv"
    turned.write_text("".join([header, *lines[turn:], *lines[:turn]]), encoding="utf-8")
    expected = render_tables(PUBLISHED, [write(tmp_path, rows, with_items)], NOTES)
    assert render_tables(turned, [write(tmp_path, shuffled, with_items)], NOTES) == expected


@settings(max_examples=60, deadline=None)
@given(orders=two_orders(), scores=st.lists(st.integers(0, 100), min_size=8, max_size=8))
def test_no_order_of_the_input_rows_changes_a_statistic(
    orders: tuple[list[Row], list[Row], list[Row]], scores: list[int]
) -> None:
    rows, shuffled, with_items = orders
    held = {item_key(row): name_items(NAMES, [*map(float, scores)]) for row in with_items}
    found = []
    for ordered in (rows, shuffled):
        cells = to_cells([], ordered, held)
        numbers = [
            (c.column, c.line, c.values, c.value, c.std, c.spread, c.planned, c.is_short) for c in cells
        ]
        found.append((numbers, pairs(cells)))
    assert found[0] == found[1]


def test_the_property_can_fail() -> None:
    """Two numbers of one line that trade seeds are other input, and give other statistics."""
    rows = [MEC, replace(MEC, seed=1, value=50.0), replace(MEC, method="swav", backbone_sha256="12" * 32)]
    rows.append(replace(rows[2], seed=1, value=70.0))
    traded = [replace(rows[0], seed=1), replace(rows[1], seed=0), *rows[2:]]
    first, second = (pairs(to_cells([], given)) for given in (rows, traded))
    assert first[0].comparison != second[0].comparison
