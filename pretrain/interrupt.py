"""Being told to stop: SLURM's SIGTERM and SIGUSR1, and Ctrl-C, end a run after the step that it is in."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupt:
    """While entered, a signal is noted in ``received`` instead of ending the process.

    A second Ctrl-C is obeyed at once. Only the main thread can set handlers; elsewhere nothing is caught.
    """

    def __init__(self) -> None:
        self.received = 0
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        try:
            self.before = {number: signal.signal(number, self._note) for number in SIGNALS}
        except ValueError:  # not the main thread
            self.before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
