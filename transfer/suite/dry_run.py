"""What a run of a suite would do: every job with its command and its needs, and what is done already."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from transfer.suite.job import Job, Needs
from transfer.suite.state import DONE, FAILED, NOT_RUN, State, state_of

NOTES = {DONE: "done before", FAILED: "failed before; --retry-failed runs it again"}


def print_plan(jobs: Sequence[Job], how: str) -> None:
    """Print the jobs in the order in which they start, and what is left of them to do in all.

    Args:
        how: where they would run, in words.
    """
    states = [state_of(job) for job in jobs]
    width = len(str(len(jobs)))
    for i, (job, state) in enumerate(zip(jobs, states, strict=True), 1):
        print(f"[{i:>{width}}/{len(jobs)}] {job.label}: {note(state)}")
        print(f"    python -m transfer {shlex.join(job.words)}")
        print(f"    needs {needs_line(job.needs)}")
    print(summary(jobs, states))
    print(f"runs {how}")


def note(state: State) -> str:
    """What a state means for a run that is to come."""
    if state.name == NOT_RUN:
        return f"cannot run: {state.detail}"
    return NOTES.get(state.name, f"to run ({state.name})" if state.detail else "to run")


def needs_line(needs: Needs) -> str:
    """What a job takes, in words; what is not known is said to be so."""
    place = f"{needs.gpus} GPU" + ("s" if needs.gpus > 1 else "") if needs.gpus else ""
    if needs.gpu_memory_gb:
        place += f" of {needs.gpu_memory_gb:g} GB"
    if needs.machines > 1:
        place += f" on each of {needs.machines} machines"
    cores = f"{needs.cores} core" + ("s" if needs.cores > 1 else "") if needs.cores else "all cores"
    parts = [
        *([place] if place else []),
        cores,
        f"{needs.memory_gb:g} GB memory" if needs.memory_gb else "memory unknown",
        f"{needs.disk_gb:.2g} GB disk" if needs.disk_gb else "disk unknown",
        f"{hours(needs.hours)} ({needs.hours_source})" if needs.hours else "time unknown",
        f"data {', '.join(needs.data)}" if needs.data else "no data",
        f"packages of {needs.packages}",
    ]
    return "; ".join(parts)


def summary(jobs: Sequence[Job], states: Sequence[State]) -> str:
    """How many jobs are left, and what these take together."""
    counts = Counter(state.name for state in states)
    left = [j.needs for j, s in zip(jobs, states, strict=True) if s.name not in (DONE, FAILED, NOT_RUN)]
    known = [needs.hours for needs in left if needs.hours]
    parts = [f"{len(jobs)} jobs", *(f"{count} {name}" for name, count in sorted(counts.items()))]
    if left:
        unknown = f", without {len(left) - len(known)} of unknown time" if len(known) < len(left) else ""
        parts.append(f"left: {hours(sum(known))} one after the other{unknown}")
        parts.append(f"{sum(needs.disk_gb for needs in left):.2g} GB disk")
    return "; ".join(parts)


def hours(value: float) -> str:
    """Hours as a person says them."""
    return (
        f"{value * 3600:.0f} s"
        if value < 1 / 60
        else f"{value * 60:.0f} min"
        if value < 2
        else f"{value:.3g} h"
    )
