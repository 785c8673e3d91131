"""``sot`` in the layout of OTB and ``davis`` in the layout of DAVIS: digits tracked by box and by mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from transfer.data.mini.motion import Camera, Mover, inside_path, random_camera, random_mover
from transfer.data.mini.outlines import mask_box
from transfer.data.mini.sprites import SPLITS, Layer, generator, owners_of, paint, save_png

WIDTH, HEIGHT = 240, 180
SOT_SEQUENCES = {  # name -> photograph behind it
    "train": {
        "Digit1": "ihc",
        "Digit2": "motorcycle_left",
        "Digit3": "brick",
        "Digit4": "astronaut",
        "Digit5": "moon",
        "Digit6": "coffee",
    },
    "val": {"Digit7": "chelsea", "Digit8": "gravel", "Digit9": "grass"},
}
SOT_NUM_FRAMES, SOT_STAMP_SIZES = 30, (44, 84)
VOS_SEQUENCES = {
    "train": {"digits-a": "astronaut", "digits-b": "coffee"},
    "val": {"digits-c": "gravel", "digits-d": "motorcycle_left"},
}
VOS_NUM_FRAMES, VOS_STAMP_SIZES = 12, (64, 104)
PAN = 40  # pixels in the whole video
SOT_SEED, VOS_SEED = 22, 23


def write_sot(root: Path) -> None:
    """Write ``sot/<sequence>/{img/0001.png,...,groundtruth_rect.txt}`` and ``sot/{train,val}.txt``.

    One digit is the target, two others distract, one of them in front of it. Boxes are
    ``x,y,width,height`` of the whole target, with x and y from 1 as in OTB.
    """
    for number, split in enumerate(SPLITS):
        for index, (name, photograph) in enumerate(SOT_SEQUENCES[split].items()):
            folder = root / "sot" / name
            (folder / "img").mkdir(parents=True)
            rng = generator(SOT_SEED, number, index)
            camera = random_camera(rng, photograph, split, WIDTH, HEIGHT, SOT_NUM_FRAMES, PAN)
            movers = _visible_movers(rng, split, camera, SOT_STAMP_SIZES, 3, must_see=(1,))
            lines = []
            for frame in range(SOT_NUM_FRAMES):
                layers = _layers(movers, frame)
                image = paint(camera.view(frame), layers)
                save_png(Image.fromarray(image), folder / "img" / f"{frame + 1:04d}.png")
                x, y, width, height = mask_box(layers[1].mask)
                lines.append(f"{x + 1},{y + 1},{width},{height}")
            (folder / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
        (root / "sot" / f"{split}.txt").write_text("\n".join(SOT_SEQUENCES[split]) + "\n")


def write_davis(root: Path) -> None:
    """Write ``davis/{JPEGImages,Annotations}/480p/<sequence>/00000.png`` and ``davis/ImageSets/2017``.

    Masks are palette images whose index is the object, from 1; 0 is the background. Frames are PNG
    (not JPEG as in DAVIS), because encoders of JPEG differ.
    """
    lists = root / "davis" / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    for number, split in enumerate(SPLITS):
        for index, (name, photograph) in enumerate(VOS_SEQUENCES[split].items()):
            image_dir = root / "davis" / "JPEGImages" / "480p" / name
            mask_dir = root / "davis" / "Annotations" / "480p" / name
            image_dir.mkdir(parents=True)
            mask_dir.mkdir(parents=True)
            rng = generator(VOS_SEED, number, index)
            camera = random_camera(rng, photograph, split, WIDTH, HEIGHT, VOS_NUM_FRAMES, PAN // 2)
            num_objects = index + 2
            must_see = tuple(range(num_objects))
            movers = _visible_movers(rng, split, camera, VOS_STAMP_SIZES, num_objects, must_see)
            for frame in range(VOS_NUM_FRAMES):
                layers = _layers(movers, frame)
                image, owners = paint(camera.view(frame), layers), owners_of(layers, HEIGHT, WIDTH)
                save_png(Image.fromarray(image), image_dir / f"{frame:05d}.png")
                mask = Image.fromarray(owners.astype(np.uint8))
                mask.putpalette(_palette())
                save_png(mask, mask_dir / f"{frame:05d}.png")
        (lists / f"{split}.txt").write_text("\n".join(VOS_SEQUENCES[split]) + "\n")


def _visible_movers(
    rng: np.random.Generator,
    split: str,
    camera: Camera,
    sizes: tuple[int, int],
    num_movers: int,
    must_see: tuple[int, ...],
) -> list[Mover]:
    """Digits on paths inside the image; those of ``must_see`` are never covered by half."""
    while True:
        movers = [
            random_mover(
                rng,
                split,
                camera.ground,
                sizes,
                inside_path(rng, WIDTH, HEIGHT, sizes[1] * 11 // 20 + 1),
                (0, camera.num_frames - 1),
            )
            for _ in range(num_movers)
        ]
        if all(_seen(movers, frame, must_see) for frame in range(camera.num_frames)):
            return movers


def _seen(movers: list[Mover], frame: int, must_see: tuple[int, ...]) -> bool:
    layers = _layers(movers, frame)
    owners = owners_of(layers, HEIGHT, WIDTH)
    return all(2 * int((owners == index + 1).sum()) > layers[index].full_area for index in must_see)


def _layers(movers: list[Mover], frame: int) -> list[Layer]:
    return [layer for mover in movers if (layer := mover.layer(frame, WIDTH, HEIGHT))]


def _palette() -> list[int]:
    """The colours of PASCAL VOC and DAVIS: bits of the index spread over the channels' high bits."""
    colours = []
    for index in range(256):
        for channel in range(3):
            colours.append(sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)))
    return colours
