#!/usr/bin/env python3
"""Rebuild, check or compare results: tools/make_tables.py [--check | --compare A B | ...]; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transfer.report.command import main

if __name__ == "__main__":
    sys.exit(main())
