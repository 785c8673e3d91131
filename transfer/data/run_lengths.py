"""Masks as text: the compressed run lengths of COCO, read and written without pycocotools.

Runs of 0 and 1 alternate down the columns, starting with 0. From the fourth on a run is given by its
difference to the one two before. A number is cut into groups of five bits, the lowest first; a character
holds a group, plus 32 where another one follows, plus 48. The highest bit of the last group is the sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OFFSET = 48
MORE, SIGN, BITS = 32, 16, 5
MAX_GROUPS = 7  # 35 bits, far more than any image has pixels


def read_runs(text: str) -> NDArray[np.int64]:
    """Lengths of the runs, starting with those of 0.

    Raises:
        ValueError: a character of no run, an unfinished number, or a negative length.
    """
    if not text:
        raise ValueError("expected run lengths, found an empty text")
    codes = np.frombuffer(text.encode("latin-1", errors="replace"), dtype=np.uint8).astype(np.int64) - OFFSET
    if codes.min() < 0 or codes.max() > MORE + 31:
        wrong = text[int(np.flatnonzero((codes < 0) | (codes > MORE + 31))[0])]
        raise ValueError(f"expected characters of run lengths, found {wrong!r}")
    ends = np.flatnonzero(codes & MORE == 0)
    if not len(ends) or ends[-1] != len(codes) - 1:
        raise ValueError("the run lengths break off inside of a number")
    starts = np.concatenate(([0], ends[:-1] + 1))
    groups = ends - starts + 1
    if groups.max() > MAX_GROUPS:
        raise ValueError(f"a run length of {groups.max()} groups of bits; at most {MAX_GROUPS} make sense")
    shifts = BITS * (np.arange(len(codes)) - np.repeat(starts, groups))
    runs: NDArray[np.int64] = np.add.reduceat((codes & (MORE - 1)) << shifts, starts)
    runs -= np.where(codes[ends] & SIGN, np.int64(1) << (BITS * groups), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError(f"expected lengths of runs, found {runs.min()}")
    return runs


def write_runs(runs: NDArray[np.int64]) -> str:
    """The text of run lengths."""
    characters = []
    for index, run in enumerate(runs.tolist()):
        number = run - int(runs[index - 2]) if index > 2 else run
        while True:
            group, number = number & (MORE - 1), number >> BITS
            last = number == (-1 if group & SIGN else 0)
            characters.append(chr(group + OFFSET + (0 if last else MORE)))
            if last:
                break
    return "".join(characters)


def decode_mask(text: str, height: int, width: int) -> NDArray[np.bool_]:
    """A mask (H, W) from its text.

    Raises:
        ValueError: as :func:`read_runs`, or runs of another number of pixels.
    """
    runs = read_runs(text)
    if runs.sum() != height * width:
        raise ValueError(f"expected runs of {width}x{height} = {width * height} pixels, found {runs.sum()}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask: NDArray[np.bool_] = np.ascontiguousarray(flat.reshape(width, height).T)
    return mask


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """The text of a mask (H, W)."""
    flat = np.asarray(mask, dtype=np.bool_).T.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return write_runs(np.diff(changes, prepend=0, append=flat.size))
