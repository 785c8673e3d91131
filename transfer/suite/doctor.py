"""What is installed, what each task needs, and what is missing.

``python -m transfer doctor`` prints the report. It imports nothing but the standard library (and
rich, where a terminal and rich are there): packages are looked up by their metadata, and what
counts as working is tried in a process of its own, so a crash there is a line here.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from transfer import __version__
from transfer.suite.data_places import data_lines
from transfer.suite.machine import machine_lines, why_not_writable

BASE = ("torch", "torchvision", "numpy", "safetensors", "omegaconf")
CLASSIFY = (*BASE, "pillow")
MMTRACK = (*BASE, "opencv-python-headless|opencv-python", "mmcv-full", "mmdet", "mmcls", "mmtrack")

# Distributions a task needs, by their names on a package index; "a|b": either of the two will do.
NEEDS: dict[str, tuple[str, ...]] = {
    "pretrain": (*CLASSIFY, "rich", "tensorboard"),
    "knn": CLASSIFY,
    "linear": (*CLASSIFY, "timm", "scipy"),  # LARS; logistic regression
    "semisup": CLASSIFY,
    "finetune": CLASSIFY,
    "fewshot": (*CLASSIFY, "scipy"),
    "detect": (*BASE, "pycocotools", "hotcoco", "detectron2|sal-detectron2", "fvcore", "iopath"),
    "frozen-sot": CLASSIFY,
    "frozen-vos": (*CLASSIFY, "trackeval", "pycocotools"),
    "frozen-mot": (*CLASSIFY, "scipy", "trackeval"),
    "frozen-mots": (*CLASSIFY, "scipy", "trackeval", "pycocotools"),
    "frozen-pose": (*CLASSIFY, "scipy", "motmetrics"),
    "sot": MMTRACK,
    "mot": (*MMTRACK, "trackeval"),
    "vis": (*MMTRACK, "pycocotools"),
    "mini": ("numpy", "pillow", "scikit-image", "scikit-learn"),  # building the bundled set
    "report": ("pandas", "pandera", "matplotlib", "jinja2"),
}

# Code that fails where a package is installed but does not work: two overlapping boxes, of which
# NMS keeps one, go through compiled operators; those are what a mismatched torch breaks.
PROBES: dict[str, str] = {
    "torchvision": (
        "import torch, torchvision as t; b = torch.tensor([[0., 0, 9, 9], [0, 0, 9, 9]]);"
        "assert len(t.ops.nms(b, torch.ones(2), 0.5)) == 1"
    ),
    "detectron2|sal-detectron2": "import detectron2.modeling, detectron2.model_zoo",
    "mmcv-full": (
        "import torch, mmcv.ops as o; b = torch.tensor([[0., 0, 9, 9], [0, 0, 9, 9]]);"
        "assert len(o.nms(b, torch.ones(2), 0.5)[1]) == 1"
    ),
    "mmtrack": "import mmtrack.apis",
}

HOW_TO_GET = {
    "frameworks": "bash tools/setup.sh (Linux, CPython 3.10) or conda env create -f environment.yml",
    "pip": "pip install .",
}
FRAMEWORKS = frozenset(
    {"detectron2|sal-detectron2", "fvcore", "iopath", "mmcv-full", "mmdet", "mmcls", "mmtrack", "trackeval"}
    | {"opencv-python-headless|opencv-python"}
)


@dataclass(frozen=True)
class Package:
    """One requirement: the distribution found, or why it is unusable."""

    need: str  # as it stands in NEEDS
    version: str  # "" where missing
    fault: str  # "" where it works; else one line

    @property
    def broken(self) -> bool:
        """Installed, but its probe failed."""
        return bool(self.version and self.fault)


def find_version(need: str) -> str:
    """``version`` or, where the distribution has another name, ``version (name)``; "" where missing."""
    names = need.split("|")
    for name in names:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return found if len(names) == 1 else f"{found} ({name})"
    return ""


def probe(code: str, timeout_s: float = 600.0) -> str:
    """Run code in a process of its own; "" when it succeeds, else its last line of error."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:.0f} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit status {done.returncode}"


def examine(needs: Sequence[str]) -> dict[str, Package]:
    """Look every requirement up and try those that have a probe, two at a time."""
    versions = {need: find_version(need) for need in needs}
    probed = [need for need in needs if versions[need] and need in PROBES]
    with ThreadPoolExecutor(max_workers=2) as pool:
        faults = dict(zip(probed, pool.map(probe, (PROBES[need] for need in probed)), strict=True))
    return {
        need: Package(need, version, faults.get(need, "") if version else "not installed")
        for need, version in versions.items()
    }


def what_stops(task: str, packages: dict[str, Package]) -> str:
    """Why a task cannot run here, with the next step; "" where it can."""
    faulty = [packages[need] for need in NEEDS[task] if packages[need].fault]
    if not faulty:
        return ""
    faults = "; ".join(f"{shown(p.need)} {'is broken: ' if p.broken else ''}{p.fault}" for p in faulty)
    kind = "frameworks" if any(p.need in FRAMEWORKS for p in faulty) else "pip"
    return f"{faults}. Next: {HOW_TO_GET[kind]}"


def package_state(package: Package) -> str:
    """The version, and whether more than its presence was tried."""
    if package.broken:
        return f"BROKEN {package.version}: {package.fault}"
    tried = ", tried and works" if package.need in PROBES else ""
    return package.fault or package.version + tried


def task_state(task: str, packages: dict[str, Package]) -> str:
    """Whether a task can run here; what it needs or why it cannot."""
    stop = what_stops(task, packages)
    needs = ", ".join(map(shown, NEEDS[task])) or "no package"
    return f"cannot run: {stop}" if stop else f"can run (needs {needs})"


def shown(need: str) -> str:
    """A requirement as a sentence names it."""
    return need.replace("|", " or ")


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Two columns: by rich on a terminal that has it, aligned plain text elsewhere."""
    if sys.stdout.isatty() and find_version("rich"):
        from rich import box
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title, title_justify="left", show_header=False, box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        Console().print(table)
        return
    width = max(len(name) for name, _ in rows)
    print(f"\n{title}")
    for name, state in rows:
        print(f"  {name:<{width}}  {state}")


def report() -> int:
    """Print the report.

    Returns:
        0 when whatever is installed works, even if tasks lack packages: a smaller environment is a
        choice. 1 when a package is installed but fails its probe, MEC_TRANSFER_DATA names no folder, or
        no run folder can be made here.
    """
    print(f"mec-transfer {__version__}, Python {platform.python_version()} at {sys.executable}", flush=True)
    packages = examine(sorted({need for needs in NEEDS.values() for need in needs}))
    data = list(data_lines(Path.cwd()))
    print_table("Packages", [(shown(p.need), package_state(p)) for p in packages.values()])
    print_table("Tasks", [(task, task_state(task, packages)) for task in NEEDS])
    print_table("Data", data)
    runs = Path.cwd() / "runs"
    print_table("Machine", list(machine_lines(runs)))
    unusable = any(state.endswith("is no folder") for _, state in data) or why_not_writable(runs)
    return int(bool(unusable) or any(package.broken for package in packages.values()))


if __name__ == "__main__":
    sys.exit(report())
