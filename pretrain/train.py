"""The training loop, top to bottom: build, resume, epochs, export."""

from __future__ import annotations

import io
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from pretrain.config import Config, to_dict
from pretrain.export import write_atomically, write_backbone
from pretrain.images import UnlabelledImages, prepare
from pretrain.network import MEC
from pretrain.objective import effective_rank, lambda_from_eps, mec_loss, similarity, spectral_norm
from pretrain.schedule import lambda_at, learning_rate, target_momentum, warmup_steps
from pretrain.views import TwoCrops, augment


@dataclass(frozen=True)
class Plan:
    """Lengths in steps, derived from the recipe and the number of images."""

    steps_per_epoch: int
    total_steps: int
    lr_warmup: int
    lambda_warmup: int
    peak_lr: float
    lam: float


def train(config: Config) -> Path:
    """Run a recipe to its end, from the newest checkpoint if the run folder has one.

    Returns the exported ``backbone.safetensors``; returns at once when it is there already.

    Raises:
        ValueError: the run folder belongs to another recipe, too few images for one batch, or the
            loss is no longer finite.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, config)
    checkpoint, backbone = out / "checkpoint.pt", out / "backbone.safetensors"
    if backbone.exists():
        print(f"{backbone}: already there for this recipe; nothing to do")
        return backbone

    device = torch.device(_device(config.device))
    images = UnlabelledImages(prepare(config.data), TwoCrops(config.views), config.data.in_memory)
    plan = make_plan(config, len(images))
    torch.manual_seed(config.seed)
    model = MEC(config.model).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(
        trained, lr=0.0, momentum=config.optim.momentum, weight_decay=config.optim.weight_decay
    )
    first_epoch = _resume(checkpoint, model, optimizer)
    print(
        f"{len(images)} images, {config.optim.epochs} epochs of {plan.steps_per_epoch} steps, batch "
        f"{config.optim.batch_size}, peak lr {plan.peak_lr:g}, eps_d^2 {config.objective.eps_d_sq:g}, "
        f"order {config.objective.order}, warm-up {plan.lr_warmup} (rate) and {plan.lambda_warmup} (lambda) "
        f"steps, {config.precision} on {device}"
        + (f"; resuming after epoch {first_epoch}" if first_epoch else "")
    )
    _forget_after(out / "metrics.jsonl", first_epoch * plan.steps_per_epoch)
    with (
        SummaryWriter(str(out / "tensorboard"), purge_step=first_epoch * plan.steps_per_epoch + 1) as board,
        (out / "metrics.jsonl").open("a") as log,
        _bar(plan, first_epoch) as bar,
    ):
        for epoch in range(first_epoch, config.optim.epochs):
            for step, facts in run_epoch(config, plan, model, optimizer, images, epoch, device):
                bar.advance(bar.task_ids[0])
                if step % config.log_every == 0 or step == plan.total_steps:
                    _report(facts, step, plan, log, board, bar)
            _save(checkpoint, model, optimizer, epoch + 1)
    write_backbone(backbone, model.backbone_state(config.branch), config, checkpoint)
    print(f"{backbone}: written ({config.branch} encoder)")
    return backbone


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
        peak_lr=config.optim.base_lr * config.optim.batch_size / 256,
        lam=lambda_from_eps(config.objective.eps_d_sq, config.optim.batch_size),
    )


def run_epoch(
    config: Config,
    plan: Plan,
    model: MEC,
    optimizer: torch.optim.Optimizer,
    images: UnlabelledImages,
    epoch: int,
    device: torch.device,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Train one epoch; yields the number of finished steps and what to log about the last one.

    Order and augmentation depend on seed and epoch only, so a run resumed at an epoch's end
    continues exactly as the uninterrupted one.
    """
    torch.manual_seed(config.seed * 1_000_003 + epoch + 1)
    loader = DataLoader(
        images, config.optim.batch_size, shuffle=True, drop_last=True, num_workers=config.data.workers
    )
    model.train()
    end = time.perf_counter()
    for i, crops in enumerate(loader):
        step = epoch * plan.steps_per_epoch + i
        data_s = time.perf_counter() - end
        views = [
            augment(crops[:, v].to(device), config.views, v).contiguous(memory_format=torch.channels_last)
            for v in (0, 1)
        ]
        lr = learning_rate(step, plan.total_steps, plan.lr_warmup, plan.peak_lr)
        lam = lambda_at(step, plan.lambda_warmup, plan.lam)
        momentum = target_momentum(step, plan.total_steps, config.model.momentum)
        for group in optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            p1, p2, z1, z2 = model(*views)
        loss = mec_loss(p1, p2, z1, z2, lam, config.objective.order)
        if not torch.isfinite(loss):
            raise ValueError(
                f"step {step}: the loss is {loss.item()}; lower optim.base_lr or raise objective.eps_d_sq"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        model.update_target(momentum)
        facts = {"lr": lr, "lambda": lam, "target_momentum": momentum, "data_s": data_s}
        if (step + 1) % config.log_every == 0 or step + 1 == plan.total_steps:
            facts |= {
                "loss": loss.item(),
                "cosine": ((p1 * z2).sum(1).mean() + (p2 * z1).sum(1).mean()).item() / 2,
                "spectral_norm": spectral_norm(similarity(p1.detach(), z2, lam)),
                "feature_std": z1.std(0).mean().item() * math.sqrt(z1.shape[1]),  # 1 when spread evenly
                "effective_rank": effective_rank(z1),
            }
        now = time.perf_counter()
        facts["step_s"] = now - end
        end = now
        yield step + 1, facts


def _claim(out: Path, config: Config) -> None:
    """The run folder's recipe is this one, or the folder is refused."""
    recipe = out / "config.json"
    text = json.dumps(to_dict(config), indent=2, sort_keys=True) + "\n"
    if recipe.exists() and recipe.read_text() != text:
        before, now = json.loads(recipe.read_text()), json.loads(text)
        changed = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key))
        raise ValueError(
            f"{out}: holds a run of another recipe (differs in {', '.join(changed)}); "
            "choose another out=... or remove the folder"
        )
    write_atomically(recipe, text.encode())


def _resume(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"], strict=True)
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


def _forget_after(log: Path, step: int) -> None:
    """Drop the lines of steps that will be taken again."""
    if log.exists():
        kept = [line for line in log.read_text().splitlines() if _step_of(line) <= step]
        write_atomically(log, "".join(line + "\n" for line in kept).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:  # the last line of a run that was killed while writing it
        return math.inf


def _save(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    buffer = io.BytesIO()
    torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    write_atomically(checkpoint, buffer.getvalue())


def _report(
    facts: dict[str, float], step: int, plan: Plan, log: Any, board: SummaryWriter, bar: Progress
) -> None:
    epoch = step / plan.steps_per_epoch
    log.write(json.dumps({"step": step, "epoch": round(epoch, 3), **facts}) + "\n")
    log.flush()
    for key, value in facts.items():
        board.add_scalar(key, value, step)
    remaining = bar.tasks[0].time_remaining
    line = (
        f"epoch {epoch:.2f} step {step}/{plan.total_steps} loss {facts['loss']:.4f} "
        f"cosine {facts['cosine']:.3f} "
        f"norm {facts['spectral_norm']:.3f} rank {facts['effective_rank']:.1f} lr {facts['lr']:.3g} "
        f"{facts['step_s']:.2f} s/step eta {remaining or 0:.0f} s"
    )
    if bar.console.is_terminal:
        bar.update(bar.task_ids[0], description=line.split(" eta")[0])
    else:
        print(line, flush=True)


def _bar(plan: Plan, first_epoch: int) -> Progress:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not sys.stdout.isatty(),
        speed_estimate_period=120,
    )
    bar.add_task("starting", total=plan.total_steps, completed=first_epoch * plan.steps_per_epoch)
    return bar


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
