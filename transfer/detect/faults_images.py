"""Faults of image files: missing, damaged, or not of the size that the annotations say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, NamedTuple

from PIL import Image, ImageFile

from transfer.data.pixels import kind_of
from transfer.data.scan import in_threads, reason_of
from transfer.detect.cases import Cases

ORIENTATION = 274  # EXIF's tag; 5 to 8 exchange height and width
ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}  # of a whole file


class Entry(NamedTuple):
    """One image of a set as its annotations have it."""

    path: str
    size: tuple[float, float] | None  # width, height, pixels; None where they could not be read


def check_images(entries: Sequence[Entry], opened: bool, cases: Cases) -> None:
    """Add the cases of files that are not there and, where they are opened, of those that are unfit."""
    for found in in_threads(lambda chunk: _look_at(chunk, opened), entries):
        cases.extend(found)


def _look_at(entries: Sequence[Entry], opened: bool) -> Cases:
    cases = Cases()
    for path, size in entries:
        if not opened:
            if not os.path.isfile(path):
                cases.add("missing-image", "%s", path)
            continue
        try:
            with open(path, "rb") as handle:
                if not os.fstat(handle.fileno()).st_size:
                    raise ValueError("empty")
                with Image.open(handle) as image:
                    kind_of(image)
                    found = _size_in_use(image)
                    check_end(image, handle)
        except FileNotFoundError:
            cases.add("missing-image", "%s", path)
        except Exception as error:  # damaged files make Pillow raise far more types than OSError
            cases.add("unreadable-image", "%s: %s", path, reason_of(error))
        else:
            if size is not None and found != size:
                cases.add("image-size", "%s of %d x %d, not %g x %g", path, *found, *size)
    return cases


def _size_in_use(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Width and height as detectron2 reads the image: turned by its EXIF orientation."""
    width, height = image.size
    if image.format not in ("JPEG", "MPO") and "exif" not in image.info:
        return width, height  # Pillow would decode a PNG to look for it
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # an EXIF part that cannot be read is passed over, as detectron2 does
        orientation = None
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def check_end(image: ImageFile.ImageFile, handle: IO[bytes]) -> None:
    """Raise what decoding raises, unless the file ends as one of its format does."""
    end = ENDS.get(image.format or "")
    if end is not None:
        position = handle.tell()
        handle.seek(-len(end), os.SEEK_END)
        whole = handle.read() == end
        handle.seek(position)
        if whole:
            return
    image.load()
