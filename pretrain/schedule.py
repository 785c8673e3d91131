"""Schedules over iterations: learning rate, target momentum, lambda. Pure functions of the step."""

from __future__ import annotations

import math

LAMBDA_INV_START = 8.0  # lambda's inverse starts at 8 times its final value (authors' code)


def warmup_steps(warmup_epochs: float, steps_per_epoch: int, total_steps: int) -> int:
    """Warm-up length in steps, never more than a fifth of the run, however short the run is."""
    return min(round(warmup_epochs * steps_per_epoch), total_steps // 5)


def learning_rate(step: int, total_steps: int, warmup: int, peak: float) -> float:
    """Linear from 0 to ``peak`` over the warm-up, then half a cosine down to 0."""
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total_steps - warmup)))


def target_momentum(step: int, total_steps: int, base: float) -> float:
    """From ``base`` to 1 along half a cosine (MEC App. C: 0.996 to 1); 0 stays 0 (Table 5d)."""
    if base == 0:
        return 0.0
    return 1 - (1 - base) * 0.5 * (1 + math.cos(math.pi * step / total_steps))


def lambda_at(step: int, warmup: int, lam: float, form: str = "inverse") -> float:
    """Lambda during its warm-up, from an eighth of its value, then ``lam``.

    ``inverse``: 1/lambda falls linearly (authors' code). ``linear``: lambda rises linearly (the paper's
    words, App. C; it does not say from where).
    """
    if step >= warmup:
        return lam
    done = step / warmup
    if form == "linear":
        return lam * (1 / LAMBDA_INV_START + (1 - 1 / LAMBDA_INV_START) * done)
    return lam / (LAMBDA_INV_START + (1 - LAMBDA_INV_START) * done)
