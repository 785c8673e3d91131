"""What has become of a grid, for whoever looks from elsewhere. Standard library and rich.

    python -m transfer.suite.status runs/mini          # on a terminal it is redrawn until all is settled
    python -m transfer.suite.status runs/mini --json

Exit status 0 when nothing failed, 1 when a job failed or was interrupted, 2 when nothing was planned there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from transfer.suite.job import Job, read_plan
from transfer.suite.progress import is_drawable, say
from transfer.suite.remaining import LEFT, remaining_s, span
from transfer.suite.state import DONE, FAILED, INTERRUPTED, RUNNING, State, state_of
from transfer.suite.view import count, sections, summary, view
from transfer.suite.words import one_line

REFRESH_S = 1.0
HINT = "Ctrl-C leaves this view; the jobs go on"


def read_states(jobs: Sequence[Job], before: Sequence[State] = ()) -> list[State]:
    """The state of every job; of those that were done ``before``, nothing is read again."""
    if not before:
        return [state_of(job) for job in jobs]
    return [old if old.name == DONE else state_of(job) for job, old in zip(jobs, before, strict=True)]


def show_status(out: Path, watch: bool, as_json: bool = False) -> int:
    """Show what has become of the jobs that were planned in ``out``.

    Args:
        out: run folder of the suite.
        watch: on a terminal, go on until every job is settled or the view is left with Ctrl-C.
        as_json: print one JSON object instead.

    Returns:
        0 when nothing failed, 1 when a job failed or was interrupted, 2 when there is no plan.
    """
    try:
        jobs = read_plan(out)
    except (FileNotFoundError, ValueError) as error:
        print(f"status: {one_line(error)}", file=sys.stderr)
        return 2
    states = read_states(jobs)
    if as_json:
        say(json.dumps(_as_json(out, jobs, states)))
    elif not is_drawable():
        _print_plain(out, jobs, states)
    else:
        states = _draw(out, jobs, states, watch)
    return int(any(state.name in (FAILED, INTERRUPTED) for state in states))


def _draw(out: Path, jobs: list[Job], states: list[State], watch: bool) -> list[State]:
    console = Console()
    if not watch or not _is_open(states):
        console.print(view(jobs, states, str(out), _left(jobs, states), console.width))
        return states
    planned = (out / "plan.json").stat().st_mtime_ns
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                left, room = _left(jobs, states), console.height - 2
                shown = view(jobs, states, str(out), left, console.width, room)
                live.update(Group(shown, Text(HINT, "dim", no_wrap=True)), refresh=True)
                if not _is_open(states):
                    break
                time.sleep(REFRESH_S)
                latest = (out / "plan.json").stat().st_mtime_ns
                if latest != planned:  # started again, perhaps with other jobs
                    jobs, planned, states = read_plan(out), latest, []
                states = read_states(jobs, states)
    except KeyboardInterrupt:
        pass
    return states


def _is_open(states: Sequence[State]) -> bool:
    return any(state.name in LEFT for state in states)


def _left(jobs: Sequence[Job], states: Sequence[State]) -> str:
    running = count(states)[RUNNING]
    if not running:
        return "nothing is running" if _is_open(states) else ""
    left = remaining_s(jobs, states, running)
    return "" if left is None else f"about {span(left)} left"


def _print_plain(out: Path, jobs: Sequence[Job], states: Sequence[State]) -> None:
    left = _left(jobs, states)
    say(f"{one_line(out)}: {summary(states)}" + (f"; {left}" if left else ""))
    for section in sections(jobs, states):
        say(section.title)
        for row in section.rows:
            say("  " + "  ".join(cell for cell in row if cell))


def _as_json(out: Path, jobs: Sequence[Job], states: Sequence[State]) -> dict[str, Any]:
    running = count(states)[RUNNING]
    return {
        "out": str(out),
        "counts": count(states),
        "remaining_s": remaining_s(jobs, states, running) if running else None,
        "jobs": [
            {
                **{"label": job.label, "task": job.task, "config": job.config, "method": job.method},
                **{"arch": job.arch, "seed": job.seed, "out": job.out, "key": job.key},
                **{"state": state.name, "detail": state.detail, "seconds": round(state.seconds, 1)},
            }
            for job, state in zip(jobs, states, strict=True)
        ],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m transfer.suite.status",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="run folder of the suite")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    return show_status(args.out, watch=True, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
