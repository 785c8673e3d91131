"""Training by detectron2's trainer that can be interrupted anywhere and goes on to the same weights.

The loop, the hooks, the learning rates, precise batch norm and the writers are detectron2's. Its own are
here: the order of the images and every random number follow from the iteration
(:mod:`transfer.detect.batches`), checkpoints are whole (:mod:`transfer.detect.checkpoints`), the weights it
starts from are proven to be the backbone's, and a batch may come in several passes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from transfer.detect.backbone import check_arrival
from transfer.detect.batches import PASS, PRECISE_BN, build_loader, check_share, read_records, seed_of
from transfer.detect.checkpoints import (
    FINAL,
    build_checkpointer,
    read_newest,
    remove_unfinished,
    training_digest,
    write_checkpoint,
)
from transfer.detect.heads import register_heads
from transfer.ranks import World, sum_over_ranks

PERIOD = 20  # iterations between lines, as in detectron2
WINDOW = 20  # iterations whose scalars detectron2's writers take the median of
TIMES = ("time", "data_time", "rank_data_time", "eta_seconds")


def fit(cfg: Any, accumulate: int = 1, world: World | None = None) -> nn.Module:
    """Train a detector from the converted backbone ``cfg.MODEL.WEIGHTS``, or go on with it.

    ``cfg.OUTPUT_DIR`` receives ``log.txt``, ``metrics.json``, TensorBoard events and checkpoints; where it
    holds a checkpoint of this training, that is gone on from: on a CPU to the same bytes in
    ``model_final.pth``, which holds the returned model. Several processes share a batch as detectron2's GPUs
    do: losses are means over each one's images, gradients the mean over processes.

    Args:
        cfg: frozen; ``SOLVER.IMS_PER_BATCH`` counts the images of all processes and passes.
        accumulate: passes that each process's share of a batch comes in. Their gradients are averaged, as if
            ``accumulate`` times as many processes ran: batch norm and losses see one pass at a time.
        world: this process; the others call the same function.

    Raises:
        ValueError: before anything is written, a backbone tensor that did not arrive, a batch that cannot be
            split, or settings that cannot be gone on with; checkpoints that are damaged or another's.
        FloatingPointError: on all processes alike, the loss or in the end a weight is infinite or NaN.
        OSError: a checkpoint could not be written.
    """
    world = world or World()
    folder = Path(cfg.OUTPUT_DIR)
    _check_settings(cfg, accumulate, world)
    _join_detectron2(world)
    register_heads()
    with _log_to(folder / "log.txt", world):
        training = training_digest(cfg, accumulate)
        state = _read_on_first(folder, training, world)
        done = 0 if state is None else int(state["iteration"]) + 1
        if state is not None and done >= cfg.SOLVER.MAX_ITER:
            model = _build_model(cfg, world)
            model.load_state_dict(state["model"])
        else:
            trainer = _build_trainer(cfg, accumulate, world, training, done)
            if state is not None:
                trainer.resume(state)
            state = None  # as large as the model and its optimiser
            try:
                trainer.train()
            finally:
                trainer.close()
            model = trainer.plain_model
        _agree_on_buffers(model, world)
        _check_finite(model, world)
        if world.first and not (folder / f"{FINAL}.pth").exists():  # killed before its last checkpoint
            iteration = cfg.SOLVER.MAX_ITER - 1
            final = {"model": model.state_dict(), "training": training, "iteration": iteration}
            write_checkpoint(folder / f"{FINAL}.pth", final)
    return model


def _check_settings(cfg: Any, accumulate: int, world: World) -> None:
    check_share(cfg.SOLVER.IMS_PER_BATCH, world, accumulate)
    if cfg.SEED < 0:
        raise ValueError(f"SEED: expected at least 0, found {cfg.SEED}, which is another one in every run")
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise ValueError(
            f"SOLVER.REFERENCE_WORLD_SIZE: expected 0, found {cfg.SOLVER.REFERENCE_WORLD_SIZE}: detectron2 "
            "would make another schedule for another number of processes; set images_per_batch instead"
        )
    if cfg.SOLVER.AMP.ENABLED and accumulate > 1:
        raise ValueError(
            f"accumulate: expected 1 with SOLVER.AMP.ENABLED, found {accumulate}; detectron2's trainer for "
            "mixed precision takes a batch in one pass"
        )
    if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu":
        raise ValueError("SOLVER.AMP.ENABLED: needs a GPU; set it to false, or device to cuda")


def _join_detectron2(world: World) -> None:
    """Tell detectron2 which processes are on this machine."""
    if world.size > 1:
        from detectron2.utils import comm

        comm.create_local_process_group(int(os.environ.get("LOCAL_WORLD_SIZE", world.size)))


def _read_on_first(folder: Path, training: str, world: World) -> dict[str, Any] | None:
    """The checkpoint that the first process finds, on every process: others may not see its disk."""
    found: list[Any] = [None, None]
    if world.first:
        remove_unfinished(folder)
        try:
            found[0] = read_newest(folder, training)
        except ValueError as error:
            found[1] = str(error)
    if world.size > 1:
        dist.broadcast_object_list(found, src=0, device=torch.device("cpu"))
    if found[1] is not None:
        raise ValueError(found[1])
    return found[0]  # type: ignore[no-any-return]


def _build_model(cfg: Any, world: World) -> nn.Module:
    """detectron2's model with the backbone in it, proven on every process.

    Raises:
        ValueError: on all processes alike, a backbone tensor that did not arrive.
    """
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model
    from detectron2.utils import comm
    from detectron2.utils.env import seed_all_rng

    seed_all_rng(cfg.SEED)
    model: nn.Module = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    fault = ""
    try:
        check_arrival(model, Path(cfg.MODEL.WEIGHTS))
    except ValueError as error:
        fault = str(error)
    faults = comm.all_gather(fault) if world.size > 1 else [fault]
    if any(faults):
        raise ValueError(next(filter(None, faults)))
    return model


def _build_trainer(cfg: Any, accumulate: int, world: World, training: str, start: int) -> Any:
    """detectron2's trainer, ready for iteration ``start``."""
    from detectron2.engine import (
        AMPTrainer,
        DefaultTrainer,
        SimpleTrainer,
        TrainerBase,
        create_ddp_model,
        hooks,
    )
    from detectron2.engine.train_loop import HookBase
    from detectron2.utils.events import (
        CommonMetricPrinter,
        JSONWriter,
        TensorboardXWriter,
        get_event_storage,
    )
    from fvcore.nn.precise_bn import get_bn_modules

    class Trainer(DefaultTrainer):  # type: ignore[misc]  # detectron2 is untyped
        """detectron2's default trainer without its closing evaluation, which has a loader of its own."""

        def __init__(self) -> None:
            TrainerBase.__init__(self)
            self.cfg = cfg
            self.plain_model = _build_model(cfg, world)
            _propose_together(self.plain_model, world)
            records = read_records(cfg)
            workers = cfg.DATALOADER.NUM_WORKERS
            loader = build_loader(
                records, cfg, cfg.SEED, world, accumulate=accumulate, start=start, num_workers=workers
            )
            precise = build_loader(records, cfg, seed_of(cfg.SEED, PRECISE_BN), world, accumulate=accumulate)
            optimiser = self.build_optimizer(cfg, self.plain_model)
            devices = [torch.cuda.current_device()] if cfg.MODEL.DEVICE != "cpu" else None
            model = create_ddp_model(self.plain_model, broadcast_buffers=False, device_ids=devices)
            step = AMPTrainer if cfg.SOLVER.AMP.ENABLED else Passes
            self._trainer = step(Together(model), loader, optimiser)
            self.scheduler = self.build_lr_scheduler(cfg, optimiser)
            own = weakref.proxy(self)
            self.checkpointer = build_checkpointer(self.plain_model, Path(cfg.OUTPUT_DIR), training, own)
            self.start_iter, self.max_iter = start, cfg.SOLVER.MAX_ITER
            num_precise = cfg.TEST.PRECISE_BN.NUM_ITER if cfg.TEST.PRECISE_BN.ENABLED else 0
            self.register_hooks(
                [
                    hooks.IterationTimer(),
                    hooks.LRScheduler(),
                    # Only at the end: what it sets takes no part in training.
                    hooks.PreciseBN(0, model, precise, num_precise)
                    if num_precise and get_bn_modules(model)
                    else None,
                    RecentScalars(),
                ]
            )
            if world.first:
                _cut_metrics(Path(cfg.OUTPUT_DIR) / "metrics.json", _num_written(start))
                # Lines first: what a checkpoint has seen is on disk before it.
                period = cfg.SOLVER.CHECKPOINT_PERIOD
                self.register_hooks(
                    [
                        hooks.PeriodicWriter(self.build_writers(), period=PERIOD),
                        hooks.PeriodicCheckpointer(self.checkpointer, period),
                    ]
                )

        def build_writers(self) -> list[Any]:
            lines = JSONWriter(str(Path(cfg.OUTPUT_DIR) / "metrics.json"))
            lines._last_write = _num_written(start) - 1
            return [
                CommonMetricPrinter(self.max_iter),
                lines,
                TensorboardXWriter(cfg.OUTPUT_DIR, purge_step=start),
            ]

        def run_step(self) -> None:
            torch.manual_seed(seed_of(cfg.SEED, PASS, self.iter, world.rank * accumulate))
            super().run_step()

        def resume(self, state: Mapping[str, Any]) -> None:
            self.plain_model.load_state_dict(state["model"])
            self.load_state_dict(state["trainer"])

        def close(self) -> None:
            """Let go of the loader's processes."""
            self._trainer._data_loader_iter_obj = None

    class Together(nn.Module):
        """Stops all processes where the loss of one is not finite; detectron2 stops that one alone."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, batch: Any) -> Any:
            where = f"the loss became infinite or NaN in iteration {get_event_storage().iter}"
            try:
                losses = self.inner(batch)
            except FloatingPointError as error:  # of proposals, on all processes
                raise FloatingPointError(f"{where} ({error}); lower the learning rate") from error
            total = torch.stack([loss.detach().float() for loss in losses.values()]).sum()
            if not torch.isfinite(sum_over_ranks(total, world)):
                own = {name: round(loss.item(), 4) for name, loss in losses.items()}
                raise FloatingPointError(f"{where} (on this process {own}); lower the learning rate")
            return losses

    class Passes(SimpleTrainer):  # type: ignore[misc]
        """detectron2's step; of several passes, their mean."""

        def run_step(self) -> None:
            if accumulate == 1:
                super().run_step()
                return
            data_time, means = 0.0, dict[str, Tensor]()
            self.optimizer.zero_grad()
            for number in range(accumulate):
                start_s = time.perf_counter()
                batch = next(self._data_loader_iter)
                data_time += time.perf_counter() - start_s
                torch.manual_seed(seed_of(cfg.SEED, PASS, self.iter, world.rank * accumulate + number))
                last = number + 1 == accumulate or world.size == 1
                with nullcontext() if last else self.model.inner.no_sync():
                    losses = self.model(batch)
                    (sum(losses.values()) / accumulate).backward()
                for name, loss in losses.items():
                    means[name] = means.get(name, 0.0) + loss.detach() / accumulate
            self.after_backward()
            self._write_metrics(means, data_time)
            self.optimizer.step()

    class RecentScalars(HookBase):  # type: ignore[misc]
        """Keeps what the writers smooth over, so that their lines after an interruption are the same."""

        def __init__(self) -> None:
            self.kept: dict[str, Any] = {}

        def state_dict(self) -> dict[str, Any]:
            storage = self.trainer.storage
            hints = storage.smoothing_hints()
            return {
                name: [
                    hints[name],
                    [[value, when] for value, when in history.values()[-WINDOW * accumulate :]],
                ]
                for name, history in storage.histories().items()
                if name not in TIMES
            }

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.kept = state

        def before_train(self) -> None:
            for name, (hint, values) in self.kept.items():
                for value, when in values:
                    self.trainer.storage.put_scalar(name, value, smoothing_hint=hint, cur_iter=when)

    return Trainer()


def _propose_together(model: nn.Module, world: World) -> None:
    """Stop all processes in training where one's proposals are not finite; detectron2 stops that one alone.

    Here, and not behind the whole model: synchronised norms of the heads would wait for that process.
    """
    generator: Any = getattr(model, "proposal_generator", None)
    if generator is None:
        return
    propose = generator.forward

    def forward(*arguments: Any, **options: Any) -> Any:
        if not generator.training:  # where processes may have different numbers of images
            return propose(*arguments, **options)
        found, reason = None, ""
        try:
            found = propose(*arguments, **options)
        except FloatingPointError as error:
            reason = str(error)
        device = next(model.parameters()).device
        if sum_over_ranks(torch.tensor(float(bool(reason)), device=device), world) > 0:
            raise FloatingPointError(reason or "proposals on another process contain Inf/NaN")
        return found

    generator.forward = forward


def _num_written(start: int) -> int:
    """The iterations before ``start`` that lines of ``metrics.json`` are about."""
    return start - start % PERIOD


def _cut_metrics(path: Path, num_written: int) -> None:
    """Leave the lines of the first ``num_written`` iterations: what comes behind them will be written again.

    A killed process leaves a line in part, and one that is stopped by an error writes a line too many.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if json.loads(line)["iteration"] >= num_written:
                continue
        except (ValueError, KeyError, TypeError):
            continue
        kept.append(line)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def _agree_on_buffers(model: nn.Module, world: World) -> None:
    """Give every process the first one's buffers: those of plain batch norm are each process's own."""
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def _check_finite(model: nn.Module, world: World) -> None:
    """Refuse weights that the last step, whose loss nobody saw, left infinite or NaN."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    faulty = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    device = next(model.parameters()).device
    if sum_over_ranks(torch.tensor(float(len(faulty)), device=device), world) > 0:
        raise FloatingPointError(
            f"{len(faulty)} of {len(tensors)} tensors are infinite or NaN after the last iteration, first "
            f"{faulty[0] if faulty else 'on another process'}; lower the learning rate"
        )


@contextmanager
def _log_to(path: Path, world: World) -> Iterator[None]:
    """Send detectron2's log to standard output and, of the first process, to a file.

    Its own ``setup_logger`` never lets go of a file, so a second run in the same process would also write
    into the first one's.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if world.first:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
    loggers = [logging.getLogger("detectron2"), logging.getLogger("fvcore")]
    logging.getLogger("detectron2.engine.defaults").setLevel(logging.WARNING)  # prints the whole model
    for handler in handlers:
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", datefmt="%H:%M:%S"))
    for logger in loggers:
        logger.setLevel(logging.INFO if world.first else logging.WARNING)
        logger.propagate = False  # the command's own handler would print each line again
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.propagate = True
        for handler in handlers:
            for logger in loggers:
                logger.removeHandler(handler)
            handler.close()
