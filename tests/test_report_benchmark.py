"""benchmarks/report.py runs; in full it shows that 100,000 rows stay within 20 s and 1 GiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parent.parent / "benchmarks" / "report.py"


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1000, 100_000])
def test_the_tables_stay_within_their_limits(rows: int) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--rows", str(rows), "--repeats", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "tables: within 20 s of the processor and 1024 MiB"
