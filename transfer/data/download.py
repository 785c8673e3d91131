"""Large archives from their official addresses: resumed where a transfer broke off, known by checksum."""

from __future__ import annotations

import hashlib
import shutil
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

TIMEOUT_S = 60.0  # without a byte
SECONDS_BETWEEN_LINES = 10.0
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Archive:
    """A published file.

    The addresses are plain http, as their owners give them: md5 tells a damaged file, not a forged one.
    Without a published md5 (an empty one) only what is in the file can be checked, after it is unpacked.
    """

    name: str
    url: str
    md5: str = ""


def get_archives(
    archives: tuple[Archive, ...], folder: Path, downloaded: bool, dry_run: bool
) -> Iterator[str]:
    """See to it that a folder holds these archives, whole; yields what was done.

    Raises:
        FileNotFoundError: one is missing and may not be downloaded.
        ValueError: a checksum that is not the published one, or a transfer that failed.
    """
    missing = [archive for archive in archives if not (folder / archive.name).is_file()]
    if missing and not downloaded:
        names = ", ".join(archive.name for archive in missing)
        raise FileNotFoundError(f"{folder}: lacks {names}; get them by hand, or by --download")
    for archive in archives:
        path = folder / archive.name
        if dry_run:
            yield f"{path}: " + (f"would be fetched from {archive.url}" if archive in missing else "is there")
        elif archive in missing:
            yield from download(archive, path)
        else:
            check_md5(path, archive)
            yield f"{path}: is " + (
                "the published file" if archive.md5 else "there; has no published checksum"
            )


def download(archive: Archive, path: Path) -> Iterator[str]:
    """Fetch an archive to ``path``; what arrived of it before waits in ``.<name>.part`` and is gone on from.

    Raises:
        ValueError: the server cannot be reached or breaks off (run it again), or another checksum (what
            came is removed).
    """
    if urlsplit(archive.url).scheme not in ("http", "https"):
        raise ValueError(f"{archive.url}: expected http or https")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield from _receive(archive.url, part)
    except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
        raise ValueError(
            f"{archive.url}: cannot be fetched ({error}); run it again to go on, or get the file by hand"
        ) from error
    try:
        check_md5(part, archive)
    except ValueError:
        part.unlink()
        raise
    part.rename(path)
    known = "the published file" if archive.md5 else "without a published checksum"
    yield f"{path}: {path.stat().st_size} bytes from {archive.url}, {known}"


def check_md5(path: Path, archive: Archive) -> None:
    """Raise ValueError for a file that is not the published one; nothing is known where no md5 is."""
    if not archive.md5:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != archive.md5:
        raise ValueError(
            f"{path}: expected md5 {archive.md5} of {archive.name}, found {digest.hexdigest()}; get it again"
        )


def _receive(url: str, part: Path) -> Iterator[str]:
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code == 416 and there:  # nothing is left to send; the checksum decides
            return
        raise
    with answer:
        if answer.status != 206:  # the server sends it from the start
            there = 0
        length = answer.headers.get("Content-Length")
        total = there + int(length) if length else None
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - there > free:
            raise ValueError(f"{part.parent}: {total - there} bytes are to come, {free} are free")
        shown = time.monotonic()
        with part.open("ab" if there else "wb") as handle:
            while block := answer.read(BLOCK):
                there += handle.write(block)
                if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
                    shown = time.monotonic()
                    of = f"{total / 1e6:.0f}" if total else "?"
                    yield f"{url}: {there / 1e6:.0f} of {of} MB"
    if total is not None and there != total:
        raise ValueError(f"{url}: broke off at {there} of {total} bytes; run it again to go on")
