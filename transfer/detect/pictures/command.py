"""Look at what a detector predicts: one HTML page of images with true and predicted objects.

    tools/show_detections.py runs/mini/detect                    -> predictions_val/detections.html in it
    tools/show_detections.py runs/voc07 --split test --order random --num-images 48
    tools/show_detections.py runs/coco/predictions_val --min-score 0.3 --out look.html

Takes a run folder of the task detect, or a predictions folder in one: coco_instances_results.json (COCO's
result format) and set.json, which says where images and annotations lie. The page is one file that needs no
network and no server. A prediction is right where it takes a true object of its class at IoU 0.5 of boxes, as
COCO counts; crowd regions and VOC's difficult objects do not count. --order worst and best go by
2 found / (objects + predictions) of an image at --min-score; images with neither come last.

Needs Python 3.10 or newer, pillow, pycocotools, numpy and jinja2. No torch, no detectron2.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transfer.detect.pictures.identity import read_identity
from transfer.detect.pictures.match import Matching, match
from transfer.detect.pictures.page import count, picture, render
from transfer.detect.pictures.read import ImageId, Scene, find_predictions, read_image_ap, read_scene
from transfer.writing import write_text

ORDERS = ("worst", "best", "random", "first")
OUT = "detections.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0 when the page is written, 2 for unusable input."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.num_images < 1:
        parser.error(f"--num-images: expected 1 or more, found {args.num_images}")
    if not 0 <= args.min_score <= 1 or round(args.min_score, 2) != args.min_score:
        parser.error(f"--min-score: expected 0 to 1 in steps of 0.01, found {args.min_score}")
    if args.max_side < 32:
        parser.error(f"--max-side: expected 32 pixels or more, found {args.max_side}")
    try:
        folder = find_predictions(args.folder, args.split)
        page = build(folder, args.num_images, args.order, args.min_score, args.seed, args.max_side)
        out = args.out or folder / OUT
        write_text(out, page)
    except (OSError, ValueError) as error:
        print(f"show_detections: {error}", file=sys.stderr)
        return 2
    print(f"{out} written, {len(page.encode()) / 1e6:.1f} MB")
    return 0


def build(folder: Path, num_images: int, order: str, min_score: float, seed: int, max_side: int) -> str:
    """The page of a predictions folder, as text.

    Raises:
        OSError, ValueError: what cannot be read; the message gives the file and the entry.
    """
    identity = read_identity(folder)
    scene, image_ap = read_scene(folder), read_image_ap(folder)
    if not scene.images:
        raise ValueError(f"{folder}: its set has no images")
    matchings = {key: match(scene.truths[key], scene.predictions[key]) for key in scene.images}
    pictures = []
    for key in choose(scene, matchings, num_images, order, min_score, seed):
        drawn = picture(
            scene.images[key],
            scene.truths[key],
            scene.predictions[key],
            matchings[key],
            scene.classes,
            min_score,
            max_side,
        )
        pictures.append(replace(drawn, ap=image_ap.get(str(key))))
    return render(scene, matchings, pictures, identity, order, min_score)


def choose(
    scene: Scene,
    matchings: Mapping[ImageId, Matching],
    num_images: int,
    order: str,
    min_score: float,
    seed: int,
) -> list[ImageId]:
    """Ids of the images to show, in the order to show them; all where the set has no more."""
    ids = list(scene.images)
    if order == "first":
        return ids[:num_images]
    if order == "random":
        return random.Random(seed).sample(ids, min(num_images, len(ids)))

    def rank(key: ImageId) -> tuple[bool, float, int]:
        counts = count([matchings[key]], [[p.score for p in scene.predictions[key]]], min_score)
        mistakes = counts["missed"] + counts["false"]
        weight = 2 * counts["found"] + mistakes
        quality = 2 * counts["found"] / weight if weight else 0.0
        sign = 1 if order == "worst" else -1
        # Between images of the same quality the one with more to see.
        return not weight, sign * quality, -weight

    return sorted(ids, key=rank)[:num_images]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/show_detections.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="a run of the task detect, or a predictions folder")
    add("--split", help="of a run folder: whose predictions (default: val)")
    add("--out", type=Path, metavar="HTML", help=f"the page (default: {OUT} beside the predictions)")
    add("--num-images", type=int, default=24, metavar="N", help="how many images (default: %(default)s)")
    add("--order", choices=ORDERS, default="worst", help="which images come first (default: %(default)s)")
    add("--min-score", type=float, default=0.5, help="where the page's slider starts (default: %(default)s)")
    add("--seed", type=int, default=0, help="of --order random (default: %(default)s)")
    add(
        "--max-side",
        type=int,
        default=640,
        metavar="PX",
        help="of the embedded images (default: %(default)s)",
    )
    return parser
