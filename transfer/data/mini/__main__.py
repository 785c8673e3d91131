"""python -m transfer.data.mini DIR: build the bundled set, unless it is there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transfer.data.mini.build import build


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, or 2 when the set cannot be built."""
    parser = argparse.ArgumentParser(
        prog="python -m transfer.data.mini", description="Build the bundled set."
    )
    parser.add_argument("root", type=Path, metavar="DIR", help="where the set goes, usually data/mini")
    try:
        build(parser.parse_args(argv).root)
    except (FileNotFoundError, ValueError) as error:
        print(f"transfer.data.mini: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
