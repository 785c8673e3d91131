#!/usr/bin/env python3
"""Get and verify data: imagenet-lists, imagenet, cifar10, many-shot, coco, voc, tracking sets; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transfer.data.prepare import main

if __name__ == "__main__":
    sys.exit(main())
