"""What jobs read and take: every committed configuration, and numbers that can be checked by hand."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from transfer.evaluate import load_config
from transfer.identity import identity
from transfer.inputs import data_paths
from transfer.mmtrack_inputs import read_data_paths
from transfer.provenance import config_sha256
from transfer.suite import costs, needs
from transfer.suite.cost_table import cost_table
from transfer.suite.costs import Cost, measured_runs
from transfer.suite.data_places import how_to_get
from transfer.suite.needs import needs_of
from transfer.tasks import TASKS

ROOT = Path(__file__).parents[1]
SUITES = sorted((ROOT / "configs/suite").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MEC_TRANSFER_DATA", "/real")
    monkeypatch.setenv("DETECTRON2_DATASETS", "/d2")
    monkeypatch.setattr(needs, "can_use_a_gpu", lambda: False)


def named_by_suites() -> list[tuple[str, str]]:
    """Task and configuration of every line of every committed suite."""
    lines = {(str(line.task), str(line.config)) for path in SUITES for line in OmegaConf.load(path).tasks}
    return sorted(lines)


def load(task: str, path: str, *overrides: str) -> Any:
    return load_config(TASKS[task], Path(path), overrides)


def needs_for(task: str, path: str, *overrides: str, **asked: Any) -> needs.Needs:
    given = {"cores": 1, "memory_gb": 0.0, "num_gpus": 1, **asked}
    return needs_of(task, Path(path), load(task, path, *overrides), **given)


def test_there_are_suites_and_each_task_is_in_one() -> None:
    named = {task for task, _ in named_by_suites()}
    assert named == set(TASKS) - {"vis"}


@pytest.mark.parametrize(("task", "path"), named_by_suites())
def test_every_configuration_of_a_suite_says_what_it_reads(task: str, path: str) -> None:
    found = data_paths(task, load(task, path))
    assert found
    assert len(set(found)) == len(found)
    known = ("data/", "/real/", "/d2/", "configs/track/otb_crossing.txt")
    assert [place for place in map(str, found) if not place.startswith(known)] == []
    assert data_paths(task, load(task, path, "seed=7")) == found
    unknown = [place for place in found if how_to_get(str(place)) == how_to_get("/somewhere/else")]
    # Small samples and lists of this project, of which the configurations say what they are.
    at_hand = {"otb", "coco200", "davis16", "pets09", "configs"}
    assert [place for place in unknown if not at_hand & set(place.parts)] == []


def test_a_configuration_that_names_no_data_finds_none() -> None:
    empty = load("detect", "configs/detect/mini.yaml")
    empty.sets = {}
    assert data_paths("detect", empty) == ()
    with pytest.raises(ValueError, match="task 'no-task' is unknown"):
        data_paths("no-task", empty)


def paths(task: str, path: str, *overrides: str) -> list[str]:
    return list(map(str, data_paths(task, load(task, path, *overrides))))


def test_images_are_their_splits_their_archive_or_their_set() -> None:
    mini = "configs/classify/knn_mini.yaml"
    assert paths("knn", mini) == ["data/mini/classify/train", "data/mini/classify/val"]
    assert paths("knn", mini, "val_split=test")[1] == "data/mini/classify/test"
    assert paths("knn", "configs/classify/knn_cifar10.yaml") == ["/real/cifar10.tar.gz"]
    cars = "configs/classify/linear_cars_many_shot.yaml"
    assert paths("linear", cars) == ["/real/many_shot/stanford_cars"]
    listed = paths("semisup", "configs/classify/semisup_imagenet_1pct_mec.yaml")
    assert listed == ["/real/imagenet/train", "/real/imagenet/val", "/real/imagenet_subsets/1percent.txt"]


def test_a_decoded_video_gives_way_to_the_video() -> None:
    assert paths("mot", "configs/track/mot_pets09.yaml") == [
        "/real/pets09/vtest.avi",
        "/real/pets09/gt/gt.txt",
    ]
    laid_out = load("mot", "configs/track/mot_pets09.yaml")
    laid_out.video.path = laid_out.video.ground_truth = ""
    assert data_paths("mot", laid_out) == (Path("data/pets09/PETS09-S2L1"),)


def test_both_targets_of_one_video_are_one_folder(tmp_path: Path) -> None:
    (tmp_path / "Jogging").mkdir()
    (tmp_path / "Human4-2").mkdir()
    config = load("frozen-sot", "configs/track/frozen/sot_mini.yaml", f"root={tmp_path}")
    config.sequences = ["Jogging-1", "Jogging-2", "Human4-2"]
    found = [place.name for place in data_paths("frozen-sot", config)]
    assert found == ["Jogging", "Human4-2"]


@pytest.mark.mmtrack
@pytest.mark.parametrize("path", sorted((ROOT / "configs/track/mmtrack").glob("siam*.py")))
def test_paths_of_an_mmtrack_file_are_those_that_mmcv_reads(path: Path) -> None:
    from mmcv import Config

    def named(node: Any) -> list[str]:
        if isinstance(node, dict):
            here = [str(node[key]) for key in ("ann_file", "img_prefix") if node.get(key)]
            return here + [place for value in node.values() for place in named(value)]
        return [place for entry in node for place in named(entry)] if isinstance(node, list) else []

    read = Config.fromfile(str(path))
    expected = set(named(read._cfg_dict.to_dict()["data"]))
    assert expected
    assert {str(place) for place in read_data_paths(path, {})} == expected


def test_an_mmtrack_file_is_not_executed_and_what_it_hides_is_refused(tmp_path: Path) -> None:
    hostile = tmp_path / "recipe.py"
    hostile.write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\ndata = dict()\n")
    assert list(read_data_paths(hostile, {"data.test.img_prefix": "/mine"})) == [Path("/mine")]
    assert not (tmp_path / "ran").exists()
    hostile.write_text("data = dict(train=dict(img_prefix=open('x').read()))\n")
    with pytest.raises(ValueError, match="img_prefix can only be told by running the file"):
        list(read_data_paths(hostile, {}))
    hostile.write_text("_base_ = 'recipe.py'\n")
    with pytest.raises(ValueError, match="never ends"):
        list(read_data_paths(hostile, {}))


def test_every_task_has_a_guess_of_its_disk() -> None:
    assert set(needs.DISK_GB) == set(TASKS)
    assert needs_for("knn", "configs/classify/knn_mini.yaml").disk_gb == 0.01
    assert needs_for("detect", "configs/detect/coco_c4_1x_mec.yaml").disk_gb == 4.0


def test_every_line_of_the_costs_names_a_configuration_and_a_source() -> None:
    lines = costs.costs()
    assert len(lines) > 50
    for path, cost in lines.items():
        assert Path(path).is_file(), path
        assert re.match(r"(published|derived|not known): .{10,}", cost.source), path
        assert bool(cost.hours) != cost.source.startswith("not known"), path
        assert cost.disk_gb > 0, path
        assert not cost.hours or (cost.gpus > 0 and cost.gpu), path


def test_costs_of_other_columns_or_words_for_numbers_are_refused(tmp_path: Path) -> None:
    assert costs.costs(tmp_path / "none.csv") == {}
    bad = tmp_path / "bad.csv"
    bad.write_text("config,hours\nx,1\n")
    with pytest.raises(ValueError, match="expected the columns config, gpus"):
        costs.costs(bad)
    bad = tmp_path / "worse.csv"
    bad.write_text(",".join(costs.COLUMNS) + "\nx,8,V100,,many,,,source\n")
    with pytest.raises(ValueError, match=r"worse.csv: line 2: could not convert string to float: 'many'"):
        costs.costs(bad)


def test_sums_that_the_sources_describe() -> None:
    """By hand, from the words of the column."""
    lines = costs.costs()
    assert lines["configs/detect/coco_c4_1x_detectron2.yaml"].hours == pytest.approx(
        0.584 * 90_000 / 3600, rel=0.01
    )
    assert lines["configs/detect/voc0712_c4_24k_mec.yaml"].hours == pytest.approx(
        5 * 0.537 * 1.42 * 24_000 / 3600, rel=0.01
    )
    assert lines["configs/classify/linear_imagenet_simsiam.yaml"].hours == pytest.approx(12 * 0.9)
    assert lines["configs/classify/semisup_imagenet_10pct_mec.yaml"].hours == pytest.approx(0.2 * 5, rel=0.01)
    assert lines["configs/track/frozen/sot_otb2015.yaml"].hours == pytest.approx(
        59_035 * 0.077 * 4 / 3600, rel=0.01
    )


def test_the_median_of_measured_runs_stands_for_hours() -> None:
    path = "configs/detect/mini.yaml"
    digest = config_sha256(identity(load("detect", path)))
    with Path("results/measured/mini.csv").open(newline="", encoding="utf-8") as handle:
        runs = {
            (row["backbone_sha256"], row["seed"], row["wall_s"])
            for row in csv.DictReader(handle)
            if row["config_sha256"] == digest and row["status"] == "ok"
        }
    times = sorted(float(wall_s) for _, _, wall_s in runs)
    assert len(times) == 10
    found = needs_for("detect", path)
    assert found.hours == pytest.approx((times[4] + times[5]) / 2 / 3600)
    assert found.hours_source == "median of 10 runs, measured on 2 cores AMD EPYC"
    assert found.packages == "detect"
    assert found.data == tuple(map(str, data_paths("detect", load("detect", path))))


def test_a_run_of_a_gpu_or_a_failed_one_is_no_estimate_for_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "configs/classify/knn_mini.yaml"
    digest = config_sha256(identity(load("knn", path)))
    columns = ["config_sha256", "status", *costs.RUN_COLUMNS]

    def rows(*runs: tuple[str, str, str]) -> None:
        with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as handle:
            table = csv.writer(handle)
            table.writerow(columns)
            for seed, (status, hardware, wall_s) in enumerate(runs):
                table.writerow([digest, status, "b", "online", seed, "python -m pytest", hardware, wall_s])
        found = measured_runs.__wrapped__(tmp_path)
        monkeypatch.setattr(costs, "measured_runs", lambda: found)

    rows(("ok", "1x NVIDIA H100", "36"), ("failed: x", "2 cores AMD", "360"), ("ok", "2 cores AMD", ""))
    assert needs_for("knn", path).hours == 0.0
    assert needs_for("knn", path, num_gpus=2).hours_source == "median of 1 run, measured on 1x NVIDIA H100"
    rows(("ok", "1x NVIDIA H100", "36"), ("ok", "2 cores AMD", "360"), ("ok", "2 cores AMD", "360"))
    assert needs_for("knn", path).hours == pytest.approx(0.1)
    assert needs_for("knn", path, num_gpus=2).hours == pytest.approx(0.01)
    rows(("ok", "2 cores AMD", "360"))
    assert needs_for("knn", path, num_gpus=2).hours == pytest.approx(0.1)  # a bound


def test_an_option_that_changes_the_configuration_has_no_measured_hours() -> None:
    path = "configs/classify/linear_cifar10_mec_code.yaml"
    assert needs_for("linear", path).hours == 0.0  # measured on GPUs only
    assert needs_for("linear", path, num_gpus=2).hours > 0


def test_gpus_are_asked_where_a_job_needs_them() -> None:
    mini, coco = "configs/classify/knn_mini.yaml", "configs/detect/coco_c4_1x_barlow.yaml"
    otb = "configs/track/frozen/sot_otb2015.yaml"
    assert needs_for("knn", mini).gpus == 0
    assert needs_for("knn", mini, num_gpus=2).gpus == 2
    assert needs_for("knn", mini, "device=cpu", num_gpus=2).gpus == 0
    assert needs_for("detect", coco).gpus == 1
    assert needs_for("detect", coco, "device=cpu").gpus == 0
    assert needs_for("frozen-sot", otb).gpus == 0  # slow on processors, and possible
    assert needs_for("frozen-sot", otb, elsewhere=True).gpus == 1


def test_a_machine_with_a_gpu_lends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "can_use_a_gpu", lambda: True)
    assert needs_for("knn", "configs/classify/knn_mini.yaml").gpus == 1


def test_published_hours_are_scaled_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "configs/detect/coco_c4_1x_barlow.yaml"
    line = Cost(8, "V100", 8.0, 10.0, 2.0, 30.0, "published: by somebody")
    monkeypatch.setattr(costs, "costs", lambda: {path: line})
    eight = needs_for("detect", path, num_gpus=8)
    assert (eight.hours, eight.gpu_memory_gb, eight.memory_gb, eight.disk_gb) == (10.0, 8.0, 30.0, 2.0)
    assert eight.hours_source == "published: by somebody (8 x V100)"
    two = needs_for("detect", path, num_gpus=2, memory_gb=64.0)
    assert (two.hours, two.gpu_memory_gb, two.memory_gb) == (40.0, 32.0, 64.0)
    assert two.hours_source.endswith("(8 x V100, from 8 to 2 GPUs as if speed grew with them)")
    both = needs_for("detect", path, num_gpus=8, num_machines=2)
    assert (both.hours, both.machines, both.gpus, both.gpu_memory_gb) == (5.0, 2, 8, 8.0)


def test_the_table_of_the_docs_is_that_of_the_costs() -> None:
    shown = Path("docs/costs.md").read_text(encoding="utf-8")
    _, _, rest = shown.partition("<!-- cost_table -->\n")
    table, mark, _ = rest.partition("<!-- /cost_table -->")
    assert mark, "docs/costs.md has no table between its marks"
    assert table == cost_table(Path("configs/suite/paper.yaml")), (
        "docs/costs.md: put the output of python -m transfer.suite.cost_table between the marks"
    )


def test_the_table_adds_up_and_wants_a_line_for_every_configuration(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    voc = "{task: detect, config: configs/detect/voc0712_c4_24k_moco.yaml"
    pose = "{task: frozen-pose, config: configs/track/frozen/pose_posetrack18.yaml}"
    suite.write_text(f"name: x\ntasks:\n  - {voc}, seeds: [0, 1, 2]}}\n  - {voc}}}\n  - {pose}\n")
    last = cost_table(suite).splitlines()[-1]
    assert last == "| **all** | 1 of them unknown | | | | | 163 |"  # 8 x 5.08 x 4
    suite.write_text("name: x\ntasks:\n  - {task: knn, config: configs/classify/knn_mini.yaml}\n")
    with pytest.raises(ValueError, match=r"knn_mini\.yaml has no line in configs/costs\.csv"):
        cost_table(suite)


def test_a_planner_needs_no_torch_for_needs() -> None:
    code = "import sys, transfer.suite.needs, transfer.suite.preflight; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, transfer.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
