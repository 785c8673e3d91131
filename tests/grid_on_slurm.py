"""A suite of small jobs that a test holds in their middle, started by its command line, here or on SLURM."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from slurm import Slurm
from tiny_set import write_knn_config, write_tiny_set

from transfer.backbone.load import write_random
from transfer.report.rows import Row, read_rows

ROOT = Path(__file__).resolve().parent.parent
# Every job's process says that it began and waits until the test lets it go; then it says that it ended.
HOLD = """\
import atexit, os, pathlib, sys, time
if sys.argv[:1] == ["-m"] and "--backbone" in sys.argv and "--seed" in sys.argv and "RANK" not in os.environ:
    folder, name = pathlib.Path(__file__).parent, pathlib.Path(sys.argv[sys.argv.index("--out") + 1]).name
    def say(word):
        with open(folder / word, "a") as file:
            file.write(name + "\\n")
    say("begun")
    while (folder / "hold").exists():
        time.sleep(0.05)
    atexit.register(say, "ended")
"""


class Grid:
    """One suite in ``folder``: kNN on the tiny set for one random backbone and ``seeds`` seeds.

    ``held`` jobs begin, and go on only after :meth:`release`. ``begun`` and ``ended`` count their processes.
    """

    def __init__(self, folder: Path, cluster: Slurm, seeds: int = 1, *, held: bool = True) -> None:
        self.folder, self.cluster = folder, cluster
        self.out = folder / "runs"
        self.jobs = [f"near-seed{seed}" for seed in range(seeds)]
        write_random(folder / "given.safetensors", "resnet18", seed=1)
        config = write_knn_config(folder / "near.yaml", write_tiny_set(folder / "set"), k=3)
        self.suite = self.write_suite(f"{{task: knn, config: {config}}}", seeds)
        (folder / "sitecustomize.py").write_text(HOLD)
        if held:
            (folder / "hold").touch()
        self.runners: list[subprocess.Popen[bytes]] = []

    def write_suite(self, tasks: str, seeds: int = 1) -> Path:
        """The suite file, of one core a job."""
        path = self.folder / "tiny.yaml"
        numbers = list(range(seeds))
        path.write_text(f"name: tiny\nrandom: false\ncores: 1\nseeds: {numbers}\ntasks: [{tasks}]\n")
        return path

    def words(self, executor: str) -> list[str]:
        """The command line's, after ``python -m transfer.suite``."""
        given = str(self.folder / "given.safetensors")
        return [str(self.suite), "--backbone", given, "--out", str(self.out), "--executor", executor]

    def start(self, *options: str, executor: str = "slurm") -> subprocess.Popen[bytes]:
        """Start ``python -m transfer.suite``; what it says goes to ``folder/said``."""
        with (self.folder / "said").open("ab") as said:
            runner = subprocess.Popen(
                [sys.executable, "-m", "transfer.suite", *self.words(executor), *options],
                env={**self.cluster.env, "PYTHONPATH": f"{self.folder}:{ROOT}"},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        self.runners.append(runner)
        return runner

    def run(self, *options: str, executor: str = "slurm") -> int:
        """Start it and wait for its exit status."""
        return self.start(*options, executor=executor).wait(timeout=300)

    def said(self) -> str:
        """What all runners have printed."""
        return (self.folder / "said").read_text()

    def count(self, word: str) -> Counter[str]:
        """How many processes of each job have ``begun`` or ``ended``."""
        path = self.folder / word
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def wait_begun(self, number: int) -> None:
        """Until so many processes of jobs have begun, all in all."""
        self.cluster.wait_for(
            lambda: self.count("begun").total() >= number or self.ended_early(), f"{number} to begin", 120
        )

    def ended_early(self) -> bool:
        """Never true: a runner that has ended while its jobs are held is a failure, and this says so."""
        if all(runner.poll() is not None for runner in self.runners):
            raise RuntimeError(f"no runner lives any more:\n{self.said()}")
        return False

    def release(self) -> None:
        """Let all jobs go on."""
        (self.folder / "hold").unlink()

    def element(self) -> str:
        """The id in SLURM's queue of the one that runs."""
        (running,) = [id_ for id_, state in self.cluster.squeue().items() if state == "RUNNING"]
        return running

    def rows(self) -> list[Row]:
        """All rows, in the order of their run folders."""
        return [row for path in sorted(self.out.rglob("results.csv")) for row in read_rows(path)]

    def close(self) -> None:
        """Kill the runners."""
        for runner in self.runners:
            with suppress(ProcessLookupError):
                runner.send_signal(signal.SIGKILL)
            runner.wait()
