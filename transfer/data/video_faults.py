"""Faults of video: looked for in all sequences of a set and raised together, before anything is computed."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from transfer.data.pixels import kind_of
from transfer.data.scan import in_threads, reason_of
from transfer.detect.faults_images import check_end

Size = tuple[int, int]  # width, height, pixels
NUM_NAMED = 5  # cases of one fault of one sequence
NUM_LINES = 40  # of a message
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass
class VideoFaults:
    """What was found so far, one line a fault of a sequence."""

    lines: list[str] = field(default_factory=list)

    def add(self, place: object, what: str) -> None:
        """``place: what``; the place is a sequence or a file, ``what`` says expected and found."""
        self.lines.append(f"{place}: {what}")

    def add_cases(self, place: object, what: str, cases: Sequence[object]) -> None:
        """``place: 7 <what>: case, case, ... and 2 more``, or nothing without cases."""
        if cases:
            self.add(place, f"{len(cases)} {what}: {named(cases)}")

    def raise_found(self, where: object) -> None:
        """Raise ValueError with all of them, if there are any."""
        if not self.lines:
            return
        more = len(self.lines) - NUM_LINES
        listed = "".join(f"\n  - {line}" for line in self.lines[:NUM_LINES])
        rest = f"\n  and {more} more" if more > 0 else ""
        raise ValueError(
            f"{where}: {len(self.lines)} faults; correct the files, or leave those sequences out by naming "
            f"the others:{listed}{rest}"
        )


def named(cases: Iterable[object]) -> str:
    """The first cases in words, and how many more there are."""
    words = [str(case) for case in cases]
    more = f" and {len(words) - NUM_NAMED} more" if len(words) > NUM_NAMED else ""
    return ", ".join(words[:NUM_NAMED]) + more


def check_sizes(
    place: object, frames: Sequence[Path], faults: VideoFaults, expected: Size | None = None
) -> Size:
    """Open every frame: it is there, whole, an image, and all are of one size.

    Args:
        place: names the sequence in what is found.
        frames: image files.
        faults: gets what is found.
        expected: width and height that the annotations speak of; None: those that most frames have.

    Returns:
        Width and height; (0, 0) where no frame can be read.
    """
    looked = [pair for chunk in in_threads(_look_at, frames) for pair in chunk]
    faults.add_cases(
        place, "frames are missing", [path.name for path, found in looked if found is FileNotFoundError]
    )
    faults.add_cases(
        place,
        "frames cannot be read",
        [f"{path.name} ({found})" for path, found in looked if isinstance(found, str)],
    )
    sizes = [(path, found) for path, found in looked if isinstance(found, tuple)]
    size = expected or next(iter(Counter(found for _, found in sizes).most_common(1)), ((0, 0), 0))[0]
    others = [f"{path.name} ({found[0]}x{found[1]})" for path, found in sizes if found != size]
    faults.add_cases(place, f"frames are not of the sequence's size {size[0]}x{size[1]}", others)
    return size


def _look_at(paths: Sequence[Path]) -> list[tuple[Path, Size | str | type[FileNotFoundError]]]:
    looked: list[tuple[Path, Size | str | type[FileNotFoundError]]] = []
    for path in paths:
        try:
            with path.open("rb") as handle:
                if not os.fstat(handle.fileno()).st_size:
                    raise ValueError("empty")
                with Image.open(handle) as image:
                    kind_of(image)
                    size = image.size
                    check_end(image, handle)
        except FileNotFoundError:
            looked.append((path, FileNotFoundError))
        except Exception as error:  # damaged files make Pillow raise far more types than OSError
            looked.append((path, reason_of(error)))
        else:
            looked.append((path, size))
    return looked


def list_frames(folder: Path, place: object, faults: VideoFaults) -> dict[int, Path]:
    """The image files of a folder by the number in their names, in order; gaps in the numbering are faults.

    A folder that is not there, or holds no image, gives an empty dict and a fault.
    """
    frames: dict[int, Path] = {}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in FRAME_SUFFIXES or path.name.startswith("."):
                continue
            if not path.stem.isdecimal():
                faults.add(place, f"{path.name}: expected a frame named by its number")
            elif int(path.stem) in frames:
                faults.add(place, f"{path.name} and {frames[int(path.stem)].name} have the same number")
            else:
                frames[int(path.stem)] = path
    if not frames:
        faults.add(place, f"expected frames {folder}/<number>.jpg or .png, found none")
        return {}
    ordered = dict(sorted(frames.items()))
    numbers = list(ordered)
    gaps = [(before + 1, after - 1) for before, after in itertools.pairwise(numbers) if after > before + 1]
    if gaps:  # counted, not listed: a stray 20240101.jpg would make millions
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        spans = (str(first) if first == last else f"{first} to {last}" for first, last in gaps)
        faults.add(place, f"{missing} frames are missing from the numbering: {named(spans)}")
    return ordered


def read_lines(path: Path, place: object, faults: VideoFaults) -> list[str]:
    """The lines of a text file; one that is no text is a fault and has none."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        faults.add(place, f"{path}: not a text file ({error})")
        return []


def choose_names(root: Path, there: Sequence[str], names: Sequence[str]) -> list[str]:
    """The sequences that were asked for (all without names), in the order asked for.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: none is there, one is not there, or one is named twice.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; set root to where the set is")
    if not there:
        raise ValueError(f"{root}: holds no sequence of the expected layout")
    unknown = [name for name in names if name not in set(there)]
    if unknown:
        raise ValueError(f"{root}: has no sequence {named(unknown)}; it has {named(there)}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{root}: sequences named twice: {named(twice)}")
    return list(names or there)
