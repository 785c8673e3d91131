"""Run a suite through a SLURM on loopback, then on this machine, and say where their rows differ.

    python tests/compare_executors.py configs/suite/mini.yaml --backbone F --folder NEW

What the first run wrote is then in NEW/slurm, the second in NEW/runs. Exit status 0 where both give the
same rows, timings (wall_s) aside.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from slurm import Slurm

ROOT = Path(__file__).resolve().parent.parent
TIMINGS = ("wall_s",)  # the only columns in which two runs of one job may differ


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", help="suite file, relative to the checkout")
    parser.add_argument("--backbone", required=True, nargs="+", help="backbone files")
    parser.add_argument("--folder", type=Path, required=True, help="new folder, its path short")
    args, rest = parser.parse_known_args(argv)
    folder = args.folder.resolve()
    command = [sys.executable, "-m", "transfer.suite", args.suite, "--backbone", *args.backbone]
    command += ["--out", str(folder / "runs"), *rest]
    with Slurm(folder / "cluster") as cluster:
        begun = time.monotonic()
        status = subprocess.run([*command, "--executor", "slurm"], cwd=ROOT, env=cluster.env, check=False)
        print(f"SLURM: exit status {status.returncode}, {time.monotonic() - begun:.0f} s", flush=True)
    (folder / "runs").rename(folder / "slurm")  # rows name the folder they were written to
    begun = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, check=False)
    print(f"here: exit status {status.returncode}, {time.monotonic() - begun:.0f} s", flush=True)
    there, here = read(folder / "slurm"), read(folder / "runs")
    for line in (found := differences(there, here)):
        print(line)
    print(f"{len(there)} rows by SLURM, {len(here)} here, {len(found)} differences")
    return 0 if here and not found else 1


def read(out: Path) -> dict[tuple[str, int], dict[str, str]]:
    """Rows of a suite's run folder by job's folder and number, timings left out."""
    rows = {}
    for path in sorted(out.rglob("results.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file)):
                place = str(path.parent.relative_to(out))
                rows[place, number] = {key: value for key, value in row.items() if key not in TIMINGS}
    return rows


def differences(
    there: dict[tuple[str, int], dict[str, str]], here: dict[tuple[str, int], dict[str, str]]
) -> list[str]:
    """One line for each row that only one of them has, and for each value that differs."""
    lines = []
    for key in sorted(there.keys() | here.keys()):
        name = f"{key[0]} row {key[1]}"
        if key not in there or key not in here:
            lines.append(f"{name}: only {'here' if key in here else 'by SLURM'}")
            continue
        for column, value in there[key].items():
            if here[key][column] != value:
                lines.append(f"{name}, {column}: {value!r} by SLURM, {here[key][column]!r} here")
    return lines


if __name__ == "__main__":
    sys.exit(main())
