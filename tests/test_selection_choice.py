"""Choosing among settings: every point is recorded, a killed search goes on, and diverged points lose."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from ranks import run_ranks

from pretrain.collective import World as AnyWorld
from transfer.ranks import World
from transfer.selection import choose, selection_of

POINTS = [{"lr": 0.1, "epochs": 3}, {"lr": 0.01, "epochs": 3}, {"lr": 1.0, "epochs": 3}]


def search(
    out: Path, values: list[float | None], score: Callable[[int], float | None] | None = None
) -> tuple[int, list[int]]:
    """The chosen point, and which ones were scored."""
    scored: list[int] = []

    def from_list(index: int) -> float | None:
        scored.append(index)
        return values[index]

    chosen = choose(POINTS[: len(values)], score or from_list, out / "selection.csv", "holdout", "top1", 20)
    return chosen, scored


def read(out: Path) -> list[dict[str, str]]:
    with (out / "selection.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_highest_point_is_chosen_and_every_point_recorded(tmp_path: Path) -> None:
    assert search(tmp_path, [40.0, 61.25, 50.0]) == (1, [0, 1, 2])
    first, second, _ = read(tmp_path)
    assert second == {
        "point": "1",
        "lr": "0.01",
        "epochs": "3",
        "judged_on": "holdout",
        "metric": "top1",
        "n": "20",
        "value": "61.25",
        "status": "ok",
        "chosen": "yes",
    }
    assert first["chosen"] == "no"
    assert [path.name for path in tmp_path.iterdir()] == ["selection.csv"]


def test_ties_go_to_the_first(tmp_path: Path) -> None:
    assert search(tmp_path, [40.0, 50.0, 50.0])[0] == 1


def test_a_diverged_point_loses_to_zero(tmp_path: Path) -> None:
    assert search(tmp_path, [None, 0.0, None])[0] == 1
    assert [(line["value"], line["status"], line["chosen"]) for line in read(tmp_path)] == [
        ("", "diverged", "no"),
        ("0.0", "ok", "yes"),
        ("", "diverged", "no"),
    ]


def test_only_diverged_points_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all 3 settings diverged; lower the learning rates"):
        search(tmp_path, [None, None, None])


def test_a_killed_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    values = [100 / 3, None, 20.0]

    def killed_at_the_last(index: int) -> float | None:
        if index == 2:
            raise KeyboardInterrupt
        return values[index]

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, values, killed_at_the_last)
    assert [line["chosen"] for line in read(tmp_path)] == ["", ""]
    assert search(tmp_path, values) == (0, [2])
    resumed = (tmp_path / "selection.csv").read_bytes()
    (tmp_path / "selection.csv").unlink()
    assert search(tmp_path, values) == (0, [0, 1, 2])
    assert (tmp_path / "selection.csv").read_bytes() == resumed
    assert search(tmp_path, values) == (0, [])


@pytest.mark.parametrize(
    "change", [("0.01", "0.02"), ("top1", "map_voc07"), (",20,", ",21,"), ("lr", "rate")]
)
def test_a_record_of_another_search_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    search(tmp_path, [40.0, 61.25, 50.0])
    path = tmp_path / "selection.csv"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match="is of another search"):
        search(tmp_path, [40.0, 61.25, 50.0])


def test_a_record_of_a_longer_grid_is_refused(tmp_path: Path) -> None:
    search(tmp_path, [40.0, 61.25, 50.0])
    with pytest.raises(ValueError, match="line 4 is of another search"):
        search(tmp_path, [40.0, 61.25])


def test_losers_are_discarded_as_soon_as_they_have_lost(tmp_path: Path) -> None:
    events: list[str] = []

    def score(index: int) -> float:
        events.append(f"score {index}")
        return [40.0, 50.0, 45.0][index]

    choose(
        POINTS, score, tmp_path / "s.csv", "holdout", "top1", 20, discard=lambda i: events.append(f"drop {i}")
    )
    assert events == ["score 0", "score 1", "drop 0", "score 2", "drop 2"]


def choose_on_rank(world: AnyWorld, out: Path) -> tuple[int, list[int]]:
    scored: list[int] = []

    def score(index: int) -> float:
        scored.append(index)
        return [40.0, 50.0, 45.0][index] + world.rank * index  # the second rank alone would choose the last

    path = out / f"selection-{world.rank}.csv"
    return choose(POINTS, score, path, "holdout", "top1", 20, World(world.rank, world.size)), scored


def test_ranks_follow_the_first_which_alone_reads_and_writes(tmp_path: Path) -> None:
    assert run_ranks(2, choose_on_rank, tmp_path) == [(1, [0, 1, 2]), (1, [0, 1, 2])]
    assert [path.name for path in tmp_path.iterdir()] == ["selection-0.csv"]
    assert run_ranks(2, choose_on_rank, tmp_path) == [(1, []), (1, [])]


@pytest.mark.parametrize(
    ("num_points", "choose_on", "holds_out", "expected"),
    [
        (1, "holdout", False, "last"),
        (1, "test", False, "last"),
        (2, "holdout", True, "best-val"),
        (2, "test", False, "best-test"),
    ],
)
def test_a_row_says_what_was_chosen_on(
    num_points: int, choose_on: str, holds_out: bool, expected: str
) -> None:
    assert selection_of(num_points, choose_on, holds_out) == expected


def test_a_choice_needs_images_and_test_must_be_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="2 settings, but no training image is held out"):
        selection_of(2, "holdout", False)
    with pytest.raises(ValueError, match="hold no training images out"):
        selection_of(2, "test", True)
    with pytest.raises(ValueError, match="expected one of holdout, test, found 'val'"):
        selection_of(2, "val", True)
    assert selection_of(1, "holdout", True) == "last"
    assert "the held-out images are not used" in caplog.text
