"""From values to positions: round limits, ticks, and labels that keep their distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """A linear axis: ``low`` stands at ``start``, ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...] = ()

    def __call__(self, value: float) -> float:
        """The position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_scale(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    intervals: int = 4,
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> Scale:
    """An axis over all values with round ends and about ``intervals`` intervals; ends keep to the bounds."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        reach = max(abs(high) * 0.01, 1e-3)
        low, high = max(lowest, low - reach), min(highest, high + reach)
    step = nice_step((high - low) / intervals)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 10) for i in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], start, end, ticks)


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5, 5, 10 times a power of ten that is not below ``rough``."""
    power = math.floor(math.log10(rough))
    unit: float = 10.0**power
    return next(step * unit for step in STEPS if step * unit >= rough * (1 - 1e-9))


def show_tick(value: float) -> str:
    """A tick's label, with as many decimals as it needs."""
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def spread_out(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, at least ``gap`` apart, inside ``low`` to ``high`` where they fit."""
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], placed[-1] + gap if placed else low))
    limit = max(high, low + gap * (len(wanted) - 1))
    for k in range(len(placed) - 1, -1, -1):
        placed[k] = min(placed[k], limit)
        limit = placed[k] - gap
    # Groups that were only pushed down move back up by half of it.
    for _ in range(20):
        for k, i in enumerate(order):
            upper = placed[k - 1] + gap if k else low
            lower = placed[k + 1] - gap if k + 1 < len(placed) else max(high, placed[k])
            aim = (placed[k] + wanted[i]) / 2 if placed[k] > wanted[i] else placed[k]
            placed[k] = min(max(aim, upper), max(lower, upper))
    result = [0.0] * len(wanted)
    for k, i in enumerate(order):
        result[i] = placed[k]
    return result
