"""What tools/setup.sh says when it cannot go on: one sentence, a non-zero status, nothing made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine != "x86_64",
    reason="the set-up is for Linux x86-64",
)
COMMANDS = (
    *(
        "awk",
        "bash",
        "cat",
        "cut",
        "df",
        "dirname",
        "find",
        "flock",
        "grep",
        "head",
        "ls",
        "mkdir",
        "mktemp",
        "mv",
    ),
    *("nproc", "rm", "sed", "sha256sum", "sleep", "tail", "touch", "uname"),
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The part of a checkout that the set-up reads, without an environment."""
    for folder in ("tools", "locks"):
        shutil.copytree(ROOT / folder, tmp_path / "checkout" / folder)
    return tmp_path / "checkout"


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A PATH with the usual commands, but neither Python, uv nor a compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in COMMANDS:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return folder


def write_script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_python(folder: Path, answer: str, status: int, include: str = "") -> Path:
    """A stand-in for an interpreter, answering the set-up's two questions."""
    return write_script(
        folder / "python3.10",
        f'#!/bin/bash\nif [[ $1 == -c ]]; then echo "{include}"; else echo "{answer}"; exit {status}; fi\n',
    )


def set_up(checkout: Path, commands: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    home = commands.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [str(commands / "bash"), str(checkout / "tools/setup.sh"), *args],
        env={"PATH": str(commands), "HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def only_sentence(done: subprocess.CompletedProcess[str], checkout: Path) -> str:
    assert done.returncode == 1, done.stderr
    assert not (checkout / ".venv").exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("setup: ")
    return line


def test_no_python_says_how_to_get_it(checkout: Path, commands: Path) -> None:
    sentence = only_sentence(set_up(checkout, commands), checkout)
    assert "no CPython 3.10" in sentence
    assert "uv python install 3.10" in sentence


def test_another_python_is_no_candidate(checkout: Path, commands: Path) -> None:
    fake_python(commands, "is cpython 3.12.1", 3)
    assert "no CPython 3.10" in only_sentence(set_up(checkout, commands), checkout)


def test_a_wrong_python_on_request_is_named(checkout: Path, commands: Path) -> None:
    wrong = fake_python(commands, "is cpython 3.12.1", 3)
    sentence = only_sentence(set_up(checkout, commands, "--python", str(wrong)), checkout)
    assert f"{wrong} is cpython 3.12.1; CPython 3.10 is needed" in sentence


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 10), reason="asks the running interpreter, which must be 3.10"
)
def test_the_running_python_is_accepted(checkout: Path, commands: Path) -> None:
    done = set_up(checkout, commands, "--python", sys.executable, MEC_TRANSFER_FREE_GB="999999")
    assert "CPython 3.10" not in only_sentence(done, checkout)  # it went on to the next check


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 10), reason="asks the running interpreter, which must not be 3.10"
)
def test_the_running_python_is_refused(checkout: Path, commands: Path) -> None:
    sentence = only_sentence(set_up(checkout, commands, "--python", sys.executable), checkout)
    assert f"is cpython {sys.version.split()[0]}; CPython 3.10 is needed" in sentence


def test_a_full_disk(checkout: Path, commands: Path) -> None:
    fake_python(commands, "/opt/python3.10", 0)
    sentence = only_sentence(set_up(checkout, commands, MEC_TRANSFER_FREE_GB="999999"), checkout)
    assert "GB free, 999999 GB are needed" in sentence


def test_no_compiler(checkout: Path, commands: Path) -> None:
    python = fake_python(commands, str(commands / "python3.10"), 0)
    sentence = only_sentence(set_up(checkout, commands, MEC_TRANSFER_FREE_GB="0"), checkout)
    assert "no C++ compiler (tried c++ and g++)" in sentence
    assert python.exists()


def test_no_python_headers(checkout: Path, commands: Path, tmp_path: Path) -> None:
    fake_python(commands, str(commands / "python3.10"), 0, include=str(tmp_path / "include"))
    write_script(commands / "c++", "#!/bin/bash\n")
    sentence = only_sentence(set_up(checkout, commands, MEC_TRANSFER_FREE_GB="0"), checkout)
    assert f"{tmp_path / 'include'}/Python.h is missing" in sentence


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Path, commands: Path) -> None:
    fake_python(commands, str(commands / "python3.10"), 0, include=sysconfig.get_path("include"))
    write_script(commands / "c++", "#!/bin/bash\n")
    (checkout / ".venv").mkdir()
    (checkout / ".venv/thesis.txt").write_text("precious")
    done = set_up(checkout, commands, MEC_TRANSFER_FREE_GB="0")
    assert done.returncode == 1
    assert "is no virtual environment; move it away" in done.stderr
    assert (checkout / ".venv/thesis.txt").read_text() == "precious"


def test_an_unknown_argument(checkout: Path, commands: Path) -> None:
    done = set_up(checkout, commands, "--fast")
    assert done.returncode == 1
    assert done.stderr.endswith("setup: unknown argument --fast\n")


def test_help_needs_nothing(checkout: Path, commands: Path) -> None:
    done = set_up(checkout, commands, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: bash tools/setup.sh")


def test_a_missing_environment_is_not_complete(checkout: Path, commands: Path) -> None:
    sentence = only_sentence(set_up(checkout, commands, "--check"), checkout)
    assert ".venv is missing, incomplete or not as locked" in sentence


def test_a_complete_environment_is_left_as_it_is() -> None:
    stamp = ROOT / ".venv/.setup-complete"
    if not stamp.is_file():
        pytest.skip("no environment made by tools/setup.sh here")
    before = stamp.stat().st_mtime_ns
    done = subprocess.run(
        ["bash", str(ROOT / "tools/setup.sh"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "ready: .venv is complete" in line
    assert stamp.stat().st_mtime_ns == before
