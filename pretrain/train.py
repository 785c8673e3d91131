"""The training loop, top to bottom: join, claim, build, resume, steps, export."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

from pretrain.checkpoint import list_checkpoints, load_newest, save_checkpoint
from pretrain.collective import World, agree, join, leave
from pretrain.config import MACHINE_KEYS, Config, to_dict
from pretrain.export import remove_leftovers, write_atomically, write_backbone
from pretrain.health import DivergedError, Stopwatch, measure, refuse_broken_weights, refuse_nan, refuse_norm
from pretrain.images import UnlabelledImages, open_images, prepare
from pretrain.interrupt import Interrupt
from pretrain.loader import batches
from pretrain.lock import locked
from pretrain.objective import DeterminantError
from pretrain.online_knn import OnlineKNN
from pretrain.progress import Journal
from pretrain.run import Run, build, describe, take_step


class StoppedError(Exception):
    """A signal ended the run before its last step; the same command goes on from there."""


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


def _share_position(run: Run, newest: tuple[Path, dict[str, Any]] | None) -> None:
    """Every rank takes the first rank's newest checkpoint."""
    states: list[Any] = [newest[1] if newest else None]
    if run.world.size > 1:
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
