"""The suites of classification protocols hold every configuration that they say they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer.report.side_by_side import MEMBERS
from transfer.suite.plan import load_suite

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "classify"


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # paths in a suite are relative to it
    monkeypatch.setenv("MEC_TRANSFER_DATA", "elsewhere")


def configs_of(name: str) -> list[str]:
    suite = load_suite(Path("configs/suite") / f"{name}.yaml")
    assert suite.name == name
    assert all(Path(line.config).name.startswith(f"{line.task}_") for line in suite.tasks)
    return [Path(line.config).name for line in suite.tasks]


def protocol_of(path: Path) -> str:
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("protocol: ")]
    return line.removeprefix("protocol: ")


def test_the_cifar10_suites_are_all_that_stand_side_by_side() -> None:
    made = [
        path
        for path in CONFIGS.glob("*_cifar10*.yaml")
        if "many_shot" not in path.name and not path.name.startswith("supervised_")
    ]
    members = {path.name for path in made if MEMBERS.fullmatch(protocol_of(path))}
    listed, scratch = configs_of("cifar10_protocols"), configs_of("cifar10_scratch")
    # MEC's paper, as settled by its code, is the code's protocol: the same numbers once more
    assert sorted([*listed, *scratch, "linear_cifar10_mec.yaml"]) == sorted(members)
    assert len(listed) == 22
    assert all("scratch" in name for name in scratch)


def test_the_many_shot_suite_is_eleven_sets_twice() -> None:
    found = configs_of("table-8")
    shared = {"linear_many_shot.yaml", "finetune_many_shot.yaml"}
    assert set(found) == {path.name for path in CONFIGS.glob("*_many_shot.yaml")} - shared
    assert len([name for name in found if name.startswith("linear_")]) == 11
    assert len([name for name in found if name.startswith("finetune_")]) == 11
    assert len(set(found)) == 22


def test_an_own_protocol_of_cifar10_is_a_member_and_others_are_not() -> None:
    for protocol in (
        "mec-code-linear-cifar10",
        "knn-cifar10-k200",
        "linear-sweep",
        "scratch-cifar10",
        "fewshot-5",
    ):
        assert MEMBERS.fullmatch(protocol)
    for protocol in (
        "knn-k20",
        "linear-cached-lars",
        "semisup-ft",
        "mec-cifar-linear",
        "mec-transfer-linear",
    ):
        assert not MEMBERS.fullmatch(protocol)
