"""From one self-supervised checkpoint to every downstream table."""

__version__ = "0.1.0"
