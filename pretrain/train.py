"""The training loop, top to bottom: join, claim, build, resume, steps, export."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from pretrain.checkpoint import list_checkpoints, load_newest, save_checkpoint
from pretrain.collective import World, agree, gather_rows, join, leave, sum_gradients
from pretrain.config import MACHINE_KEYS, Config, distortion, to_dict
from pretrain.export import remove_leftovers, write_atomically, write_backbone
from pretrain.gradient_cache import backward_in_chunks
from pretrain.images import UnlabelledImages, open_images, prepare
from pretrain.interrupt import Interrupt
from pretrain.loader import batches
from pretrain.lock import locked
from pretrain.low_order import barlow_twins, simsiam_mec, vicreg
from pretrain.network import MEC
from pretrain.objective import (
    DeterminantError,
    coding_length,
    effective_rank,
    lambda_from_eps,
    mec_loss,
    spectral_norm,
)
from pretrain.online_knn import OnlineKNN
from pretrain.optimizers import make_optimizer
from pretrain.progress import Journal
from pretrain.schedule import lambda_at, learning_rate, target_momentum, warmup_steps
from pretrain.sync_batchnorm import synchronise
from pretrain.views import augment

Loss = Callable[[list[Tensor], list[Tensor], float], Tensor]
RANK_ROWS = 512  # rows of the batch that the logged effective rank is of
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class StoppedError(Exception):
    """A signal ended the run before its last step; the same command goes on from there."""


class DivergedError(Exception):
    """The objective is no longer what the recipe means: NaN, or a series that does not converge."""


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


def train(config: Config, resume: bool = True) -> Path:
    """Run a recipe to its end, from the newest whole checkpoint if the run folder has one.

    Under torchrun all processes call it. Returns the exported ``backbone.safetensors``; returns at once when
    it is there already.

    Raises:
        StoppedError: after a signal; a checkpoint of the last step is written.
        DivergedError: NaN, or a norm outside the series' disc of convergence; nothing is saved after.
        ValueError: the run folder belongs to another recipe or another process, or the images do not
            fit the recipe.
        OSError: a checkpoint could not be written; the ones before it are whole.
    """
    device = _device(config.device)
    out = Path(config.out)
    with Interrupt() as interrupt, ExitStack() as stack:
        world = join(device.type)
        set_threads(config.threads, world)
        stack.push(leave_unless_failed(world))
        if world.first:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out))
            _claim(out, config, resume)
            remove_leftovers(out, out / "checkpoints")
            prepare(config.data)
        backbone = out / "backbone.safetensors"
        # the others wait until the folders are there, and take the first one's word: disks need not be shared
        if agree(int(world.first and backbone.exists()), world):
            _say(world, f"{backbone}: already there for this recipe; nothing to do")
            return backbone
        images = open_images(config)
        if agree(len(images), world) != -agree(-len(images), world):
            raise ValueError(f"{config.data.dir or config.data.shards}: the processes see different images")
        run = build(config, len(images), device, world)
        newest = load_newest(out / "checkpoints") if world.first else None
        _share_position(run, newest)
        _say(world, describe(run, len(images)))
        checkpoint = run_steps(run, images, interrupt, out)
        if world.first:
            assert checkpoint is not None
            write_backbone(backbone, run.model.backbone_state(config.branch), config, checkpoint)
            print(f"{backbone}: written ({config.branch} encoder)")
        agree(0, world)  # nobody leaves before the file is there
        return backbone


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


def run_steps(run: Run, images: UnlabelledImages, interrupt: Interrupt, out: Path) -> Path | None:
    """All steps that are left; returns the last checkpoint (on the first rank).

    Raises: see :func:`train`.
    """
    config, plan, world = run.config, run.plan, run.world
    knn = OnlineKNN(config) if config.knn.train_dir and world.first else None
    checkpoint: Path | None = None
    with ExitStack() as stack:
        journal = None
        if world.first:
            journal = stack.enter_context(Journal(out, run.step, plan.total_steps, plan.steps_per_epoch))
        stream = batches(
            images,
            config,
            steps_per_epoch=plan.steps_per_epoch,
            first_step=run.step,
            last_step=plan.total_steps,
            world=world,
        )
        stack.enter_context(closing(stream))  # ends the workers, however the run ends
        watch = Stopwatch()
        for crops in stream:
            watch.data_arrived()
            try:
                lam, p, z, value = take_step(run, crops)
            except DeterminantError as error:
                raise DivergedError(f"{out}: step {run.step + 1}: {error}") from error
            last = run.step == plan.total_steps
            told = agree(interrupt.received, world)
            saving = last or bool(told) or run.step % plan.save_every == 0
            knn_due = bool(config.knn.train_dir) and (last or run.step % plan.knn_every == 0)
            if run.step % config.log_every == 0 or saving or knn_due:
                refuse_nan(run)
                facts = measure(run, lam, p, z, value)
                refuse_norm(run, facts["spectral_norm"])
                if knn is not None and knn_due:
                    facts["knn_top1"] = knn.top1(run.model.online.encoder, run.device, run.autocast)
                facts |= watch.lap(config.optim.batch_size)
                if journal is not None:
                    journal.write(run.step, facts)
                    journal.show(run.step, facts)
            if journal is not None:
                journal.advance()
            if saving and world.first:
                refuse_broken_weights(run)
                checkpoint = save_checkpoint(out / "checkpoints", run.step, run.state(), config.keep)
            if told and not last:
                agree(0, world)  # nobody leaves before the checkpoint is there
                name = signal.Signals(told).name
                raise StoppedError(
                    f"{out}: stopped by {name} after step {run.step} of {plan.total_steps}, saved"
                )
            watch.step_done()
    if checkpoint is None and world.first:  # killed between the last checkpoint and the export
        newest = load_newest(out / "checkpoints")
        checkpoint = newest[0] if newest else None
    return checkpoint


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


def set_threads(threads: int, world: World) -> None:
    """Threads of this process's computation: as told, or an even part of the cores under torchrun.

    torchrun gives each of several processes a single thread (OMP_NUM_THREADS=1) where nobody said otherwise.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if threads or (world.size > 1 and local > 1):
        torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // local))


def leave_unless_failed(world: World) -> Callable[..., None]:
    """An exit that leaves the other processes in order, or at once where this one failed and they wait."""

    def leave_in_order(kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, StoppedError):
            leave(world)

    return leave_in_order


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


def _share_position(run: Run, newest: tuple[Path, dict[str, Any]] | None) -> None:
    """Every rank takes the first rank's newest checkpoint."""
    if run.world.size == 1:
        states: list[Any] = [newest[1] if newest else None]
    else:
        states = [newest[1] if newest else None]
        torch.distributed.broadcast_object_list(states, src=0, device=torch.device("cpu"))
    if states[0] is not None:
        run.restore(states[0])


def _claim(out: Path, config: Config, resume: bool) -> None:
    """The run folder's recipe is this one, or the folder is refused. Keys of the machine may differ.

    A folder without checkpoint or backbone is of a run that never took a step; any recipe may have it.
    """
    recipe = out / "config.json"
    plain = to_dict(config)
    taken = list_checkpoints(out / "checkpoints") or (out / "backbone.safetensors").exists()
    if recipe.exists() and taken:
        if not resume:
            raise ValueError(
                f"{out}: holds a run already; leave out --resume never, or choose another out=..."
            )
        before = _leaves(json.loads(recipe.read_text()))
        now = _leaves(plain)
        changed = sorted(
            key
            for key in now.keys() | before.keys()
            if now.get(key) != before.get(key) and key not in (*MACHINE_KEYS, "out")
        )
        if changed:
            raise ValueError(
                f"{out}: holds a run of another recipe (differs in {', '.join(changed)}); "
                "choose another out=... or remove the folder"
            )
    write_atomically(recipe, (json.dumps(plain, indent=2, sort_keys=True) + "\n").encode())


def _leaves(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = list(value) if isinstance(value, tuple) else value
    return leaves


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU; leave device=auto or give device=cpu")
    return torch.device(name)


def _say(world: World, line: str) -> None:
    if world.first:
        print(line, flush=True)
        sys.stdout.flush()
