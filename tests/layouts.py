"""Small checkpoints in the true key names and containers of the code bases that pre-train backbones.

Each was written from the code base's own source, not from what :mod:`transfer.backbone` reads; this project's
own by its own code.
"""

from __future__ import annotations

import layouts_libraries
import layouts_lightning
import layouts_openmm
import layouts_own
import layouts_research
from layouts_parts import Fixture, backbone_state, load_carelessly

__all__ = ["FIXTURES", "Fixture", "backbone_state", "load_carelessly"]

FIXTURES: dict[str, Fixture] = (
    layouts_research.FIXTURES
    | layouts_own.FIXTURES
    | layouts_openmm.FIXTURES
    | layouts_lightning.FIXTURES
    | layouts_libraries.FIXTURES
)
