"""How a run is doing: what is logged about a step, and when to stop."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from pretrain.collective import gather_rows
from pretrain.config import distortion
from pretrain.objective import coding_length, effective_rank, spectral_norm
from pretrain.run import Run
from pretrain.schedule import learning_rate, target_momentum

RANK_ROWS = 512  # rows of the batch that the logged effective rank is of


class DivergedError(Exception):
    """The objective is no longer what the recipe means: NaN, or a series that does not converge."""


@torch.no_grad()
def measure(run: Run, lam: float, p: list[Tensor], z: list[Tensor], value: Tensor) -> dict[str, float]:
    """What is logged about the step just taken, over the whole batch and the same on every rank.

    ``coding_length`` is Eq. 1, exact and with mu, of the target's first view at the final lambda, in nats;
    ``spectral_norm`` that of lambda Z1^T Z2 (the online and the target view of the loss);
    ``feature_std`` is 1 when the embedding spreads evenly; ``effective_rank`` (of the first 512 rows, for the
    eigenvalues' sake) is 1 when it is collapsed.
    """
    step, plan, rows = run.step - 1, run.plan, run.config.optim.batch_size
    whole = gather_rows(z[0], run.world, rows)
    cosine = sum(
        gather_rows((a * b).sum(1), run.world, rows).mean() for a, b in zip(p[:2], z[::-1], strict=True)
    )
    mu = (rows + whole.shape[1]) / 2
    return {
        "lr": learning_rate(step, plan.total_steps, plan.lr_warmup, plan.peak_lr),
        "lambda": lam,
        "target_momentum": target_momentum(step, plan.total_steps, run.config.model.momentum),
        "loss": value.item(),
        "cosine": float(cosine) / 2,
        "coding_length": mu * float(coding_length(whole, whole, plan.lam, order=0)),
        "spectral_norm": spectral_norm(p[0], z[1], lam, batch_size=rows, world=run.world),
        "feature_std": whole.std(0).mean().item() * math.sqrt(whole.shape[1]),
        "effective_rank": effective_rank(whole[:RANK_ROWS]),
    }


def refuse_nan(run: Run) -> None:
    """Stop a run whose loss was not finite at any step since the last look.

    Raises:
        DivergedError: says at which step and which keys of the recipe to change.
    """
    bad_step = int(run.first_bad_step)
    if bad_step >= 0:
        raise DivergedError(
            f"{run.config.out}: the loss of step {bad_step + 1} is not finite; lower optim.base_lr "
            f"({run.config.optim.base_lr:g} now) or raise objective.eps_d_sq ({distortion(run.config):g} "
            "now), in another out=...: this folder's recipe cannot change"
        )


def refuse_broken_weights(run: Run) -> None:
    """Never save what cannot be gone on from: the loss was finite, the update need not have been.

    Raises:
        DivergedError: a parameter or buffer of the network that is not finite.
    """
    for key, value in run.model.state_dict().items():
        if not torch.isfinite(value).all():
            raise DivergedError(
                f"{run.config.out}: {key} is not finite after step {run.step}; lower optim.base_lr "
                f"({run.config.optim.base_lr:g} now) in another out=..."
            )


def refuse_norm(run: Run, norm: float) -> None:
    """Stop a run whose Taylor series has left its disc of convergence.

    Raises:
        DivergedError: gives the norm, the bound and the keys of the recipe to change.
    """
    objective, bound = run.config.objective, run.config.objective.max_spectral_norm
    series = objective.name in ("mec", "simsiam+mec") and objective.order > 1
    if series and bound > 0 and not norm <= bound:
        raise DivergedError(
            f"{run.config.out}: at step {run.step} the spectral norm of lambda Z1^T Z2 is {norm:.3f}, above "
            f"objective.max_spectral_norm = {bound:g}: the Taylor series converges only below 1. Raise "
            f"objective.eps_d_sq ({distortion(run.config):g} now) or objective.lambda_warmup_epochs in "
            "another out=..., or go on all the same here with objective.max_spectral_norm=0"
        )


class Stopwatch:
    """Where the time between two log lines went."""

    def __init__(self) -> None:
        self.start = self.waiting = time.perf_counter()
        self.data_s, self.steps = 0.0, 0

    def data_arrived(self) -> None:
        """The next batch is there; until now the loop waited for it."""
        self.data_s += time.perf_counter() - self.waiting
        self.steps += 1

    def step_done(self) -> None:
        """From now on the loop waits for data."""
        self.waiting = time.perf_counter()

    def lap(self, batch_size: int) -> dict[str, float]:
        """Means per step since the last lap: seconds, waiting for data, images of all ranks a second."""
        step_s = (time.perf_counter() - self.start) / self.steps
        facts = {"step_s": step_s, "data_s": self.data_s / self.steps, "images_per_s": batch_size / step_s}
        if torch.cuda.is_available():
            facts["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self.start, self.data_s, self.steps = time.perf_counter(), 0.0, 0
        return facts
