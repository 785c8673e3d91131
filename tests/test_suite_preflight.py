"""What stops a job is said before it starts: each fault is made, and goes away when it is mended."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from transfer.suite import doctor, machine, preflight
from transfer.suite.doctor import Package
from transfer.suite.job import Needs
from transfer.suite.machine import Gpu, find_gpus, free_gb, nearest_folder, why_not_writable
from transfer.suite.preflight import data_fault, unset_variable, what_stops

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, Package]:
    """What was tried in this process: everything, and it works."""
    tried = {need: Package(need, "1.0", "") for needs in doctor.NEEDS.values() for need in needs}
    monkeypatch.setattr(preflight, "_PACKAGES", tried)
    for remembered in (preflight.gpu_fault, preflight._writing_fault, preflight._free_gb):
        remembered.cache_clear()
    return tried


def image_folders(root: Path) -> Needs:
    for name in ("train/cat/1.png", "val/cat/1.png"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(b"image")
    return Needs(data=(str(root / "train"), str(root / "val")), packages="knn")


def test_what_is_there_stops_nothing(tmp_path: Path) -> None:
    assert what_stops("knn", image_folders(tmp_path / "set"), tmp_path / "out/job") == ""
    assert not (tmp_path / "out").exists()  # looking leaves nothing behind
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_missing_data_are_named_with_the_next_step_and_may_come_later(tmp_path: Path) -> None:
    needs = Needs(data=(str(tmp_path / "imagenet/train"),))
    stop = what_stops("knn", needs, tmp_path)
    assert stop == (
        f"{tmp_path}/imagenet/train is not there; "
        "next: unpack ILSVRC 2012 into imagenet/train and imagenet/val"
    )
    image_folders(tmp_path / "imagenet")
    assert what_stops("knn", needs, tmp_path) == ""


def test_a_reason_is_one_line_whatever_a_path_holds(tmp_path: Path) -> None:
    place = tmp_path / "two\nlines"
    assert "\n" not in what_stops("knn", Needs(data=(str(place),)), tmp_path)
    place.mkdir()
    assert "two lines is empty" in what_stops("knn", Needs(data=(str(place),)), tmp_path)


def test_an_empty_split_or_class_stops_image_tasks(tmp_path: Path) -> None:
    needs = image_folders(tmp_path)
    (tmp_path / "val/cat/1.png").unlink()
    assert f"{tmp_path}/val/cat is empty, a class without images" in what_stops("knn", needs, tmp_path)
    (tmp_path / "val/cat").rmdir()
    assert f"{tmp_path}/val is empty; next: " in what_stops("knn", needs, tmp_path)
    (tmp_path / "val/loose.png").touch()
    assert "holds no folder of images for each class" in what_stops("knn", needs, tmp_path)


def test_sets_with_a_layout_of_their_own_need_no_class_folders(tmp_path: Path) -> None:
    place = tmp_path / "many_shot/cifar-10-batches-py"
    place.mkdir(parents=True)
    assert "is empty; next: tools/prepare_data.py many-shot" in data_fault("linear", str(place))
    (place / "data_batch_1").touch()
    assert data_fault("linear", str(place)) == ""


@pytest.mark.parametrize("task", ["mot", "frozen-mot", "frozen-mots"])
def test_sequences_hold_frames(tmp_path: Path, task: str) -> None:
    (tmp_path / "mot17/MOT17-02/img1").mkdir(parents=True)
    place = tmp_path / "mot17"
    assert "neither img1/ with frames" in data_fault(task, str(place))
    (place / "MOT17-02/img1/000001.jpg").touch()
    os.utime(place, (1, 1))  # the glance is remembered by the folder's time
    assert data_fault(task, str(place)) == ""
    assert data_fault(task, str(place / "MOT17-02")) == ""


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.json", b"", "is empty"),
        ("a.json", b"<html>404</html>", "is no JSON, or cut off"),
        ("a.json", b'{"images": [{"id": 1}, {"i', "is no JSON, or cut off"),
        ("a.json", b'{"images": [1}', "is no JSON (Expecting"),
        ("a.json", b'{"images": []}', "lists nothing"),
        ("a.json", b"[]", "lists nothing"),
        ("a.json", b"[" * 100_000 + b"]" * 100_000, "is no JSON (maximum recursion"),
        ("a.json", b' {"images": [{"id": 1}]}\n', ""),
        ("a.tar.gz", b"<html>404</html>", "is no gzip archive"),
        ("a.tar.gz", gzip.compress(b""), ""),
        ("a.txt", b"", "is empty"),
        ("a.txt", b"n01440764_10026.JPEG\n", ""),
    ],
)
def test_a_broken_file_is_seen_at_a_glance(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = data_fault("detect", str(path))
    assert found.startswith(f"{path} {fault}") if fault else found == ""
    assert "\n" not in found


def test_a_long_annotation_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": [0] * 1000}))
    monkeypatch.setattr(preflight, "JSON_READ_BYTES", 100)
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("was read"))
    assert data_fault("detect", str(path)) == ""


def test_missing_packages_stop_a_task_and_only_it(tmp_path: Path, packages: dict[str, Package]) -> None:
    packages["mmtrack"] = Package("mmtrack", "", "not installed")
    needs = replace(image_folders(tmp_path), packages="sot")
    assert what_stops("sot", needs, tmp_path).startswith("mmtrack not installed. Next: bash tools/setup.sh")
    assert what_stops("knn", replace(needs, packages="knn"), tmp_path) == ""


def test_packages_are_tried_once_and_only_those_that_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def examine(needs: Sequence[str]) -> dict[str, Package]:
        asked.extend(needs)
        return {need: Package(need, "1.0", "") for need in needs}

    monkeypatch.setattr(preflight, "_PACKAGES", {})
    monkeypatch.setattr(doctor, "examine", examine)
    preflight.try_packages(["knn", "linear"])
    for _ in range(10):
        assert preflight.package_fault("knn") == preflight.package_fault("linear") == ""
    assert sorted(asked) == sorted({*doctor.NEEDS["knn"], *doctor.NEEDS["linear"]})


def test_gpus_are_counted_and_measured_where_the_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = Needs(gpus=2, gpu_memory_gb=30.0, packages="knn")

    def stop(*found: Gpu, elsewhere: bool = False) -> str:
        preflight.gpu_fault.cache_clear()
        monkeypatch.setattr(preflight, "find_gpus", lambda: found)
        return what_stops("knn", needs, tmp_path, elsewhere=elsewhere)

    small, large = Gpu("V100", 16.0), Gpu("H100", 80.0)
    assert stop().startswith("it takes 2 GPUs, this machine has none; give fewer by --num-gpus")
    assert stop(large).startswith("it takes 2 GPUs, this machine has 1 x H100;")
    assert (
        stop(small, large)
        == "it takes 2 GPUs of 30.0 GB each, 1 of the 2 here has that, the smallest 16.0 GB"
    )
    assert stop(large, large) == ""
    assert stop(elsewhere=True) == ""


def test_gpus_are_those_that_torch_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    find_gpus.cache_clear()
    monkeypatch.setattr(machine, "has_gpu_node", lambda: True)
    monkeypatch.setattr(machine, "LIST_GPUS", "print('noise'); print('[[\"H100\", 85.0]]')")
    assert find_gpus() == (Gpu("H100", 85.0),)
    find_gpus.cache_clear()
    monkeypatch.setattr(machine, "LIST_GPUS", "raise SystemExit('driver too old')")
    with pytest.raises(RuntimeError, match="torch cannot list GPUs: driver too old"):
        find_gpus()
    assert preflight.gpu_fault(1, 0.0) == "torch cannot list GPUs: driver too old"
    find_gpus.cache_clear()
    monkeypatch.setattr(machine, "has_gpu_node", lambda: False)
    assert find_gpus() == ()  # and no process was started
    find_gpus.cache_clear()


def test_too_little_room_stops_a_job(tmp_path: Path) -> None:
    free = free_gb(tmp_path)
    assert what_stops("knn", Needs(disk_gb=free / 2), tmp_path / "a/b") == ""
    stop = what_stops("knn", Needs(disk_gb=2 * free), tmp_path / "a/b")
    assert stop.startswith(f"{tmp_path} has {free:.1f} GB free, the run may leave")


def test_a_folder_that_cannot_be_written_stops_a_job(tmp_path: Path) -> None:
    assert why_not_writable(tmp_path / "a/b/c") == ""
    (tmp_path / "file").touch()
    assert what_stops("knn", Needs(), tmp_path / "file/job").startswith(
        f"{tmp_path}/file is no folder; give --out"
    )
    if Path("/proc/sys").is_dir():  # nobody can write there, root included
        assert what_stops("knn", Needs(), Path("/proc/runs/job")).startswith("/proc cannot be written (")


def test_the_nearest_folder_is_the_one_above(tmp_path: Path) -> None:
    assert nearest_folder(tmp_path / "a/b") == tmp_path
    assert nearest_folder(tmp_path) == tmp_path
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert nearest_folder(tmp_path / "dangling/x") == tmp_path / "dangling"
    assert why_not_writable(tmp_path / "dangling/x") == f"{tmp_path}/dangling is no folder"


def test_an_unset_variable_is_found_through_the_bases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MEC_TRANSFER_DATA", "DETECTRON2_DATASETS"):
        monkeypatch.delenv(name, raising=False)
    base = "data_dir: ${oc.env:MEC_TRANSFER_DATA}/x\nsets: [{a: '${oc.env:DETECTRON2_DATASETS}'}]\n"
    (tmp_path / "base.yaml").write_text(base)
    child = tmp_path / "child.yaml"
    child.write_text("base: base.yaml\n")
    assert unset_variable(child) == "MEC_TRANSFER_DATA"
    monkeypatch.setenv("MEC_TRANSFER_DATA", "/data")
    assert unset_variable(child) == "DETECTRON2_DATASETS"
    monkeypatch.setenv("DETECTRON2_DATASETS", "")
    assert unset_variable(child) == "DETECTRON2_DATASETS"  # an empty one would make /x of ${...}/x
    child.write_text("base: base.yaml\nsets: []\n")
    assert unset_variable(child) == ""  # overridden, never looked up


def test_committed_configurations_name_the_two_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("MEC_TRANSFER_DATA", "DETECTRON2_DATASETS"):
        monkeypatch.delenv(name, raising=False)
    files = [
        path for kind in ("classify", "detect", "track") for path in (ROOT / "configs" / kind).rglob("*.yaml")
    ]
    found = {unset_variable(path) for path in files if "detectron2" not in path.parts}
    assert found == {"", "MEC_TRANSFER_DATA", "DETECTRON2_DATASETS"}


def test_two_thousand_jobs_are_looked_at_in_a_second(tmp_path: Path) -> None:
    needs = image_folders(tmp_path / "set")
    start = time.process_time()
    assert {what_stops("knn", needs, tmp_path / f"out/{job}") for job in range(2000)} == {""}
    assert time.process_time() - start < 1
