"""What a person sees of a grid: counts, what runs, what failed and why; no taller than there is room for."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from transfer.suite.job import Job
from transfer.suite.remaining import span
from transfer.suite.state import DONE, FAILED, INTERRUPTED, NOT_RUN, RUNNING, WAITING, State
from transfer.suite.words import one_line

CONSOLE_NAME = "console.txt"
TAIL_BYTES = 4096  # of a console; a line of it that is longer is shown from its middle on
STYLES = {DONE: "green", RUNNING: "cyan", FAILED: "bold red", INTERRUPTED: "yellow", NOT_RUN: "magenta"}
ORDER = (DONE, RUNNING, FAILED, INTERRUPTED, WAITING, NOT_RUN)
# What colours and moves on a terminal: CSI and OSC sequences, and single ones (ECMA-48).
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


@dataclass(frozen=True)
class Section:
    """Jobs of one state.

    Attributes:
        name: of the state.
        rows: one a line, the cells of each as plain text.
        number: of lines that there would be, were there room.
    """

    name: str
    rows: list[tuple[str, ...]]
    number: int

    @property
    def title(self) -> str:
        """Its name, and how many of how many are shown where that is not all."""
        hidden = f" ({len(self.rows):,} of {self.number:,})" if len(self.rows) < self.number else ""
        return self.name + hidden


def count(states: Sequence[State]) -> dict[str, int]:
    """How many jobs are in each state, in the order in which they are shown."""
    counts = Counter(state.name for state in states)
    return {name: counts[name] for name in ORDER}


def reason(state: State) -> str:
    """Why a job is in its state, in one line without what would move a cursor."""
    return one_line(state.detail.removeprefix("failed: "))


def last_line(job: Job) -> str:
    """The last line that a job printed, "" where it printed none; a bar that is redrawn is one line.

    Only the end of the file is read, which may be of any size and is written meanwhile.
    """
    try:
        number = os.open(
            job.folder / CONSOLE_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
        try:
            start = max(0, os.fstat(number).st_size - TAIL_BYTES)
            text = os.pread(number, TAIL_BYTES, start).decode(errors="replace")
        finally:
            os.close(number)
    except OSError:  # not there yet, or a link, folder or pipe
        return ""
    lines = (one_line(line) for line in reversed(re.split(r"[\r\n]", ESCAPES.sub("", text))))
    return next((line for line in lines if line), "")


def sections(jobs: Sequence[Job], states: Sequence[State], room: int | None = None) -> list[Section]:
    """Running, failed, interrupted and not-run jobs, in at most ``room`` lines, titles included (None: all).

    Jobs that cannot run are one line for each reason.
    """
    found: dict[str, list[int]] = defaultdict(list)
    why: dict[str, list[int]] = defaultdict(list)
    for i, state in enumerate(states):
        if state.name in (RUNNING, FAILED, INTERRUPTED):
            found[state.name].append(i)
        elif state.name == NOT_RUN:
            why[reason(state)].append(i)
    makers: list[tuple[str, int, Callable[[int], tuple[str, ...]]]] = []
    for name in (RUNNING, FAILED, INTERRUPTED):
        if found[name]:
            makers.append((name, len(found[name]), _row_maker(name, jobs, states, found[name])))
    if why:
        grouped = [(f"{len(which)} × {jobs[which[0]].task}", text) for text, which in why.items()]
        makers.append((NOT_RUN, len(grouped), grouped.__getitem__))
    lines = allot([number for _, number, _ in makers], room)
    return [
        Section(name, [make(i) for i in range(given)], number)
        for (name, number, make), given in zip(makers, lines, strict=True)
        if given
    ]


def _row_maker(
    name: str, jobs: Sequence[Job], states: Sequence[State], which: Sequence[int]
) -> Callable[[int], tuple[str, ...]]:
    def make(i: int) -> tuple[str, ...]:
        job, state = jobs[which[i]], states[which[i]]
        if name == RUNNING:
            return (one_line(job.label), reason(state), span(state.seconds), last_line(job))
        return (one_line(job.label), reason(state))

    return make


def allot(wanted: Sequence[int], room: int | None) -> list[int]:
    """Lines for the rows of each section, beside its title; the first ones come first where room is short."""
    if room is None:
        return list(wanted)
    lines = [0] * len(wanted)
    for i in range(len(wanted)):
        if room >= 2:
            lines[i], room = 1, room - 2
    while room > 0:
        short = [i for i, given in enumerate(lines) if 0 < given < wanted[i]]
        if not short:
            break
        i = min(short, key=lambda i: lines[i])
        lines[i], room = lines[i] + 1, room - 1
    return lines


def summary(states: Sequence[State]) -> str:
    """Counts in one line; done and waiting always, others where there are any."""
    return ", ".join(
        f"{number:,} {name}" for name, number in count(states).items() if number or name in (DONE, WAITING)
    )


def view(
    jobs: Sequence[Job], states: Sequence[State], title: str, times: str, width: int, room: int | None = None
) -> RenderableType:
    """The view for rich.

    Args:
        title: of the grid.
        times: elapsed and remaining, beside the bar.
        width: of the terminal, in characters.
        room: lines that it may take at most; None: as many as it needs.
    """
    counts = count(states)
    settled = counts[DONE] + counts[FAILED] + counts[NOT_RUN]
    head = Table.grid(padding=(0, 1))
    head.add_column(no_wrap=True, overflow="ellipsis")
    head.add_column()
    head.add_column(no_wrap=True, overflow="ellipsis")
    size = max(10, width // 4)
    bar = ProgressBar(max(len(jobs), 1), settled, size, complete_style="green", finished_style="green")
    head.add_row(Text(one_line(title), "bold"), bar, Text(f"{settled:,}/{len(jobs):,}  {times}"))
    line = Text(no_wrap=True, overflow="ellipsis")
    for name, number in counts.items():
        if number or name in (DONE, WAITING):
            line.append(f"{number:,} {name}   ", STYLES.get(name, ""))
    parts: list[RenderableType] = [head, line]
    for section in sections(jobs, states, None if room is None else max(0, room - 2)):
        parts.append(Text(section.title, STYLES[section.name], no_wrap=True))
        parts.append(Padding(_table(section, width), (0, 0, 0, 2)))
    return Group(*parts)


def _table(section: Section, width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    where = section.name == RUNNING and width >= 100  # a line of output says more than a host's name
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width * 2 // 5))
    if where:
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=width // 5, style="dim")
    if section.name == RUNNING:
        table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for row in section.rows:
        cells = row if where or section.name != RUNNING else (row[0], *row[2:])
        table.add_row(*(Text(cell) for cell in cells))
    return table
