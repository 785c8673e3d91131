"""A run repeated from its record: equal where nothing changed, refused or told where something did."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_set import write_knn_config, write_tiny_set

from transfer.__main__ import main
from transfer.backbone.load import write_random
from transfer.data import checksum
from transfer.report.rows import read_rows
from transfer.rerun import RESTORED, compare
from transfer.run_record import RECORD_NAME, read_record

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run in a folder of its own: ``run`` beside the set, the backbone and the configuration."""
    root = tmp_path_factory.mktemp("finished")
    write_random(root / "b.safetensors", "resnet18", seed=1)
    config = write_knn_config(root / "knn.yaml", write_tiny_set(root / "set"), k=3)
    words = ["knn", str(config), "--backbone", str(root / "b.safetensors"), "--out", str(root / "run")]
    assert main([*words, "--seed", "2"]) == 0
    return root


@pytest.fixture
def place(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run, restored before the test and looked at afresh: a process reads data only once."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    checksum.forget()
    kept = finished.with_name("kept")
    if not kept.exists():
        shutil.copytree(finished, kept)
    shutil.rmtree(finished)
    shutil.copytree(kept, finished)
    return finished


Refuse = Callable[..., str]


@pytest.fixture
def refuse(place: Path, capfd: pytest.CaptureFixture[str]) -> Refuse:
    """Repeat the run, which must be refused before anything is written: the one line that says why."""

    def repeat(*words: str) -> str:
        checksum.forget()
        capfd.readouterr()
        before = sorted(place.rglob("*"))
        assert main(["rerun", str(place / "run"), *words]) == 2
        assert sorted(place.rglob("*")) == before
        error = capfd.readouterr().err
        assert error.count("\n") == 1
        return error

    return repeat


def test_a_repeated_run_gives_equal_rows(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(place / "run")]) == 0
    assert main(["rerun", str(place / "run")]) == 0
    out = capfd.readouterr().out
    assert "tiny val knn-k3 top1  100  100  equal" in out
    assert "all rows are equal" in out
    old, new = (read_rows(place / name / "results.csv") for name in ("run", "run-rerun"))
    assert [(row.value, row.seed, row.config_sha256) for row in old] == [
        (row.value, row.seed, row.config_sha256) for row in new
    ]
    assert new[0].seed == 2
    assert read_record(place / "run-rerun")["task"]["key"] == read_record(place / "run")["task"]["key"]
    assert main(["rerun", str(place / "run/results.csv")]) == 2
    assert "run-rerun: is there already" in capfd.readouterr().err


def test_an_altered_row_is_told(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = place / "run/results.csv"
    with path.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["metric"], first["value"]) == ("top1", "100")
    first["value"] = "66.66666667"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(first), lineterminator="\n")
        writer.writeheader()
        writer.writerows([first, second])
    assert main(["rerun", str(path), "--out", str(place / "again")]) == 1
    out = capfd.readouterr().out
    assert "top1  66.66666667  100  +33.33333333" in out
    assert "top5  100  100  equal" in out
    assert "rows differ" in out


def test_other_data_are_refused_unless_allowed(
    place: Path, refuse: Refuse, capfd: pytest.CaptureFixture[str]
) -> None:
    (place / "set/val/dark/0.png").unlink()
    assert "the data are not the run's" in refuse()
    assert main(["rerun", str(place / "run"), "--allow-changes"]) == 1  # n is another
    shown = capfd.readouterr()
    assert "warning: the data are not the run's" in shown.err
    assert "100  100  n 6, 5" in shown.out


def test_data_that_are_gone_are_named(place: Path, refuse: Refuse) -> None:
    shutil.move(place / "set", place / "moved")
    error = refuse()
    assert f"{place / 'set/train'}: no such data; the run was started in {Path.cwd()}" in error


def test_data_that_moved_are_given_by_an_override(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both places lie below MEC_TRANSFER_DATA, the configuration is the same."""
    monkeypatch.setenv("MEC_TRANSFER_DATA", str(place / "a"))
    shutil.move(place / "set", place / "a/set")
    words = ["knn", str(place / "knn.yaml"), "--backbone", str(place / "b.safetensors")]
    assert main([*words, "--out", str(place / "other"), f"data_dir={place / 'a/set'}"]) == 0
    shutil.move(place / "a", place / "b")
    monkeypatch.setenv("MEC_TRANSFER_DATA", str(place / "b"))
    assert main(["rerun", str(place / "other")]) == 2
    assert main(["rerun", str(place / "other"), f"data_dir={place / 'b/set'}"]) == 0


def test_other_weights_are_refused(place: Path, refuse: Refuse) -> None:
    shutil.move(place / "b.safetensors", place / "moved.safetensors")
    assert "no such backbone file; give the file's new place with --backbone" in refuse()
    write_random(place / "b.safetensors", "resnet18", seed=9)
    assert "expected the run's backbone, sha256" in refuse()
    assert "expected the run's backbone" in refuse("--backbone", str(place / "b.safetensors"))
    assert main(["rerun", str(place / "run"), "--backbone", str(place / "moved.safetensors")]) == 0


def test_another_configuration_is_refused(place: Path, refuse: Refuse) -> None:
    assert "the configuration, or a file that it names, is not the run's" in refuse("k=1", "protocol=knn-k1")
    path = place / "run/config.yaml"
    path.write_text(path.read_text().replace("k: 3", "k: 1"))
    assert "the configuration, or a file that it names, is not the run's" in refuse()


def test_a_run_without_rows_cannot_be_compared(place: Path, refuse: Refuse) -> None:
    (place / "run/results.csv").unlink()
    assert "no rows to compare with" in refuse()


def test_other_code_packages_and_hardware_are_told(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = place / "run" / RECORD_NAME
    record = json.loads(path.read_text())
    record["code"] |= {"sha256": "0" * 64, "commit": "1" * 40, "dirty": True}
    record["packages"]["torch"] = "0.4"
    record["hardware"]["cpu"] = "abacus"
    path.write_text(json.dumps(record))
    assert main(["rerun", str(place / "run")]) == 0
    warnings = capfd.readouterr().err
    for part in ("commit 111111111111-dirty then", "warning: torch 0.4 then", "warning: cpu: abacus then"):
        assert part in warnings


def test_a_run_of_several_machines_is_repeated_by_hand(place: Path, refuse: Refuse) -> None:
    path = place / "run" / RECORD_NAME
    record = json.loads(path.read_text())
    record["processes"] |= {"number": 4, "machines": 2}
    path.write_text(json.dumps(record))
    assert "the run took 2 machines; start its command on each of them: python -m transfer knn" in refuse()


def test_threads_are_those_of_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "OMP_NUM_THREADS" in RESTORED
    path = place / "run" / RECORD_NAME
    record = json.loads(path.read_text())
    record["environment"]["OMP_NUM_THREADS"] = "2"
    path.write_text(json.dumps(record))
    assert main(["rerun", str(place / "run")]) == 0
    assert read_record(place / "run-rerun")["environment"]["OMP_NUM_THREADS"] == "2"


def test_a_run_folder_is_named_as_the_shell_has_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From inside, and where its name looks like an option."""
    shutil.move(place / "run", place / "-x y'")
    monkeypatch.chdir(place / "-x y'")
    assert main(["rerun", "."]) == 0
    assert (place / "-x y'-rerun/results.csv").is_file()
    monkeypatch.chdir(place)
    assert main(["rerun", "--out=-z", "--", "-x y'"]) == 0
    assert (place / "-z/results.csv").is_file()


def test_rows_are_compared_by_name_and_both_ways(place: Path) -> None:
    first, second = read_rows(place / "run/results.csv")
    assert compare([first, second], [second, first])[1]
    for fewer in ([first], [second], []):
        for old, new in ((fewer, [first, second]), ([first, second], fewer)):
            lines, equal = compare(old, new)
            assert not equal
            assert sum(text.endswith("only in one") for _, text in lines) == 2 - len(fewer)
