#!/usr/bin/env python3
"""Rebuild, check or compare results: tools/make_tables.py [--check | --compare A B | ...]; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    from transfer.report.command import main
except ModuleNotFoundError as error:
    sys.exit(
        f"make_tables: {error.name} is not installed. Next, in the checkout: pip install --group report "
        "(pip 25.1 or newer; no torch is needed)"
    )

if __name__ == "__main__":
    sys.exit(main())
