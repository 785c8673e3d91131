#!/usr/bin/env python3
"""Check a training configuration against weights: tools/lint_config.py weights config [--fix out]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transfer.lint import main

if __name__ == "__main__":
    sys.exit(main())
