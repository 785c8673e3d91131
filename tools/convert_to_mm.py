#!/usr/bin/env python3
"""Convert a checkpoint for mmcv and prove it: tools/convert_to_mm.py ckpt [out]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transfer.backbone.command import main

if __name__ == "__main__":
    sys.exit(main("mmcv"))
