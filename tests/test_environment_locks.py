"""The locks are exact, hashed and free of hosts, and the conda twin carries the same pins."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted((ROOT / "locks").glob("*.txt"))
HASHED = [path for path in LOCKS if path.name != "overrides.txt"]
HOSTS = re.compile(r"https?:|--(extra-)?index-url|--find-links|(^|\s)-[if]\s|file:", re.MULTILINE)


def blocks(text: str) -> list[str]:
    """A lock's requirements, each with its continuation lines."""
    return [block for block in text.replace("\\\n", " ").splitlines() if block.strip()]


def pins(text: str) -> dict[str, str]:
    """Read independently of tools/: through packaging, without the hashes."""
    requirements = [Requirement(block.split("--hash")[0]) for block in blocks(text)]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in requirements}


def faults_of_twin(environment: str, locked: dict[str, str]) -> list[str]:
    """Where environment.yml departs from the locked pins."""
    *conda, section = yaml.safe_load(environment)["dependencies"]
    found: dict[str, str] = {}
    for entry in section["pip"]:
        requirement = Requirement(entry)
        found[canonicalize_name(requirement.name)] = requirement.url or str(requirement.specifier)[2:]
    for entry in conda:
        name, _, version = entry.partition("=")
        if name in ("pytorch", "torchvision"):
            found["torch" if name == "pytorch" else name] = version
    upstream = found.pop("detectron2", "")
    faults = []
    if not re.fullmatch(r"git\+https://github\.com/facebookresearch/detectron2@[0-9a-f]{40}", upstream):
        faults.append(f"detectron2 {upstream}")
    parts_of_torch = ("nvidia-", "cuda-", "triton")
    expected = {n: v for n, v in locked.items() if not n.startswith(parts_of_torch) and n != "sal-detectron2"}
    return faults + [f"{n} {found.get(n)}" for n in expected | found if found.get(n) != expected.get(n)]


@pytest.mark.parametrize("path", HASHED, ids=lambda path: path.name)
def test_every_pin_is_exact_and_hashed(path: Path) -> None:
    for block in blocks(path.read_text()):
        assert re.fullmatch(r"[a-z0-9.-]+==\S+( +--hash=sha256:[0-9a-f]{64})+", block.strip()), block


@pytest.mark.parametrize("path", [*LOCKS, *sorted((ROOT / "locks").glob("*.in"))], ids=lambda path: path.name)
def test_no_lock_names_a_host(path: Path) -> None:
    assert not HOSTS.search(path.read_text())


@pytest.mark.parametrize(
    "line", ["--index-url https://example.org/simple", "-f wheels", "-i mirror", "a @ file:///w"]
)
def test_the_host_check_can_fail(line: str) -> None:
    assert HOSTS.search(f"six==1.17.0\n{line}\n")


def test_what_was_asked_for_is_locked() -> None:
    locked = pins((ROOT / "locks/requirements.txt").read_text())
    for line in (ROOT / "locks/requirements.in").read_text().splitlines():
        requirement = Requirement(line)
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), line


def test_the_tool_reads_what_packaging_reads() -> None:
    read_pins = runpy.run_path(str(ROOT / "tools/prove_environment.py"))["read_pins"]
    for path in HASHED:
        assert read_pins(path) == pins(path.read_text())


def test_a_line_that_is_no_pin_is_refused(tmp_path: Path) -> None:
    read_pins = runpy.run_path(str(ROOT / "tools/prove_environment.py"))["read_pins"]
    lock = tmp_path / "lock.txt"
    lock.write_text("six==1.17.0\nnumpy>=1\n")
    with pytest.raises(ValueError, match=r"lock\.txt:2: expected name==version"):
        read_pins(lock)


def test_the_conda_twin_is_in_step() -> None:
    locked = pins((ROOT / "locks/requirements.txt").read_text() + (ROOT / "locks/mmcv.txt").read_text())
    environment = (ROOT / "environment.yml").read_text()
    assert faults_of_twin(environment, locked) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("numpy==1.23.5", "numpy==1.23.4", "numpy 1.23.4"),
        ("pytorch=2.11.0", "pytorch=2.12.0", "torch 2.12.0"),
        ("mmcv-full==1.7.2", "mmcv-full==1.7.1", "mmcv-full 1.7.1"),
        ("      - yacs==0.1.8\n", "", "yacs None"),
        ("      - yacs==0.1.8\n", "      - yacs==0.1.8\n      - extra==1\n", "extra 1"),
        ("@02b5c4e295e990042a714712c21dc79b731e8833", "@main", "detectron2 git+https"),
    ],
)
def test_one_changed_pin_is_noticed(old: str, new: str, named: str) -> None:
    locked = pins((ROOT / "locks/requirements.txt").read_text() + (ROOT / "locks/mmcv.txt").read_text())
    environment = (ROOT / "environment.yml").read_text()
    assert old in environment
    (fault,) = faults_of_twin(environment.replace(old, new), locked)
    assert fault.startswith(named)


def test_an_installed_version_that_differs_is_named() -> None:
    faults = runpy.run_path(str(ROOT / "tools/prove_environment.py"))["version_faults"]
    installed = pins("pytest==" + pytest.__version__)
    assert faults(installed) == []
    assert faults({"pytest": "0.1"}) == [f"pytest: expected 0.1, found {pytest.__version__}"]
    assert faults({"no-such-thing": "1.0"}) == ["no-such-thing 1.0 is not installed"]
