"""``detect``: still images with digits, in the layout and JSON of COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from transfer.data.mini.outlines import mask_box, mask_polygons
from transfer.data.mini.sprites import (
    DIGIT_NAMES,
    PHOTOGRAPHS,
    SPLITS,
    Layer,
    draw,
    generator,
    glyphs,
    luminance,
    owners_of,
    paint,
    place,
    random_background,
    random_colour,
    save_png,
    stamp,
)

NUM_IMAGES = {"train": 160, "val": 40}
SIZE = 256  # pixels, both sides
MIN_VISIBLE_PERCENT = 70  # of a digit that others cover
SEED = 20  # parts have different first keys, so that no two share random numbers


def write_scenes(root: Path) -> None:
    """Write ``detect/{train,val}/*.png`` and ``detect/annotations/instances_{train,val}.json``."""
    (root / "detect" / "annotations").mkdir(parents=True)
    for split in SPLITS:
        folder = root / "detect" / split
        folder.mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id in range(1, NUM_IMAGES[split] + 1):
            file_name = f"{image_id:06d}.png"
            images.append(
                {"id": image_id, "file_name": file_name, "width": SIZE, "height": SIZE, "license": 1}
            )
            for annotation in write_scene(folder / file_name, split, image_id):
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
        path = root / "detect" / "annotations" / f"instances_{split}.json"
        path.write_text(
            json.dumps({**coco_header("digit scenes"), "images": images, "annotations": annotations})
        )


def coco_header(description: str) -> dict[str, Any]:
    """The parts of a COCO file that do not depend on images: info, licences, ten categories."""
    return {
        "info": {"description": f"MEC Transfer bundled set: {description}", "version": "1", "year": 2026},
        "licenses": [
            {"id": 1, "name": "digits CC BY 4.0 (UCI); photographs public domain or CC0", "url": ""}
        ],
        "categories": [
            {"id": number, "name": name, "supercategory": "digit"}
            for number, name in enumerate(DIGIT_NAMES, start=1)
        ],
    }


def write_scene(path: Path, split: str, image_id: int) -> list[dict[str, Any]]:
    """Write one image; return its annotations without ``id`` and ``image_id``.

    Boxes, areas and polygons describe the visible pixels, as COCO's do.
    """
    rng = generator(SEED, SPLITS.index(split), image_id)
    photograph = PHOTOGRAPHS[draw(rng, 0, len(PHOTOGRAPHS) - 1)]
    background = random_background(rng, photograph, split, SIZE, SIZE)
    layers: list[Layer] = []
    labels: list[int] = []
    for _ in range(draw(rng, 1, 4)):
        digit = draw(rng, 0, 9)
        choices = glyphs(split, digit)
        glyph = choices[draw(rng, 0, len(choices) - 1)]
        size = draw(rng, 40, 110) * 10 // 8  # the stamp has a frame around the strokes
        alpha = stamp(glyph, size * draw(rng, 80, 110) // 100, size)
        for _attempt in range(20):
            x, y = draw(rng, 0, SIZE - alpha.shape[1]), draw(rng, 0, SIZE - alpha.shape[0])
            layer = place(alpha, (0, 0, 0), x, y, SIZE, SIZE)
            ground = [int(channel) for channel in background[layer.mask].sum(axis=0) // layer.full_area]
            candidates = [*layers, Layer(layer.alpha, random_colour(rng, luminance(ground)), layer.full_area)]
            owners = owners_of(candidates, SIZE, SIZE)
            if all(
                100 * int((owners == number).sum()) >= MIN_VISIBLE_PERCENT * candidate.full_area
                for number, candidate in enumerate(candidates, start=1)
            ):
                layers, labels = candidates, [*labels, digit]
                break  # a digit that finds no place in twenty attempts is left out
    save_png(Image.fromarray(paint(background, layers)), path)
    owners = owners_of(layers, SIZE, SIZE)
    annotations = []
    for number, digit in enumerate(labels, start=1):
        visible = owners == number
        annotations.append(
            {
                "category_id": digit + 1,
                "segmentation": mask_polygons(visible),
                "area": int(visible.sum()),
                "bbox": list(mask_box(visible)),
                "iscrowd": 0,
            }
        )
    return annotations
