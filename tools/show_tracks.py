#!/usr/bin/env python3
"""Look at a tracker's results: tools/show_tracks.py RUN [--format sheet | page | video]; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    from transfer.track.pictures import main
except ModuleNotFoundError as error:
    sys.exit(f"show_tracks: {error.name} is not installed. Next: pip install pillow numpy torch")

if __name__ == "__main__":
    sys.exit(main())
