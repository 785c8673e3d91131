"""What laying out COCO and VOC share: whole folders or none, a seeded draw, a check by counts and faults."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from transfer.data.archives import Allowance
from transfer.detect.faults import find_faults
from transfer.detect.sets import Registered
from transfer.findings import ERROR

SUBSET = "subset.json"  # in a folder that holds a part of a set: what was drawn
Wanted = Callable[[PurePosixPath], bool]  # of a path below the folder that is laid out


@dataclass(frozen=True)
class Source:
    """Where a set comes from: archives, or a folder that is laid out already.

    Files are named by their path below ``prefix``: ``VOCdevkit/VOC2007`` in the archives of VOC 2007.
    """

    archives: tuple[Path, ...]
    folder: Path | None = None
    prefix: PurePosixPath = field(default_factory=PurePosixPath)

    def put(self, target: Path, wanted: Wanted) -> None:
        """Write the wanted files below a folder.

        Raises:
            ValueError: a damaged archive, a link or a path that leads out of it, a file that is in two, or a
                bomb.
        """
        if self.folder is not None:
            for parent, _, names in os.walk(self.folder, followlinks=True):  # images often lie elsewhere
                below = PurePosixPath(os.path.relpath(parent, self.folder))
                for name in filter(lambda name: wanted(below / name), names):
                    (target / below).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(os.path.join(parent, name), target / below / name)
        for archive in self.archives:
            try:
                unpack = _unpack_zip if archive.suffix == ".zip" else _unpack_tar
                unpack(archive, self.prefix, target, wanted)
            except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                reason = " ".join(str(error).split())
                raise ValueError(f"{archive}: a damaged archive ({reason}); get it again") from error
            except FileExistsError as error:
                raise ValueError(f"{archive}: holds {error.filename}, which is there already") from error


def _unpack_zip(archive: Path, prefix: PurePosixPath, target: Path, wanted: Wanted) -> None:
    allowance = Allowance(archive)
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            path = None if member.is_dir() else _below(archive, member.filename, prefix)
            if path is not None and wanted(path):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                with members.open(member) as content, (target / path).open("xb") as handle:
                    allowance.copy(content, handle)


def _unpack_tar(archive: Path, prefix: PurePosixPath, target: Path, wanted: Wanted) -> None:
    allowance = Allowance(archive)
    with tarfile.open(archive) as members:
        for member in members:
            path = None if member.isdir() else _below(archive, member.name, prefix)
            if path is not None and wanted(path):
                if not member.isfile():
                    raise ValueError(f"{archive}: refused member {member.name!r}: only plain files")
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                content = members.extractfile(member)
                assert content is not None  # a plain file always has content
                with content, (target / path).open("xb") as handle:
                    allowance.copy(content, handle)


def _below(archive: Path, name: str, prefix: PurePosixPath) -> PurePosixPath | None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{archive}: refused member {name!r}: it would land outside of the folder")
    return path.relative_to(prefix) if path.is_relative_to(prefix) else None


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside ``target`` that gets its name at the end, or is removed on any failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    building.mkdir()
    try:
        yield building
        building.rename(target)
    except (ValueError, FileNotFoundError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(str(error).replace(str(building), str(target))) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def draw(
    classes_of: Mapping[str, Set[str]], needed: Sequence[str], num_images: int, seed: int, where: str
) -> list[str]:
    """Names of images, in their order, that show every needed class; the same for the same seed.

    Args:
        classes_of: the classes of each image that may be drawn.
        needed: each is in an image that is drawn, the rarest ones first.
        num_images: to draw.
        seed: of the order in which images are taken.
        where: opens the error message.

    Raises:
        ValueError: fewer images than asked for, a needed class in none, or too few to show all.
    """
    order = sorted(classes_of, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
    if not 1 <= num_images <= len(order):
        raise ValueError(f"{where}: expected 1 to {len(order)} images to draw, found {num_images}")
    frequency = Counter(label for name in order for label in classes_of[name])
    drawn: set[str] = set()
    shown: set[str] = set()
    for label in sorted(needed, key=lambda label: (frequency[label], label)):
        if not frequency[label]:
            raise ValueError(f"{where}: no image shows {label}")
        if label not in shown:
            name = next(name for name in order if label in classes_of[name])
            drawn.add(name)
            shown |= classes_of[name]
    if len(drawn) > num_images:
        raise ValueError(
            f"{where}: {num_images} images cannot show all {len(needed)} classes; {len(drawn)} can"
        )
    drawn.update([name for name in order if name not in drawn][: num_images - len(drawn)])
    return [name for name in classes_of if name in drawn]


def check_set(images: Registered, training: bool) -> None:
    """Raise ValueError for a set in which a run would find an error; every image is opened."""
    errors = [
        finding for finding in find_faults(images, training, check_images=True) if finding.level == ERROR
    ]
    if errors:
        listed = "".join(f"\n  - {finding}" for finding in errors)
        raise ValueError(f"{images.name}: {len(errors)} kinds of faults:{listed}")
