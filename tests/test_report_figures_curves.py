"""Curve files: collected from a run folder, read strictly."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
from figure_scene import RESULTS, measured_row
from noise_recipe import write_recipe

from pretrain.config import load_config
from pretrain.train import train
from transfer.report.command import main as make_tables
from transfer.report.curves import HEADER, coding_length, collect_curves, read_curves
from transfer.report.rows import write_rows

FACTS = {"loss": -0.5, "spectral_norm": 0.4, "cosine": 0.6, "effective_rank": 20.0, "lambda": 0.03125}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two logged steps of a run, and one kNN result of its checkpoint of epoch 2."""
    folder = tmp_path / "runs" / "mini"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps({"optim": {"batch_size": 64, "epochs": 2}, "model": {"dim": 512}})
    )
    lines = [{"step": 62 * i, "epoch": float(i), "lr": 0.1, "step_s": 1.0, **FACTS} for i in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    knn = [
        measured_row(31.5, task="knn", protocol="knn-k20", pretrain_epochs="2"),
        measured_row(80.0, task="knn", protocol="knn-k20", pretrain_epochs="2", metric="top5"),
    ]
    write_rows(folder / "knn" / "2" / "results.csv", knn)
    return folder


def test_collected_curves_are_what_the_run_logged(run: Path, tmp_path: Path) -> None:
    into = tmp_path / "curves" / "mini.csv"
    assert collect_curves([run], into) == 2 * 6 + 1
    points = read_curves(into.parent)["mini"]
    found = {(p.metric, p.step): p.value for p in points}
    assert {metric: found[metric, 62] for metric in FACTS} == FACTS
    assert found["coding_length", 62] == 0.5 * 0.03125 * 64 * (64 + 512) / 2
    assert found["knn_top1", 124] == 31.5
    assert ("step_s", 62) not in found
    assert {p.source for p in points if p.metric == "loss"} == {"metrics.jsonl of a run of 2 epochs"}
    digest = hashlib.sha256((run / "config.json").read_bytes()).hexdigest()
    assert {p.config_sha256 for p in points if p.metric == "loss"} == {digest}
    assert [(p.source, p.hardware) for p in points if p.metric == "knn_top1"] == [
        ("python -m transfer linear c.yaml", "2 cores")
    ]
    assert {p.hardware for p in points if p.metric == "loss"} == {""}


def test_the_version_is_that_of_the_exported_backbone(run: Path, tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"tool_version": "0.1.0"}}).encode()
    (run / "backbone.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    collect_curves([run], tmp_path / "mini.csv")
    points = read_curves(tmp_path)["mini"]
    assert {p.code_version for p in points if p.metric == "loss"} == {"0.1.0"}


def test_coding_length_is_mu_log_det_of_a_small_case() -> None:
    """Two equal unit embeddings, m = 2, d = 1: the series of log det(I + C) tends to log(1 + 2 lam)."""
    lam, m, d = 0.01, 2, 1
    series = sum((-1) ** (k + 1) / k * (2 * lam) ** k for k in range(1, 5))
    loss = -(series + series) / (2 * lam * m)
    assert coding_length(loss, lam, m, d) == pytest.approx((m + d) / 2 * math.log(1 + 2 * lam), rel=1e-6)


def test_several_runs_share_a_file(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    assert collect_curves([other, run], tmp_path / "both.csv") == 2 * 13
    points = read_curves(tmp_path)["both"]
    assert [point.run for point in points] == sorted([run.name] * 13 + [other.name] * 13)


def test_the_command_collects(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    into = tmp_path / "mini.csv"
    assert make_tables(["--collect-curves", str(run), "--into", str(into)]) == 0
    assert "13 numbers" in capsys.readouterr().out
    assert make_tables(["--collect-curves", str(tmp_path), "--into", str(into)]) == 2
    assert "config.json: no such file" in capsys.readouterr().err


def test_a_recipe_without_sizes_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "config.json").write_text('{"optim": {"batch_size": 64}}')
    with pytest.raises(ValueError, match=r"config.json: expected a whole number model.dim"):
        collect_curves([run], tmp_path / "mini.csv")


def test_a_log_without_a_number_is_refused(run: Path, tmp_path: Path) -> None:
    log = run / "metrics.jsonl"
    log.write_text(log.read_text().replace('"spectral_norm": 0.4', '"spectral_norm": NaN', 1))
    with pytest.raises(ValueError, match=r"metrics.jsonl:1: expected a finite number for spectral_norm"):
        collect_curves([run], tmp_path / "mini.csv")
    log.write_text("{")
    with pytest.raises(ValueError, match=r"metrics.jsonl:1: no line of numbers"):
        collect_curves([run], tmp_path / "mini.csv")
    assert not (tmp_path / "mini.csv").exists()


def rewrite(run: Path, objective: str | None, *extra: dict[str, float]) -> None:
    """Name the objective in the recipe, and add to the two lines of the log."""
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"objective": {"name": objective}}))
    log = run / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    both = [line | more for line, more in zip(lines, extra, strict=True)]
    log.write_text("".join(json.dumps(line) + "\n" for line in both))


@pytest.mark.parametrize("objective", ["mec", "barlow-twins"])
def test_a_logged_coding_length_is_taken_as_it_is(run: Path, tmp_path: Path, objective: str) -> None:
    rewrite(run, objective, {"coding_length": 81.5}, {"coding_length": 99.25})
    collect_curves([run], tmp_path / "mini.csv")
    points = [p for p in read_curves(tmp_path)["mini"] if p.metric == "coding_length"]
    assert [(p.step, p.value) for p in points] == [(62, 81.5), (124, 99.25)]
    (source,) = {p.source for p in points}
    assert source.startswith("Eq. 1 at the final lambda, in metrics.jsonl of a run of 2 epochs")
    assert ("objective barlow-twins" in source) == (objective == "barlow-twins")


def test_two_definitions_of_the_coding_length_are_not_joined(run: Path, tmp_path: Path) -> None:
    rewrite(run, "mec", {}, {"coding_length": 99.25})
    collect_curves([run], tmp_path / "mini.csv")
    points = [p for p in read_curves(tmp_path)["mini"] if p.metric == "coding_length"]
    assert [(p.step, p.value) for p in points] == [(124, 99.25)]


@pytest.mark.parametrize(
    ("objective", "derived"),
    [("mec", True), ("barlow-twins", False), ("vicreg", False), ("simsiam+mec", False)],
)
def test_only_mecs_loss_gives_a_coding_length(
    run: Path, tmp_path: Path, objective: str, derived: bool
) -> None:
    rewrite(run, objective, {}, {})
    assert collect_curves([run], tmp_path / "mini.csv") == 2 * (5 + derived) + 1
    points = read_curves(tmp_path)["mini"]
    assert any(p.metric == "coding_length" for p in points) == derived
    (source,) = {p.source for p in points if p.metric == "loss"}
    assert source == "metrics.jsonl of a run of 2 epochs" + ("" if derived else f", objective {objective}")


def test_an_objective_without_a_name_is_refused(run: Path, tmp_path: Path) -> None:
    rewrite(run, None, {}, {})
    with pytest.raises(ValueError, match=r"config.json: expected a name as objective.name, found"):
        collect_curves([run], tmp_path / "mini.csv")


def test_the_loops_own_knn_is_another_metric_than_that_of_checkpoints(run: Path, tmp_path: Path) -> None:
    rewrite(run, "mec", {}, {"knn_top1": 44.0})  # at the step of the checkpoint that was evaluated
    collect_curves([run], tmp_path / "mini.csv")
    points = read_curves(tmp_path)["mini"]
    found = {p.metric: (p.step, p.value, p.source) for p in points if "knn" in p.metric}
    assert found == {
        "knn_top1": (124, 31.5, "python -m transfer linear c.yaml"),
        "online_knn_top1": (
            *(124, 44.0),
            "while training, by knn.* of config.json, in metrics.jsonl of a run of 2 epochs",
        ),
    }


@pytest.mark.parametrize("key", ["coding_length", "knn_top1"])
def test_an_optional_number_that_is_none_is_refused(run: Path, tmp_path: Path, key: str) -> None:
    rewrite(run, "mec", {}, {key: math.nan})
    with pytest.raises(ValueError, match=rf"metrics.jsonl:2: expected a finite number for {key}"):
        collect_curves([run], tmp_path / "mini.csv")


def test_a_real_run_gives_its_logged_numbers(tmp_path: Path) -> None:
    labelled = f"{{train_dir: {tmp_path}/images, val_dir: {tmp_path}/images}}"
    recipe = write_recipe(tmp_path, epochs=1, knn=labelled)
    run = train(load_config(recipe)).parent
    collect_curves([run], tmp_path / "curves" / "noise.csv")
    points = read_curves(tmp_path / "curves")["noise"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for metric, key in (("coding_length", "coding_length"), ("online_knn_top1", "knn_top1")):
        expected = {line["step"]: line[key] for line in lines if key in line}
        assert {p.step: p.value for p in points if p.metric == metric} == pytest.approx(expected)
        assert expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mini,1,1,loss,nan,s,,,", ":2: step, epoch or value is no finite number"),
        ("mini,1.5,1,loss,1,s,,,", ":2: step, epoch or value is no finite number"),
        ("mini,1,1,accuracy,1,s,,,", ":2: metric 'accuracy' is none of"),
        ("mini,1,1,loss,1,s,,", ":2: expected 9 cells, found 8"),
        (",1,1,loss,1,s,,,", ":2: run, metric and step must be there, and only once"),
        ("mini,1,1,loss,1,s,,,\nmini,1,1,loss,2,s,,,", ":3: run, metric and step"),
    ],
)
def test_a_wrong_curve_file_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "mini.csv").write_text(f"{','.join(HEADER)}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_curves(tmp_path)


def test_a_wrong_header_is_refused_and_no_folder_is_no_curves(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "none") == {}
    (tmp_path / "mini.csv").write_text("run,step\n")
    with pytest.raises(ValueError, match=":1: expected the header run,step,epoch"):
        read_curves(tmp_path)


def test_committed_curves_can_be_read() -> None:
    for name, points in read_curves(RESULTS / "curves").items():
        assert {p.metric for p in points} >= {"loss", "coding_length", "spectral_norm"}, name
