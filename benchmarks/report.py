#!/usr/bin/env python3
"""Time and peak memory of reading, aggregating and tabulating 100,000 rows.

    python benchmarks/report.py [--rows 100000]

The rows are made up and the same each time: 20 backbones, 7 protocols, 5 seeds, one run in fifty failed,
scores of 20 sequences beside the tracking rows. Each line of the output is a process of its own: the
tables; all pairs of backbones, which the limits leave out; and, as the scale, ``pandas.read_csv`` of the
same file and nothing else. Time is that of the whole process, imports included, on the clock and on the
processor (the two differ where other programs run); memory is its peak (VmHWM). The best of
``--repeats`` is shown.

Exit status 1 when the tables take more than 20 s of the processor (one thread: what the clock shows where
nothing else runs) or 1 GiB.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MAX_SECONDS = 20.0
MAX_BYTES = 1 << 30
RECIPES = (  # task, protocol, backend, metrics
    ("linear", "mec-linear", "torch", ("top1", "top5")),
    ("linear", "linear-cached-lars", "torch", ("top1", "top5")),
    ("knn", "knn-k20", "torch", ("top1", "top5")),
    ("semisup", "mec-semisup", "torch", ("top1", "top5")),
    (
        *("detect", "mask-rcnn-r18-fpn-mini", "detectron2"),
        ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75"),
    ),
    ("sot", "siamrpn-frozen-mini", "mmtrack", ("success", "norm_precision", "precision")),
    ("mot", "mini", "mmtrack", ("mota", "idf1", "hota", "id_switches")),
)
METHODS = ("mec", "moco-v2", "simsiam", "byol", "swav", "dino", "vicreg", "simclr", "supervised", "random")
SEEDS = 5
SEQUENCES = 20


def make_rows(limit: int) -> Iterator[tuple[object, ...]]:
    """Rows with their items, ``(row, items or None)``; every set of values depends on ``limit`` alone."""
    from transfer.report.items import name_items
    from transfer.report.rows import METRICS, Row

    draw = random.Random(0)
    names = [f"sequence-{i}/img" for i in range(SEQUENCES)]
    backbones = [(method, epochs) for method in METHODS for epochs in ("100", "200")]
    questions = ((dataset, recipe) for dataset in itertools.count() for recipe in RECIPES)
    made = 0
    for dataset, (task, protocol, backend, metrics) in questions:
        config = hashlib.sha256(f"{dataset} {protocol}".encode()).hexdigest()
        for (method, epochs), seed in itertools.product(backbones, range(SEEDS)):
            weights = hashlib.sha256(f"{method} {epochs}".encode()).hexdigest()
            status = "failed: RuntimeError: no memory" if draw.random() < 0.02 else "ok"
            for metric in metrics:
                if made == limit:
                    return
                made += 1
                value, items = None, None
                if status == "ok" and task == "sot":
                    items = name_items(names, [round(100 * draw.random(), 4) for _ in names])
                    value = round(math.fsum(items.values) / SEQUENCES, 3)
                elif status == "ok":
                    value = float(draw.randrange(1000)) if metric == "id_switches" else 100 * draw.random()
                row = Row(
                    method=method,
                    arch="resnet50",
                    pretrain_data="made-up",
                    pretrain_epochs=epochs,
                    backbone_sha256=weights,
                    branch="online",
                    task=task,
                    dataset=f"made-up-{dataset}",
                    split="val",
                    protocol=protocol,
                    backend=backend,
                    metric=metric,
                    value=value,
                    unit=METRICS[metric].unit,
                    higher_is_better=METRICS[metric].higher_is_better,
                    seed=seed,
                    n=SEQUENCES if task == "sot" else 5000,
                    selection="last",
                    status=status,
                    source=f"python -m transfer {task} c.yaml --backbone {method}.safetensors --seed {seed}",
                    config_sha256=config,
                    code_version="0.0.0",
                    hardware="none: made up",
                    wall_s=round(1000 * draw.random(), 1),
                )
                yield row, items


def make_files(folder: Path, limit: int) -> Path:
    """Write the rows and their items; returns the results file."""
    from transfer.report.items import items_path, write_items
    from transfer.report.rows import write_rows

    made = list(make_rows(limit))
    path = folder / "made_up.csv"
    write_rows(path, [row for row, _ in made])  # type: ignore[misc]
    write_items(items_path(path), [(row, items) for row, items in made if items is not None])  # type: ignore[misc]
    return path


def measure(what: str, path: Path) -> dict[str, float]:
    """Seconds of each step in this process; run in a process of its own."""
    seconds = {}
    start = time.perf_counter()

    def step(name: str) -> None:
        nonlocal start
        seconds[name] = time.perf_counter() - start
        start = time.perf_counter()

    if what == "pandas":
        import pandas as pd

        step("imports")
        assert len(pd.read_csv(path)) > 0
        step("read")
        return seconds
    from transfer.report.aggregate import read_all, to_cells
    from transfer.report.build import render_tables
    from transfer.report.items import read_items
    from transfer.report.pairs import pairs

    step("imports")
    if what == "tables":
        files = render_tables(ROOT / "results" / "published.csv", [path], ROOT / "results" / "notes.csv")
        step("tables")
        digest = hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
        print(f"# {len(files)} files, SHA-256 of all {digest[:16]}", file=sys.stderr)
        return seconds
    rows = read_all([path])
    step("read")
    items = read_items([path], rows)
    step("items")
    cells = to_cells([], rows, items)
    assert sum(cell.spread is not None for cell in cells) > 0
    step("aggregate")
    compared = pairs(cells)
    step("pairs")
    print(f"# {len(cells)} cells, {len(compared)} pairs", file=sys.stderr)
    return seconds


@dataclass(frozen=True, order=True)
class Outcome:
    """A process: seconds on the clock and on the processor, peak bytes, and what it said of itself."""

    wall: float
    cpu: float
    peak: int
    steps: str
    remark: str


def hardware() -> str:
    """Cores and their model, as rows have it; torch, which rows ask, is not needed here."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} cores {model}"


def run(what: str, path: Path) -> Outcome:
    """Measure in a process of its own."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--measure", what, str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    account = json.loads(done.stdout)
    steps = ", ".join(f"{name} {value:.1f}" for name, value in account["seconds"].items())
    return Outcome(wall, account["cpu"], account["peak"], steps, done.stderr.strip())


def main() -> int:
    """Entry point; exit status 1 beyond a limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "CSV"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        seconds = measure(args.measure[0], Path(args.measure[1]))
        status = Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024
        print(json.dumps({"peak": peak, "cpu": time.process_time(), "seconds": seconds}))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = make_files(Path(folder), args.rows)
        size = path.stat().st_size / 1e6
        print(
            f"{args.rows} rows, {size:.0f} MB; Python {platform.python_version()}; {hardware()}; ",
            end="",
        )
        print(f"load {os.getloadavg()[0]:.1f}")
        best = {
            what: min(run(what, path) for _ in range(args.repeats)) for what in ("pandas", "tables", "pairs")
        }
    scale = best["pandas"]
    for what, one in best.items():
        ratio = f"{one.cpu / scale.cpu:.1f} and {one.peak / scale.peak:.1f} times pandas.read_csv"
        print(
            f"{what:7} {one.wall:6.1f} s, processor {one.cpu:5.1f} s, {one.peak / 2**20:5.0f} MiB: "
            f"{ratio}; {one.steps} {one.remark}"
        )
    within = best["tables"].cpu < MAX_SECONDS and best["tables"].peak < MAX_BYTES
    verdict = "within" if within else "BEYOND"
    print(f"tables: {verdict} {MAX_SECONDS:.0f} s of the processor and {MAX_BYTES >> 20} MiB")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
