"""Videos with a mask a frame, as DAVIS 2016 and 2017 lay them out.

    <root>/JPEGImages/480p/<sequence>/00000.jpg
    <root>/Annotations/480p/<sequence>/00000.png
    <root>/ImageSets/2017/val.txt     names of sequences (2016: ImageSets/480p/val.txt, paths of frames)

The folder ``480p`` may be absent. A mask holds the number of an object in every pixel: 0 background.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer.data.video_faults import Size, VideoFaults, check_sizes, choose_names, list_frames

VOID = 255  # a pixel of no object that also is no background: not scored
WHITE = (255, 255, 255)
RESOLUTION = "480p"
YEARS = ("2017", "480p", "2016")  # folders of ImageSets, the newer set first


@dataclass(frozen=True)
class MaskSequence:
    """One video; objects are those of its first mask."""

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]  # None: not annotated, which only the first frame must be
    object_ids: tuple[int, ...]
    size: Size  # width, height, pixels


def read_davis(root: Path, split: str = "", names: Sequence[str] = ()) -> list[MaskSequence]:
    """Sequences of DAVIS's layout.

    Args:
        root: holds ``JPEGImages`` and ``Annotations``.
        split: ``val``: the list ``ImageSets/2017/val.txt``, or that of 2016; ``2016/val`` names one of
            them. Empty: every sequence that has frames.
        names: of these only some.

    Raises:
        FileNotFoundError: no such folder or list.
        ValueError: a sequence that is not there; or, together for all sequences: a missing frame, frames
            or masks of different sizes or that cannot be read, a first frame without a mask or whose mask
            shows no object, a mask of a frame that is not there, a frame without a mask where all but it
            have one, or a mask with the number of an object that the first one does not have.
    """
    images_dir, masks_dir = (_resolution(root / kind) for kind in ("JPEGImages", "Annotations"))
    listed = _read_list(root, split) if split else []
    there = sorted(path.name for path in images_dir.iterdir() if path.is_dir())
    faults = VideoFaults()
    chosen = choose_names(images_dir, there, list(names) or listed)
    if listed:
        faults.add_cases(split, "names are not in its list", [name for name in chosen if name not in listed])
    sequences = [_read_sequence(name, images_dir / name, masks_dir / name, faults) for name in chosen]
    faults.raise_found(root)
    return sequences


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Numbers of objects, (H, W): 0 background, :data:`VOID` not scored.

    A mask of one object in black and white, which has 0 and 255, is given as 0 and 1.

    Raises:
        ValueError: not an image, of a kind that holds no numbers, or shades of grey between 0 and 255,
            which are neither numbers nor black and white.
    """
    try:
        with Image.open(path) as image:
            mode, palette = image.mode, image.getpalette()
            ids = np.array(image)
    except Exception as error:  # damaged files make Pillow raise far more types than OSError
        raise ValueError(f"{path}: not a readable mask ({error}); replace or remove it") from error
    if mode not in ("P", "L", "1"):
        raise ValueError(f"{path}: expected a mask with a palette or in grey, found an image of mode {mode}")
    if mode == "1":
        return ids.astype(np.uint8)
    found = ids_of(ids)
    white = mode == "L" or (palette is not None and tuple(palette[3 * VOID :]) == WHITE)
    if not white or VOID not in found:
        return ids
    if found - {0, VOID}:
        raise ValueError(
            f"{path}: expected numbers of objects or 0 and 255 alone, found {sorted(found)[:8]} and so on; "
            "a mask that was scaled or saved as JPEG has such shades"
        )
    binary: NDArray[np.uint8] = (ids == VOID).astype(np.uint8)
    return binary


def ids_of(ids: NDArray[np.uint8]) -> set[int]:
    """The numbers that a mask has; counted, which is faster than sorting them."""
    return set(np.flatnonzero(np.bincount(ids.ravel(), minlength=256)).tolist())


def write_mask(path: Path, ids: NDArray[np.uint8]) -> None:
    """Write a mask (H, W) as a PNG in the colours of DAVIS, under another name first."""
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise ValueError(f"{path}: expected numbers of objects (H, W) uint8, found {ids.shape} {ids.dtype}")
    image = Image.fromarray(ids, mode="L")
    image.putpalette(colours().tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        image.save(temporary, format="PNG")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def colours() -> NDArray[np.uint8]:
    """The 256 colours (256, 3) RGB of DAVIS and PASCAL VOC.

    The bits of a number, from the lowest, go in turn to red, green and blue, to the highest bit there
    first: 1 is dark red, 2 dark green, 4 dark blue, 8 a darker red.
    """
    numbers = np.arange(256)
    table = np.zeros((256, 3), dtype=np.uint8)
    for channel in range(3):
        for step in range(3):
            if (bit := 3 * step + channel) < 8:
                table[:, channel] |= (((numbers >> bit) & 1) << (7 - step)).astype(np.uint8)
    return table


def _resolution(folder: Path) -> Path:
    """The folder of the sequences.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected {folder.name}/{RESOLUTION}/<sequence>")
    return folder / RESOLUTION if (folder / RESOLUTION).is_dir() else folder


def _read_list(root: Path, split: str) -> list[str]:
    year, _, name = split.rpartition("/")
    paths = [root / "ImageSets" / folder / f"{name}.txt" for folder in ((year,) if year else YEARS)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{paths[0]}: no list of the split {split!r}; leave split empty to take all")
    lines = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = [PurePosixPath(line).parent.name or line for line in lines]
    if not names:
        raise ValueError(f"{path}: expected the name of a sequence in each line, found none")
    return list(dict.fromkeys(names))


def _read_sequence(name: str, images_dir: Path, masks_dir: Path, faults: VideoFaults) -> MaskSequence:
    frames = list_frames(images_dir, name, faults)
    size = check_sizes(name, tuple(frames.values()), faults)
    found: dict[int, Path] = {}
    for path in sorted(masks_dir.glob("*.png")) if masks_dir.is_dir() else ():
        if path.stem.isdecimal() and found.setdefault(int(path.stem), path) != path:
            faults.add(name, f"masks {found[int(path.stem)].name} and {path.name} have the same number")
    lost = [path.name for number, path in found.items() if number not in frames]
    faults.add_cases(name, "masks are of frames that are not there", lost)
    masks = tuple(found.get(number) for number in frames)
    if frames and masks[0] is None:
        faults.add(name, f"expected a mask of the first frame in {masks_dir}, found none")
    absent = [path.name for path, mask in zip(frames.values(), masks, strict=True) if mask is None]
    if len(absent) < len(frames) - 1 and masks[0] is not None:  # else only the first one is annotated
        faults.add_cases(name, "frames have no mask", absent)
    object_ids = _check_masks(name, masks, size, faults)
    return MaskSequence(name, tuple(frames.values()), masks, object_ids, size)


def _check_masks(name: str, masks: Sequence[Path | None], size: Size, faults: VideoFaults) -> tuple[int, ...]:
    known: set[int] | None = None
    unreadable, sizes, unknown = [], [], []
    for path in masks:
        if path is None:
            continue
        try:
            ids = read_mask(path)
        except ValueError as error:
            unreadable.append(str(error))
            continue
        if ids.shape != (size[1], size[0]):
            sizes.append(f"{path.name} ({ids.shape[1]}x{ids.shape[0]})")
        found = ids_of(ids) - {0, VOID}
        if known is None:
            known = found
            if not found:
                faults.add(name, f"{path.name}: expected an object in the first mask, found none")
        elif found - known:
            unknown.append(f"{path.name} ({', '.join(map(str, sorted(found - known)))})")
    faults.add_cases(name, "masks cannot be read", unreadable)
    faults.add_cases(name, f"masks are not of the frames' size {size[0]}x{size[1]}", sizes)
    faults.add_cases(name, f"masks have objects that the first, with {sorted(known or ())}, lacks", unknown)
    return tuple(sorted(known or ()))
