#!/usr/bin/env python3
"""The exact kNN search: its peak of memory, and its time against scikit-learn, faiss-cpu and torch.topk.

All sides find the k most similar of --bank rows for each of --queries rows of unit length and take turns in
one process: each turn is a part of the queries, the same for everyone. They must find the same: equal
similarities to 1e-5, and other neighbours only where those are that close to the k-th. scikit-learn is
NearestNeighbors(metric="cosine", algorithm="brute"), which normalises the bank again in each call; faiss is
IndexFlatIP, its index built before the clock starts; torch.topk is the product and topk of whole rows. With
--device cuda scikit-learn and faiss stay on the CPU and see the first turn only.

Exit status 1 where results differ, the peak exceeds --memory MiB beyond the inputs, or the median ratio to
faiss is below --require.

    python benchmarks/knn.py
    python benchmarks/knn.py --small
    python benchmarks/knn.py --device cuda
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine import hardware

from transfer.classify.neighbours import nearest, normalise_

Found = tuple[Tensor, Tensor]  # similarities and indices, (M, k) each
Search = Callable[[Tensor], Found]
CLOSE = 1e-5  # float32 products of 2,048 numbers in another order
WHOLE_ROWS = 1 << 26  # similarities that torch.topk sees at once


def make_rows(num: int, num_features: int, generator: torch.Generator) -> Tensor:
    """Unit rows like average-pooled features: not negative, every one like every other to some degree."""
    rows = torch.empty(num, num_features)
    for block in torch.split(rows, 4096):
        block.normal_(generator=generator).relu_()
    return normalise_(rows)


def own_search(bank: Tensor, k: int) -> Search:
    """Ours."""
    return lambda queries: nearest(bank, queries, k)


def topk_search(bank: Tensor, k: int) -> Search:
    """The product and torch.topk of whole rows, chunked over the queries."""

    def search(queries: Tensor) -> Found:
        chunks = torch.split(queries, max(1, WHOLE_ROWS // len(bank)))
        parts = [(chunk @ bank.T).topk(k, dim=1) for chunk in chunks]
        return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])

    return search


def sklearn_search(bank: Tensor, k: int) -> Search | None:
    """scikit-learn's neighbours; None where it is not installed."""
    try:
        from sklearn.neighbors import NearestNeighbors
    except ImportError:
        print("scikit-learn is not installed, so there is no ratio to it")
        return None
    model = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(bank.numpy())

    def search(queries: Tensor) -> Found:
        distances, indices = model.kneighbors(queries.numpy())
        return torch.from_numpy(1.0 - distances), torch.from_numpy(indices)

    return search


def faiss_search(bank: Tensor, k: int, threads: int) -> Search | None:
    """faiss's exact inner product; None where it is not installed."""
    try:
        import faiss
    except ImportError:
        print("faiss is not installed, so there is no ratio to it: pip install --no-deps faiss-cpu==1.7.4")
        return None
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(bank.numpy())

    def search(queries: Tensor) -> Found:
        similarities, indices = index.search(queries.numpy(), k)
        return torch.from_numpy(similarities), torch.from_numpy(indices)

    return search


def difference(own: Found, other: Found) -> tuple[float, float, bool]:
    """Largest difference of similarities, share of equal neighbours, and whether both found the same."""
    values, indices = (part.cpu() for part in own)
    other_values, other_indices = (part.cpu() for part in other)
    gap = float((values - other_values.to(values.dtype)).abs().max())
    alone = torch.zeros(indices.shape, dtype=torch.bool)  # neighbours that only we found
    for row in (indices != other_indices).any(1).nonzero().flatten().tolist():
        alone[row] = torch.isin(indices[row], other_indices[row], invert=True)
    above_last = float(torch.where(alone, values - values[:, -1:], 0.0).max())
    share = float((indices == other_indices).double().mean())
    return gap, share, max(gap, above_last) <= CLOSE


def peak_mib(work: Callable[[], object], device: str) -> float:
    """The highest memory during ``work`` above that before it, in MiB."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def seconds(search: Search, queries: Tensor) -> tuple[float, Found]:
    """How long one search takes, and what it finds."""
    start = time.perf_counter()
    found = search(queries)
    if queries.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, found


def main() -> int:
    """Print the tables; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bank", type=int, default=50_000, help="rows that are searched")
    parser.add_argument("--queries", type=int, default=10_000, help="rows that are asked")
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5, help="parts of the queries")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--small", action="store_true", help="5,000 x 1,000 x 512: seconds")
    parser.add_argument("--memory", type=float, default=512.0, help="MiB beyond the inputs")
    parser.add_argument("--require", type=float, default=0.0, help="smallest ratio to faiss")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.bank, arguments.queries, arguments.features = 5000, 1000, 512
    return compare(arguments)


def take_turns(
    own: Search, theirs: Mapping[str, Search | None], asked: Sequence[Tensor], on_cpu: Sequence[Tensor]
) -> tuple[dict[str, list[float]], bool]:
    """Each side's time over ours, turn by turn, and whether all found the same; prints a line a side."""
    sides = {name: side for name, side in theirs.items() if side is not None}
    ratios: dict[str, list[float]] = {name: [] for name in sides}
    gaps, shares, all_same = dict.fromkeys(sides, 0.0), dict.fromkeys(sides, 1.0), True
    for turn, (mine, copy) in enumerate(zip(asked, on_cpu, strict=True)):
        own_s, found = seconds(own, mine)
        for name, side in sides.items():
            on_device = name == "torch.topk"
            if mine.is_cuda and not on_device and turn:
                continue
            side_s, other = seconds(side, mine if on_device else copy)
            gap, share, same = difference(found, other)
            ratios[name].append(side_s / own_s)
            gaps[name], shares[name] = max(gap, gaps[name]), min(share, shares[name])
            all_same &= same
            print(
                f"  turn {turn + 1}: ours {own_s:.3f} s, {name} {side_s:.3f} s{'' if same else ': DIFFERS'}"
            )
    for name, values in ratios.items():
        print(
            f"{name:13} {statistics.median(values):6.2f} x our time (turns "
            f"{', '.join(f'{value:.2f}' for value in values)}); similarities within {gaps[name]:.1e}, "
            f"{100 * shares[name]:.3f} % of the neighbours in the same place"
        )
    return ratios, all_same


def limit_threads(threads: int) -> AbstractContextManager[object]:
    """numpy's and faiss's own libraries of linear algebra to as many threads as torch has."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # then there is no scikit-learn either
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(threads)
    return limits


def compare(arguments: argparse.Namespace) -> int:
    """Everything on one data set; the exit status."""
    device, k = arguments.device, arguments.k
    torch.set_num_threads(arguments.threads)
    print(hardware(device))
    print(f"{arguments.bank} x {arguments.queries} x {arguments.features} float32, k = {k}")
    generator = torch.Generator().manual_seed(0)
    bank = make_rows(arguments.bank, arguments.features, generator)
    queries = make_rows(arguments.queries, arguments.features, generator)
    placed, asked = bank.to(device), queries.to(device)
    own = own_search(placed, k)
    own(asked[:100])  # warms up
    took: list[float] = []
    peak = peak_mib(lambda: took.append(seconds(own, asked)[0]), device)
    inputs = (bank.numel() + queries.numel()) * 4 / 2**20
    terms = 2 * bank.numel() * len(queries)
    print(f"whole search {took[0]:.2f} s, {terms / took[0] / 1e9:.0f} GFLOP/s of its product alone")
    print(f"peak of the search {peak:.0f} MiB beyond its inputs, which are {inputs:.0f} MiB")
    failed = peak > arguments.memory

    theirs = {
        "torch.topk": topk_search(placed, k),
        "scikit-learn": sklearn_search(bank, k),
        "faiss": faiss_search(bank, k, arguments.threads),
    }
    with limit_threads(arguments.threads):
        ratios, same = take_turns(own, theirs, asked.chunk(arguments.turns), queries.chunk(arguments.turns))
    failed |= not same
    if "faiss" in ratios and statistics.median(ratios["faiss"]) < arguments.require:
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
