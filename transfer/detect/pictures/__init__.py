"""Images with true and predicted objects as one HTML page, for the eye; needs no torch and no detectron2."""

from transfer.detect.pictures.command import main

__all__ = ["main"]
