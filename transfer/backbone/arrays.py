"""NumPy arrays inside a pickle, rebuilt from their bytes without numpy's own pickle functions.

numpy's trust the file: a crafted dtype or shape can crash the interpreter. These check first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}  # what weights are made of
FOREIGN_ORDER = ">"


class Dtype:
    """``numpy.dtype(code, align, copy)`` as a pickle calls it."""

    def __init__(self, code: str = "", *_: object) -> None:
        if isinstance(code, bytes):
            code = code.decode("ascii")
        if code.lstrip("<|=") not in TYPES:
            raise ValueError(f"array type {code!r} is not a number type")
        self.code = code.lstrip("<|=")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in (FOREIGN_ORDER, FOREIGN_ORDER.encode()):
            raise ValueError("big-endian arrays are not supported")


class Array:
    """An array to be: numpy's ``_reconstruct`` gives it, ``__setstate__`` fills it."""

    value: NDArray[Any] | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = rebuild(data, dtype, shape, "F" if fortran else "C")


class Scalar:
    """``numpy.core.multiarray.scalar(dtype, bytes)``: its value is of no use here."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class Buffered(Array):
    """``numpy.core.numeric._frombuffer(data, dtype, shape, order)``, as protocol 5 has it."""

    def __init__(self, data: Any, dtype: Dtype, shape: Any, order: str) -> None:
        self.value = rebuild(data, dtype, shape, order)


class Decoded:
    """``_codecs.encode(text, encoding)``, as protocol 2 uses it for bytes: making one gives bytes."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"encoding {encoding!r} is not latin1")
        return text.encode("latin1")

    def __setstate__(self, state: object) -> None:
        pass


def rebuild(data: Any, dtype: Dtype, shape: Any, order: str) -> NDArray[Any]:
    """An array over ``data``, without copying.

    Raises:
        ValueError: a shape that is not one, or another number of bytes than it needs.
    """
    if isinstance(data, str):
        data = data.encode("latin1")  # written by Python 2
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"array shape {shape!r} is not one")
    kind = np.dtype(dtype.code)
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"an array of shape {shape} has {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")


# Classes with __setstate__ only: on anything else a pickle may set attributes of its own.
ARRAYS: dict[str, type] = {
    "numpy.dtype": Dtype,
    "numpy.ndarray": Array,
    "numpy.core.multiarray._reconstruct": Array,
    "numpy._core.multiarray._reconstruct": Array,
    "numpy.core.numeric._frombuffer": Buffered,
    "numpy._core.numeric._frombuffer": Buffered,
    "numpy.core.multiarray.scalar": Scalar,
    "numpy._core.multiarray.scalar": Scalar,
    "_codecs.encode": Decoded,
}
