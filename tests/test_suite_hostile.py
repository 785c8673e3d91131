"""Hostile inputs at the entry points: none executes, none escapes its folder, a refusal is one line."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import MARKER, SENTINEL
from hostile_grid import (
    DATA,
    GOOD,
    LINT,
    SECRET,
    SECRET_NAME,
    SUITE,
    SUITES,
    TASKS,
    Case,
    suite_file,
    suite_words,
    word_cases,
)
from hostile_grid_files import file_cases

from transfer.backbone.load import write_random

MODULES = {  # entry point -> module, how a refusal begins
    SUITES: ("transfer.suite.__main__", r"suite: |status: |python -m transfer.suite: error: "),
    TASKS: ("transfer.__main__", r"transfer [a-z-]+: |python -m transfer[a-z -]*: error: "),
    LINT: ("transfer.lint", r"lint_config: "),
    DATA: ("transfer.data.prepare", r"prepare_data: "),
}
LIMIT_S = 30
MEMORY = 1 << 29  # bytes that a refusal may take at most, imports included
CASES = [*word_cases(), *file_cases()]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("backbone") / "backbone.safetensors"
    write_random(path, "resnet18", 0)
    for module, _ in MODULES.values():  # so that no case pays for an import
        importlib.import_module(module)
    return path


def listing(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder: kind, content and, of links, where they lead."""
    found: dict[str, tuple[Any, ...]] = {}
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(parent, name)
            about = os.lstat(path)
            content = ""
            if stat.S_ISLNK(about.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(about.st_mode) and about.st_size < 1 << 20:
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[os.path.relpath(path, folder)] = (stat.S_IFMT(about.st_mode), about.st_size, content)
    return found


@pytest.fixture
def place(tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder to work in, with things beside it that nobody may touch, and a clock."""
    work = tmp_path / "work"
    work.mkdir()
    os.link(backbone, tmp_path / "backbone.safetensors")
    (tmp_path / "outside.txt").write_text("precious\n")
    (tmp_path / SENTINEL).mkdir()
    (work / "knn.yaml").write_text(GOOD)
    monkeypatch.chdir(work)
    monkeypatch.setenv(SECRET_NAME, SECRET)

    def late(*_: object) -> None:
        raise TimeoutError(f"no answer within {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    yield work
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def answer(case: Case, words: list[str]) -> int:
    module, _ = MODULES[case.program]
    try:
        return int(importlib.import_module(module).main(words))
    except SystemExit as exit_:  # argparse's
        return int(exit_.code or 0)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_nothing_runs_nothing_escapes_and_a_refusal_is_one_line(
    case: Case, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = case.prepare(place)
    beside, inside = listing(place.parent), listing(place)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = answer(case, words)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - taken
    said, complained = capfd.readouterr()

    assert status in case.status, complained
    assert not (place.parent / MARKER).exists()
    assert {name: about for name, about in listing(place.parent).items() if not name.startswith("work")} == {
        name: about for name, about in beside.items() if not name.startswith("work")
    }
    assert not Path("/tmp/escaped").exists()
    assert not Path("/tmp/mec-transfer-escaped").exists()
    after = listing(place)
    own = ("out", "runs")  # run folders, in which things may appear
    assert {name: after.get(name) for name in inside} == inside or case.status != (2,)
    assert all(name.startswith(own) for name in after.keys() - inside.keys()) or 0 in case.status
    assert SECRET not in said + complained
    assert taken * 1024 < MEMORY
    if status == 2 or case.program == DATA:
        refusal = complained.rstrip("\n").split("\n")
        if refusal[0].startswith("usage: "):  # argparse's lines above the refusal
            refusal = refusal[-1:]
        assert len(refusal) == 1, complained
        assert re.match(MODULES[case.program][1], refusal[0]), complained
        assert refusal[0].isprintable(), refusal
        assert re.search(case.says, refusal[0]), complained


def test_there_are_a_hundred_cases_and_each_has_a_name() -> None:
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_same_words_on_files_that_are_fine_succeed(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The control: what is refused above is refused for its fault."""
    suite_file(SUITE.format(config="knn.yaml", more=""))(place)
    for more in ([], ["--executor", "slurm", "--partition=gpu", "--slurm=qos=high", "--time=1:00:00"]):
        case = Case("fine", SUITES, lambda folder, more=more: suite_words("suite.yaml", *more))
        assert answer(case, case.prepare(place)) == 0, capfd.readouterr().err
