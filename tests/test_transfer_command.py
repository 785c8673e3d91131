"""The command line of one task: overrides, seeds, rows, exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_set import write_knn_config, write_tiny_set

from transfer.__main__ import main
from transfer.backbone.load import write_random
from transfer.report.rows import read_rows


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    write_random(tmp_path / "b.safetensors", "resnet18", seed=1)
    config = write_knn_config(tmp_path / "knn.yaml", write_tiny_set(tmp_path / "set"), k=3)
    return ["knn", str(config), "--backbone", str(tmp_path / "b.safetensors"), "--out", str(tmp_path / "out")]


def test_overrides_may_stand_last_and_reach_the_rows(command: list[str], tmp_path: Path) -> None:
    assert main([*command, "--seed", "7", "k=1", "protocol=knn-k1"]) == 0
    rows = list(read_rows(tmp_path / "out/results.csv"))
    assert [(row.metric, row.protocol, row.seed, row.value) for row in rows] == [
        ("top1", "knn-k1", 7, 100.0),
        ("top5", "knn-k1", 7, 100.0),
    ]
    assert rows[0].source.endswith("--seed 7 k=1 protocol=knn-k1")
    assert "k: 1" in (tmp_path / "out/config.yaml").read_text()


@pytest.mark.parametrize("words", [["--sed", "7"], ["neighbours"], ["k=1", "--x"]])
def test_stray_words_are_refused(command: list[str], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*command, *words])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [("neighbours=3", "neighbours"), ("k=many", "many")],
)
def test_unusable_configuration_is_named(
    command: list[str], override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, override]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/results.csv").exists()


def test_a_failing_task_exits_one_and_its_rows_say_why(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    assert main([*command, "temperature=0"]) == 1
    rows = list(read_rows(tmp_path / "out/results.csv"))
    assert [row.value for row in rows] == [None, None]
    assert all(row.status.startswith("failed: ValueError: ") for row in rows)


def test_a_backbone_that_is_none_is_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    assert main(command) == 2
    assert "not a readable safetensors file" in capsys.readouterr().err
