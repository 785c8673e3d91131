"""Sets for tracking: laid out from their archives or from a folder, whole or not at all, and verified."""

from __future__ import annotations

import argparse
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from transfer.data.archives import Allowance
from transfer.data.detection_folders import whole_folder
from transfer.data.download import get_archives
from transfer.data.prepare_tracking_sets import SETS, TrackingSet

EXAMPLES = """\
examples:
  tools/prepare_data.py {name} --to DIR                          verify DIR/{folder}
  tools/prepare_data.py {name} --from archives --to DIR          lay it out from archives, or from a folder
"""
DOWNLOAD = (
    "  tools/prepare_data.py {name} --download --to DIR               the same, fetched into DIR/archives\n"
)
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
Open = Callable[[], IO[bytes]]


def prepare_tracking(
    name: str,
    target: Path,
    source: Path | None = None,
    downloaded: bool = False,
    dry_run: bool = False,
    sequences: Sequence[str] = (),
    entry: TrackingSet | None = None,
) -> Iterator[str]:
    """Lay a set out below ``target``, or verify it where it is there; yields what was done.

    Args:
        name: a key of ``SETS``.
        target: gets, or has, the set's folder.
        source: an archive, a folder of archives, or a folder that holds the files in any depth; None:
            verify, unless ``downloaded``.
        downloaded: fetch the archives that ``source`` lacks into it; without ``source``, into
            ``target/archives``.
        dry_run: write nothing.
        sequences: only these are laid out or verified; empty: the whole benchmark.
        entry: what the set is; None: as published.

    Raises:
        FileNotFoundError: no such folder, no archive, or a set without an address that is to be downloaded.
        ValueError: a damaged archive, or a set that is not as published: missing sequences, other numbers
            of frames, or any fault of a video. Nothing is left of what was written.
    """
    entry = entry or SETS[name]
    folder = target / entry.folder
    if folder.exists() or not (source or downloaded):
        if source or downloaded:
            yield f"{folder}: is there already"
        yield from entry.verify(folder, sequences)
        return
    if downloaded:
        if not entry.archives:
            raise FileNotFoundError(f"{name}: has no public address; {entry.by_hand}, then give --from DIR")
        source = source or target / "archives"
        wanted = [archive for archive in entry.archives if entry.is_of(archive, sequences)]
        yield from get_archives(tuple(wanted), source, downloaded, dry_run)
    assert source is not None  # else it was verified above
    if not source.exists() and not dry_run:
        raise FileNotFoundError(f"{source}: not found; {entry.by_hand}")
    if dry_run:
        yield f"{folder}: would be written from {source}"
        return
    with whole_folder(folder) as building:
        count = _put(entry, source, building, set(sequences))
        if not count:
            raise FileNotFoundError(f"{source}: holds no file of {name}; expected {entry.expected}")
        lines = list(entry.verify(building, sequences))
    yield f"{folder}: {count} files from {source}"
    yield from (line.replace(str(building), str(folder)) for line in lines)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """A command for each set, with what :func:`from_options` needs."""
    for name, entry in SETS.items():
        example = EXAMPLES + (DOWNLOAD if entry.archives else "")
        command = commands.add_parser(
            name,
            help=f"lay out {entry.title} for tracking, or verify it",
            epilog=f"expects {entry.expected}, in any depth.\n\n"
            + example.format(name=name, folder=entry.folder),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument(
            "--from",
            dest="source",
            type=Path,
            metavar="DIR",
            help="an archive, a folder of them, or of files",
        )
        command.add_argument("--to", type=Path, required=True, metavar="DIR", help="gets, or has, the layout")
        command.add_argument("--sequences", default="", metavar="A,B", help="only these of the benchmark")
        if entry.archives:
            command.add_argument(
                "--download", action="store_true", help="fetch the archives that are missing"
            )
        if entry.check_given:
            command.add_argument(
                "--detections", type=Path, metavar="DIR", help="check a detector's output, which lies there"
            )
        command.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        command.set_defaults(download=False, detections=None)


def from_options(options: argparse.Namespace) -> Iterator[str]:
    """What the command line of a set asks for."""
    sequences = [name.strip() for name in options.sequences.split(",") if name.strip()]
    yield from prepare_tracking(
        options.command, options.to, options.source, options.download, options.dry_run, sequences
    )
    entry = SETS[options.command]
    if options.detections and entry.check_given and not options.dry_run:
        yield entry.check_given(options.to / entry.folder, options.detections, sequences)


def _put(entry: TrackingSet, source: Path, target: Path, sequences: set[str]) -> int:
    """Write the files of a set, and give their number."""
    count = 0
    for place in _archives_of(source) or [source]:
        allowance = Allowance(place)
        with _members(place) as members:
            for inner, opened in members:
                placed = entry.place(inner)
                if placed is None or _is_hidden(inner) or not entry.is_wanted(placed, sequences):
                    continue
                path = target / placed
                if path.exists():
                    raise ValueError(f"{place}: holds {inner}, and {placed} is there already")
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(opened, Path):
                    _link(opened, path)
                else:
                    with opened() as content, path.open("xb") as handle:
                        allowance.copy(content, handle)
                count += 1
    return count


def _archives_of(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(path for path in source.iterdir() if path.name.lower().endswith(SUFFIXES))


def _is_hidden(path: PurePosixPath) -> bool:
    """Whether it is of those that macOS puts into archives beside the real ones."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _link(source: Path, path: Path) -> None:
    """The same file under a second name where the disk can, else a copy."""
    try:
        os.link(source.resolve(), path)
    except OSError:
        shutil.copyfile(source, path)


@contextmanager
def _members(place: Path) -> Iterator[Iterator[tuple[PurePosixPath, Open | Path]]]:
    """The files of an archive or of a folder, with their paths inside of it.

    Raises:
        ValueError: a damaged archive, or one with a path that leads out of it.
    """
    try:
        if place.is_dir():
            yield _of_folder(place)
        elif place.suffix.lower() == ".zip":
            with zipfile.ZipFile(place) as archive:
                yield _of_zip(place, archive)
        else:
            with tarfile.open(place) as archive_tar:
                yield _of_tar(place, archive_tar)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{place}: a damaged archive ({reason}); get it again") from error
    except RuntimeError as error:  # zipfile's, of a password or a compression that it does not know
        raise ValueError(f"{place}: cannot be unpacked ({error}); unpack it and give the folder") from error


def _of_folder(place: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    for parent, _, names in os.walk(place, followlinks=True):  # images often lie elsewhere
        below = PurePosixPath(os.path.relpath(parent, place))
        for name in names:
            yield below / name, Path(parent) / name


def _of_zip(place: Path, archive: zipfile.ZipFile) -> Iterator[tuple[PurePosixPath, Open]]:
    for member in archive.infolist():
        if not member.is_dir():
            yield _safe(place, member.filename), lambda member=member: archive.open(member)  # type: ignore[misc]


def _of_tar(place: Path, archive: tarfile.TarFile) -> Iterator[tuple[PurePosixPath, Open]]:
    for member in archive:
        if member.isdir():
            continue
        if not member.isfile():
            raise ValueError(f"{place}: refused member {member.name!r}: only plain files")
        content = archive.extractfile(member)
        assert content is not None  # a plain file always has content
        yield _safe(place, member.name), lambda content=content: content  # type: ignore[misc]


def _safe(place: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{place}: refused member {name!r}: it would land outside of the folder")
    return path
