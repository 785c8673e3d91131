"""Grids of kNN on a tiny set for tests of the whole suite, their processes, and a stand-in for their jobs."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_set import write_knn_config
from torchvision.transforms.v2.functional import to_pil_image

from transfer.backbone.contract import read_backbone
from transfer.backbone.load import write_random
from transfer.evaluate import load_config, to_rows
from transfer.report.rows import Measurement, write_rows
from transfer.suite.job import Job, write_plan
from transfer.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
KS = (1, 3, 5, 10)  # that have a protocol
CHANGES = ("source", "wall_s")  # of a row, from run to run: its command names the run folder
# Put first on PYTHONPATH it takes the place of `python -m transfer TASK`, in milliseconds. Each start adds a
# line to STAND_IN_LOG; rows are written as the real one writes them: under another name, then renamed. They
# are those of the file STAND_IN_ROWS, if any, whose seed is 987654.
STAND_IN = """\
import sys
words = sys.orig_argv
if "transfer" in words and words[words.index("transfer") - 1] == "-m":
    import os, time
    value = lambda name: words[words.index(name) + 1]
    out, seed = value("--out"), value("--seed")
    log = os.open(os.environ["STAND_IN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{out} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}\\n".encode())
    exec(os.environ.get("STAND_IN_FIRST", ""))
    time.sleep(float(os.environ["STAND_IN_S"]))
    lines = ["method,metric,value,seed,status,source,wall_s"]
    lines += [f"random,{metric},{float(seed) / 7},{seed},ok,{out},1.0" for metric in ("top1", "top5")]
    if "STAND_IN_ROWS" in os.environ:
        with open(os.environ["STAND_IN_ROWS"]) as file:
            lines = file.read().replace("987654", seed).splitlines()
    for _ in range(2):
        with open(f"{out}/.results", "w") as file:
            file.write("\\n".join(lines) + "\\n")
        time.sleep(0.01)
    os.rename(f"{out}/.results", f"{out}/results.csv")
    os._exit(0)
"""
# A runner without PyTorch: what python -m transfer.suite does between planning and the tables.
RUNNER = """\
import sys
from pathlib import Path
from transfer.suite.executors import run_jobs, submission_folder
from transfer.suite.local import Local
from transfer.suite.job import read_plan
from transfer.suite.state import DONE
out = Path(sys.argv[1])
states = run_jobs(read_plan(out), Local(submission_folder(out), int(sys.argv[2])), lambda states: None)
sys.exit(any(state.name != DONE for state in states))
"""


@dataclass(frozen=True)
class Scene:
    """A suite file, its backbone and its run folder, whose path occurs in all processes' command lines."""

    suite: Path
    backbone: Path
    out: Path

    def command(self, *options: str) -> list[str]:
        """Of the runner."""
        words = [str(self.suite), "--backbone", str(self.backbone), "--out", str(self.out)]
        return [sys.executable, "-m", "transfer.suite", *words, *options]

    def start(self, *options: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start the runner in a process group of its own, as a shell does."""
        return spawn(self.command(*options), environment(), log)


def spawn(
    command: Sequence[str], variables: dict[str, str], log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own whose output goes to a file, or nowhere."""
    with open(log or os.devnull, "ab") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # Where the tests run in the background of a shell it is ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def environment(**more: str) -> dict[str, str]:
    """For runners: this checkout, one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def stand_in(folder: Path, seconds: float, first: str = "") -> dict[str, str]:
    """An environment in which jobs are stand-ins that take ``seconds``, after a statement of Python."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site/sitecustomize.py").write_text(STAND_IN)
    return environment(
        PYTHONPATH=os.pathsep.join((str(folder / "site"), str(ROOT))),
        STAND_IN_LOG=str(folder / "starts.txt"),
        STAND_IN_S=str(seconds),
        STAND_IN_FIRST=first,
    )


def starts(folder: Path) -> list[str]:
    """Run folders of the stand-ins that were started, in that order."""
    path = folder / "starts.txt"
    return [line.rsplit(" ", 2)[0] for line in path.read_text().splitlines()] if path.exists() else []


def plan_stand_ins(out: Path, count: int) -> list[Job]:
    """The plan of a grid for stand-ins."""
    jobs = []
    for seed in range(count):
        folder = str(out / f"random-1/knn-seed{seed}")
        words = (
            "knn",
            "configs/classify/knn_mini.yaml",
            "--backbone",
            "b",
            "--out",
            folder,
            "--seed",
            str(seed),
        )
        jobs.append(Job("knn", words[1], "random", "resnet18", "b", seed, folder, f"key{seed}", words))
    write_plan(out, jobs)
    return jobs


def write_scene(folder: Path, configs: int, seeds: int) -> Scene:
    """A suite of ``configs`` times ``seeds`` kNN jobs on a set of noise, whose values differ by k."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for split in ("train", "val"):
        for name in ("a", "b"):
            (folder / "set" / split / name).mkdir(parents=True)
            for i in range(8):
                image = torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8)
                to_pil_image(image).save(folder / "set" / split / name / f"{i}.png")
    paths = []
    for k, _ in zip(KS, range(configs), strict=False):
        paths.append(write_knn_config(folder / f"k{k}.yaml", folder / "set", k))
        paths[-1].write_text(paths[-1].read_text() + "device: cpu\n")
    tasks = ", ".join(f"{{task: knn, config: {path}}}" for path in paths)
    numbers = ", ".join(map(str, range(seeds)))
    suite = folder / "suite.yaml"
    suite.write_text(f"name: tiny\nrandom: false\ncores: 1\nseeds: [{numbers}]\ntasks: [{tasks}]\n")
    write_random(folder / "given.safetensors", "resnet18", seed=1)
    return Scene(suite, folder / "given.safetensors", folder / "runs")


def write_template(scene: Scene, path: Path) -> None:
    """The rows of one job, from which the stand-ins make theirs."""
    config = load_config(TASKS["knn"], next(scene.suite.parent.glob("k*.yaml")), ["seed=987654"])
    numbers = [
        Measurement("tiny", "val", config.protocol, "torch", name, 50.0, 16) for name in ("top1", "top5")
    ]
    write_rows(
        path, to_rows("knn", config, read_backbone(scene.backbone), numbers, "python -m transfer", 2.0)
    )


def rows_in(out: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each run folder, without what differs from run to run."""
    found = {}
    for path in sorted(out.glob("*/*/results.csv")):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:  # its job has just begun again
            continue
        assert text.endswith("\n"), f"{path}: ends within a line"
        found[str(path.parent.relative_to(out))] = [
            {name: value for name, value in row.items() if name not in CHANGES}
            for row in csv.DictReader(io.StringIO(text))
        ]
    return found


def processes(out: Path, role: str = "") -> list[int]:
    """Living processes of a grid: those with its run folder on their command line.

    Args:
        role: runner, controller (submitit's), worker or job; "" all of them.
    """
    marks = {
        "runner": ("transfer.suite", str(out)),
        "controller": ("submitit.local._local", str(out)),
        "worker": ("submitit.core._submit", str(out)),
        "job": ("transfer", str(out)),
        "": ("", str(out)),
    }
    module, folder = marks[role]
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            belongs = any(word == folder or word.startswith(f"{folder}/") for word in words)
            if belongs and (not module or module in words) and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found
