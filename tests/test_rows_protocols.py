"""One table of protocols: whatever a configuration or a row names stands in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from transfer.classify.knn import Config
from transfer.evaluate import check_protocol
from transfer.report.aggregate import find_results
from transfer.report.protocols import PROTOCOLS, check_task
from transfer.report.rows import read_rows

ROOT = Path(__file__).resolve().parent.parent
OWN_SETTINGS = re.compile(
    r"knn-(cifar10-)?k\d+|linear-(cached-)?(sgd|lars)"
)  # what a task's settings can make of it


def of_configs() -> dict[str, str]:
    """Protocol -> a configuration that names it."""
    found = {}
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        for protocol in re.findall(r"^protocol: *([^\s#]+)", path.read_text(), re.MULTILINE):
            found[protocol] = path.name
    return found


def of_rows() -> set[str]:
    paths = [ROOT / "results/published.csv", *find_results(ROOT / "results/measured")]
    return {row.protocol for path in paths for row in read_rows(path)}


def test_every_protocol_of_a_configuration_is_known() -> None:
    found = of_configs()
    assert len(found) > 9
    assert {protocol: name for protocol, name in found.items() if protocol not in PROTOCOLS} == {}


def test_no_line_of_the_table_is_dead() -> None:
    used = of_rows() | set(of_configs())
    assert [name for name in PROTOCOLS if name not in used and not OWN_SETTINGS.fullmatch(name)] == []


def test_every_protocol_says_where_it_is_written_down() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.name, name
        assert protocol.source, name
        for place in re.findall(r"(?:configs|transfer)/\S+?(?=[,;]|$)", protocol.source):
            assert list(ROOT.glob(place)), f"{name}: {place} is not there"


def test_a_task_with_an_unknown_protocol_is_refused_before_it_runs() -> None:
    known = Config(dataset="d", protocol="knn-k20", data_dir=".", k=20)
    check_protocol("knn", known, Path("knn.yaml"))
    with pytest.raises(ValueError, match=r"knn\.yaml: protocol 'mine' is unknown; give it a line in"):
        check_protocol("knn", replace(known, protocol="mine"), Path("knn.yaml"))
    several = replace(known, protocol="knn", k=None, ks=[10, 7])  # knn-k7 has no line
    with pytest.raises(ValueError, match=r"knn\.yaml: protocol 'knn-k7' is unknown"):
        check_protocol("knn", several, Path("knn.yaml"))


@pytest.mark.parametrize(
    ("task", "protocol"),
    [
        ("linear", "mec-semisup"),
        ("semisup", "moco-linear"),
        ("finetune", "unitrack-layer3"),
        ("sot", "knn-k20"),
    ],
)
def test_a_protocol_of_another_task_is_refused(task: str, protocol: str) -> None:
    with pytest.raises(ValueError, match=f"protocol '{protocol}' is one of task .*this is task '{task}'"):
        check_task(task, protocol)


def test_every_row_has_a_protocol_of_its_own_task() -> None:
    paths = [ROOT / "results/published.csv", *find_results(ROOT / "results/measured")]
    for task, protocol in {(row.task, row.protocol) for path in paths for row in read_rows(path)}:
        check_task(task, protocol)
