"""safetensors files whose header does not describe what follows it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from hostile import Case


def safetensors_cases() -> list[Case]:
    """Headers that do not describe what follows."""

    def file(header: object, data: int = 16, length: int | None = None) -> bytes:
        content = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(content) if length is None else length) + content + bytes(data)

    def entry(
        start: int = 0, end: int = 16, shape: object = (4,), dtype: object = "F32"
    ) -> dict[str, object]:
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    one = json.dumps(entry())
    contents: dict[str, bytes] = {
        "a header of an exabyte": file({"a": entry()}, length=1 << 60),
        "a header of 2 ** 64 - 1 bytes": file({"a": entry()}, length=(1 << 64) - 1),
        "a header longer than the file": file({"a": entry()}, length=1000),
        "a header that is cut": file({"a": entry()}, length=20),
        "overlapping tensors": file({"a": entry(), "b": entry()}),
        "tensors that overlap in part": file({"a": entry(), "b": entry(8, 24)}, 24),
        "a gap between tensors": file({"a": entry(), "b": entry(32, 48)}, 48),
        "negative offsets": file({"a": entry(-16, 0)}),
        "offsets backwards": file({"a": entry(16, 0)}),
        "offsets beyond the file": file({"a": entry(0, 160, [40])}),
        "bytes after the last tensor": file({"a": entry()}, 32),
        "a shape that does not fit": file({"a": entry(shape=[5])}),
        "a negative shape": file({"a": entry(shape=[-4])}),
        "a shape that overflows": file({"a": entry(shape=[1 << 62, 1 << 62])}),
        "an unknown type": file({"a": entry(dtype="F31")}),
        "a type that is a number": file({"a": entry(dtype=3)}),
        "one key twice": file(f'{{"a": {one}, "a": {one}}}'.encode()),
        "one key twice, one of them metadata": file(
            f'{{"__metadata__": {{}}, "__metadata__": {{"format": "pt"}}, "a": {one}}}'.encode()
        ),
        "a key that is not UTF-8": file(b'{"\xff": ' + one.encode() + b"}"),
        "metadata that is a list": file({"__metadata__": [1], "a": entry()}),
        "metadata of numbers": file({"__metadata__": {"a": 1}, "a": entry()}),
        "no JSON": file(b"{" + b"[" * 20),
        "JSON 100 000 deep": file(b'{"a":' * 100_000),
        "a list": file(b"[1, 2, 3, 4]"),
        "no tensors": file({}, 0),
        "a key of traversal": file({"../../etc/x": entry()}),
        "8-bit floats": file({"conv1.weight": entry(0, 9408, [64, 3, 7, 7], "F8_E4M3")}, 9408),
        "a contract without tensors": file({"__metadata__": contract_header()}, 0),
        "a contract of an unknown arch": file({"__metadata__": contract_header(arch="vgg"), "a": entry()}),
        "a contract with one tensor": file({"__metadata__": contract_header(), "conv1.weight": entry()}),
        "a contract of 8-bit floats": file(
            {"__metadata__": contract_header(), "conv1.weight": entry(0, 9408, [64, 3, 7, 7], "F8_E4M3")},
            9408,
        ),
    }

    def case(label: str, content: bytes) -> Case:
        def write(folder: Path) -> Path:
            (folder / "input.safetensors").write_bytes(content)
            return folder / "input.safetensors"

        return Case(f"safetensors: {label}", write)

    return [case(label, content) for label, content in contents.items()]


def contract_header(**changes: str) -> dict[str, str]:
    """The metadata of a contract file."""
    fields = (
        "method",
        "pretrain_data",
        "pretrain_epochs",
        "branch",
        "source_name",
        "source_sha256",
        "tool_version",
    )
    pixels = {"pixel_order": "RGB", "pixel_mean": "0.485,0.456,0.406", "pixel_std": "0.229,0.224,0.225"}
    return dict.fromkeys(fields, "x") | pixels | {"arch": "resnet18"} | changes
