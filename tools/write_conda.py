"""Write environment.yml, the conda twin of locks/: the same versions, with upstream detectron2.

python tools/write_conda.py [environment.yml]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from prove_environment import LOCKS_DIR, read_pins

DETECTRON2 = (
    "detectron2 @ git+https://github.com/facebookresearch/detectron2@02b5c4e295e990042a714712c21dc79b731e8833"
)
FROM_CONDA = {"torch": "pytorch", "torchvision": "torchvision"}  # pip name -> conda name
REPLACED = {"sal-detectron2": DETECTRON2}
TORCH_PARTS = ("nvidia-", "cuda-", "triton")  # conda's pytorch brings its own

HEADER = """\
# The conda twin of locks/: the same versions, with upstream detectron2 instead of its repackaged wheel.
# Written by tools/write_conda.py; do not edit. Not tried yet by us: no conda where this was written.
#
#   PIP_NO_DEPS=1 PIP_NO_BUILD_ISOLATION=0 MMCV_WITH_OPS=1 conda env create -f environment.yml
#   conda run -n mec-transfer python -m transfer doctor
#
# The variables are needed: mmtrack's own pins are stale (NO_DEPS), and detectron2 and mmcv-full compile
# against the torch that conda has put there (pip reads the 0 in PIP_NO_BUILD_ISOLATION as "no isolation").
"""


def conda_environment(pins: dict[str, str]) -> str:
    """The text of environment.yml for the pins (name -> version) of the lock files."""
    conda = [
        "python=3.10",
        "pip",
        "setuptools<81",
        "wheel",
        "cxx-compiler",
        "ninja",
        "git",
        *(f"{name}={pins[source]}" for source, name in FROM_CONDA.items()),
    ]
    pip = [
        REPLACED.get(name, f"{name}=={version}")
        for name, version in sorted(pins.items())
        if name not in FROM_CONDA and not name.startswith(TORCH_PARTS)
    ]
    lines = ["name: mec-transfer", "channels:", "  - conda-forge", "  - nodefaults", "dependencies:"]
    lines += [f"  - {entry}" for entry in conda] + ["  - pip:"] + [f"      - {entry}" for entry in pip]
    return HEADER + "\n".join(lines) + "\n"


def locked_pins() -> dict[str, str]:
    """The pins that the conda twin must carry: everything but the installer."""
    return read_pins(LOCKS_DIR / "requirements.txt") | read_pins(LOCKS_DIR / "mmcv.txt")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, nargs="?", default=LOCKS_DIR.parent / "environment.yml")
    path: Path = parser.parse_args().path
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(conda_environment(locked_pins()), encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
