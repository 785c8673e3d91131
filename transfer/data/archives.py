"""Archives of image folders, unpacked once and known by the digest of what they came from."""

from __future__ import annotations

import os
import secrets
import shutil
import tarfile
import zlib
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from transfer.backbone.checkpoint import file_sha256

ARCHIVE_MARK = ".archive-sha256"  # in an unpacked folder: the digest of the archive it came from
MAX_GROWTH = 100  # times an archive's size, of what is in it; images hardly grow, texts tenfold
ALWAYS = 64 << 20  # bytes that even a small archive may hold
BLOCK = 1 << 20  # bytes


class Allowance:
    """How much may still come out of an archive: a bomb must end before the disk is full."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.left = ALWAYS + MAX_GROWTH * archive.stat().st_size

    def copy(self, content: IO[bytes], handle: IO[bytes]) -> None:
        """Copy one member.

        Raises:
            ValueError: all members together are larger than any archive of data is.
        """
        while block := content.read(BLOCK):
            self.left -= len(block)
            if self.left < 0:
                raise ValueError(
                    f"{self.archive}: refused, it unpacks to over {MAX_GROWTH} times its size; unpack it "
                    "by hand if you trust it"
                )
            handle.write(block)


def extract_once(archive: Path, target_dir: Path) -> None:
    """Unpack a ``.tar.gz`` into ``target_dir``, which is complete or absent; later calls return at once.

    Raises:
        FileNotFoundError: no such archive; it is read each time, to know that the folder came from it.
        ValueError: no archive, or one that is cut off or damaged; a member that is no plain file or folder,
            or that would land outside ``target_dir``; or a ``target_dir`` that was not unpacked from this
            archive.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"{archive}: no such archive; set archive, or archive='' and data_dir")
    digest = file_sha256(archive)
    if target_dir.exists():
        _check_unpacked(archive, digest, target_dir)
        return
    target_dir.parent.mkdir(parents=True, exist_ok=True)
    # Machines that share a disk may have equal process numbers.
    temporary = target_dir.with_name(f".{target_dir.name}.{os.getpid()}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        _extract_all(archive, temporary)
        (temporary / ARCHIVE_MARK).write_text(digest + "\n")
        try:
            temporary.rename(target_dir)
        except OSError:  # another process was faster: what it made must be the same
            if not target_dir.exists():
                raise
            _check_unpacked(archive, digest, target_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_unpacked(archive: Path, digest: str, target_dir: Path) -> None:
    mark = target_dir / ARCHIVE_MARK
    found = mark.read_text().strip() if mark.is_file() else "no mark"
    if found != digest:
        raise ValueError(
            f"{target_dir}: exists, but was not unpacked from {archive} (expected {digest[:12]} in "
            f"{ARCHIVE_MARK}, found {found[:12]}); remove the folder, or set archive='' to use it as it is"
        )


def _extract_all(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as members:
            allowance = Allowance(archive)
            for member in members:
                _extract_member(members, member, folder, allowance)
            _check_end(members)
    except (tarfile.TarError, EOFError, BadGzipFile, zlib.error, LZMAError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{archive}: not an archive, or a damaged one ({reason}); get it again") from error


def _check_end(members: tarfile.TarFile) -> None:
    """A header that tarfile cannot read ends its members as an end does; read on, which checks gzip's sum."""
    stream = members.fileobj
    assert stream is not None  # it is open
    stream.seek(members.offset)
    if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"bad header at byte {members.offset}")
    while stream.read(1 << 20):
        pass


def _extract_member(
    members: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, allowance: Allowance
) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise ValueError(
            f"{allowance.archive}: refused member {member.name!r}: only plain files and folders inside it"
        )
    path = folder / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = members.extractfile(member)
    assert content is not None  # a plain file always has content
    with content, path.open("xb") as handle:
        allowance.copy(content, handle)
