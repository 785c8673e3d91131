"""``--num-gpus`` and its kin: the processes of torchrun, exit statuses and signals, on this machine's CPU."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_set import write_knn_config, write_tiny_set

from transfer.backbone.load import write_random
from transfer.launch import _state, add_options, wants_processes
from transfer.report.rows import read_rows

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 300  # a process that is left behind holds the pipes open for ever


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("launch")
    write_random(made / "b.safetensors", "resnet18", seed=1)
    write_knn_config(made / "knn.yaml", write_tiny_set(made / "set"), k=3)
    return made


def start(folder: Path, out: str, *words: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    argv = ["knn", str(folder / "knn.yaml"), "--backbone", str(folder / "b.safetensors")]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            *launcher,
            "transfer",
            *argv,
            "--out",
            str(folder / out),
            "device=cpu",
            *words,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_two_processes_write_one_set_of_rows(folder: Path) -> None:
    started = start(folder, "two", "--num-gpus", "2")
    output, errors = started.communicate(timeout=TIMEOUT_S)
    assert started.returncode == 0, errors
    assert output.count("top1: 100.00") == 1
    assert "this machine has no GPU: 2 processes on the CPU share the run" in errors
    [top1, top5] = read_rows(folder / "two/results.csv")
    assert (top1.value, top5.value, top1.status) == (100.0, 100.0, "ok")
    assert top1.source.endswith("--num-gpus 2")


@pytest.mark.parametrize("own", [True, False])
def test_two_machines_share_one_run(folder: Path, own: bool) -> None:
    """By the options, and by torchrun with its own: two agents that meet at one address."""
    port = free_port()
    agents = []
    for rank in ("0", "1"):
        if own:
            words = ("--num-machines", "2", "--machine-rank", rank, "--dist-url", f"tcp://127.0.0.1:{port}")
            agents.append(start(folder, "machines", *words))
        else:
            launcher = (
                "torch.distributed.run",
                "--nnodes",
                "2",
                "--node-rank",
                rank,
                "--nproc-per-node",
                "1",
            )
            launcher += ("--master-addr", "127.0.0.1", "--master-port", str(port), "-m")
            agents.append(start(folder, "torchrun", launcher=launcher))
    outputs = [agent.communicate(timeout=TIMEOUT_S) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    assert [output.count("top1: 100.00") for output, _ in outputs] == [1, 0]


@pytest.mark.parametrize(("word", "status"), [("k=many", 2), ("temperature=0", 1)])
def test_the_exit_status_is_the_commands(folder: Path, word: str, status: int) -> None:
    started = start(folder, f"status-{status}", "--num-gpus", "2", word)
    _, errors = started.communicate(timeout=TIMEOUT_S)
    assert started.returncode == status, errors
    assert f"ended with status {status}" in errors


def test_a_signal_ends_all_processes(folder: Path) -> None:
    started = start(folder, "signal", "--num-gpus", "2")
    assert started.stderr is not None
    while "no GPU" not in started.stderr.readline():
        pass
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    deadline = time.monotonic() + 120
    while len(found := children.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=TIMEOUT_S)
    assert started.returncode == 128 + signal.SIGTERM
    assert {_state(int(pid)) for pid in found} <= {"Z", "X"}  # a zombie is for the machine's init to collect


def test_children_that_torchrun_does_not_know_end_too() -> None:
    """A signal that comes while it starts them; one of them does not heed SIGTERM."""
    program = (
        "import subprocess, transfer.launch as launch\n"
        "script = 'trap \"\" TERM; echo; while :; do sleep 1; done'\n"
        "deaf = subprocess.Popen(['bash', '-c', script], stdout=subprocess.PIPE)\n"
        "deaf.stdout.readline()\n"
        "children = [subprocess.Popen(['sleep', '600']), deaf]\n"
        "launch._end_children(grace_s=0.3)\n"
        "print([child.wait() for child in children])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == f"[{-signal.SIGTERM:d}, {-signal.SIGKILL:d}]", done.stderr


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


def test_what_contradicts_itself_or_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)  # whatever this machine has
    assert not wants_processes(parsed())
    assert wants_processes(parsed("--num-gpus", "2"))
    for words, message in (
        (("--num-gpus", "0"), "of at least 1"),
        (("--num-machines", "2", "--machine-rank", "2"), "--machine-rank below --num-machines"),
        (("--num-machines", "2"), "auto is for one machine"),
        (("--num-machines", "2", "--dist-url", "tcp://host"), "expected tcp://HOST:PORT"),
        (("--num-machines", "2", "--dist-url", "host:29500"), "expected tcp://HOST:PORT"),
    ):
        with pytest.raises(ValueError, match=message):
            wants_processes(parsed(*words))
    assert wants_processes(parsed("--num-machines", "2", "--dist-url", "tcp://host:29500"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(ValueError, match="expected at most 4"):
        wants_processes(parsed("--num-gpus", "8"))
    monkeypatch.setenv("WORLD_SIZE", "8")  # as torchrun sets it in its processes
    assert not wants_processes(parsed("--num-gpus", "8"))
    assert not wants_processes(parsed())
    with pytest.raises(ValueError, match="torchrun started 8 processes, but"):
        wants_processes(parsed("--num-gpus", "2"))
