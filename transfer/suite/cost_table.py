"""The costs of a suite as a table: what docs/costs.md shows of ``configs/suite/paper.yaml``.

python -m transfer.suite.cost_table configs/suite/paper.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from transfer.suite.costs import CHECKOUT, Cost, costs

HEAD = """| task | configuration | GPUs | hours | GPU hours | runs of a backbone | GPU hours of a backbone |
|---|---|---|---:|---:|---:|---:|"""
UNKNOWN = "?"


def cost_table(suite_path: Path) -> str:
    """One line for each task of a suite, and their sum, of one backbone; what is not known is ``?``.

    Raises:
        ValueError: a task whose configuration has no line in ``configs/costs.csv``.
    """
    suite: Any = OmegaConf.load(suite_path)
    lines, total, unknown = [HEAD], 0.0, 0
    for entry in suite.tasks:
        cost = costs().get(str(entry.config))
        if cost is None:
            raise ValueError(f"{suite_path}: {entry.config} has no line in configs/costs.csv; add one")
        runs = len(entry.get("seeds") or suite.get("seeds") or [0])
        lines.append(_line(str(entry.task), Path(entry.config).stem, cost, runs))
        total += cost.gpus * cost.hours * runs
        unknown += not cost.hours
    lines.append(f"| **all** | {unknown} of them unknown | | | | | {_shown(total)} |")
    return "\n".join(lines) + "\n"


def _line(task: str, name: str, cost: Cost, runs: int) -> str:
    gpus = f"{cost.gpus} {cost.gpu}".strip()
    if not cost.hours:
        return f"| {task} | {name} | {gpus} | {UNKNOWN} | {UNKNOWN} | {runs} | {UNKNOWN} |"
    each = cost.gpus * cost.hours
    numbers = f"{_shown(cost.hours)} | {_shown(each)} | {runs} | {_shown(each * runs)}"
    return f"| {task} | {name} | {gpus} | {numbers} |"


def _shown(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        print(cost_table(Path(words[0]) if words else CHECKOUT / "configs/suite/paper.yaml"), end="")
    except (FileNotFoundError, ValueError) as error:
        print(f"cost_table: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
