"""A conversion that cannot write, or is stopped in the middle, leaves what was there before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import SUFFIXES, listing
from hostile_weights import write_containers

from transfer.backbone.command import main


def test_refusal_keeps_an_older_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pth"
    out.write_bytes(b"older")
    (tmp_path / "input.pth").write_bytes(b"PK\x03\x04")
    assert main("torchvision", [str(tmp_path / "input.pth"), str(out)]) == 1
    assert (out.read_bytes(), listing(tmp_path)) == (b"older", {"out.pth", "input.pth"})


def test_an_output_folder_that_cannot_be_made_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_containers(tmp_path)["zip"]
    assert main("torchvision", [str(path), "/proc/none/out.pth"]) == 1
    assert capsys.readouterr().err.endswith("Nothing was written.\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write and read anything")
def test_an_output_folder_or_a_file_without_permission_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_containers(tmp_path)["zip"]
    (tmp_path / "out").mkdir(mode=0o500)
    assert main("torchvision", [str(path), str(tmp_path / "out" / "out.pth")]) == 1
    path.chmod(0)
    assert main("torchvision", [str(path), str(tmp_path / "out.pth")]) == 1
    assert capsys.readouterr().err.count("Nothing was written.\n") == 2
    assert not listing(tmp_path / "out")


STOPPED = """
import os, resource, signal, sys
from transfer.backbone import command, convert
target, checkpoint, out, how = sys.argv[1:]
def stop(*_):
    print("temporary files:", len(os.listdir(os.path.dirname(out))), flush=True)
    os.kill(os.getpid(), getattr(signal, how))
if how == "full":  # as a full disk: a write beyond 4 MB fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
else:
    convert._prove = stop
sys.exit(command.main(target, [checkpoint, out]))
"""


def test_a_conversion_that_is_stopped_leaves_no_output(tmp_path: Path) -> None:
    path = write_containers(tmp_path)["zip"]
    cases = [  # what stops it, target, exit status, files that may stay
        ("SIGTERM", "torchvision", 128 + signal.SIGTERM, 0),
        ("SIGKILL", "torchvision", -signal.SIGKILL, 1),
        ("full", "torchvision", 1, 0),
        ("full", "timm", 1, 0),
    ]
    processes = []
    for how, target, _, _ in cases:
        out = tmp_path / f"{how}-{target}" / f"out{SUFFIXES.get(target, '.pth')}"
        command = [sys.executable, "-c", STOPPED, target, str(path), str(out), how]
        processes.append(
            (out, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        )
    for (out, process), (how, _, status, num_left) in zip(processes, cases, strict=True):
        said, complained = process.communicate(timeout=120)
        assert process.returncode == status, complained
        assert ("temporary files: 1" in said) == (how != "full")
        left = listing(out.parent) if out.parent.exists() else set()
        assert (len(left), out.name in left) == (num_left, False)
        if how == "full":
            assert "Traceback" not in complained
            assert complained.endswith("Nothing was written.\n")
