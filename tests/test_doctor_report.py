"""The doctor names what is missing and what is broken, and needs neither to say so."""

from __future__ import annotations

import os
import re
import subprocess
import venv
from pathlib import Path

import pytest

import transfer
from transfer.data.many_shot import MANY_SHOT
from transfer.suite import data_places, doctor, machine
from transfer.suite.doctor import NEEDS, Package, examine, find_version, probe, what_stops
from transfer.suite.machine import Gpu
from transfer.tasks import TASKS

PACKAGE = Path(transfer.__file__).parent


def every_package(**faults: str) -> dict[str, Package]:
    """All requirements there and working, but for the given faults (need -> fault)."""
    needs = {need for needs in NEEDS.values() for need in needs}
    return {need: Package(need, "1.0", faults.get(need, "")) for need in needs}


def test_every_task_is_examined() -> None:
    assert set(NEEDS) == {*TASKS, "pretrain", "mini", "report"}


def test_whatever_is_probed_or_comes_from_the_setup_is_needed_by_a_task() -> None:
    needs = {need for needs in NEEDS.values() for need in needs}
    assert set(doctor.PROBES) <= needs
    assert needs >= doctor.FRAMEWORKS


def test_a_complete_environment_stops_no_task() -> None:
    assert [task for task in NEEDS if what_stops(task, every_package())] == []


def test_without_mmtrack_only_its_trackers_stop() -> None:
    packages = every_package()
    packages["mmtrack"] = Package("mmtrack", "", "not installed")
    stopped = {task: stop for task in NEEDS if (stop := what_stops(task, packages))}
    assert set(stopped) == {"sot", "mot", "vis"}
    assert stopped["sot"].startswith("mmtrack not installed. Next: bash tools/setup.sh")


def test_a_broken_package_stops_whoever_needs_it() -> None:
    packages = every_package(torchvision="operator torchvision::nms does not exist")
    assert what_stops("knn", packages).startswith("torchvision is broken: operator torchvision::nms")
    assert what_stops("report", packages) == ""


def test_a_missing_distribution_has_no_version() -> None:
    assert find_version("no-such-distribution|neither-this-one") == ""
    assert find_version("no-such-distribution|pytest") == f"{pytest.__version__} (pytest)"
    assert find_version("pytest") == pytest.__version__


def test_a_probe_tells_success_failure_and_crash_apart() -> None:
    assert probe("pass") == ""
    assert probe("import warnings; warnings.warn('noise')") == ""
    assert probe("import no_such_module") == "ModuleNotFoundError: No module named 'no_such_module'"
    assert probe("import os; os.kill(os.getpid(), 11)") == "exit status -11"
    assert probe("import time; time.sleep(60)", timeout_s=0.5) == "no answer within 0 s"


def test_an_installed_package_whose_probe_fails_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.PROBES, "pytest", "raise SystemExit('deliberate')")
    (found,) = examine(["pytest"]).values()
    assert found == Package("pytest", pytest.__version__, "deliberate")
    assert found.broken


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter without any package."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, symlinks=True, with_pip=False)
    return folder / "bin/python"


def run_doctor(python: Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE.parent), **variables}
    command = [str(python), "-m", "transfer.suite.doctor"]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_without_any_package_every_task_says_what_it_lacks(bare: Path, tmp_path: Path) -> None:
    done = run_doctor(bare, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if "cannot run" in line}
    assert set(lines) == set(NEEDS)
    assert "mmtrack not installed" in lines["mot"]
    assert "mmtrack" not in lines["knn"]
    assert "data/mini/mot (mot, frozen-mot)" in done.stdout
    assert "absent; next: python -m transfer.data.mini data/mini" in done.stdout


def test_the_machine_is_part_of_the_report(bare: Path, tmp_path: Path) -> None:
    done = run_doctor(bare, tmp_path)
    _, _, told = done.stdout.partition("\nMachine\n")
    assert "GPU" in told
    assert re.search(r"runs/ \(run folders\) +can be written\n", told)
    assert re.search(r"free on its disk +\d+\.\d GB\n", told)
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind


def test_a_place_without_room_for_runs_fails(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    done = run_doctor(bare, tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path / 'runs'} is no folder" in done.stdout


def test_each_gpu_has_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "find_gpus", lambda: (Gpu("H100", 85.0), Gpu("V100", 16.9)))
    lines = dict(machine.machine_lines(tmp_path / "runs"))
    assert (lines["GPU 0"], lines["GPU 1"]) == ("H100, 85.0 GB", "V100, 16.9 GB")
    monkeypatch.setattr(machine, "find_gpus", lambda: ())
    assert dict(machine.machine_lines(tmp_path))["GPUs"].startswith("none that torch can use")


def test_an_installed_package_that_does_not_work_is_told_and_fails(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/torchvision.py").write_text("raise ImportError('no kernel for this machine')\n")
    (tmp_path / "broken/torch.py").write_text("")
    info = tmp_path / "broken/torchvision-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 9.9\n")
    done = run_doctor(bare, tmp_path, PYTHONPATH=f"{tmp_path / 'broken'}{os.pathsep}{PACKAGE.parent}")
    assert done.returncode == 1, done.stderr
    assert re.search(r"torchvision +BROKEN 9\.9: ImportError: no kernel for this machine", done.stdout)


def test_a_real_data_folder_that_is_none_fails(bare: Path, tmp_path: Path) -> None:
    assert run_doctor(bare, tmp_path, MEC_TRANSFER_DATA=str(tmp_path)).returncode == 0
    done = run_doctor(bare, tmp_path, MEC_TRANSFER_DATA=str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert f"{tmp_path / 'nowhere'} is no folder" in done.stdout


def test_the_real_sets_that_are_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "many_shot/dtd/dtd").mkdir(parents=True)
    (tmp_path / "imagenet_subsets").mkdir()
    lines = dict(data_places.real_data_lines(tmp_path))
    assert lines["  imagenet_subsets (semisup on ImageNet)"] == "there"
    (archive,) = [state for name, state in lines.items() if "cifar10.tar.gz" in name]
    assert archive == "absent; next: tools/prepare_data.py cifar10 --help"
    assert lines["  many_shot (linear, finetune)"].startswith("1 of 11 sets there: dtd/dtd; next: ")


def test_the_folders_of_many_shot_sets_are_those_that_the_tasks_read() -> None:
    assert sorted(data_places.MANY_SHOT_SETS) == sorted(one.folder for one in MANY_SHOT.values())


@pytest.mark.mmtrack
@pytest.mark.detectron2
def test_in_the_locked_environment_every_probe_succeeds() -> None:
    assert {
        need: package.fault for need, package in examine(list(doctor.PROBES)).items() if package.fault
    } == {}
