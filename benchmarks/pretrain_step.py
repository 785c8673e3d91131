#!/usr/bin/env python3
"""Images per second of pre-training, against the same algorithm written the way of the authors' code.

    python benchmarks/pretrain_step.py                            # ResNet-18, 64 px, JPEGs; for two CPU cores
    python benchmarks/pretrain_step.py --arch resnet50 --size 224 --batch 256 --workers 14 --device cuda
    python benchmarks/pretrain_step.py --synthetic --device cuda  # without decoding and augmentation

The reference: float32, NCHW, one PIL image at a time through torchvision's transforms and PIL's Gaussian
blur, two passes of the online and two of the target network, the full m x m similarity matrix, its powers
one by one under autograd, SGD and the moving average parameter by parameter. Ours: ``take_step`` of
``pretrain.run`` on what ``pretrain.loader`` delivers, in --precision. Both read the same JPEGs and have
the same number of workers and threads, the same network and the same batch. They take turns, --steps steps
at a time, --rounds times; a figure is the median of the rounds, the ratio the median of the rounds' ratios.
The first turn of each is not counted.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from machine import hardware  # noqa: E402
from PIL import Image, ImageFilter, ImageOps  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from torchvision import transforms  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import InterpolationMode  # noqa: E402

from pretrain.collective import World  # noqa: E402
from pretrain.config import Config, DataConfig, ModelConfig, ObjectiveConfig, OptimConfig, ViewsConfig  # noqa: E402
from pretrain.images import BICUBIC_FROM, open_images  # noqa: E402
from pretrain.loader import batches  # noqa: E402
from pretrain.network import build_encoder, build_predictor, build_projector  # noqa: E402
from pretrain.run import build, take_step  # noqa: E402
from pretrain.views import MEAN, STD  # noqa: E402

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def main() -> None:
    """Measure both and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=64, help="side of the views in pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--steps",
        type=int,
        default=3,
        help="steps of a turn; with workers more, so that their queue is used up",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="of each of the two")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--compile", action="store_true", help="torch.compile ours")
    parser.add_argument("--synthetic", action="store_true", help="the same tensors each step, no images")
    args = parser.parse_args()
    args.steps = max(args.steps, 6 * args.workers)  # either side's workers fill two batches each meanwhile
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        if not args.synthetic:
            write_photographs(Path(folder), 2 * args.batch, args.size)
        config = recipe(args, folder)
        figures = compare(ours(config, device, args), reference(config, device, args), device, args)
    print(f"{args.arch}, {args.size} px, batch {args.batch}, {args.workers} workers, {hardware(device.type)}")
    print("| | img/s | ms a step | GPU memory above the weights | GPU busy |\n|---|---:|---:|---:|---:|")
    for name, rates, memory, busy in figures:
        rate = statistics.median(rates)
        print(f"| {name} | {rate:.0f} | {1000 * args.batch / rate:.0f} | {memory} | {busy} |")
    ratios = [a / b for a, b in zip(figures[0][1], figures[1][1], strict=True)]
    print(f"\nratio {statistics.median(ratios):.2f} (rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)})")


def recipe(args: argparse.Namespace, folder: str) -> Config:
    """MEC as the paper trains it, with the arguments' network and sizes."""
    return Config(
        out="unused",
        data=DataConfig(name="photographs", dir=folder, workers=args.workers),
        views=ViewsConfig(size=args.size),
        model=ModelConfig(arch=args.arch),
        objective=ObjectiveConfig(max_spectral_norm=0),
        optim=OptimConfig(epochs=100_000, batch_size=args.batch, base_lr=0.05),
        precision=args.precision,
        compile=args.compile,
        device=args.device,
    )


Turn = Callable[[int], None]  # takes that many steps


def compare(
    first: Turn, second: Turn, device: torch.device, args: argparse.Namespace
) -> list[tuple[str, list[float], str, str]]:
    """Name, images per second of every round, peak memory and utilisation, of both."""
    figures: list[tuple[str, list[float], str, str]] = []
    for name, turn in ((f"ours, {args.precision}", first), ("the authors' way", second)):
        before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        turn(1 if device.type == "cpu" else 10)
        peak = (torch.cuda.max_memory_allocated() - before) / 2**30 if device.type == "cuda" else 0.0
        memory = f"{peak:.1f} GiB" if device.type == "cuda" else "-"
        figures.append((name, [], memory, "-"))
    busy: list[list[float]] = [[], []]
    for _ in range(args.rounds):
        for i, turn in enumerate((first, second)):
            start = time.perf_counter()
            turn(args.steps)
            if device.type == "cuda":
                torch.cuda.synchronize()
            figures[i][1].append(args.steps * args.batch / (time.perf_counter() - start))
            if device.type == "cuda":
                busy[i].append(utilisation())
    return [
        (name, rates, memory, f"{statistics.median(busy[i]):.0f} %" if busy[i] else "-")
        for i, (name, rates, memory, _) in enumerate(figures)
    ]


def ours(config: Config, device: torch.device, args: argparse.Namespace) -> Turn:
    """Steps of this project."""
    images = None if args.synthetic else open_images(config)
    run = build(config, 2 * args.batch, device, World())
    if args.synthetic:
        crops = torch.randint(0, 256, (args.batch, 2, 3, args.size, args.size), dtype=torch.uint8).to(device)
        stream: Iterator[tuple[Tensor, ...]] = iter(lambda: (crops,), None)
    else:
        stream = batches(
            images, config, steps_per_epoch=2, first_step=0, last_step=run.plan.total_steps, world=World()
        )

    def turn(steps: int) -> None:
        for _ in range(steps):
            take_step(run, next(stream))

    return turn


def reference(config: Config, device: torch.device, args: argparse.Namespace) -> Turn:
    """Steps of the same algorithm, the authors' way."""
    torch.manual_seed(0)
    encoder, dim = build_encoder(config.model.arch)
    online = nn.Sequential(encoder, build_projector(dim, config.model)).to(device)
    teacher = copy.deepcopy(online).requires_grad_(False)
    predictor = build_predictor(config.model).to(device)
    trained = [*online.parameters(), *predictor.parameters()]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=1e-5, foreach=False)
    lambda_inv = args.batch * 0.06
    if args.synthetic:
        views = [torch.randn(args.batch, 3, args.size, args.size, device=device) for _ in range(2)]
        stream: Iterator[Any] = iter(lambda: (views, None), None)
    else:
        stream = forever(
            DataLoader(
                ImageFolder(config.data.dir, two_crops(args.size)),
                args.batch,
                shuffle=True,
                drop_last=True,
                num_workers=args.workers,
                pin_memory=device.type == "cuda",
                persistent_workers=args.workers > 0,
            )
        )

    def turn(steps: int) -> None:
        for _ in range(steps):
            x1, x2 = (x.to(device, non_blocking=True) for x in next(stream)[0])
            p1, p2 = predictor(online(x1)), predictor(online(x2))
            with torch.no_grad():
                z1, z2 = teacher(x1), teacher(x2)
            loss = dense_loss(p1, z2, lambda_inv) + dense_loss(p2, z1, lambda_inv)
            loss = -0.5 * loss / len(x1) * lambda_inv
            optimizer.zero_grad(set_to_none=False)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(teacher.parameters(), online.parameters(), strict=True):
                    slow.data = slow.data * 0.996 + fast.data * 0.004
            loss.item()

    return turn


def dense_loss(p: Tensor, z: Tensor, lambda_inv: float, order: int = 4) -> Tensor:
    """The trace of the series with every power formed, differentiated by autograd."""
    c = F.normalize(p, dim=1) @ F.normalize(z, dim=1).T / lambda_inv
    power, total = c, torch.zeros_like(c)
    for k in range(1, order + 1):
        if k > 1:
            power = power @ c
        total = total + power / k if k % 2 else total - power / k
    return torch.trace(total)


def two_crops(size: int) -> Callable[[Image.Image], list[Tensor]]:
    """The two augmentations of BYOL and Barlow Twins on PIL images."""

    # the same as ours at this size, or one side's crops would cost more
    interpolation = InterpolationMode.BICUBIC if size >= BICUBIC_FROM else InterpolationMode.BILINEAR

    def blur(image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0) * size / 224))

    def view(blur_p: float, solarize_p: float) -> transforms.Compose:
        return transforms.Compose(
            [
                transforms.RandomResizedCrop(size, (0.2, 1.0), interpolation=interpolation),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
                transforms.RandomGrayscale(0.2),
                transforms.RandomApply([transforms.Lambda(blur)], blur_p),
                transforms.RandomApply([transforms.Lambda(ImageOps.solarize)], solarize_p),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    first, second = view(1.0, 0.0), view(0.1, 0.2)
    return lambda image: [first(image), second(image)]


def forever(loader: DataLoader[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def write_photographs(folder: Path, number: int, size: int) -> None:
    """JPEGs cut from scikit-image's photographs, 500 x 375 for 224 px views and in proportion for others."""
    from skimage import data

    sources = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in PHOTOGRAPHS]
    width, height = round(size * 500 / 224), round(size * 375 / 224)
    draw = random.Random(0)
    (folder / "photographs").mkdir()
    for i in range(number):
        source = sources[i % len(sources)]
        side = draw.uniform(0.5, 1.0) * min(source.width / 4, source.height / 3)
        x, y = draw.uniform(0, source.width - 4 * side), draw.uniform(0, source.height - 3 * side)
        crop = source.crop((int(x), int(y), int(x + 4 * side), int(y + 3 * side)))
        crop.resize((width, height)).save(folder / "photographs" / f"{i:05}.jpg", quality=90)


def utilisation() -> float:
    """Percent of the last sample in which a kernel ran, as nvidia-smi reports it."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


if __name__ == "__main__":
    main()
