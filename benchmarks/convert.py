#!/usr/bin/env python3
"""Time and peak memory of a conversion with proof, for every target: a ResNet-50 from two files.

Each conversion is a fresh process of tools/convert_to_*.py. Two other processes give the scale:

- Memory: the process's peak (VmHWM, read when ``main`` has returned, before the interpreter takes itself
  down) above the peak of a process that only imports the same modules, over the size of the checkpoint. VmHWM
  counts every resident page: the heap, and pages of mapped files, so a checkpoint that is read through a
  mapping counts once in full.
- Time: wall seconds of the whole process, interpreter start included, over those of a process that imports
  torch, torchvision and the framework's models and does nothing.

Figures are medians of ``--repeats`` runs. Nothing is written but what ``--out`` names.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from machine import hardware

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

MB = 1 << 20


@dataclass(frozen=True)
class Subject:
    """A conversion to measure: a tool, what follows the checkpoint's name, and the framework's import."""

    tool: str
    suffix: str
    imports: str
    flags: tuple[str, ...] = ()


SUBJECTS = {
    "detectron2 .pkl": Subject("convert_to_d2.py", ".pkl", "detectron2.checkpoint, detectron2.modeling"),
    "detectron2 .pth": Subject("convert_to_d2.py", ".pth", "detectron2.checkpoint, detectron2.modeling"),
    "mmcv": Subject("convert_to_mm.py", ".pth", "mmdet.models"),
    "mmtrack-sot": Subject("convert_to_mm.py", ".pth", "mmtrack.models", ("--sot-resnet",)),
    "torchvision": Subject("convert_to_torchvision.py", ".pth", "torchvision.models"),
    "timm": Subject("convert_to_timm.py", ".safetensors", "timm"),
}

PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
"""
CONVERT = f"""
import json, runpy, sys
{PEAK}
report, sys.argv = sys.argv[1], sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
    status = 0
except SystemExit as stop:
    status = stop.code
with open(report, "w") as file:
    json.dump({{"peak": peak(), "modules": list(sys.modules)}}, file)
sys.exit(status)
"""
IMPORT = f"""
import importlib, json, sys
{PEAK}
report, root, modules = sys.argv[1:]
sys.path.insert(0, root)
for name in json.load(open(modules))["modules"]:
    try:
        importlib.import_module(name)
    except Exception:  # made by other modules, not importable by name
        pass
with open(report, "w") as file:
    json.dump({{"peak": peak()}}, file)
"""


@dataclass(frozen=True)
class Measurement:
    """One row of the table."""

    target: str
    checkpoint: str
    file_mb: float
    seconds: float
    import_seconds: float
    times_imports: float
    peak_mb: float  # above the process that only imports
    times_file: float


def mec_checkpoint(folder: Path) -> Path:
    """The authors' format: two networks with projectors, a predictor, an optimizer."""
    from checkpoints import write_mec_checkpoint

    return write_mec_checkpoint(folder / "checkpoint_0099.pth.tar", "resnet50")


def bare_state(folder: Path) -> Path:
    """torchvision's state dict."""
    import torch
    import torchvision
    from checkpoints import with_statistics

    path = folder / "resnet50.pth"
    torch.save(with_statistics(torchvision.models.resnet50(weights=None)).state_dict(), path)
    return path


CHECKPOINTS: dict[str, Callable[[Path], Path]] = {"MEC's": mec_checkpoint, "bare": bare_state}


def run(code: str, *arguments: str) -> float:
    """Wall seconds of a Python process.

    Raises:
        RuntimeError: it failed; says what it printed last.
    """
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr[-2000:]}")
    return seconds


def measure(name: str, label: str, checkpoint: Path, folder: Path, repeats: int) -> Measurement:
    """Convert ``repeats`` times, and import as often."""
    subject = SUBJECTS[name]
    report, baseline, out = folder / "report.json", folder / "imports.json", folder / f"out{subject.suffix}"
    seconds, imports, peaks = [], [], []
    for _ in range(repeats):
        tool = str(ROOT / "tools" / subject.tool)
        seconds.append(run(CONVERT, str(report), tool, str(checkpoint), str(out), *subject.flags))
        run(IMPORT, str(baseline), str(ROOT), str(report))
        imports.append(run(f"import torch, torchvision, {subject.imports}"))
        peaks.append(json.loads(report.read_text())["peak"] - json.loads(baseline.read_text())["peak"])
    size, wall, load, peak = checkpoint.stat().st_size, *map(statistics.median, (seconds, imports, peaks))
    return Measurement(name, label, size / MB, wall, load, wall / load, peak / MB, peak / size)


def table(rows: Sequence[Measurement]) -> str:
    """Markdown."""
    lines = [
        "| target | checkpoint | file, MB | seconds | over its imports | peak, MB | over the file |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        time_cells = f"{row.seconds:.1f} | {row.times_imports:.2f} x {row.import_seconds:.1f} s"
        size_cells = f"{row.peak_mb:.0f} | {row.times_file:.2f} x"
        lines.append(f"| {row.target} | {row.checkpoint} | {row.file_mb:.0f} | {time_cells} | {size_cells} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Measure conversions with proof of a ResNet-50: wall time and peak memory.",
        epilog="examples:\n  python benchmarks/convert.py\n"
        "  python benchmarks/convert.py --target timm --repeats 1\n"
        "  python benchmarks/convert.py --target 'detectron2 .pth' --target mmcv --out convert.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--target", action="append", choices=list(SUBJECTS), help="repeatable; default: all")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the median counts (default: 3)")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="write the rows here too")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error("--repeats must be at least 1")
    print(hardware(), end="\n\n")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for label, write in CHECKPOINTS.items():
            checkpoint = write(folder)
            rows += [measure(n, label, checkpoint, folder, args.repeats) for n in args.target or SUBJECTS]
    print(table(rows))
    if args.out:
        with args.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Measurement)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
