#!/usr/bin/env python3
"""The objective's cost against the authors' algorithm, over ranks, and against the exact log-determinant.

Three tables, each ratio from runs that alternate within one call:

- Forward and backward of the symmetric loss at order 4, against the authors' algorithm written out below:
  C as a dense m x m matrix on every rank, one product per further power, gradients by autograd.
- The same split over four gloo processes: the busiest rank's floating-point operations and CPU seconds over
  those of one process. One thread computes; the seconds of all threads include gloo's and the kernel's work
  for them, here between processes of one machine over TCP.
- Order by order, value and gradient of one pair of views against the exact log-determinant, and the relative
  error of the value. The matrices are made up: rows of a Gaussian whose covariance has eigenvalues j^-0.6,
  two noisy views of each, unit length, D = 2048, eps_d^2 = 0.06. The paper's Fig. 3 and Fig. 6 do not
  state theirs; its errors stand beside ours, from Fig. 6 and appendix D.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from machine import hardware  # noqa: E402

from pretrain.collective import World  # noqa: E402
from pretrain.objective import coding_length, lambda_from_eps, mec_loss  # noqa: E402

DIM = 2048
EPS_D_SQ = 0.06
RANKS = 4
# relative error in percent by order, as far as the paper prints it
PAPER = {
    256: {1: 2.11, 2: 0.31, 4: 0.24},
    512: {1: 1.99, 2: 0.28, 4: 0.18},
    1024: {1: 2.32, 2: 0.26, 4: 0.11},
    2048: {1: 2.56, 2: 0.22, 4: 0.07},
}


def views(m: int, count: int, device: str = "cpu") -> list[Tensor]:
    """Noisy views of the same m rows, ``(m, DIM)`` float32 of unit length."""
    generator = torch.Generator().manual_seed(m)
    deviation = torch.arange(1, DIM + 1) ** -0.3  # the root of the covariance's eigenvalues
    rows = torch.randn(m, DIM, generator=generator)
    noisy = [rows + 0.3 * torch.randn(m, DIM, generator=generator) for _ in range(count)]
    return [F.normalize(x * deviation, dim=1).to(device) for x in noisy]


def authors_loss(p: Sequence[Tensor], z: Sequence[Tensor], lam: float, order: int) -> Tensor:
    """The released code's algorithm in our words: dense powers one by one, differentiated by autograd."""
    m = len(p[0])
    total = p[0].new_zeros(())
    for online, target in ((p[0], z[1]), (p[1], z[0])):
        c = online @ target.T * lam
        power, series = c, torch.zeros_like(c)
        for k in range(1, order + 1):
            if k > 1:
                power = power @ c
            series += (-1) ** (k + 1) / k * power
        total = total + torch.trace(series)
    return -total / (2 * m * lam)


def step(loss: Callable[[list[Tensor], list[Tensor]], Tensor], views: list[Tensor]) -> Callable[[], object]:
    """Forward and backward of a loss of the first two views, online, and the others, targets."""
    p = [x.detach().requires_grad_() for x in views[:2]]
    return lambda: torch.autograd.grad(loss(p, views[2:]), p)


def alternate(steps: Sequence[Callable[[], object]], repeats: int, device: str) -> list[list[float]]:
    """Seconds of every step, taken in turn; the first round is not counted."""
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats + 1):
        for taken, run in zip(seconds, steps, strict=True):
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            taken.append(time.perf_counter() - start)
    return [taken[1:] for taken in seconds]


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def counted(run: Callable[[], object]) -> int:
    """Floating-point operations in matrix products."""
    in_place = {torch.ops.aten.addmm_: lambda total, x, y, **_: 2 * x[0] * x[1] * y[1]}  # of shapes
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        run()
    return counter.get_total_flops()


def against_the_authors(sizes: Sequence[int], repeats: int, device: str) -> None:
    print("| m, D | authors' algorithm | ours | ratio of the medians | GFLOP in products |")
    print("|---|---:|---:|---:|---:|")
    for m in sizes:
        lam, rows = lambda_from_eps(EPS_D_SQ, m), views(m, 4, device)
        theirs = step(lambda p, z, lam=lam: authors_loss(p, z, lam, 4), rows)
        ours = step(lambda p, z, lam=lam: mec_loss(p, z, lam, 4), rows)
        authors_s, ours_s = map(statistics.median, alternate([theirs, ours], repeats, device))
        work = f"{counted(theirs) / 1e9:.0f}, {counted(ours) / 1e9:.0f}"
        print(
            f"| {m}, {DIM} | {1e3 * authors_s:.1f} ms | {1e3 * ours_s:.1f} ms "
            f"| {authors_s / ours_s:.2f} x | {work} |",
            flush=True,
        )


def over_ranks(sizes: Sequence[int], repeats: int) -> None:
    print(
        f"| m, D | of one process | busiest of {RANKS}: operations | its computing thread | all its threads |"
    )
    print("|---|---:|---:|---:|---:|")
    for m in sizes:
        (alone,), ranks = _spawned(1, m, repeats), _spawned(RANKS, m, repeats)
        busiest = [max(values) for values in zip(*ranks, strict=True)]
        shares = " | ".join(f"{most / whole:.3f}" for most, whole in zip(busiest, alone, strict=True))
        print(f"| {m}, {DIM} | {alone[0] / 1e9:.1f} GFLOP, {alone[2]:.3f} s | {shares} |", flush=True)


def _spawned(size: int, m: int, repeats: int) -> list[tuple[float, float, float]]:
    """By rank: a step's operations, CPU seconds of the thread that computes and of all threads."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_rank, (size, m, repeats, folder), size)
        return [torch.load(f"{folder}/{rank}.pt") for rank in range(size)]


def _rank(rank: int, size: int, m: int, repeats: int, folder: str) -> None:
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=size)
    world = World(rank, size, rank)
    own = [x[world.share(m)] for x in views(m, 4)]
    lam = lambda_from_eps(EPS_D_SQ, m)
    run = step(lambda p, z: mec_loss(p, z, lam, 4, batch_size=m, world=world), own)
    operations = counted(run)  # warms up, too
    own_thread, all_threads = [], []
    for _ in range(repeats):
        start = time.thread_time(), time.process_time()
        run()
        own_thread.append(time.thread_time() - start[0])
        all_threads.append(time.process_time() - start[1])
    seconds = statistics.median(own_thread), statistics.median(all_threads)
    torch.save((operations, *seconds), f"{folder}/{rank}.pt")
    if size > 1:
        dist.barrier()
        dist.destroy_process_group()


def against_the_exact(sizes: Sequence[int], repeats: int, device: str) -> None:
    print("| m | order | value | value and gradient | exact over it | relative error | paper's |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for m in sizes:
        lam, (p, z) = lambda_from_eps(EPS_D_SQ, m), views(m, 2, device)
        p.requires_grad_()
        orders = range(9)  # 0 is the exact one

        def value(order: int, p: Tensor = p, z: Tensor = z, lam: float = lam) -> Tensor:
            with torch.no_grad():
                return coding_length(p, z, lam, order)

        def gradient(order: int, p: Tensor = p, z: Tensor = z, lam: float = lam) -> object:
            return torch.autograd.grad(coding_length(p, z, lam, order), p)

        steps = [lambda o=o, f=f: f(o) for f in (value, gradient) for o in orders]
        seconds = [1e3 * statistics.median(taken) for taken in alternate(steps, repeats, device)]
        # values in float64: an error is the series', not the rounding's
        p64, z64 = p.double(), z.double()
        exact = value(0, p64, z64).item()
        for order in orders:
            values, gradients = seconds[order], seconds[len(orders) + order]
            error = abs(value(order, p64, z64).item() / exact - 1)
            paper = f"{PAPER[m][order]:.2f} %" if order in PAPER.get(m, {}) else ""
            print(
                f"| {m} | {order or 'exact'} | {values:.2f} ms | {gradients:.2f} ms "
                f"| {seconds[len(orders)] / gradients:.2f} x "
                f"| {f'{100 * error:.2g} %' if order else ''} | {paper} |",
                flush=True,
            )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="The objective against the authors' algorithm, over ranks, and against the exact value.",
        epilog="examples:\n  python benchmarks/objective.py\n"
        "  python benchmarks/objective.py --quick\n"
        "  python benchmarks/objective.py --table authors --repeats 9\n"
        "  python benchmarks/objective.py --device cuda --table authors --table exact",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tables = ("authors", "ranks", "exact")
    parser.add_argument("--table", action="append", choices=tables, help="repeatable; default: all")
    parser.add_argument("--repeats", type=int, default=3, help="of each; the median counts (default: 3)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="the ranks always use the CPU"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes only; the ratios are not the claimed ones"
    )
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error("--repeats must be at least 1")
    print(hardware(args.device))
    batches = (256,) if args.quick else (1024, 4096)
    for table in args.table or tables:
        print()
        if table == "authors":
            against_the_authors(batches, args.repeats, args.device)
        elif table == "ranks":
            over_ranks(batches, args.repeats)
        else:
            against_the_exact((256,) if args.quick else tuple(PAPER), args.repeats, args.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
