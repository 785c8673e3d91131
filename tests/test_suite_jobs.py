"""The suite on a tiny real set: skip what is done, redo what changed, go on after a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import write_mec_checkpoint
from tiny_set import write_knn_config, write_tiny_set

from transfer.backbone.contract import read_backbone
from transfer.backbone.load import write_random
from transfer.report.rows import read_rows
from transfer.suite.__main__ import main
from transfer.suite.backbones import contract_file, prepare_backbones
from transfer.suite.claims import claim
from transfer.suite.plan import Suite, load_suite, plan
from transfer.suite.run import minutes_of
from transfer.suite.state import DONE, INTERRUPTED, state_of
from transfer.suite.work import run_job

ROOT = Path(__file__).resolve().parent.parent
KNN, LINEAR = (ROOT / f"configs/classify/{name}_mini.yaml" for name in ("knn", "linear"))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A suite of a kNN that cannot work, for its temperature is negative, and then one that can."""
    tiny = write_tiny_set(tmp_path / "set")
    bad = write_knn_config(tmp_path / "bad.yaml", tiny, k=5, temperature=-50)
    good = write_knn_config(tmp_path / "good.yaml", tiny, k=3)
    suite = tmp_path / "suite.yaml"
    tasks = f"[{{task: knn, config: {bad}}}, {{task: knn, config: {good}}}]"
    suite.write_text(f"name: tiny\nrandom: false\ncores: 1\ntasks: {tasks}\n")
    write_random(tmp_path / "given.safetensors", "resnet18", seed=1)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return [str(suite), "--out", str(tmp_path / "runs"), "--backbone", str(tmp_path / "given.safetensors")]


def test_suite_skips_what_is_done_and_goes_on_after_a_failure(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 1
    results = {path.parent.name: list(read_rows(path)) for path in tmp_path.rglob("results.csv")}
    assert [row.status for row in results["good-seed0"]] == ["ok", "ok"]
    assert results["good-seed0"][0].value == 100.0
    assert all(row.status.startswith("failed: ") and "50" in row.status for row in results["bad-seed0"])
    assert all(row.value is None for row in results["bad-seed0"])
    assert "failed: " in (tmp_path / "runs/tables/knn.md").read_text()
    capfd.readouterr()

    good = next(tmp_path.rglob("good-seed0/results.csv"))
    bad = next(tmp_path.rglob("bad-seed0/results.csv"))
    before, tried = good.stat().st_mtime_ns, bad.stat().st_mtime_ns
    assert main(command) == 1
    assert good.stat().st_mtime_ns == before
    assert bad.stat().st_mtime_ns == tried  # its verdict stands
    assert "--retry-failed runs them again" in capfd.readouterr().out
    assert main([*command, "--retry-failed"]) == 1
    assert good.stat().st_mtime_ns == before
    assert bad.stat().st_mtime_ns != tried

    write_knn_config(tmp_path / "good.yaml", tmp_path / "set", k=1)
    assert main(command) == 1
    assert good.stat().st_mtime_ns != before


def test_a_job_that_dies_without_rows_leaves_failed_rows(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'knn' in sys.argv: import os; os._exit(9)\n"
    )  # every job process ends at once, as if it had been killed
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    assert main(command) == 1
    reason = "failed: the process ended with status 9 and no reason given"
    for path in tmp_path.rglob("results.csv"):
        assert [row.status for row in read_rows(path)] == [reason] * 2


def test_damaged_results_are_measured_again(command: list[str], tmp_path: Path) -> None:
    main(command)
    good = next(tmp_path.rglob("good-seed0/results.csv"))
    for damage in ("nonsense\n", good.read_text()[:100], ""):
        good.write_text(damage)
        main(command)
        assert [row.status for row in read_rows(good)] == ["ok", "ok"]


def test_changed_data_are_measured_again(command: list[str], tmp_path: Path) -> None:
    main(command)
    good = next(tmp_path.rglob("good-seed0/results.csv"))
    before = good.stat().st_mtime_ns
    image = next((tmp_path / "set/val/dark").iterdir())
    image.write_bytes(next((tmp_path / "set/val/bright").iterdir()).read_bytes())
    # A process of its own: one reads data once.
    subprocess.run([sys.executable, "-m", "transfer.suite", *command], check=False, capture_output=True)
    assert good.stat().st_mtime_ns != before
    assert read_rows(good)[0].value < 100  # a bright image is among the dark ones


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{task: fly, config: x}", "task 'fly' is unknown"),
        ("{task: knn, config: x.yaml}", "x.yaml is not there"),
    ],
)
def test_unusable_suite_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"name: x\ntasks: [{line}]\n")
    with pytest.raises(ValueError, match=message):
        load_suite(path)


def test_committed_suites_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MEC_TRANSFER_DATA", "data")
    monkeypatch.setenv("DETECTRON2_DATASETS", "data")
    for path in sorted((ROOT / "configs/suite").glob("*.yaml")):
        assert load_suite(path).tasks


def test_two_checkpoints_of_one_name_stay_two_backbones(tmp_path: Path) -> None:
    paths = []
    for folder, arch in (("a", "resnet18"), ("b", "resnet34")):
        (tmp_path / folder).mkdir()
        paths.append(write_mec_checkpoint(tmp_path / folder / "checkpoint_0099.pth.tar", arch))
    imported = [contract_file(path, tmp_path / "out") for path in paths]
    assert [read_backbone(path).info.arch for path in imported] == ["resnet18", "resnet34"]


def test_a_random_backbone_stands_beside_each_given_arch(tmp_path: Path) -> None:
    given = tmp_path / "given.safetensors"
    write_random(given, "resnet34", seed=5)
    backbones = prepare_backbones(Suite(name="x"), [given], tmp_path / "out")
    assert [backbone.info.arch for backbone in backbones] == ["resnet34", "resnet34"]
    given_one, random_one = (backbone.backbone for backbone in backbones)
    assert given_one is not None
    assert random_one is not None
    assert given_one.sha256 != random_one.sha256
    with pytest.raises(ValueError, match="give it --backbone"):
        prepare_backbones(Suite(name="x"), [], tmp_path / "out")


def test_a_number_that_cannot_be_is_no_failure_of_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """More neighbours than the set has images: not-run, the other numbers are there, nothing runs again."""
    tiny = write_tiny_set(tmp_path / "set")
    config = write_knn_config(tmp_path / "several.yaml", tiny, k=3)
    text = config.read_text().replace("protocol: knn-k3", "protocol: knn").replace("k: 3\n", "ks: [3, 50]\n")
    config.write_text(text)
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"name: tiny\nrandom: false\ntasks: [{{task: knn, config: {config}}}]\n")
    write_random(tmp_path / "given.safetensors", "resnet18", seed=1)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [str(suite), "--out", str(tmp_path / "runs"), "--backbone", str(tmp_path / "given.safetensors")]
    assert main(command) == 0
    (results,) = tmp_path.rglob("results.csv")
    rows = {row.protocol: row.status for row in read_rows(results) if row.metric == "top1"}
    assert rows["knn-k3"] == "ok"
    assert rows["knn-k50"].startswith("not-run: ")
    before = results.stat().st_mtime_ns
    assert main(command) == 0
    assert results.stat().st_mtime_ns == before
    assert "1 of 1 done before" in capfd.readouterr().out


def test_a_job_that_dies_after_its_rows_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one of them says not-run, which is no reason for a process to die."""
    tiny = write_tiny_set(tmp_path / "set")
    config = write_knn_config(tmp_path / "several.yaml", tiny, k=3)
    text = config.read_text().replace("protocol: knn-k3", "protocol: knn").replace("k: 3\n", "ks: [3, 50]\n")
    config.write_text(text)
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"name: tiny\nrandom: false\ntasks: [{{task: knn, config: {config}}}]\n")
    write_random(tmp_path / "given.safetensors", "resnet18", seed=1)
    loaded, out = load_suite(suite), tmp_path / "out"
    (job,) = plan(loaded, prepare_backbones(loaded, [tmp_path / "given.safetensors"], out), [], out)
    (tmp_path / "sitecustomize.py").write_text("import atexit, os\natexit.register(os._exit, 9)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    with claim(job.folder) as held:
        assert held is not None
        assert not run_job(job, held)
    assert "not-run" in (job.folder / "console.txt").read_text()  # it had come to its end
    assert not (job.folder / "results.csv").exists()
    state = state_of(job)  # what crashed runs again
    assert (state.name, state.detail) == (INTERRUPTED, "the process ended with status 9 and no reason given")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with claim(job.folder) as held:
        assert held is not None
        assert run_job(job, held)
    assert state_of(job).name == DONE


def test_without_an_environment_variable_the_rows_say_so_and_the_rest_goes_on(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEC_TRANSFER_DATA", raising=False)
    text = (
        (tmp_path / "bad.yaml").read_text().replace(str(tmp_path / "set"), "${oc.env:MEC_TRANSFER_DATA}/set")
    )
    (tmp_path / "bad.yaml").write_text(text.replace("-50", "0.07"))
    assert main(command) == 0
    rows = {path.parent.name: list(read_rows(path)) for path in tmp_path.rglob("results.csv")}
    assert [row.status for row in rows["good-seed0"]] == ["ok", "ok"]
    assert [row.status for row in rows["bad-seed0"]] == ["not-run: MEC_TRANSFER_DATA is not set"] * 2
    assert r"not-run: MEC\_TRANSFER\_DATA is not set" in (tmp_path / "runs/tables/knn.md").read_text()
    monkeypatch.setenv("MEC_TRANSFER_DATA", str(tmp_path))
    assert main(command) == 0
    done = next(tmp_path.rglob("bad-seed0/results.csv"))
    assert [row.status for row in read_rows(done)] == ["ok", "ok"]
    monkeypatch.delenv("MEC_TRANSFER_DATA")
    assert main(command) == 0
    assert [row.status for row in read_rows(done)] == ["ok", "ok"]  # what was measured is not lost


def test_a_supervised_baseline_that_is_not_there_is_a_row_that_says_so(
    command: list[str], tmp_path: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(suite.read_text() + f"supervised: {tmp_path}/absent.pth\n")
    assert main([*command, "--only", "knn"]) == 1  # for the temperature
    (path,) = tmp_path.glob("runs/supervised-absent/good-seed0/results.csv")
    statuses = {row.status for row in read_rows(path)}
    assert len(statuses) == 1
    assert statuses.pop().startswith(f"not-run: {tmp_path}/absent.pth: no such checkpoint")


def test_a_dry_run_makes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert main([*command, "--dry-run"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    printed = capsys.readouterr().out
    assert f"python -m transfer knn {tmp_path}/good.yaml --backbone" in printed
    assert "2 jobs; 2 waiting" in printed


@pytest.mark.parametrize(("text", "minutes"), [("90", 90), ("01:30:00", 90), ("0:00:30", 1)])
def test_time_is_hours_minutes_seconds_or_minutes(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "1:30", "-5", "1.5", "x", "1:2:3:4"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--time: expected HH:MM:SS or minutes"):
        minutes_of(text)
