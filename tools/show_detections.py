#!/usr/bin/env python3
"""Look at a detector's predictions: tools/show_detections.py RUN [--order worst | ...]; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    from transfer.detect.pictures import main
except ModuleNotFoundError as error:
    sys.exit(
        f"show_detections: {error.name} is not installed. Next: pip install pillow pycocotools numpy jinja2"
    )

if __name__ == "__main__":
    sys.exit(main())
