"""The record of a run: what it holds, when it is written, that nothing secret is in it, how it is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from tiny_set import write_knn_config, write_tiny_set

from transfer import provenance
from transfer.__main__ import main
from transfer.backbone.checkpoint import file_sha256
from transfer.backbone.contract import read_backbone
from transfer.backbone.load import write_random
from transfer.evaluate import load_config
from transfer.keys import KEY_VARIABLE, job_key, run_key
from transfer.run_record import DIFF_CAP, RECORD_NAME, read_record
from transfer.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    write_random(tmp_path / "b.safetensors", "resnet18", seed=1)
    config = write_knn_config(tmp_path / "knn.yaml", write_tiny_set(tmp_path / "set"), k=3)
    return ["knn", str(config), "--backbone", str(tmp_path / "b.safetensors"), "--out", str(tmp_path / "out")]


def test_a_run_says_how_its_rows_came_about(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main([*command, "--seed", "4"]) == 0
    record = json.loads((tmp_path / "out" / RECORD_NAME).read_text())
    assert (record["state"], record["reason"]) == ("done", "")
    assert record["command"]["words"] == ["python", "-m", "transfer", *command, "--seed", "4"]
    assert record["command"]["folder"] == str(Path.cwd())
    assert (record["task"]["name"], record["task"]["seed"]) == ("knn", 4)
    assert record["backbone"]["sha256"] == file_sha256(tmp_path / "b.safetensors")
    assert (record["backbone"]["arch"], record["backbone"]["method"]) == ("resnet18", "random")
    assert record["data"]["paths"] == [str(tmp_path / "set/train"), str(tmp_path / "set/val")]
    assert record["packages"]["torch"] == metadata.version("torch")
    assert record["environment"]["OMP_NUM_THREADS"] == "1"
    assert record["hardware"]["cores"] == len(os.sched_getaffinity(0))
    assert record["processes"]["pid"] == os.getpid()
    assert record["started"] <= record["ended"]
    assert record["started"].endswith("+00:00")
    assert 0 < record["cpu_s"]["own"] <= 2 * os.cpu_count() * record["wall_s"]  # type: ignore[operator]
    assert record["peak_memory_mb"]["own"] > 50
    (row, _) = (tmp_path / "out/results.csv").read_text().splitlines()[1:]
    assert record["task"]["config_sha256"] in row


def test_a_failed_run_says_why_and_an_unfinished_one_that_it_runs(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*command, "temperature=-1"]) == 1
    record = read_record(tmp_path / "out")
    assert record["state"] == "failed"
    assert record["reason"].startswith("ValueError: ")

    code = (
        "import sys, os\nfrom transfer import run_folder, __main__ as m, evaluate\n"
        "evaluate.write_rows = lambda *_: os._exit(9)\nsys.exit(m.main(sys.argv[1:]))\n"
    )  # killed just before its rows
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 9
    assert read_record(tmp_path / "out")["state"] == "running"
    assert "ended" not in read_record(tmp_path / "out")


def test_a_killed_run_is_shown_as_killed(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    path = tmp_path / "out" / RECORD_NAME
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"state": "running"}))
    assert main(["show", str(tmp_path / "out")]) == 0
    assert f"running (process {os.getpid()} on " in capsys.readouterr().out
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    processes = record["processes"] | {"pid": ended.pid}
    path.write_text(json.dumps(record | {"state": "running", "processes": processes}))
    assert main(["show", str(tmp_path / "out")]) == 0
    assert "was killed (process " in capsys.readouterr().out


@pytest.mark.parametrize(("name", "recorded"), [("A_SERVICE_TOKEN", False), ("MEC_TRANSFER_DATA", True)])
def test_only_named_variables_are_recorded(
    name: str, recorded: bool, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "s3cr3t-5f1e"
    environment = {**os.environ, name: secret, "PYTHONPATH": str(ROOT)}
    found = []
    for words in (command, [*command, "temperature=-1"]):  # one that ends well, one with a traceback
        done = subprocess.run(
            [sys.executable, "-m", "transfer", *words],
            env=environment,
            cwd=ROOT,
            check=False,
            capture_output=True,
        )
        texts = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert len(texts) >= 3
        found.append(any(secret.encode() in text for text in (*texts, done.stdout, done.stderr)))
    assert found == [recorded, recorded]


def test_the_record_of_another_run_does_not_stay(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    (tmp_path / "out/code.diff").write_text("an old one")
    (tmp_path / "b.safetensors").unlink()
    assert main(command) == 2  # refused before it touches the folder
    assert read_record(tmp_path / "out")["state"] == "done"
    write_random(tmp_path / "b.safetensors", "resnet18", seed=2)
    assert main(command) == 0
    assert read_record(tmp_path / "out")["backbone"]["sha256"] == file_sha256(tmp_path / "b.safetensors")
    diff = tmp_path / "out/code.diff"
    assert not diff.exists() or diff.read_text() != "an old one"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one committed file, which provenance takes for ours."""
    package = tmp_path / "checkout/transfer"
    package.mkdir(parents=True)
    (package / "a.py").write_text("x = 1\n")
    for words in (["init", "-q", "-b", "work"], ["add", "."], ["commit", "-q", "-m", "one"]):
        author = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        subprocess.run(["git", *author, "-C", str(package.parent), *words], check=True)
    monkeypatch.setattr(provenance, "PACKAGE_DIR", package)
    return package


def test_the_diff_holds_changes_and_new_files_of_the_sources_only(checkout: Path) -> None:
    assert provenance.git_diff() == ""
    assert provenance.ask_git("rev-parse", "--abbrev-ref", "HEAD").strip() == "work"
    (checkout.parent / "notes.txt").write_text("not a source")
    assert provenance.git_diff() == ""
    (checkout / "a.py").write_text("x = 2\n")
    (checkout / "new.py").write_text("y = 3\n")
    diff = provenance.git_diff()
    for line in ("-x = 1", "+x = 2", "+++ b/transfer/new.py", "+y = 3"):
        assert line in diff.splitlines()


def test_the_diff_runs_no_program_that_the_checkout_names(checkout: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    script = tmp_path / "script.sh"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    (checkout.parent / ".gitattributes").write_text("*.py diff=mine\n")
    for key in ("core.fsmonitor", "core.pager", "diff.external", "diff.mine.textconv", "diff.mine.command"):
        subprocess.run(["git", "-C", str(checkout.parent), "config", key, str(script)], check=True)
    (checkout / "a.py").write_text("x = 2\n")
    assert "+x = 2" in provenance.git_diff()
    assert not mark.exists()
    subprocess.run(["git", "-C", str(checkout.parent), "diff"], check=True, capture_output=True)
    assert mark.exists()  # the settings do work


def test_a_long_diff_is_cut_and_the_record_says_so(
    checkout: Path, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "a.py").write_text("x = 2  # " + "long " * 60_000 + "\n")
    out = tmp_path / "out"
    provenance.code_version.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("transfer.keys.provenance.code_sha256", lambda *_: "0" * 64)
            assert main(command) == 0
    finally:
        provenance.code_version.cache_clear()
    assert len((out / "code.diff").read_text()) == DIFF_CAP
    record = read_record(out)
    assert record["code"]["diff_cut"]
    assert record["code"]["diff_characters"] > 300_000
    assert record["code"]["branch"] == "work"
    assert main(["show", str(out)]) == 0
    assert "characters of changes, cut, in code.diff" in capsys.readouterr().out


def test_shown_as_text_and_as_json(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    capsys.readouterr()
    assert main(["show", str(tmp_path / "out/results.csv")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in ("state done", "name knn", f"torch {metadata.version('torch')}", "tiny val knn-k3 top1 100"):
        assert line in lines
    assert main(["show", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / RECORD_NAME).read_text())


def test_shown_text_cannot_drive_a_terminal(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    path = tmp_path / "out" / RECORD_NAME
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"reason": "\x1b[2J\nline"}))
    capsys.readouterr()
    assert main(["show", str(tmp_path / "out")]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no record"),
        ("{", "not a record of a run"),
        ("[" * 100_000, "not a record of a run"),
        ("[]", "expected a record of format 1, found 'list'"),
        ('{"format": 2}', "expected a record of format 1, found 2"),
        ('{"format": 1, "task": {"name": "fly"}}', "it lacks command"),
    ],
)
def test_a_folder_without_a_record_is_told_in_one_line(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / RECORD_NAME).write_text(content)
    for words in (["show", str(tmp_path)], ["rerun", str(tmp_path)]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["show", str(tmp_path / "nothing")]) == 2
    assert "no such run folder" in capsys.readouterr().err


def test_a_job_runs_only_as_it_was_planned(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(TASKS["knn"], Path(command[1]))
    planned = job_key("knn", config, read_backbone(tmp_path / "b.safetensors"), 0)
    monkeypatch.setenv(KEY_VARIABLE, planned)
    assert main([*command, "--seed", "0"]) == 0
    assert read_record(tmp_path / "out")["task"]["key"] == planned
    for change in (["--seed", "1"], ["k=1", "protocol=knn-k1"]):
        assert main([*command, *change]) == 2
        error = capsys.readouterr().err
        assert "changed since this job was planned" in error
        assert "run the suite again" in error
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "transfer", *command]
    assert subprocess.run(run, env=environment, cwd=ROOT, check=False, capture_output=True).returncode == 0
    next((tmp_path / "set/val/dark").iterdir()).unlink()  # the data, behind the plan's back
    before = (tmp_path / "out/results.csv").read_bytes()
    done = subprocess.run(run, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "changed since this job was planned" in done.stderr
    assert (tmp_path / "out/results.csv").read_bytes() == before


def test_a_key_follows_all_that_decides_a_result(command: list[str], tmp_path: Path) -> None:
    backbone, path = read_backbone(tmp_path / "b.safetensors"), Path(command[1])

    def key(*overrides: str, seed: int = 0) -> str:
        return job_key("knn", load_config(TASKS["knn"], path, overrides), backbone, seed)

    other = tmp_path / "other"
    write_tiny_set(other)
    (other / "val/dark/0.png").unlink()
    write_random(tmp_path / "c.safetensors", "resnet18", seed=2)
    first = key()
    assert key() == key("num_workers=3") == key("seed=5") == first
    keys = {first, key(seed=1), key("k=1"), key(f"data_dir={other}")}
    keys.add(job_key("knn", load_config(TASKS["knn"], path), read_backbone(tmp_path / "c.safetensors"), 0))
    assert len(keys) == 5
    assert run_key("knn", load_config(TASKS["knn"], path), backbone, 0) not in keys
