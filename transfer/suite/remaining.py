"""How long a grid will still take, from what its finished jobs took. Standard library only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from transfer.suite.job import Job
from transfer.suite.state import DONE, INTERRUPTED, RUNNING, WAITING, State

LEFT = (RUNNING, INTERRUPTED, WAITING)


def remaining_s(jobs: Sequence[Job], states: Sequence[State], at_once: int) -> float | None:
    """Seconds until every job has run, as many at once as now; None where nothing tells.

    A job is taken to last as long as the mean of the finished ones of its configuration; else what it is
    known to need, corrected by how far the finished ones were off that; else the mean of all.
    """
    left = [i for i, state in enumerate(states) if state.name in LEFT]
    if not left:
        return 0.0
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    measured = expected = 0.0
    for job, state in zip(jobs, states, strict=True):
        if state.name == DONE and state.seconds > 0:
            took[job.task, job.config].append(state.seconds)
            if job.needs.hours > 0:
                measured += state.seconds
                expected += job.needs.hours * 3600
    ratio = measured / expected if expected else 1.0
    means = {kind: sum(seconds) / len(seconds) for kind, seconds in took.items()}
    everything = [second for seconds in took.values() for second in seconds]

    total = longest = 0.0
    for i in left:
        job, state = jobs[i], states[i]
        if (job.task, job.config) in means:
            whole = means[job.task, job.config]
        elif job.needs.hours > 0:
            whole = job.needs.hours * 3600 * ratio
        elif everything:
            whole = sum(everything) / len(everything)
        else:
            return None
        rest = max(0.0, whole - state.seconds) if state.name == RUNNING else whole
        total += rest
        longest = max(longest, rest)
    return max(total / max(at_once, 1), longest)


def span(seconds: float) -> str:
    """A length of time as a person says it: 31 s, 8 min, 3 h 05 min, 12 days."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 100 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes / 1440:.0f} days"
