"""CIFAR-10's protocols side by side, and measured rows of other sets in MEC's Table 8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_rows import MEC, of

from transfer.report.aggregate import place_failures, to_cells
from transfer.report.long_csv import to_csv
from transfer.report.markdown import to_markdown
from transfer.report.page import render_page
from transfer.report.pooled import pool_backbones
from transfer.report.protocols import PROTOCOLS
from transfer.report.rows import Row, read_rows
from transfer.report.side_by_side import stands_here
from transfer.report.tables import build_tables

PUBLISHED = list(read_rows(Path(__file__).resolve().parent.parent / "results" / "published.csv"))


def render(measured: list[Row], published: list[Row] | None = None) -> dict[str, str]:
    tables = build_tables(to_cells(published or [], measured), ())
    return {table.name: to_markdown(table) for table in tables}


def cifar(method: str, task: str, protocol: str, value: float, seed: int, **changes: object) -> Row:
    """A made-up number of a backbone on CIFAR-10."""
    same = {"arch": "resnet18-cifar-w16", "dataset": "cifar10", "split": "test", "n": 10_000}
    who = {"method": method, "backbone_sha256": f"{len(method):x}" * 64, "task": task, "protocol": protocol}
    return of(MEC, "top1", value, **{**same, **who, "seed": seed, **changes})


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")]


def rows() -> list[Row]:
    found = []
    for seed in (0, 1, 2):
        for method, level in (("mec", 60.0), ("random", 40.0)):
            found += [
                cifar(method, "knn", "knn-cifar10-k20", level, seed),
                cifar(method, "linear", "moco-linear-cifar10", level + 2 + seed, seed),
                cifar(method, "linear", "linear-sweep", level + 5 + seed, seed, selection="best-val"),
                cifar(method, "semisup", "mec-semisup-cifar10", level - seed, seed, dataset="cifar10-1pct"),
            ]
        scratch = {"dataset": "cifar10-1pct", "wall_s": 30.0}
        found.append(cifar("random", "semisup", "scratch-cifar10", 35.0 + 2 * seed, seed, **scratch))
    return found


def test_every_protocol_is_a_column_and_every_backbone_a_line() -> None:
    text = render(rows())["protocols"]
    first, second = text.split("## CIFAR-10: every protocol, ")[1:]
    assert first.startswith("frozen backbone, top-1")
    assert second.startswith("1 % of the labels, top-1")
    head, _, random, mec = lines(first)
    assert head.endswith("| linear, 24 heads (best-val) | linear, MoCo | kNN, k = 20 |")
    # 42, 43, 44 and 45, 46, 47: mean of three and sample standard deviation 1; kNN has none
    assert "*46.0 ± 1.0* | *43.0 ± 1.0* | *40.0 ± 0.0* |" in random
    assert "***66.0 ± 1.0*** | ***63.0 ± 1.0*** | ***60.0 ± 0.0*** |" in mec
    head, _, random, mec = lines(second)
    assert head.endswith("| fine-tuning, MEC | from scratch |")
    assert random.endswith("*39.0 ± 1.0* | *37.0 ± 2.0* |")
    assert mec.endswith("| ***59.0 ± 1.0*** |  |")


def test_the_section_says_what_its_protocols_are_and_how_the_backbones_differ() -> None:
    text = render(rows())["protocols"].split("1 % of the labels")[1]
    assert (
        f"mec-semisup-cifar10: {PROTOCOLS['mec-semisup-cifar10'].source}".replace("*", "\\*").replace(
            "_", "\\_"
        )
        in text
    )
    assert "±: sample standard deviation over 3 seeds." in text
    assert "Compare within this section only." in text
    rising = [replace(row, value=60.0) if row.method == "mec" else row for row in rows()]
    paired = render(rising)
    # MEC 60, 60, 60 and random 40, 39, 38: differences 20, 21, 22
    assert "mec-semisup-cifar10: MEC minus Random init. +21.0 [18.5, 23.5] (paired t" in paired["protocols"]


def test_these_numbers_have_no_section_elsewhere_and_others_keep_theirs() -> None:
    other = cifar("mec", "linear", "linear-cached-lars", 50.0, 0)
    mini = cifar("mec", "linear", "linear-sweep", 51.0, 0, dataset="mini", split="val")
    tables = render([*rows(), other, mini])
    assert "moco-linear-cifar10" not in tables["linear"]
    assert "mec-semisup-cifar10" not in tables["semisup"]
    assert "## Measured: cifar10, split test, protocol linear-cached-lars" in tables["linear"]
    assert "## Measured: mini, split val, protocol linear-sweep" in tables["linear"]
    assert "linear-cached-lars" not in tables["protocols"]
    assert render([])["protocols"].endswith("No rows.\n")


def test_a_number_chosen_on_the_test_images_is_a_column_of_its_own_and_marked() -> None:
    chosen = [cifar("mec", "linear", "linear-sweep", 70.0, 0, selection="best-test")]
    text = render([*rows(), *chosen])["protocols"].split("1 % of the labels")[0]
    assert "| linear, 24 heads (best-test) | linear, 24 heads (best-val) |" in text
    assert "70.0 [69.1, 70.9]†‡" in text  # Wilson, 10,000 images; fewer seeds than others of the column
    assert "the epoch or a setting was chosen by its score on the test data itself" in text


def of_backbones(**changes: object) -> list[Row]:
    """Three backbones of each method, one seed each: 60, 61, 62 and 40, 42, 44."""
    return [
        cifar(
            method,
            "linear",
            "moco-linear-cifar10",
            level + i * step,
            0,
            **{"backbone_sha256": f"{level + i:x}" * 32, **changes},
        )
        for method, level, step in (("mec", 60, 1), ("random", 40, 2))
        for i in range(3)
    ]


def test_backbones_of_one_recipe_are_one_line_with_their_spread() -> None:
    cells = pool_backbones(to_cells([], of_backbones()), stands_here)
    (table,) = [table for table in build_tables(cells, ()) if table.sections]
    text = to_markdown(table)
    _, _, random, mec = lines(text)
    assert "*42.0 ± 2.0*" in random
    assert "***61.0 ± 1.0***" in mec
    assert "±: sample standard deviation over 3 backbones of one recipe." in text
    # Welch: standard error sqrt(1/3 + 4/3) = 1.29, so 19 is far from 0; seeds are not paired
    assert "moco-linear-cifar10: MEC minus Random init. +19.0 [" in text
    assert "(Welch t over 3 and 3 backbones" in text
    (line,) = [line for line in to_csv(table).splitlines() if ",mec," in line]
    assert "; ".join(f"{60 + i:x}" * 32 for i in range(3)) in line
    assert "t over 3 backbones" in line


def test_the_page_opens_a_line_of_several_backbones() -> None:
    page = render_page(pool_backbones(to_cells([], of_backbones()), stands_here))
    for number in (60, 61, 62):
        assert f"{number:x}" * 32 in page


def test_a_failed_backbone_leaves_no_mean_and_fewer_backbones_are_marked() -> None:
    rows = of_backbones()
    rows[1] = replace(rows[1], value=None, n=None, status="failed: ValueError: no")
    cells = pool_backbones(to_cells([], rows[:-1]), stands_here)
    (table,) = [table for table in build_tables(cells, ()) if table.sections]
    text = to_markdown(table)
    assert "failed: ValueError: no (1 of 3 backbones)" in text
    assert "*41.0 ± 1.4‡*" in text  # 40 and 42
    assert "‡: fewer backbones than other lines of the column." in text


def test_a_failed_search_stands_where_it_would_have_chosen() -> None:
    """It fails before it knows: of three backbones one gave nothing, and two are no mean of three."""
    rows = of_backbones(selection="best-val")
    rows[1] = replace(
        rows[1], value=None, n=None, status="failed: ValueError: no", split="", selection="last"
    )
    cells = pool_backbones(to_cells([], rows), stands_here)
    (table,) = [table for table in build_tables(cells, ()) if table.sections]
    head, _, random, mec = lines(to_markdown(table))
    assert head.endswith("| linear, MoCo (best-val) |")
    assert "42.0 ± 2.0" in random
    assert "failed: ValueError: no (1 of 3 backbones)" in mec
    other = [replace(row, config_sha256="ef" * 32) if row.status == "ok" else row for row in rows]
    failed = [row for row in place_failures(other) if row.status != "ok"]
    assert [(row.split, row.selection) for row in failed] == [("test", "last")]  # nobody knows


def test_one_backbone_is_not_compared_with_a_sample_of_others() -> None:
    mec, random = of_backbones()[:3], of_backbones()[3:]
    alone = [cifar("random", "linear", "moco-linear-cifar10", 40.0 + seed, seed) for seed in (0, 1, 2)]
    for other, said in ((random, True), (random[:1], False), (alone, False)):
        cells = pool_backbones(to_cells([], [*mec, *other]), stands_here)
        (table,) = [table for table in build_tables(cells, ()) if table.sections]
        text = to_markdown(table)
        assert "61.0 ± 1.0" in text
        assert ("MEC minus Random init." in text) == said


def test_backbones_that_are_no_sample_stay_apart() -> None:
    other = [
        *of_backbones(),
        cifar("mec", "linear", "moco-linear-cifar10", 60.0, 1, backbone_sha256="3c" * 32),
    ]
    ours = [cell for cell in pool_backbones(to_cells([], other), stands_here) if cell.line.method == "mec"]
    assert sorted(len(cell.rows) for cell in ours) == [1, 1, 2]  # a backbone has two seeds
    rows = of_backbones()
    rows[0] = replace(rows[0], config_sha256="ef" * 32)
    cells = pool_backbones(to_cells([], rows), stands_here)
    assert [len(cell.rows) for cell in cells if cell.line.method == "mec"] == [1, 1, 1]
    assert [len(cell.rows) for cell in cells if cell.line.method == "random"] == [3]
    elsewhere = to_cells([], of_backbones(dataset="mini"))
    assert pool_backbones(elsewhere, stands_here) == sorted(
        elsewhere, key=lambda c: (str(c.column), str(c.line))
    )


@pytest.mark.parametrize(("task", "how"), [("linear", "linear"), ("finetune", "fine-tuned")])
def test_measured_rows_of_other_sets_join_table_8_by_the_sets_own_metric(task: str, how: str) -> None:
    """The paper states no split; what is measured says test."""
    sets = {"food101": "accuracy", "cifar10": "accuracy", "voc07-classification": "map_voc07"}
    same = {"task": task, "split": "test", "protocol": f"mec-transfer-{task}", "arch": "resnet50"}
    measured = [
        of(MEC, metric, 40.0 + number, dataset=dataset, **same)
        for number, (dataset, metric) in enumerate(sets.items())
    ]
    title = f"## MEC's Table 8: transfer to 11 image sets, {how}"
    table = render(measured, PUBLISHED)["transfer"].split(title)[1].split("## ")[0]
    (ours,) = [line for line in lines(table) if "*MEC (a)*" in line]
    found = [cell.strip(" *").split(" ")[0] for cell in ours.split("|")[-12:-1]]
    assert found == ["40.0", "41.0", "", "", "", "", "42.0", "", "", "", ""]
    assert f"mec-transfer-{task} read as: SimCLR's protocol" in table
    # another split is another question
    elsewhere = render([replace(row, split="val") for row in measured], PUBLISHED)
    assert "40.0" not in elsewhere["transfer"].split("## Measured")[0].split(title)[1].split("## ")[0]
    home = elsewhere["linear" if task == "linear" else "transfer"]
    assert "## Measured: food101, split val" in home
