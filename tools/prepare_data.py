#!/usr/bin/env python3
"""Get and verify data: tools/prepare_data.py imagenet-lists | imagenet | cifar10 | many-shot; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transfer.data.prepare import main

if __name__ == "__main__":
    sys.exit(main())
