"""Damaged and hostile inputs for the converters: what a case is, and pickles by the opcode."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save before PyTorch 1.6
FORMS = ("zip", "legacy", "pickle")
MARKER, SENTINEL = "ran", "precious"  # made by what runs; a folder that hostile code would delete

SUFFIXES = {"timm": ".safetensors", "detectron2": ".pkl"}  # of a target's files; .pth otherwise


@dataclass(frozen=True)
class Case:
    """One input. ``write`` puts it into an empty folder and returns its path.

    Attributes:
        name: tells what is wrong with it.
        write: writes the input.
        says: a regular expression that the refusal must match, so that a case is refused for its own fault.
        target: whose converter reads it.
    """

    name: str
    write: Callable[[Path], Path]
    says: str = ""
    target: str = "torchvision"


def listing(folder: Path) -> set[str]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """BININT or LONG1."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a" + bytes([len(data := pickle.encode_long(value))]) + data


def raw(value: bytes) -> bytes:
    """BINBYTES (protocol 3)."""
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, attribute: str) -> bytes:
    """GLOBAL: what every class and function in a protocol 2 pickle is called by."""
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL (protocol 4), whose attribute may have dots."""
    return text(module) + text(attribute) + b"\x93"


def several(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def listed(*parts: bytes) -> bytes:
    """A list."""
    return b"](" + b"".join(parts) + b"e"


def mapping(*parts: bytes) -> bytes:
    """A dict of keys and values in turn."""
    return b"}(" + b"".join(parts) + b"u"


def call(function: bytes, *arguments: bytes) -> bytes:
    """REDUCE: calls."""
    return function + several(*arguments) + b"R"


def new(cls: bytes, *arguments: bytes) -> bytes:
    """NEWOBJ: makes an object without calling ``__init__``."""
    return cls + several(*arguments) + b"\x81"


def build(thing: bytes, state: bytes) -> bytes:
    """BUILD: ``__setstate__``, or attributes set directly."""
    return thing + state + b"b"


def program(body: bytes, protocol: int = 2) -> bytes:
    """A whole pickle."""
    return b"\x80" + bytes([protocol]) + body + b"."


def pack(body: bytes, form: str, path: Path) -> Path:
    """Write a pickle as torch.save's zip, as its older format, or bare."""
    if form == "zip":
        write_zip(path, {"archive/data.pkl": body})
    elif form == "legacy":
        beginning = [pickle.dumps(part, protocol=2) for part in (MAGIC, 1001, {"little_endian": True})]
        path.write_bytes(b"".join([*beginning, body, pickle.dumps([], protocol=2)]))
    else:
        path.write_bytes(body)
    return path


def write_zip(
    path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED, *, version: bool = True
) -> Path:
    """A zip of these entries, with what torch.load needs besides."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
        if version:
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
    return path


def in_forms(label: str, body: bytes, says: str = "", forms: tuple[str, ...] = FORMS) -> list[Case]:
    """One pickle as a case in each form."""
    suffix = {"pickle": "pkl", "legacy": "pth.tar", "zip": "pth"}

    def writer(form: str) -> Callable[[Path], Path]:
        return lambda folder: pack(body, form, folder / f"input.{suffix[form]}")

    return [Case(f"{label} ({form})", writer(form), says) for form in forms]
