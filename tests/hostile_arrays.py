"""Arrays and tensors in a pickle that are not what they claim."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import torch
from hostile import (
    Case,
    build,
    call,
    in_forms,
    listed,
    mapping,
    name,
    new,
    number,
    program,
    raw,
    several,
    text,
    write_zip,
)
from hostile_pickles import ORDERED


def array_cases() -> list[Case]:
    """NumPy arrays that numpy's own functions would trust."""

    def dtype(code: str, order: str = "<", fields: bytes = b"N") -> bytes:
        state = several(number(3), text(order), b"N", b"N", fields, number(-1), number(-1), number(0))
        return build(call(name("numpy", "dtype"), text(code), b"\x89", b"\x88"), state)

    def array(shape: bytes, kind: bytes, data: bytes = raw(b"\0" * 16)) -> bytes:
        empty = call(
            name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"K\x00\x85", raw(b"b")
        )
        return build(empty, several(number(1), shape, kind, b"\x89", data))

    four, f4 = several(number(4)), dtype("f4")
    frombuffer = call(name("numpy.core.numeric", "_frombuffer"), raw(b"\0" * 16), f4, four, text("C"))
    bodies: dict[str, bytes] = {
        "objects": array(four, dtype("O8"), listed(number(1), number(2), number(3), number(4))),
        "text": array(four, dtype("U1")),
        "records": array(
            several(number(1)), dtype("V16", fields=mapping(text("a"), several(dtype("O8"), b"K\x00")))
        ),
        "big-endian": array(four, dtype("f4", ">")),
        "a negative shape": array(several(number(-4), number(-1)), f4),
        "a shape whose product overflows": array(several(number(2**33), number(2**31)), f4),
        "a shape of text": array(several(text("4")), f4),
        "a shape that is a number": array(number(4), f4),
        "a shape of booleans": array(several(b"\x88"), f4, raw(b"\0" * 4)),
        "more values than bytes": array(several(number(5)), f4),
        "fewer values than bytes": array(several(number(3)), f4),
        "100 dimensions": array(several(*[number(1)] * 100), f4, raw(b"\0" * 4)),
        "no bytes": array(four, f4, b"N"),
        "a dtype that is none": array(four, text("f4")),
        "a dtype of numbers": array(four, call(name("numpy", "dtype"), number(3))),
        "a dtype with state that is none": array(four, build(call(name("numpy", "dtype"), text("f4")), b"N")),
        "state that is short": build(new(name("numpy", "ndarray")), several(number(1))),
        "an array that is never filled": new(name("numpy", "ndarray")),
        "state on an array from a buffer": build(
            frombuffer, several(number(1), several(number(1 << 40)), f4, b"\x89", raw(b""))
        ),
        "defaults of a function": build(
            name("numpy.core.numeric", "_frombuffer"), several(b"N", mapping(text("__defaults__"), four))
        ),
        "attributes of a class": build(
            name("numpy.core.multiarray", "scalar"), several(b"N", mapping(text("__init__"), ORDERED))
        ),
        "another codec": call(name("_codecs", "encode"), text("x"), text("rot13")),
    }
    found = []
    for label, body in bodies.items():
        body = program(mapping(text("model"), mapping(text("stem.conv1.weight"), body)), 3)
        found += in_forms(f"array: {label}", body, "", ("pickle",))
    return found


def tensor_cases() -> list[Case]:
    """Tensors of a torch zip whose storage is not what they claim."""

    def storage(key: str, count: int, kind: str = "FloatStorage", location: str = "cpu") -> bytes:
        return several(text("storage"), name("torch", kind), text(key), text(location), number(count)) + b"Q"

    def tensor(where: bytes, offset: int, size: list[int], stride: list[int]) -> bytes:
        dims = [several(*map(number, values)) for values in (size, stride)]
        return call(
            name("torch._utils", "_rebuild_tensor_v2"), where, number(offset), *dims, b"\x89", call(ORDERED)
        )

    good = storage("0", 4)
    bodies = {
        "more elements than the entry has": tensor(storage("0", 400), 0, [400], [1]),
        "fewer elements than the entry has": tensor(storage("0", 2), 0, [2], [1]),
        "a negative number of elements": tensor(storage("0", -4), 0, [4], [1]),
        "2 ** 60 elements": tensor(storage("0", 1 << 60), 0, [4], [1]),
        "an entry that is not there": tensor(storage("9", 4), 0, [4], [1]),
        "an entry above the archive": tensor(storage("../../../../etc/passwd", 4), 0, [4], [1]),
        "an absolute entry": tensor(storage("/etc/passwd", 4), 0, [4], [1]),
        "the entry of the pickle": tensor(storage("../data.pkl", 4), 0, [4], [1]),
        "a view beyond its storage": tensor(good, 0, [1000], [1]),
        "an offset beyond its storage": tensor(good, 1000, [4], [1]),
        "a negative offset": tensor(good, -1, [4], [1]),
        "a negative size": tensor(good, 0, [-4], [1]),
        "a negative stride": tensor(good, 3, [4], [-1]),
        "a size that overflows": tensor(good, 0, [1 << 62, 1 << 62], [0, 0]),
        "stride 0 and an exabyte": tensor(good, 0, [1 << 58], [0]),
        "stride 0 and half a gigabyte": tensor(good, 0, [1 << 27], [0]),
        "no storage": tensor(b"N", 0, [4], [1]),
        "a number as storage": tensor(number(4), 0, [4], [1]),
        "a storage type that is none": tensor(storage("0", 4, "nn"), 0, [4], [1]),
        "a device that is none": tensor(storage("0", 4, location="tpu:99"), 0, [4], [1]),
    }

    def case(label: str, body: bytes) -> Case:
        content = program(mapping(text("conv1.weight"), body))
        entries = {"archive/data.pkl": content, "archive/data/0": struct.pack("<4f", 1, 2, 3, 4)}
        return Case(f"tensor: {label}", lambda folder: write_zip(folder / "input.pth", entries))

    found = [case(label, body) for label, body in bodies.items()]
    found.append(Case("tensor: legacy, data that the file does not list", unlisted, "list of tensors"))
    return found


def unlisted(folder: Path) -> Path:
    """torch.load would give a tensor of whatever lay in memory before."""
    path = folder / "input.pth.tar"
    torch.save({"conv1.weight": torch.ones(5)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\x80\x02]")] + pickle.dumps([], protocol=2))
    return path
