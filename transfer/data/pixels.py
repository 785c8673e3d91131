"""From an image's file to its pixels, whatever kind of image it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

UNUSUAL = {  # read as RGB, but worth a word
    "CMYK": "are CMYK and are converted to RGB without their colour profile",
    "I;16": "have 16 bits of grey and are divided by 256",
    "RGB;16": "have 16 bits a colour, of which Pillow keeps the upper 8",
}


def kind_of(image: ImageFile.ImageFile) -> str:
    """The mode of an opened image, or a key of UNUSUAL; of its header, so nothing is decoded.

    Raises:
        ValueError: pixels of 32 bits, integer or float: what is white in them nobody wrote down.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of 32 bits ({image.mode}), whose white is unknown; save it with 8 or 16")
    if image.mode.startswith("I;16"):
        return "I;16"
    # A part of an image is codec, extents, offset and arguments, which name how it is stored.
    if image.format != "JPEG" and any(";16" in str(part[3]) for part in image.tile):
        return "RGB;16"
    return image.mode


def decode(path: Path) -> Image.Image:
    """A whole image as 8-bit RGB; alpha and EXIF orientation are ignored, as the field's pipelines do.

    16-bit grey is divided by 256, as pre-training does here: Pillow's own conversion clips it at 255.

    Raises:
        ValueError: it cannot be decoded, or :func:`kind_of` refuses it; names the file.
    """
    try:
        with Image.open(path) as image:
            kind = kind_of(image)
            if kind == "I;16":
                return Image.fromarray((np.asarray(image) // 256).astype(np.uint8)).convert("RGB")
            if kind == "P":  # a palette may hold transparency, which only RGBA can take over
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")
    except Exception as error:  # damaged files make Pillow raise far more types than OSError
        raise ValueError(f"{path}: not a readable image ({error}); replace or remove it") from error
