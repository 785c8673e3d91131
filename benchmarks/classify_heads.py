#!/usr/bin/env python3
"""What many linear heads cost beside one, and what cached features save.

Two ratios, from ResNet-50 at 224 px with 1,000 classes, in the loop that the linear probe runs:

- A training step of 24 heads on one forward pass against a step of one head. The two take turns, and turns
  at being first; the images are in memory (decoding is the same for both and would only hide the heads);
  the ratio is the median of the rounds' own.
- 90 epochs on features that are computed once, against running the backbone in each of them: the time
  of one image through the backbone and the head, and of one image's features through the head, both
  measured here, times 90 epochs of ``--images`` images; the rest is multiplication, not a run.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from machine import hardware  # noqa: E402

from transfer.backbone.architecture import empty_resnet  # noqa: E402
from transfer.backbone.contract import BackboneInfo  # noqa: E402
from transfer.classify.features import Encoder, FeatureBatches  # noqa: E402
from transfer.classify.heads import Heads, HeadSettings, head_losses  # noqa: E402
from transfer.classify.loop import Classifier, build_optimiser, fit  # noqa: E402

CLASSES = 1000
DIM = 2048
EPOCHS = 90
GRID = [
    HeadSettings(lr, weight_decay)
    for lr, weight_decay in itertools.product([0.1 * 1.5**i for i in range(12)], [0.0, 1e-6])
]


class Repeated:
    """One batch in memory, given ``steps`` times an epoch."""

    def __init__(self, inputs: Tensor, labels: Tensor, steps: int) -> None:
        self.batch = inputs, labels
        self.batch_sizes = [len(labels)] * steps

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is alike."""

    def __len__(self) -> int:
        return len(self.batch_sizes)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return itertools.repeat(self.batch, len(self))


def heads_step(
    settings: Sequence[HeadSettings],
    name: str,
    encoder: Encoder,
    batches: Repeated,
    device: torch.device,
    bf16: bool,
) -> Callable[[], object]:
    """Training of these heads on the frozen encoder, one epoch of ``batches`` a call."""
    heads = Heads(settings, {"avgpool": DIM}, CLASSES, feature_norm=True, seed=0).to(device)
    optimiser = build_optimiser(heads.groups(settings), name, 0.9, 0.0)
    model = Classifier(encoder, heads, frozen=True)
    return lambda: fit(model, batches, optimiser, [1.0], device, bf16=bf16, loss=head_losses)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of the wall clock on a GPU; on a CPU the user time of all threads.

    Other programs do not enter it, nor does the kernel, whose page faults are a quarter of a step and fewer
    with 24 heads, because the allocator then keeps what it would otherwise hand back.
    """
    if device.type == "cpu":
        start = os.times().user
        run()
        return os.times().user - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Many heads against one; cached features against 90 passes of the backbone.",
        epilog="examples:\n  python benchmarks/classify_heads.py\n"
        "  python benchmarks/classify_heads.py --device cuda --batch 256 --steps 10 --bf16",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=64, help="images of a batch (default: 64)")
    parser.add_argument("--steps", type=int, default=1, help="of each side in a round (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="the medians count (default: 5)")
    parser.add_argument("--images", type=int, default=50_000, help="cached features (default: 50,000)")
    parser.add_argument("--optimiser", choices=("lars", "sgd"), default="lars")
    parser.add_argument(
        "--bf16", action="store_true", help="backbone in bfloat16 autocast, as the configurations do"
    )
    args = parser.parse_args(argv)
    if min(args.batch, args.steps, args.rounds, args.images) < 1 or args.batch < 2:
        parser.error("--steps, --rounds and --images must be at least 1, --batch at least 2")
    device = torch.device(args.device)
    print(hardware(args.device))
    print(
        f"ResNet-50, 224 px, {CLASSES} classes, {args.optimiser}, batches of {args.batch}"
        f"{', bf16' if args.bf16 else ''}, {args.rounds} rounds of {args.steps} steps"
    )

    info = BackboneInfo("random", "resnet50", "none", "random", "", "none", "", "0")
    encoder = Encoder(empty_resnet("resnet50"), info).to(device).eval()
    images = torch.randint(0, 256, (args.batch, 3, 224, 224), dtype=torch.uint8).to(device)
    labels = torch.randint(0, CLASSES, (args.batch,)).to(device)
    batches = Repeated(images, labels, args.steps)
    one, many = (
        heads_step(settings, args.optimiser, encoder, batches, device, args.bf16)
        for settings in (GRID[:1], GRID)
    )
    taken: list[tuple[float, float]] = []
    for turn in range(args.rounds + 1):
        pair = {run: seconds(run, device) / args.steps for run in ((one, many) if turn % 2 else (many, one))}
        taken.append((pair[one], pair[many]))
    taken = taken[1:]  # the first round warms up
    one_s, many_s = (statistics.median(values) for values in zip(*taken, strict=True))
    ratios = sorted(many / one for one, many in taken)
    clock = "user time" if args.device == "cpu" else "wall time"
    print(f"\n{clock}; 1 head: {1e3 * one_s:.0f} ms a step; {len(GRID)} heads: {1e3 * many_s:.0f} ms")
    print(f"ratio {statistics.median(ratios):.3f} (rounds {', '.join(f'{ratio:.3f}' for ratio in ratios)})")

    features = torch.randn(args.images, DIM, device=device)
    cached = FeatureBatches(features, torch.randint(0, CLASSES, (args.images,), device=device), args.batch, 0)
    heads = Heads(GRID[:1], {"avgpool": DIM}, CLASSES, feature_norm=True, seed=0).to(device)
    optimiser = build_optimiser(heads.groups(GRID[:1]), args.optimiser, 0.9, 0.0)
    epochs = [
        seconds(lambda: fit(heads, cached, optimiser, [1.0], device, loss=head_losses), device)
        for _ in range(args.rounds + 1)
    ][1:]
    epoch_s = statistics.median(epochs)
    forward_s = (
        args.images / args.batch * one_s
    )  # with the head; the extraction has none, so this is generous to it
    again_h, once_h = EPOCHS * forward_s / 3600, (forward_s + EPOCHS * epoch_s) / 3600
    print(
        f"\n{args.images} images, {EPOCHS} epochs, extrapolated from {one_s / args.batch * 1e3:.2f} ms an "
        f"image with the backbone and {epoch_s:.2f} s an epoch on cached features:\n"
        f"backbone each epoch {again_h:.2f} h, features once {once_h:.3f} h: ratio {again_h / once_h:.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
