"""A digest of what a task reads, so that a result is of the data that it was made from.

What the digest sees: the name of every file below a path, from that path on, and its content. Of a tree of
more than :data:`WHOLE_BYTES` only annotations (:data:`ANNOTATIONS`) are read, up to :data:`ANNOTATION_BYTES`
each; of its images and videos the size counts. A pixel of ImageNet that changes without the file's size is so
not seen; a label, a box, a renamed, added or removed file is.

What it does not see: where the tree lies, when it was written, who may read it, the order in which a file
system lists it, and folders without files. A link counts as what it leads to.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

WHOLE_BYTES = 256_000_000  # a tree up to this is read as a whole: under a second from memory
ANNOTATION_BYTES = 1_000_000_000  # COCO's instances_train2017.json has 449 MB
ANNOTATIONS = (
    *(".json", ".xml", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".ini", ".mat"),
    *(".list", ".names", ".meta"),
)
CHUNK = 1 << 20


def data_sha256(paths: Sequence[Path]) -> str:
    """Digest of files and folders, in the given order.

    One that is not there counts as that, so that data which arrive later change the digest. What is there is
    read once in a process, as long as the file or folder itself keeps its time and size: who plans a grid
    plans one moment of its data. :func:`forget` ends that.

    Raises:
        OSError: a file or folder that cannot be read; the error names it.
    """
    digest = hashlib.sha256()
    for path in paths:
        place = os.path.abspath(path)
        try:
            found = os.stat(place)
        except (FileNotFoundError, NotADirectoryError):
            digest.update(b"absent\n")
            continue
        digest.update(_tree_sha256(place, found.st_ino, found.st_mtime_ns, found.st_size))
    return digest.hexdigest()


def forget() -> None:
    """Read everything anew from here on: for whoever changes data below a folder that was read."""
    _tree_sha256.cache_clear()


@functools.cache
def _tree_sha256(place: str, *_state: int) -> bytes:
    small = _is_small(place)
    digest = hashlib.sha256(b"whole\n" if small else b"annotations\n")
    for name, path, size in _files(place):
        digest.update(f"{len(name)} {size} ".encode() + name)  # lengths first: no two trees write the same
        if size >= 0 and (small or _is_annotation(path, size)):
            digest.update(_content_sha256(path))
    return digest.digest()


def _is_small(place: str) -> bool:
    total = 0
    for _, _, size in _files(place):
        total += max(size, 0)
        if total > WHOLE_BYTES:
            return False
    return True


def _is_annotation(path: str, size: int) -> bool:
    return size <= ANNOTATION_BYTES and path.lower().endswith(ANNOTATIONS)


def _content_sha256(path: str) -> bytes:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            while chunk := handle.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        error.filename = error.filename or path  # an error while reading does not name the file
        raise
    return digest.digest()


def _files(place: str) -> Iterator[tuple[bytes, str, int]]:
    """Each file: its name from ``place`` on, its path and its size; -1 for what has no content to read.

    That is a link that leads nowhere, a pipe, a device. In the order of the names' bytes, folder by folder,
    so that nothing is held of a million files but the names of one folder. A folder that is reached again,
    through a link, is not followed again: a link to a folder above would never end.
    """
    found = os.stat(place)
    if not stat.S_ISDIR(found.st_mode):
        yield b"", place, _size(found)
        return
    seen = {(found.st_dev, found.st_ino): b"."}
    waiting = [(b"", place)]  # folders, the next one last
    while waiting:
        prefix, folder = waiting.pop()
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        inside = []
        for entry in listed:
            name = prefix + os.fsencode(entry.name)
            target = _follow(entry)
            if target is None or not stat.S_ISDIR(target.st_mode):
                yield name, entry.path, _size(target)
                continue
            first = seen.setdefault((target.st_dev, target.st_ino), name)
            if first == name:
                inside.append((name + b"/", entry.path))
            else:
                yield name + b" again " + first, entry.path, -1
        waiting += reversed(inside)


def _follow(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What a name leads to; None for a link that leads nowhere, or to itself."""
    try:
        return entry.stat()
    except OSError as error:
        if entry.is_symlink() and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _size(found: os.stat_result | None) -> int:
    return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else -1
