"""tools/make_tables.py --over-seeds: backbones of one recipe as a sample, checked against other software."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from report_rows import MEC, of
from scipy import stats

from transfer.report.command import main
from transfer.report.over_seeds import ASSUMPTION, Sample, read_samples, render_samples
from transfer.report.rows import Row, write_rows

RANDOM = replace(MEC, method="random", pretrain_data="none", pretrain_epochs="random", branch="")
BARLOW = replace(MEC, method="barlow-twins")
HIGH, MIDDLE, LOW = (44.1, 43.2, 44.9), (43.0, 43.5, 43.1), (40.2, 40.3, 39.7)


def backbones(row: Row, *values: float | None, seed: int = 0) -> list[Row]:
    """One row a backbone file."""
    return [
        replace(
            row,
            backbone_sha256=f"{row.method.encode().hex()}{i:064}"[-64:],
            value=value,
            seed=seed,
            status="ok" if value is not None else "failed: out of memory",
        )
        for i, value in enumerate(values)
    ]


@pytest.fixture
def rows() -> list[Row]:
    return [*backbones(MEC, *HIGH), *backbones(BARLOW, *MIDDLE), *backbones(RANDOM, *LOW)]


def written(folder: Path, rows: Sequence[Row]) -> Path:
    write_rows(folder / "rows.csv", rows)
    return folder / "rows.csv"


def samples(folder: Path, rows: Sequence[Row], against: str | None = None) -> dict[str, Sample]:
    return {sample.line.method: sample for sample in read_samples(written(folder, rows), against)}


def test_mean_and_interval_are_scipys(rows: list[Row], tmp_path: Path) -> None:
    found = samples(tmp_path, rows)
    for method, values in (("mec", HIGH), ("barlow-twins", MIDDLE), ("random", LOW)):
        sample = found[method]
        assert sorted(sample.values) == sorted(values)
        assert sample.std == pytest.approx(stats.tstd(values))
        expected = stats.t.interval(0.95, 2, stats.tmean(values), stats.sem(values))
        assert sample.interval == pytest.approx(expected)
        assert sample.comparison is None


def test_differences_are_scipys_welch_test_with_holms_p_values(rows: list[Row], tmp_path: Path) -> None:
    found = samples(tmp_path, rows, against="random")
    assert found["random"].comparison is None
    p_values = {}
    for method, values in (("mec", HIGH), ("barlow-twins", MIDDLE)):
        comparison, welch = found[method].comparison, stats.ttest_ind(values, LOW, equal_var=False)
        assert comparison is not None
        assert comparison.p_value == pytest.approx(welch.pvalue)
        assert (comparison.low, comparison.high) == pytest.approx(tuple(welch.confidence_interval(0.95)))
        p_values[method] = welch.pvalue
    small, large = sorted(p_values, key=lambda method: p_values[method])
    assert found[small].holm_p == pytest.approx(2 * p_values[small])
    assert found[large].holm_p == pytest.approx(max(2 * p_values[small], p_values[large]))


def test_a_backbone_counts_once_however_many_seeds_evaluated_it(tmp_path: Path) -> None:
    repeated = [*backbones(MEC, 40.0, 44.0), *backbones(MEC, 42.0, 46.0, seed=1)]
    sample = samples(tmp_path, repeated)["mec"]
    assert sample.values == (41.0, 45.0)
    assert "| 2 of 2 seeds |" in render_samples([sample])


def test_a_sample_with_a_failed_backbone_has_no_mean(rows: list[Row], tmp_path: Path) -> None:
    failed = [*backbones(MEC, 44.0, None, 45.0), *rows[3:]]
    path = written(tmp_path, failed)
    sample = samples(tmp_path, failed, against="random")["mec"]
    assert (sample.values, sample.interval, sample.comparison) == ((), None, None)
    (line,) = (line for line in render_samples(read_samples(path)).splitlines() if "| mec" in line)
    assert "| 3 " in line
    assert "failed: out of memory" in line


@pytest.mark.parametrize(
    ("ours", "theirs", "compared"),
    [
        ((44.0, 44.0), (40.0, 40.0), False),  # nothing varies: no noise to see
        ((44.0, 44.0), (40.0, 41.0), True),
        ((44.0,), (40.0, 41.0), False),
        ((44.0, 45.0), (40.0,), False),
    ],
)
def test_no_comparison_without_a_spread(
    tmp_path: Path, ours: tuple[float, ...], theirs: tuple[float, ...], compared: bool
) -> None:
    found = samples(tmp_path, [*backbones(MEC, *ours), *backbones(RANDOM, *theirs)], against="random")
    assert (found["mec"].comparison is not None) == compared
    assert (found["mec"].interval is not None) == (len(set(ours)) > 1)


def test_other_networks_and_questions_are_no_reference(rows: list[Row], tmp_path: Path) -> None:
    others = [
        *backbones(replace(MEC, arch="resnet50"), *HIGH),
        *backbones(of(MEC, "top5", 90.0), *HIGH),
    ]
    found = read_samples(written(tmp_path, [*rows, *others]), "random")
    compared = [(s.line.method, s.line.arch, s.column.metric) for s in found if s.comparison is not None]
    assert sorted(compared) == [("barlow-twins", "resnet18", "top1"), ("mec", "resnet18", "top1")]


def test_an_interval_ends_where_its_metric_does(tmp_path: Path) -> None:
    sample = samples(tmp_path, backbones(MEC, 98.0, 99.9))["mec"]
    assert sample.interval is not None
    assert sample.interval[1] == 100.0


def test_unusable_files_are_refused(rows: list[Row], tmp_path: Path) -> None:
    path = written(tmp_path, [*rows, *(replace(row, pretrain_epochs="80") for row in rows[:3])])
    with pytest.raises(ValueError, match=r"rows.csv: 2 samples of method 'mec' to compare .* with: mec .*40"):
        read_samples(path, "mec")
    assert len(read_samples(path, "random")) == 4
    with pytest.raises(
        ValueError, match=r"no row of method 'vicreg' to compare with; it has barlow-twins, mec"
    ):
        read_samples(path, "vicreg")
    path = written(tmp_path, [*rows[1:], replace(rows[0], config_sha256="ef" * 32)])
    with pytest.raises(ValueError, match=r"mec resnet18 .*different configurations"):
        read_samples(path)


def test_the_command_prints_a_table(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, rows)
    assert main(["--over-seeds", str(path), "--against", "random"]) == 0
    printed = capsys.readouterr().out
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if "|" in line]
    assert table[0][5:7] == ["95 % interval of the mean", "minus random"]
    assert table[3] == [
        *("mec resnet18 mini 40 online torch", "linear mini val linear-cached-lars top-1 last", "3"),
        *("44.07", "0.85", "[41.95, 46.18]", "+4.00", "[+2.15, +5.85]", "0.008", "0.008"),
    ]
    assert printed.endswith(ASSUMPTION)
    assert main(["--over-seeds", str(path)]) == 0
    assert "minus" not in capsys.readouterr().out
    assert main(["--over-seeds", str(tmp_path / "none.csv")]) == 2
    assert main(["--over-seeds", str(path), "--against", "vicreg"]) == 2
    with pytest.raises(SystemExit):
        main(["--against", "random"])
    assert "--against belongs together with --over-seeds" in capsys.readouterr().err
