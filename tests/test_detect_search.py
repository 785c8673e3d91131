"""The search of a learning rate: what is tried, kept, removed and said; scores from a table, not training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from ranks import run_ranks

from pretrain.collective import World as AnyWorld
from transfer.detect.search import Found, Scores, search
from transfer.detect.settings import Config
from transfer.ranks import World

RATES = [0.02, 0.1, 0.5]
AP = {0.02: 30.0, 0.1: 35.5, 0.5: 20.0}


def a_config(root: Path, **changes: Any) -> Config:
    """Three rates of a detector without masks, and 20 images held out."""
    path = root / "detector.yaml"
    path.write_text("VERSION: 2\nSOLVER: {BASE_LR: 0.02}\n")
    values = {"learning_rates": RATES, "holdout_images": 20, **changes}
    return Config(dataset="voc07", split="test", protocol="p", detectron2_path=str(path), **values)


class Training:
    """Scores from a table, a checkpoint in the point's folder, and a record of what was trained."""

    def __init__(self, values: dict[float, float | None] | None = None) -> None:
        self.values = AP if values is None else values
        self.rates: list[float] = []
        self.kept: list[list[str]] = []  # folders with a checkpoint, whenever one is trained

    def __call__(self, rate: float, folder: Path) -> Scores | None:
        self.rates.append(rate)
        (folder / "model_final.pth").write_text("")
        (folder / "last_checkpoint").write_text("model_final.pth")
        (folder / "log.txt").write_text("")
        self.kept.append(sorted(path.parent.name for path in folder.parent.glob("*/model_final.pth")))
        value = self.values[rate]
        return None if value is None else {"box_ap": value, "box_ap50": 2 * value, "box_ap_small": None}


def searched(config: Config, out: Path, score: Any) -> Found:
    return search(config, out, score, num_images=20, backend="detectron2")


def read(out: Path) -> list[dict[str, str]]:
    with (out / "selection.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_rate_of_the_highest_box_ap_is_found(tmp_path: Path) -> None:
    training = Training()
    found = searched(a_config(tmp_path), tmp_path / "out", training)
    assert (found.rate, found.selection, found.folder) == (0.1, "best-val", None)
    assert training.rates == RATES
    assert [(line["lr"], line["value"], line["chosen"]) for line in read(tmp_path / "out")] == [
        ("0.02", "30.0", "no"),
        ("0.1", "35.5", "yes"),
        ("0.5", "20.0", "no"),
    ]
    assert {(line["judged_on"], line["metric"], line["n"]) for line in read(tmp_path / "out")} == {
        ("holdout", "box_ap", "20")
    }
    folders = sorted(path.name for path in (tmp_path / "out" / "search").iterdir())
    assert folders == ["lr-0.02", "lr-0.1", "lr-0.5"]


def test_every_point_is_a_row_of_the_held_out_images(tmp_path: Path) -> None:
    found = searched(a_config(tmp_path), tmp_path / "out", Training())
    assert [(m.protocol, m.metric, m.value) for m in found.measurements if m.metric != "box_ap_small"] == [
        (f"p@lr={rate:g}", metric, value)
        for rate, ap in AP.items()
        for metric, value in (("box_ap", ap), ("box_ap50", 2 * ap))
    ]
    assert {(m.dataset, m.split, m.backend, m.n, m.selection) for m in found.measurements} == {
        ("voc07", "holdout", "detectron2", 20, "last")
    }
    undefined = [m for m in found.measurements if m.metric == "box_ap_small"]
    assert len(undefined) == 3
    assert {(m.value, m.status.split(":")[0]) for m in undefined} == {(None, "not-run")}


def test_rows_say_what_else_deviates(tmp_path: Path) -> None:
    found = searched(a_config(tmp_path, images_per_batch=4), tmp_path / "out", Training())
    assert [m.protocol for m in found.measurements[::3]] == [f"p@batch4,lr={rate:g}" for rate in RATES]


@pytest.mark.parametrize(("rates", "rate"), [([], None), ([0.1], 0.1)])
def test_one_rate_or_none_is_no_search(rates: list[float], rate: float | None, tmp_path: Path) -> None:
    training = Training()
    config = a_config(tmp_path, learning_rates=rates, holdout_images=0)
    assert searched(config, tmp_path / "out", training) == Found(rate, "last", [])
    assert training.rates == []
    assert not (tmp_path / "out").exists()


def test_what_is_chosen_on_the_test_set_says_so_and_keeps_its_detector(tmp_path: Path) -> None:
    config = a_config(tmp_path, holdout_images=0, choose_on="test")
    found = searched(config, tmp_path / "out", Training())
    assert (found.rate, found.selection) == (0.1, "best-test")
    assert {m.split for m in found.measurements} == {"test"}
    assert {line["judged_on"] for line in read(tmp_path / "out")} == {"test"}
    assert found.folder == tmp_path / "out" / "search" / "lr-0.1"
    assert (found.folder / "model_final.pth").exists()


def test_a_search_without_images_to_choose_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 settings, but no training image is held out"):
        searched(a_config(tmp_path, holdout_images=0), tmp_path / "out", Training())
    with pytest.raises(ValueError, match="hold no training images out"):
        searched(a_config(tmp_path, choose_on="test"), tmp_path / "out", Training())


@pytest.mark.parametrize("rates", [[0.1, 0.1], [0.1, 0.2, 0.1000000001]])
def test_rates_that_no_row_tells_apart_are_refused(rates: list[float], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="learning_rates: expected different ones"):
        searched(a_config(tmp_path, learning_rates=rates), tmp_path / "out", Training())


def test_a_diverged_point_loses_and_its_rows_say_why_there_is_no_number(tmp_path: Path) -> None:
    found = searched(a_config(tmp_path), tmp_path / "out", Training({0.02: 0.0, 0.1: None, 0.5: None}))
    assert found.rate == 0.02
    assert [line["status"] for line in read(tmp_path / "out")] == ["ok", "diverged", "diverged"]
    rows = [m for m in found.measurements if m.protocol == "p@lr=0.5"]
    assert {m.status for m in rows} == {"not-run: diverged at learning rate 0.5"}
    assert {m.value for m in rows} == {None}
    assert {"box_ap", "box_ap50", "box_ap75"} <= {m.metric for m in rows}


def test_only_diverged_points_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all 3 settings diverged; lower the learning rates"):
        searched(a_config(tmp_path), tmp_path / "out", Training(dict.fromkeys(RATES)))


@pytest.mark.parametrize("scores", [{}, {"box_ap": None}, {"box_ap": float("nan")}, {"mask_ap": 3.0}])
def test_a_score_that_cannot_choose_is_refused(scores: Scores, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lr-0\.02: expected box_ap, which chooses, found"):
        searched(a_config(tmp_path), tmp_path / "out", lambda rate, folder: scores)
    assert not (tmp_path / "out" / "selection.csv").exists()


def test_losers_keep_their_logs_and_lose_their_detectors_at_once(tmp_path: Path) -> None:
    training = Training()
    searched(a_config(tmp_path), tmp_path / "out", training)
    assert training.kept == [["lr-0.02"], ["lr-0.02", "lr-0.1"], ["lr-0.1", "lr-0.5"]]
    for folder in (tmp_path / "out" / "search").iterdir():
        assert sorted(path.name for path in folder.iterdir()) == ["log.txt", "scores.json"]


def test_a_killed_search_trains_only_what_it_lacks(tmp_path: Path) -> None:
    class Killed(Training):
        def __call__(self, rate: float, folder: Path) -> Scores | None:
            if rate == 0.5:
                raise KeyboardInterrupt
            return super().__call__(rate, folder)

    config, out = a_config(tmp_path), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        searched(config, out, Killed())
    assert [line["chosen"] for line in read(out)] == ["", ""]
    again = Training()
    found = searched(config, out, again)
    assert again.rates == [0.5]
    assert found == searched(config, tmp_path / "other", Training())
    assert (out / "selection.csv").read_bytes() == (tmp_path / "other" / "selection.csv").read_bytes()
    finished = Training()
    assert searched(config, out, finished) == found
    assert finished.rates == []


def test_a_record_whose_scores_are_gone_is_refused(tmp_path: Path) -> None:
    searched(a_config(tmp_path), tmp_path / "out", Training())
    (tmp_path / "out" / "search" / "lr-0.5" / "scores.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"a point that selection\.csv has; remove that file"):
        searched(a_config(tmp_path), tmp_path / "out", Training())


def search_on_rank(world: AnyWorld, root: Path) -> tuple[float | None, int, list[float]]:
    rates: list[float] = []

    def score(rate: float, folder: Path) -> Scores | None:
        rates.append(rate)
        if rate == 0.5:
            return None
        return {"box_ap": AP[rate]} if world.rank == 0 else {}

    config = a_config(root / str(world.rank))
    found = search(config, root / "out", score, 20, "detectron2", World(world.rank, world.size))
    return found.rate, len(found.measurements), rates


def test_ranks_agree_and_the_first_has_the_rows(tmp_path: Path) -> None:
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    first, second = run_ranks(2, search_on_rank, tmp_path)
    assert first == (0.1, 2 + 6, RATES)  # two points with one score, and one without any of the six
    assert second == (0.1, 0, RATES)
