"""What a runner shows of its grid while it runs. Standard library and rich."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

from rich.live import Live

from transfer.suite.job import Job
from transfer.suite.remaining import remaining_s, span
from transfer.suite.state import DONE, FAILED, INTERRUPTED, NOT_RUN, RUNNING, State
from transfer.suite.view import CONSOLE_NAME, count, reason, summary, view
from transfer.suite.words import one_line

SUMMARY_S = 60.0  # between two lines of counts where there is no terminal


def is_drawable() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and encoding == "utf8"


def say(line: str) -> None:
    """Print a line at once, whatever characters the output can hold."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def step(what: str) -> None:
    """Name what comes before the jobs, such as the pre-training, which prints its own progress."""
    say(one_line(what))


class Progress:
    """What a runner shows: a view that is redrawn on a terminal, one line for each event elsewhere."""

    def __init__(self, jobs: Sequence[Job], title: str) -> None:
        self.jobs, self.title = jobs, title
        self.before: list[State] = []  # how each job was at the last update
        self.at_once = 1
        self.start = self.said = time.monotonic()
        self.live = Live(auto_refresh=False, vertical_overflow="crop") if is_drawable() else None

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()
        elif self.before:
            say(self._times_and_counts())

    def update(self, states: Sequence[State]) -> None:
        """Show the states of all jobs, which are given in the order of the jobs."""
        running = count(states)[RUNNING]
        self.at_once = running or self.at_once
        states = [_with_time(state, old) for state, old in zip(states, self.before or states, strict=True)]
        if not self.live:
            self._say_events(states)
        self.before = states
        if self.live:
            console = self.live.console
            times = self._times()
            self.live.update(
                view(self.jobs, states, self.title, times, console.width, console.height - 1), refresh=True
            )
        elif time.monotonic() - self.said > SUMMARY_S:
            self.said = time.monotonic()
            say(self._times_and_counts())

    def _times(self) -> str:
        elapsed = f"{span(time.monotonic() - self.start)} elapsed"
        left = remaining_s(self.jobs, self.before, self.at_once)
        return f"{elapsed}, about {span(left)} left" if left else elapsed

    def _times_and_counts(self) -> str:
        return f"{one_line(self.title)}: {summary(self.before)}; {self._times()}"

    def _say_events(self, states: Sequence[State]) -> None:
        total = len(self.jobs)
        if not self.before:
            _say_before(states)
        for i, (job, state) in enumerate(zip(self.jobs, states, strict=True)):
            old = self.before[i].name if self.before else ""
            if state.name == old or (not old and state.name != RUNNING):
                continue
            text = _event(job, state)
            if text:
                say(f"[{i + 1:>{len(str(total))}}/{total}] {one_line(job.label)}: {text}")


def _with_time(state: State, old: State) -> State:
    """A job that has just ended took as long as it was seen to run: rows do not count its process' start."""
    if state.name == DONE and old.name in (DONE, RUNNING):
        return replace(state, seconds=max(state.seconds, old.seconds))
    return state


def _event(job: Job, state: State) -> str:
    if state.name == RUNNING:
        return f"started (progress: {one_line(job.folder / CONSOLE_NAME)})"
    if state.name == DONE:
        return f"ok, {span(state.seconds)}"
    if state.name == FAILED:
        return f"FAILED: {reason(state)} (see {one_line(job.folder / CONSOLE_NAME)})"
    if state.name in (INTERRUPTED, NOT_RUN):
        return f"{state.name}: {reason(state)}"
    return ""


def _say_before(states: Sequence[State]) -> None:
    total = len(states)
    for name, number in count(states).items():
        if number and name in (DONE, FAILED, INTERRUPTED):
            say(f"{number} of {total} {name} before")
    for why, number in Counter(reason(state) for state in states if state.name == NOT_RUN).items():
        say(f"{number} of {total} not run: {why}")
