"""COCO's compressed run lengths of a mask, without pycocotools.

The format (maskApi.c of https://github.com/cocodataset/cocoapi): lengths of alternating runs of 0 and
1 down the columns, starting with 0; from the fourth on, the difference to the length two before; each
number in groups of five bits, least significant first, 32 added where another group follows, as the
character 48 higher.
"""

from __future__ import annotations

import numpy as np

from transfer.data.mini.sprites import Mask


def encode_mask(mask: Mask) -> str:
    """The text of a mask ``(height, width)``, as in MOTS files and in the ``counts`` of COCO's RLE."""
    column_major = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(column_major, prepend=np.int8(0)))
    runs = np.diff(changes, prepend=0, append=column_major.size).tolist()
    deltas = [run - runs[i - 2] if i > 2 else run for i, run in enumerate(runs)]
    return "".join(map(_characters, deltas))


def _characters(number: int) -> str:
    text = ""
    while True:
        group, number = number & 31, number >> 5
        # The top bit of the last group is the sign of the whole.
        if number == (-1 if group & 16 else 0):
            return text + chr(group + 48)
        text += chr(group + 32 + 48)
