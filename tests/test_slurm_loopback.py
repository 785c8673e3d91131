"""The SLURM that other tests use: real daemons, requeue, preemption, crashes, and nothing left afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import slurm
import submitit
from slurm import Slurm

pytestmark = pytest.mark.slurm
ATTEMPTS = "echo attempt ${SLURM_RESTART_COUNT:-0} on $SLURMD_NODENAME"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with Slurm(tmp_path_factory.mktemp("slurm") / "c") as started:
        yield started


@pytest.fixture
def cluster(running: Slurm) -> Iterator[Slurm]:
    yield running
    running.run("scancel", "--user=root")
    running.wait_idle()


def output(cluster: Slurm, job: str) -> list[str]:
    """What the job itself wrote, without SLURM's own lines."""
    path = cluster.folder / f"{job}.out"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if not line.startswith(("slurmstepd", "srun"))]


def forever(cluster: Slurm, *options: str) -> str:
    """A job that says which attempt it is, and then waits for a file ID.go."""
    script = f"{ATTEMPTS}; until [ -e {cluster.folder}/$SLURM_JOB_ID.go ]; do sleep 0.1; done; echo end"
    job = cluster.sbatch(script, *options)
    cluster.wait_for(lambda: output(cluster, job) != [], f"{job} to write")
    return job


def finish(cluster: Slurm, job: str) -> list[str]:
    (cluster.folder / f"{job}.go").touch()
    cluster.wait_state(job, "COMPLETED")
    return output(cluster, job)


def test_a_job_runs_and_a_failed_one_is_known(cluster: Slurm) -> None:
    good, bad = cluster.sbatch("echo hello"), cluster.sbatch("exit 3")
    cluster.wait_idle()
    assert output(cluster, good) == ["hello"]
    assert cluster.squeue()[good] == "COMPLETED"
    assert cluster.squeue()[bad] == "FAILED"
    assert cluster.job(bad)["ExitCode"] == "3:0"


def test_one_job_on_two_nodes(cluster: Slurm) -> None:
    command = 'srun bash -c "echo \\$SLURM_PROCID of \\$SLURM_NTASKS on \\$SLURMD_NODENAME"'
    job = cluster.sbatch(command, "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2")
    cluster.wait_idle()
    assert sorted(output(cluster, job)) == ["0 of 2 on node0", "1 of 2 on node1"]


def test_elements_of_an_array_have_states_of_their_own(cluster: Slurm) -> None:
    job = cluster.sbatch("exit $SLURM_ARRAY_TASK_ID", "--array=0-1")
    cluster.wait_idle()
    states = cluster.squeue()
    assert states[f"{job}_0"] == "COMPLETED"
    assert states[f"{job}_1"] == "FAILED"


def test_a_requeued_job_runs_again(cluster: Slurm) -> None:
    job = forever(cluster)
    cluster.run("scontrol", "requeue", job)
    cluster.wait_for(lambda: len(output(cluster, job)) == 2, "a second attempt")
    assert [line.split(" on ")[0] for line in finish(cluster, job)] == ["attempt 0", "attempt 1", "end"]
    assert cluster.job(job)["Restarts"] == "1"


def test_a_cancelled_job_does_not(cluster: Slurm) -> None:
    job = forever(cluster)
    cluster.run("scancel", job)
    cluster.wait_state(job, "CANCELLED")
    assert len(output(cluster, job)) == 1


@pytest.mark.parametrize("kill", [True, False])
def test_a_controller_that_starts_again_knows_the_jobs(cluster: Slurm, kill: bool) -> None:
    job = forever(cluster)
    waiting = cluster.sbatch("echo hello", f"--dependency=afterok:{job}")
    time.sleep(slurm.SAVE_WAIT if kill else 0)
    cluster.restart_controller(kill)
    assert cluster.squeue()[job] == "RUNNING"
    assert cluster.squeue()[waiting] == "PENDING"
    assert len(finish(cluster, job)) == 2  # the first attempt ended, there was no second
    cluster.wait_state(waiting, "COMPLETED")


def test_a_job_that_ends_without_a_controller_is_known_after_it(cluster: Slurm) -> None:
    job = forever(cluster)
    cluster.stop_controller(signal.SIGTERM)
    (cluster.folder / f"{job}.go").touch()
    cluster.wait_for(lambda: len(output(cluster, job)) == 2, "the job to end")
    cluster.start_controller()
    cluster.wait_state(job, "COMPLETED")


def test_a_high_job_takes_the_place_of_a_low_one(cluster: Slurm) -> None:
    low = forever(cluster)
    high = cluster.sbatch(ATTEMPTS, "--partition=high", "--nodes=2", "--exclusive")
    cluster.wait_state(high, "COMPLETED")
    assert cluster.job(low)["Restarts"] == "1"
    cluster.wait_for(lambda: len(output(cluster, low)) == 2, "a second attempt")
    assert [line.split(" on ")[0] for line in finish(cluster, low)] == ["attempt 0", "attempt 1", "end"]


def test_a_job_of_a_node_that_crashed_runs_on_the_other(cluster: Slurm) -> None:
    job = forever(cluster)
    node = cluster.job(job)["NodeList"]
    index = cluster.names.index(node)
    cluster.crash_node(index)
    assert cluster.processes(node) == []
    cluster.wait_for(lambda: len(output(cluster, job)) == 2, "a second attempt")
    cluster.start_node(index)
    first, second, end = finish(cluster, job)
    assert (first, end) == (f"attempt 0 on {node}", "end")
    assert second == f"attempt 1 on {cluster.names[1 - index]}"
    cluster.wait_for(lambda: cluster.node_states() == ["idle", "idle"], "the node to be back")


def test_a_daemon_that_was_killed_leaves_its_job_running(cluster: Slurm) -> None:
    job = forever(cluster)
    index = cluster.names.index(cluster.job(job)["NodeList"])
    cluster.stop_node(index)
    assert len(cluster.processes(cluster.names[index])) >= 2  # the step's daemon and the script
    cluster.start_node(index)
    assert len(finish(cluster, job)) == 2


def test_submitit_without_accounting(cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.env[name])
    executor = submitit.AutoExecutor(tmp_path / "jobs", cluster="slurm")
    executor.update_parameters(timeout_min=5, cpus_per_task=1, slurm_partition="low")
    jobs = executor.map_array(os.path.basename, ["/a/b", "/c"])
    states = {job.job_id: "COMPLETED" for job in jobs}
    cluster.wait_for(lambda: states.items() <= cluster.squeue().items(), "both elements to end")
    assert [job.result() for job in jobs] == ["b", "c"]
    # Its watcher asks sacct, which has no data base here: the state is never known, only a result is.
    assert {job.state for job in jobs} == {"UNKNOWN"}
    failed = executor.submit(os._exit, 1)
    cluster.wait_state(failed.job_id, "FAILED")
    assert not failed.done(force_check=True)


def test_nothing_is_left(tmp_path: Path) -> None:
    stubborn = f"{sys.executable} -c 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)'"
    before: list[int] = []
    with suppress(KeyError), Slurm(tmp_path / "c", nodes=1) as cluster:
        job = cluster.sbatch(f"setsid {stubborn} & {stubborn} & echo up; wait")
        cluster.wait_for(lambda: output(cluster, job) == ["up"], "the job to be up")
        before = cluster.processes()
        config = cluster.run("scontrol", "show", "config")
        port = int(config.split("SlurmctldPort")[1].split()[1])
        socket.create_connection(("127.0.0.1", port)).close()
        raise KeyError
    # munged, slurmctld and its helper, slurmd, the job's step, its script, and two that ignore SIGTERM.
    assert len(before) == 8
    assert cluster.processes() == []
    assert [pid for pid in before if alive(pid)] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_daemons_end_with_the_test_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from slurm import Slurm\n"
        "with Slurm(Path(sys.argv[1])): print(1, flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "c")],
        cwd=Path(slurm.__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"1\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()
    deadline = time.monotonic() + 20
    while Slurm(tmp_path / "c").processes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert slurm.missing() == ""
    monkeypatch.setattr(slurm, "PATH", str(tmp_path))
    assert slurm.missing().startswith("no munged, slurmctld, slurmd, sbatch")
    with pytest.raises(AssertionError, match="no munged"):
        Slurm(tmp_path / "c")


def alive(pid: int) -> bool:
    """Not ended: what init has not yet collected (a zombie) has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
