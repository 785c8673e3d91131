"""One table of protocols: whatever a configuration or a row names stands in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from report_rows import MEC, of

from transfer.classify.knn import Config
from transfer.evaluate import check_protocol
from transfer.report.aggregate import find_results, to_cells
from transfer.report.markdown import to_markdown
from transfer.report.page.texts import describe_protocol, name_protocol
from transfer.report.protocols import PROTOCOLS, check_task, find_protocol, rank_protocol
from transfer.report.rows import Row, read_rows, write_rows
from transfer.report.tables import build_tables

ROOT = Path(__file__).resolve().parent.parent
OWN_SETTINGS = re.compile(
    r"knn-(cifar10-)?k\d+|linear-(cached-)?(sgd|lars)|unitrack(-motion-layer\d)?|static-box|no-appearance"
    r"|first-frame-copy|.+-(tracktor|deepsort|qdtrack|masktrack-rcnn)(-mot17-half)?-(unfrozen|syncbn)"
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
        ("linear", "moco-faster-rcnn-c4-24k"),
        ("linear", "moco-faster-rcnn-c4-24k@lr=0.05"),
        ("detect", "unitrack-layer3"),
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


MOCO, OTHERWISE = "moco-faster-rcnn-c4-24k", "moco-faster-rcnn-c4-24k@batch4,lr=0.05"


def detection(protocol: str, value: float, seed: int) -> Row:
    same = {"task": "detect", "dataset": "voc07+12", "split": "test", "backend": "detectron2", "n": 4952}
    return of(MEC, "box_ap", value, **same, protocol=protocol, seed=seed)


def test_a_detection_protocol_with_a_deviation_is_its_own_line() -> None:
    known = find_protocol(OTHERWISE)
    assert known is not None
    assert known.name == "Faster R-CNN C4, 24k, batch4, lr=0.05"
    assert known.source == f"{PROTOCOLS[MOCO].source}; here with batch4, lr=0.05"
    assert known.reading == PROTOCOLS[MOCO].reading
    searched = find_protocol("mec-mask-rcnn-c4-1x@lr=0.01")
    assert searched is not None
    assert searched.reading == PROTOCOLS["mec-mask-rcnn-c4-1x"].reading != ""
    check_task("detect", OTHERWISE)
    assert find_protocol(MOCO) is PROTOCOLS[MOCO]
    assert name_protocol(OTHERWISE) == known.name
    assert describe_protocol(OTHERWISE) == known.source
    ordered = [MOCO, OTHERWISE, "moco-mask-rcnn-c4-2x", "unitrack-layer3", "zzz"]
    assert sorted(reversed(ordered), key=rank_protocol) == ordered


@pytest.mark.parametrize(
    "protocol", ["mine@lr=0.05", "@lr=0.05", f"{MOCO}@", f"{MOCO}@lr=1@lr=2", "knn-k20@k=5", "unknown@lr=1"]
)
def test_a_deviation_from_nothing_known_is_refused(protocol: str, tmp_path: Path) -> None:
    assert find_protocol(protocol) is None
    with pytest.raises(ValueError, match=re.escape(f"protocol {protocol!r} is unknown; give it a line in")):
        check_task("detect", protocol)
    path = tmp_path / "results.csv"
    write_rows(path, [detection(MOCO, 50.0, 0)])
    path.write_text(path.read_text().replace(MOCO, protocol))
    with pytest.raises(ValueError, match=r":2: protocol: .* is unknown; the known ones stand in"):
        read_rows(path)


def test_rows_with_a_deviation_are_read_and_never_pooled_with_those_without(tmp_path: Path) -> None:
    rows = [detection(MOCO, 57.0 + seed, seed) for seed in range(3)]
    rows += [detection(OTHERWISE, 40.0 + seed, seed) for seed in range(3)]
    path = tmp_path / "results.csv"
    write_rows(path, rows)
    cells = to_cells([], read_rows(path))
    assert {cell.column.protocol: (cell.value, len(cell.rows)) for cell in cells} == {
        MOCO: (58.0, 3),
        OTHERWISE: (41.0, 3),
    }
    published = [row for row in read_rows(ROOT / "results/published.csv") if row.protocol == MOCO]
    tables = build_tables(to_cells(published, rows), ())
    shown = {
        section.title: to_markdown(replace(table, sections=(section,)))
        for table in tables
        for section in table.sections
    }
    ours = [title for title, text in shown.items() if "41.0 ± 1.0" in text]
    assert ours == [f"Measured: voc07+12, split test, protocol {OTHERWISE}"]
    beside = [title for title, text in shown.items() if "58.0 ± 1.0" in text]
    assert beside, "beside MoCo's own numbers"
    assert not any(title.startswith("Measured") for title in beside)
    merged = to_cells([], [replace(row, protocol=MOCO, seed=k) for k, row in enumerate(rows)])
    assert [len(cell.rows) for cell in merged] == [6], "rows that agree otherwise are one number"
