"""A SLURM of our own on loopback: munged, slurmctld and slurmd, all in one folder, all gone afterwards.

Options and their defaults are those of https://slurm.schedmd.com/slurm.conf.html. The nodes are daemons on
this machine that say they have as many processors as asked for. There is no accounting database: sacct
fails, as it does on many clusters.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from slurm_config import write_config

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "setpriv")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
SAVE_WAIT = 6  # seconds until slurmctld has surely written a change; a SIGKILL before may lose the job


def missing() -> str:
    """Why no SLURM can be started here, or an empty string."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if absent:
        return f"no {', '.join(absent)} on PATH"
    return "" if os.geteuid() == 0 else "not root: slurmd starts jobs as other users"


class Slurm:
    """``nodes`` machines with ``cpus`` processors each, all in two partitions: low (default) and high.

    ``folder`` must not exist; state, logs and configuration lie there. Its path must be short, because of
    munged's socket. ``env`` is for commands (sbatch, squeue, ...) and for programs that call them.
    """

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 2) -> None:
        assert not missing(), f"{missing()}; tests that come here carry the marker slurm"
        self.folder = folder.resolve()
        assert len(str(self.folder)) <= 90, (
            f"{self.folder}: too long for a socket's path, 90 characters at most"
        )
        self.names = [f"node{i}" for i in range(nodes)]
        self.cpus = cpus
        outer = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        self.env = {**outer, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Slurm:
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)  # munged refuses a folder that others may write
        with ExitStack() as undo:
            undo.callback(self.close)
            write_config(self.folder, self.names, self.cpus)
            self._start_munged()
            self.start_controller()
            for i in range(len(self.names)):
                self.start_node(i)
            self.wait_for(lambda: self.node_states() == ["idle"] * len(self.names), "all nodes to be idle")
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all daemons, jobs, and whatever they left running."""
        # The controller first: it would start again what dies on its nodes.
        for name in ("slurmctld", *self.names):
            self._stop(name, signal.SIGKILL)
        self._kill()
        self._stop("munged", signal.SIGKILL)

    def run(self, *command: str, timeout_s: float = 60) -> str:
        """What a command printed, or an AssertionError with what it said."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout_s)
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a shell script; its job's id. Its output is ``folder/ID.out`` unless an option says else."""
        command = ["sbatch", "--parsable", f"--output={self.folder}/%j.out", "--open-mode=append", *options]
        done = subprocess.run(
            command,
            env=self.env,
            input=f"#!/bin/bash\n{script}\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stderr}"
        return done.stdout.strip()

    def squeue(self) -> dict[str, str]:
        """The state of each job and array element that the controller knows, by id: ``7`` or ``7_0``."""
        text = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        return dict(line.split() for line in text.splitlines())

    def job(self, job_id: str) -> dict[str, str]:
        """What ``scontrol show job`` says: JobState, Restarts, NodeList, ExitCode, Reason, ..."""
        text = self.run("scontrol", "--oneliner", "show", "job", job_id)
        return dict(field.split("=", 1) for field in text.split() if "=" in field)

    def node_states(self) -> list[str]:
        """One a node: idle, mixed, allocated, down, and with * where it does not answer."""
        text = self.run("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %T")
        return [state for _, state in sorted(line.split() for line in text.splitlines())]

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        """Ask again until it is true; an AssertionError with the end of the logs when it never is."""
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(AssertionError):  # the controller does not answer while it starts
                if condition():
                    return
            assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}\n{self._logs()}"
            time.sleep(0.1)

    def wait_state(self, job_id: str, *states: str, timeout_s: float = 60) -> None:
        """Until a job (or array element, ``7_0``) is in one of these states."""
        self.wait_for(lambda: self.squeue().get(job_id) in states, f"{job_id} to be {states}", timeout_s)

    def wait_idle(self, timeout_s: float = 60) -> None:
        """Until no job waits or runs."""
        self.wait_for(lambda: not self.run("squeue", "--noheader").strip(), "all jobs to end", timeout_s)

    def start_controller(self) -> None:
        """Start slurmctld from the state that it saved, and wait until it answers."""
        self._start("slurmctld", "slurmctld", "-D")
        self.wait_for(lambda: "UP" in self.run("scontrol", "ping"), "slurmctld to answer")

    def stop_controller(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """End slurmctld; nodes and jobs run on."""
        self._stop("slurmctld", with_signal)

    def restart_controller(self, kill: bool = True) -> None:
        """End slurmctld, by SIGKILL or in order, and start it again."""
        self.stop_controller(signal.SIGKILL if kill else signal.SIGTERM)
        self.start_controller()

    def stop_node(self, i: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """End one slurmd. What its jobs had started runs on: see crash_node."""
        self._stop(self.names[i], with_signal)

    def crash_node(self, i: int) -> None:
        """End one slurmd and everything that runs on its node, as a machine without power does."""
        self._stop(self.names[i], signal.SIGKILL)
        self._kill(self.names[i])

    def start_node(self, i: int) -> None:
        """Start one slurmd (again). It does not wait until the controller has seen it."""
        self._start(self.names[i], "slurmd", "-D", "-N", self.names[i])

    def processes(self, node: str = "") -> list[int]:
        """Every process that this cluster started, of one node or of all: what has its variables."""
        marks = {f"SLURM_CONF={self.env['SLURM_CONF']}", *([f"SLURMD_NODENAME={node}"] if node else [])}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile
                variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                if marks <= set(variables) and int(folder.name) != os.getpid():
                    found.append(int(folder.name))
        return found

    def _kill(self, node: str = "") -> None:
        # Twice none: between two looks a process may fork.
        while self.processes(node) or self.processes(node):
            for pid in self.processes(node):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _start(self, name: str, *command: str) -> None:
        assert name not in self._daemons, f"{name} runs already"
        # They shall not outlive a test that is itself killed; jobs have no such parent.
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env={**self.env, "SLURMD_NODENAME": name},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _start_munged(self) -> None:
        files = {
            "socket": "socket",
            "key-file": "key",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        options = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()]
        # --force: the folder above may be closed to others, as pytest's is.
        self._start("munged", "munged", "--foreground", "--force", *options)
        self.wait_for((self.folder / "munge.socket").exists, "munged")

    def _stop(self, name: str, with_signal: signal.Signals) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.send_signal(with_signal)
            daemon.wait(timeout=60)

    def _logs(self) -> str:
        ends = [(path.name, path.read_text(errors="replace")[-1500:]) for path in self.folder.glob("*.log")]
        return "\n".join(f"{name}: ...{end}" for name, end in ends)
