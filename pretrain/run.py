"""A run: its lengths in steps, its network, optimiser and loss, and one step of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from pretrain.collective import World, sum_gradients
from pretrain.config import Config, distortion
from pretrain.gradient_cache import backward_in_chunks
from pretrain.low_order import barlow_twins, simsiam_mec, vicreg
from pretrain.network import MEC
from pretrain.objective import lambda_from_eps, mec_loss
from pretrain.optimizers import make_optimizer
from pretrain.schedule import lambda_at, learning_rate, target_momentum, warmup_steps
from pretrain.sync_batchnorm import synchronise
from pretrain.views import augment

Loss = Callable[[list[Tensor], list[Tensor], float], Tensor]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """Lengths in steps, derived from the recipe and the number of images."""

    steps_per_epoch: int
    total_steps: int
    lr_warmup: int
    lambda_warmup: int
    save_every: int
    knn_every: int
    peak_lr: float
    lam: float


@dataclass
class Run:
    """What a step reads and changes."""

    config: Config
    plan: Plan
    world: World
    device: torch.device
    model: MEC
    optimizer: torch.optim.Optimizer
    scaler: GradScaler
    loss: Loss
    num_images: int
    step: int = 0  # steps taken
    first_bad_step: Tensor = field(default_factory=lambda: torch.tensor(-1))  # whose loss was not finite

    def autocast(self) -> torch.autocast:
        """The context of a forward pass; the objective leaves it by itself."""
        dtype = PRECISIONS[self.config.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds. Randomness and schedules are functions of the step and need nothing."""
        return {
            "step": self.step,
            "num_images": self.num_images,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`, all or nothing.

        Raises:
            RuntimeError: tensors that are missing, unexpected or of another shape.
            ValueError: another number of images, so that the order would be another.
        """
        if state["num_images"] != self.num_images:
            raise ValueError(
                f"{self.config.out}: its run is on {state['num_images']} images, found {self.num_images}; "
                "give it those images or choose another out=..."
            )
        self.model.load_state_dict(state["model"], strict=True)
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])


def build(config: Config, num_images: int, device: torch.device, world: World) -> Run:
    """Network, optimiser and loss of a recipe, at step 0; the same on every rank."""
    plan = make_plan(config, num_images)
    if config.optim.batch_size < world.size or (
        config.optim.chunk_size and config.optim.batch_size % world.size
    ):
        raise ValueError(
            f"optim.batch_size is {config.optim.batch_size} for {world.size} processes; every one needs an "
            "image, and with optim.chunk_size all need equally many"
        )
    torch.manual_seed(config.seed)
    model = MEC(config.model).to(device)
    if config.model.sync_bn:
        model = synchronise(model, world, device)  # type: ignore[assignment]
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.compile:
        model.online.encoder.compile()
        model.target.encoder.compile()
    return Run(
        config=config,
        plan=plan,
        world=world,
        device=device,
        model=model.train(),
        optimizer=make_optimizer(model, config.optim, fused=config.precision != "fp16"),
        scaler=GradScaler(device.type, enabled=config.precision == "fp16"),
        loss=make_loss(config, world),
        num_images=num_images,
        first_bad_step=torch.tensor(-1, device=device),
    )


def make_plan(config: Config, num_images: int) -> Plan:
    """Turn epochs into steps; warm-ups never exceed a fifth of the run."""
    steps_per_epoch = num_images // config.optim.batch_size
    if steps_per_epoch == 0:
        raise ValueError(
            f"{num_images} images are fewer than one batch of {config.optim.batch_size}; "
            "lower optim.batch_size"
        )
    total = steps_per_epoch * config.optim.epochs
    return Plan(
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        lr_warmup=warmup_steps(config.optim.warmup_epochs, steps_per_epoch, total),
        lambda_warmup=warmup_steps(config.objective.lambda_warmup_epochs, steps_per_epoch, total),
        save_every=max(1, round(config.save_every_epochs * steps_per_epoch)),
        knn_every=max(1, round(config.knn.every_epochs * steps_per_epoch)),
        peak_lr=config.optim.base_lr * config.optim.batch_size / 256,
        lam=lambda_from_eps(distortion(config), config.optim.batch_size),
    )


def make_loss(config: Config, world: World) -> Loss:
    """The recipe's objective as a function of p, z and lambda."""
    objective = config.objective
    rows: dict[str, Any] = {"batch_size": config.optim.batch_size, "world": world}
    losses: dict[str, Loss] = {
        "mec": lambda p, z, lam: mec_loss(p, z, lam, objective.order, **rows),
        "barlow-twins": lambda p, z, lam: barlow_twins(p, z, **rows),
        "vicreg": lambda p, z, lam: vicreg(p, z, **rows),
        "simsiam+mec": lambda p, z, lam: simsiam_mec(
            p, z, lam, objective.order, weight=objective.weight, **rows
        ),
    }
    return losses[objective.name]


def take_step(run: Run, crops: tuple[Tensor, ...]) -> tuple[float, list[Tensor], list[Tensor], Tensor]:
    """One optimisation step on this rank's crops; returns lambda, p, z and the loss, without graph."""
    config, plan, step, rows = run.config, run.plan, run.step, run.config.optim.batch_size
    seed = config.seed * 1_000_003 + step
    torch.manual_seed(seed)  # whatever a network draws is a function of the step too
    crops = tuple(crop.to(run.device, non_blocking=True) for crop in crops)
    views = augment(crops, config.views, seed, run.world.share(rows), rows)
    lam = lambda_at(step, plan.lambda_warmup, plan.lam, config.objective.lambda_warmup)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(step, plan.total_steps, plan.lr_warmup, plan.peak_lr)
    run.optimizer.zero_grad(set_to_none=True)
    if config.optim.chunk_size:
        value, p, z = backward_in_chunks(
            run.model,
            views,
            lambda p, z: run.loss(p, z, lam),
            config.optim.chunk_size,
            run.autocast,
            run.scaler.scale,
        )
    else:
        with run.autocast():
            p, z = run.model(views)
        value = run.loss(p, z, lam)
        run.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        value, p = value.detach(), [x.detach() for x in p]
    sum_gradients(run.model.parameters(), run.world)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.model.update_target(target_momentum(step, plan.total_steps, config.model.momentum))
    bad = (run.first_bad_step < 0) & ~torch.isfinite(value)
    run.first_bad_step = torch.where(bad, step, run.first_bad_step)
    run.step += 1
    return lam, p, z, value


def describe(run: Run, num_images: int) -> str:
    """One line about the run that starts."""
    config, plan = run.config, run.plan
    form = f"eps_d^2 {distortion(config):g}"
    if config.objective.eps is not None:
        form += f" (the released code's eps {config.objective.eps:g})"
    return (
        f"{num_images} images, {config.optim.epochs} epochs of {plan.steps_per_epoch} steps, batch "
        f"{config.optim.batch_size}"
        + (f" in chunks of {config.optim.chunk_size}" if config.optim.chunk_size else "")
        + f" on {run.world.size} x {run.device.type}, {config.objective.name} of order "
        f"{config.objective.order}, {form}, {config.optim.name} peak lr {plan.peak_lr:g}, warm-up "
        f"{plan.lr_warmup} (rate) and {plan.lambda_warmup} (lambda) steps, {config.precision}"
        + (f"; resuming after step {run.step}" if run.step else "")
    )
