"""Files that are damaged, packed to mislead, or no checkpoint at all."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hostile import Case, mapping, number, program, text, write_zip
from torch import nn

PICKLE = program(mapping(text("epoch"), number(3)))
NUM_TRUNCATIONS, NUM_FLIPS = 7, 14  # of each container


def truncation_cases(whole: dict[str, Path]) -> list[Case]:
    """Each container cut at random places, most of them near its beginning, where the structure is."""

    def case(kind: str, path: Path, keep: int) -> Case:
        def write(folder: Path) -> Path:
            cut = folder / path.name
            with path.open("rb") as handle:
                cut.write_bytes(handle.read(keep))
            return cut

        return Case(f"{kind} cut after {keep} bytes", write)

    found = []
    for kind, path in whole.items():
        draw, size = random.Random(kind), path.stat().st_size
        places = [size - 1, *(int(size ** draw.uniform(0.1, 1)) for _ in range(NUM_TRUNCATIONS - 1))]
        found += [case(kind, path, keep) for keep in places]
    return found


def flip(path: Path, folder: Path, place: int, bit: int) -> Path:
    """A copy with one bit changed."""
    copy = folder / path.name
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    copy.write_bytes(content)
    return copy


def flip_cases(whole: dict[str, Path]) -> list[Case]:
    """One bit changed where it must be noticed: any data of a zip, the structure of safetensors."""
    found = []
    for kind, path in whole.items():
        draw = random.Random(kind)
        places = checked_bytes(path)
        for number_of_bit in draw.sample(range(8 * len(places)), NUM_FLIPS):
            place, bit = places[number_of_bit // 8], number_of_bit % 8
            write: Callable[[Path], Path] = lambda folder, path=path, place=place, bit=bit: flip(  # noqa: E731
                path, folder, place, bit
            )
            found.append(Case(f"{kind} with bit {bit} of byte {place} changed", write))
    return found


def checked_bytes(path: Path) -> range:
    """Bytes whose change cannot mean the same: a zip's largest entry, a safetensors header's length."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        return range(largest.header_offset + 512, largest.header_offset + largest.file_size)
    return range(0, 8)


def structure_bytes(path: Path) -> list[int]:
    """Places of a file that are no tensor's data: names, shapes, headers, tables."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        return list(range(8 + int.from_bytes(content[:8], "little")))
    texts = re.finditer(rb"[ -~]{16,}", content)  # so long a text is next to never in the data
    spans = [range(max(0, text.start() - 16), min(len(content), text.end() + 16)) for text in texts]
    return sorted({place for span in spans for place in span})


def zip_cases() -> list[Case]:
    """Archives that are not what torch.save writes."""
    good = {"archive/data.pkl": PICKLE}
    cases: dict[str, tuple[Callable[[Path], Path], str]] = {
        "an archive without data.pkl": (
            lambda p: write_zip(p, {"readme.txt": b"x"}, version=False),
            "PyTorch's",
        ),
        "an entry above the archive": (lambda p: write_zip(p, good | {"../../escaped": b"x"}), "outside"),
        "an absolute entry": (lambda p: write_zip(p, good | {"/tmp/escaped": b"x"}), "outside"),
        "an entry above it by backslashes": (lambda p: write_zip(p, good | {"..\\escaped": b"x"}), "outside"),
        "an entry on a drive": (lambda p: write_zip(p, good | {"C:\\escaped": b"x"}), "outside"),
        "a deflated bomb": (lambda p: write_zip(p, good | {"archive/data/0": bytes(1 << 26)}, 8), "unpack"),
        "a bzip2 bomb": (lambda p: write_zip(p, good | {"archive/data/0": bytes(1 << 26)}, 12), "unpack"),
        "a nested archive": (lambda p: write_zip(p, {"inner.zip": nested()}, version=False), "PyTorch's"),
        "a nested archive called data.pkl": (lambda p: write_zip(p, {"archive/data.pkl": nested()}), ""),
        "overlapping entries": (lambda p: patched(p, overlap), "unpack|damaged"),
        "an encrypted entry": (lambda p: patched(p, encrypt), "encrypted|password"),
        "two entries of one name": (twice, "twice"),
        "two data.pkl": (lambda p: write_zip(p, good | {"other/data.pkl": PICKLE}), ""),
        "an unknown compression": (lambda p: patched(p, unknown_method), ""),
        "a huge size": (lambda p: patched(p, huge_size), "unpack|damaged"),
        "an offset beyond the file": (lambda p: patched(p, far_offset), ""),
        "no entries": (lambda p: empty_archive(p), ""),
        "an empty data.pkl": (lambda p: write_zip(p, {"archive/data.pkl": b""}), "truncated or damaged"),
        "an unknown byte order": (byte_order, ""),
        "a TorchScript program": (script, "TorchScript"),
        "npz": (lambda p: npz(p), "PyTorch's"),
        "a script before the archive": (behind_script, "not a checkpoint"),
    }

    def case(label: str, write: Callable[[Path], Path], says: str) -> Case:
        return Case(f"zip: {label}", lambda folder: write(folder / "input.pth"), says)

    return [case(label, write, says) for label, (write, says) in cases.items()]


def nested() -> bytes:
    """A zip bomb to lie inside another."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 24))
    return buffer.getvalue()


def patched(path: Path, change: Callable[[bytearray, int], None]) -> Path:
    """A good archive whose last entry in the central directory, at the given place, was changed."""
    write_zip(path, {"archive/data.pkl": PICKLE, "archive/data/0": bytes(4096)})
    content = bytearray(path.read_bytes())
    change(content, content.rindex(b"PK\x01\x02"))
    path.write_bytes(content)
    return path


def overlap(content: bytearray, place: int) -> None:
    """The last entry begins where the first does."""
    content[place + 42 : place + 46] = bytes(4)


def encrypt(content: bytearray, place: int) -> None:
    content[place + 8] |= 1


def unknown_method(content: bytearray, place: int) -> None:
    content[place + 10] = 77


def huge_size(content: bytearray, place: int) -> None:
    content[place + 20 : place + 28] = b"\xfe" * 8


def far_offset(content: bytearray, place: int) -> None:
    content[place + 42 : place + 46] = b"\xfe" * 4


def twice(path: Path) -> Path:
    """Two readers may disagree on which entry counts."""
    with zipfile.ZipFile(path, "w") as archive:
        for content in (PICKLE, PICKLE):
            archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return path


def empty_archive(path: Path) -> Path:
    zipfile.ZipFile(path, "w").close()
    return path


def byte_order(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "middle")
    return path


def script(path: Path) -> Path:
    """A TorchScript program, written as torch.jit.save does."""
    return write_zip(
        path, {"archive/data.pkl": PICKLE, "archive/constants.pkl": PICKLE, "archive/code/a.py": b"x"}
    )


def npz(path: Path) -> Path:
    with path.open("wb") as handle:
        np.savez(handle, weight=np.zeros(3))
    return path


def behind_script(path: Path) -> Path:
    """An archive is found from its end, so it may follow anything."""
    write_zip(path, {"archive/data.pkl": PICKLE})
    path.write_bytes(b"#!/bin/sh\ntouch ran\n" + path.read_bytes())
    return path


def module(path: Path) -> Path:
    torch.save(nn.Linear(2, 2), path)
    return path


def other_cases() -> list[Case]:
    """What is found under a checkpoint's name."""
    contents: dict[str, tuple[bytes, str]] = {
        "nothing": (b"", "empty"),
        "one byte": (b"\x80", "truncated"),
        "the beginning of a zip": (b"PK\x03\x04", "truncated"),
        "a web page": (b"<!DOCTYPE html><title>Quota exceeded</title>", "web page"),
        "a web page after white space": (b"\n\n  <html>", "web page"),
        "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "gzip": (gzip.compress(b"x" * 100, mtime=0), "gzip"),
        "JSON": (json.dumps({"conv1.weight": [0]}).encode(), "JSON"),
        "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        "npy": (b"\x93NUMPY\x01\x00" + bytes(100), "not a checkpoint"),
        "a tar archive": (
            b"archive/data.pkl".ljust(257, b"\0") + b"ustar\x0000" + bytes(255),
            "not a checkpoint",
        ),
        "ELF": (b"\x7fELF" + bytes(100), "not a checkpoint"),
        "a pickle of protocol 0": (b"cos\nsystem\n(S'true'\ntR.", "not a checkpoint"),
        "zeros": (bytes(10_000), "not a checkpoint"),
        "noise": (random.Random(0).randbytes(10_000), "not a checkpoint|truncated or damaged"),
    }

    def case(label: str, content: bytes, says: str) -> Case:
        def write(folder: Path) -> Path:
            (folder / "input.pth").write_bytes(content)
            return folder / "input.pth"

        return Case(label, write, says)

    found = [case(label, content, says) for label, (content, says) in contents.items()]
    return [*found, *special_cases(), Case("a pickled nn.Module", lambda f: module(f / "input.pth"), "names")]


def special_cases() -> list[Case]:
    """Paths that are no regular file."""

    def link(to: str) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            (folder / "input.pth").symlink_to(to)
            return folder / "input.pth"

        return write

    def pipe(folder: Path) -> Path:
        os.mkfifo(folder / "input.pth")
        return folder / "input.pth"

    def folder_itself(folder: Path) -> Path:
        (folder / "input.pth").mkdir()
        return folder / "input.pth"

    return [
        Case("no file", lambda folder: folder / "input.pth", "no such"),
        Case("a name of 5 000 characters", lambda folder: folder / ("x" * 5000 + ".pth"), "too long"),
        Case("a name with a zero byte", lambda folder: folder / "a\0b.pth"),
        Case("a file as a folder", lambda folder: Path("/dev/null/input.pth"), "no such"),
        Case("a folder", folder_itself, "folder"),
        Case("a link to a folder", link("."), "folder"),
        Case("a link to nothing", link("absent"), "symbolic link to nothing"),
        Case("a link to itself", link("input.pth"), "no such"),
        Case("a link to /dev/zero", link("/dev/zero"), "device"),
        Case("a link to /dev/stdin", link("/dev/full"), "device"),
        Case("a pipe", pipe, "pipe"),
    ]
