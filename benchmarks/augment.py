#!/usr/bin/env python3
"""From a decoded photograph to normalised views: ours against the usual PIL pipeline, one thread.

The reference is what SimSiam, Barlow Twins and MEC's released code do to each image: torchvision's
transforms on PIL images, with Pillow's own Gaussian blur (--blur torchvision: torchvision's, which is several
times slower). Both sides draw from the same distributions; statistics of their views are printed with
their difference in standard errors. Pillow rounds down to whole grey levels after each colour operation, so
its views are about one of 255 grey levels darker, which enough draws show; the tests compare with
torchvision's transforms on float tensors. Decoding is measured apart, from JPEG to an image's two crops.

Times are processor time of this thread, medians over rounds in which the two sides take turns. The last
line is the smallest ratio from a decoded image; --require N makes a smaller one exit status 1.

    OMP_NUM_THREADS=1 python benchmarks/augment.py
    OMP_NUM_THREADS=1 python benchmarks/augment.py --sizes 64 --rounds 3 --draws 480
"""

from __future__ import annotations

import argparse
import io
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import PIL
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pretrain.config import ViewsConfig
from pretrain.images import BICUBIC_FROM, Folder, Sample, UnlabelledImages, crop, draw_boxes
from pretrain.views import BLUR_SIGMA, MEAN, STD, apply, draw, mix

Side = Callable[[int], Tensor]  # the views of every image in one round

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")  # of scikit-image; scikit-learn has two more


def write_jpegs(folder: Path, size: tuple[int, int], copies: int) -> Path:
    """Six photographs that scikit-image and scikit-learn ship, each ``copies`` times."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    folder.mkdir()
    photographs = [*(getattr(data, name)() for name in PHOTOGRAPHS), *load_sample_images().images]
    for i, photograph in enumerate(photographs):
        image = Image.fromarray(photograph).resize(size, Image.Resampling.BICUBIC)
        for copy in range(copies):
            image.save(folder / f"{copy}-{i}.jpg", quality=90)
    return folder


class PillowBlur:
    """Pillow's Gaussian blur as in the released code of SimSiam and MEC, sigma scaled like ours."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, image: Image.Image) -> Image.Image:
        sigma = self.scale * float(torch.empty(1).uniform_(*BLUR_SIGMA))
        return image.filter(ImageFilter.GaussianBlur(sigma))


def pil_crop(config: ViewsConfig) -> Callable[[Image.Image], Image.Image]:
    """The usual crop, interpolated as ours is."""
    bicubic = config.size >= BICUBIC_FROM
    random_crop: Callable[[Image.Image], Image.Image] = transforms.RandomResizedCrop(
        config.size,
        config.crop_scale,
        interpolation=InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR,
    )
    return random_crop


def pil_side(images: Sequence[Image.Image], config: ViewsConfig, view: int, blur: str = "pillow") -> Side:
    """The usual transforms, one view of every decoded image in each round."""
    scale = config.size / 224
    kernel = 2 * max(1, round(11 * scale)) + 1
    blurs = {
        "pillow": PillowBlur(scale),
        "torchvision": transforms.GaussianBlur(kernel, [scale * sigma for sigma in BLUR_SIGMA]),
    }
    pipeline = transforms.Compose(
        [
            pil_crop(config),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(*config.jitter)], config.jitter_p),
            transforms.RandomGrayscale(config.gray_p),
            transforms.RandomApply([blurs[blur]], config.blur_p[view]),
            transforms.RandomApply([ImageOps.solarize], config.solarize_p[view]),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return lambda i: torch.stack([pipeline(image) for image in images])


def own_side(images: Sequence[Tensor], config: ViewsConfig, view: int) -> Side:
    """Ours: crops as the loader makes them, the rest as the training step does."""

    def views(i: int) -> Tensor:
        crops = []
        for j, image in enumerate(images):
            box = draw_boxes(image.shape[2], image.shape[1], config, mix(i, view, j))[view]
            crops.append(crop(image, box, config.size))
        return apply(torch.stack(crops), draw(config, config.size, view, mix(i, view), len(crops)))

    return views


def decode_pil(source: Folder, config: ViewsConfig) -> Callable[[int], object]:
    """Decode each JPEG and crop it twice, as the usual two-crop data set does."""
    random_crop = pil_crop(config)

    def crops(i: int) -> None:
        for index in range(len(source)):
            image = Image.open(io.BytesIO(source.read(index))).convert("RGB")
            random_crop(image), random_crop(image)

    return crops


def decode_own(source: Folder, config: ViewsConfig) -> Callable[[int], object]:
    """The same by our data set."""
    images = UnlabelledImages(source, config)
    return lambda i: [images[Sample(index, mix(i, index))] for index in range(len(source))]


def measure(sides: Sequence[Callable[[int], object]], rounds: int) -> list[float]:
    """Median processor seconds of each side; the sides take turns."""
    seconds: list[list[float]] = [[] for _ in sides]
    for i in range(rounds + 1):  # the first round warms up
        for side, record in zip(sides, seconds, strict=True):
            start = time.process_time()
            side(i)
            record.append(time.process_time() - start)
    return [statistics.median(record[1:]) for record in seconds]


def view_statistics(views: Tensor) -> dict[str, Tensor]:
    """What is compared: one number for each view ``(B,)``, of pixels in 0..1."""
    mean, std = (torch.tensor(c).view(3, 1, 1) for c in (MEAN, STD))
    x = (255 * (views * std + mean)).round() / 255  # PIL's are whole grey levels, and rounding sharpens
    chroma = x.amax(1) - x.amin(1)
    detail = sum(x.diff(n=2, dim=dim).abs().mean((1, 2, 3)) for dim in (2, 3))
    probabilities = (0.1, 0.5, 0.9)
    quantiles = x.flatten(1).quantile(torch.tensor(probabilities), dim=1)
    return {
        **{f"mean of {name}": x[:, i].mean((1, 2)) for i, name in enumerate("RGB")},
        **{f"std of {name}": x[:, i].std((1, 2)) for i, name in enumerate("RGB")},
        **{f"quantile {p}": values for p, values in zip(probabilities, quantiles, strict=True)},
        "chroma": chroma.mean((1, 2)),
        "fraction gray": (chroma.amax((1, 2)) < 1.5 / 255).float(),
        "fraction dark": (x.amax((1, 2, 3)) < 0.55).float(),  # the solarised ones among them
        "sharpness": detail / x.std((1, 2, 3)).clamp_min(1e-3),
    }


def collect(side: Side, rounds: int) -> dict[str, Tensor]:
    """The statistics of every view, ``(rounds, images)`` each."""
    drawn = [view_statistics(side(i)) for i in range(rounds)]
    return {name: torch.stack([views[name] for views in drawn]) for name in drawn[0]}


def compare(theirs: dict[str, Tensor], own: dict[str, Tensor]) -> list[tuple[str, float, float, float]]:
    """Name, both means, and how many standard errors they are apart.

    Both sides see the same images in every round, so the spread is that of an image's draws.
    """
    rows = []
    for name, a in theirs.items():
        b = own[name]
        error = float((a.var(0).mean() / a.numel() + b.var(0).mean() / b.numel()).sqrt())
        rows.append((name, float(a.mean()), float(b.mean()), float(b.mean() - a.mean()) / max(error, 1e-9)))
    return rows


def print_ratio(name: str, seconds: Sequence[float], count: int) -> float:
    """One line of the table; its ratio."""
    theirs, own = seconds
    print(f"  {name:53} {1e3 * theirs / count:8.3f} {1e3 * own / count:8.3f} {theirs / own:8.2f}")
    return theirs / own


def print_statistics(name: str, rows: Sequence[tuple[str, float, float, float]]) -> None:
    """The statistics of one view on both sides."""
    print(f"  {f'{name}, means over views':53} {'PIL':>8} {'ours':>8}   standard errors apart")
    for statistic, theirs, own, errors in rows:
        print(f"    {statistic:51} {theirs:8.4f} {own:8.4f} {errors:8.2f}")


def main() -> int:
    """Print the tables; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224], help="view sizes in pixels")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds of 48 views of each side")
    parser.add_argument("--draws", type=int, default=1536, help="views of each side for the statistics")
    parser.add_argument("--blur", choices=("pillow", "torchvision"), default="pillow", help="the reference's")
    parser.add_argument("--require", type=float, default=0.0, help="exit status 1 below this ratio")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, one thread, torch {torch.__version__}, Pillow {PIL.__version__}")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        photos = Folder(write_jpegs(Path(folder, "usual"), (500, 375), copies=8))
        large = Folder(write_jpegs(Path(folder, "large"), (2048, 1536), copies=1))
        pil = [Image.open(io.BytesIO(photos.read(i))).convert("RGB") for i in range(len(photos))]
        own = [pil_to_tensor(image) for image in pil]
        for size in arguments.sizes:
            config = ViewsConfig(size=size)
            sides = [
                (pil_side(pil, config, view, arguments.blur), own_side(own, config, view)) for view in (0, 1)
            ]
            print(f"\n{size} px, milliseconds a view or an image {'PIL':>22} {'ours':>8} {'ratio':>8}")
            seconds = [measure(pair, arguments.rounds) for pair in sides]
            seconds.append([sum(side) / 2 for side in zip(*seconds, strict=True)])
            names = ("view 1 (blur 1.0)", "view 2 (blur 0.1, solarize 0.2)", "both views")
            for name, row in zip(names, seconds, strict=True):
                ratios.append(print_ratio(f"{name} from decoded 500x375", row, len(pil)))
            for source, name in ((photos, "500x375"), (large, "2048x1536")):
                decoders = [decode_pil(source, config), decode_own(source, config)]
                row = measure(decoders, arguments.rounds)
                print_ratio(f"two crops from a JPEG of {name}", row, len(source))
            for view, pair in enumerate(sides):
                drawn = [collect(side, -(-arguments.draws // len(pil))) for side in pair]
                print_statistics(f"view {view + 1}", compare(*drawn))
    print(f"\nsmallest ratio from a decoded image: {min(ratios):.2f} x")
    return int(min(ratios) < arguments.require)


if __name__ == "__main__":
    sys.exit(main())
