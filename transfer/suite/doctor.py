"""What is installed, what each task needs, and what is missing.

``python -m transfer doctor`` prints the report. It imports nothing but the standard library (and
rich, where a terminal and rich are there): packages are looked up by their metadata, and what
counts as working is tried in a process of its own, so a crash there is a line here.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from transfer import __version__

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

DATA: dict[str, str] = {  # folder below the bundled set -> tasks that read it
    "classify": "pretrain, knn, linear, semisup, finetune, fewshot",
    "detect": "detect",
    "sot": "sot, frozen-sot",
    "davis": "frozen-vos",
    "mot": "mot, frozen-mot",
    "mots": "frozen-mots",
    "posetrack": "frozen-pose",
}

REAL_DATA: dict[str, tuple[str, str]] = {  # below MEC_TRANSFER_DATA -> tasks that read it, how to get it
    "cifar10.tar.gz": ("pretrain, knn, linear, semisup, fewshot", "tools/prepare_data.py cifar10 --help"),
    "imagenet": ("pretrain, knn, linear, semisup", "unpack ILSVRC 2012 into train/ and val/"),
    "imagenet_subsets": ("semisup on ImageNet", "tools/prepare_data.py imagenet-lists --to DIR"),
}
MANY_SHOT = "many_shot"  # and the folders below it, as torchvision's classes want them
MANY_SHOT_SETS = (
    *(
        "food-101",
        "cifar-10-batches-py",
        "cifar-100-python",
        "SUN397",
        "stanford_cars",
        "fgvc-aircraft-2013b",
    ),
    *("VOCdevkit/VOC2007", "dtd/dtd", "oxford-iiit-pet", "caltech101", "flowers-102"),
)

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


def data_lines(checkout: Path) -> Iterator[tuple[str, str]]:
    """Name and state of each data folder."""
    for folder, tasks in DATA.items():
        place = checkout / "data/mini" / folder
        state = "there" if place.is_dir() else "absent; next: python -m transfer.data.mini data/mini"
        yield f"data/mini/{folder} ({tasks})", state
    real = os.environ.get("MEC_TRANSFER_DATA")
    if real is None:
        yield "MEC_TRANSFER_DATA (real data)", "not set; only configurations that name it need it"
    elif not Path(real).is_dir():
        yield "MEC_TRANSFER_DATA (real data)", f"{real} is no folder"
    else:
        yield "MEC_TRANSFER_DATA (real data)", "there"
        yield from real_data_lines(Path(real))


def real_data_lines(root: Path) -> Iterator[tuple[str, str]]:
    """Name and state of each real set; that one is absent is no fault."""
    for name, (tasks, how) in REAL_DATA.items():
        yield f"  {name} ({tasks})", "there" if (root / name).exists() else f"absent; next: {how}"
    found = [name for name in MANY_SHOT_SETS if (root / MANY_SHOT / name).is_dir()]
    state = f"{len(found)} of {len(MANY_SHOT_SETS)} sets there" + (f": {', '.join(found)}" if found else "")
    how = "" if len(found) == len(MANY_SHOT_SETS) else "; next: tools/prepare_data.py many-shot --help"
    yield f"  {MANY_SHOT} (linear, finetune)", state + how


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
        choice. 1 when a package is installed but fails its probe, or MEC_TRANSFER_DATA names no folder.
    """
    print(f"mec-transfer {__version__}, Python {platform.python_version()} at {sys.executable}", flush=True)
    packages = examine(sorted({need for needs in NEEDS.values() for need in needs}))
    data = list(data_lines(Path.cwd()))
    print_table("Packages", [(shown(p.need), package_state(p)) for p in packages.values()])
    print_table("Tasks", [(task, task_state(task, packages)) for task in NEEDS])
    print_table("Data", data)
    return int(any(p.broken for p in packages.values()) or any(s.endswith("is no folder") for _, s in data))


if __name__ == "__main__":
    sys.exit(report())
